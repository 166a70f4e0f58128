// The selective scan, forwards.
//
// Per sample and channel the pass moves u, delta, z and y once (8 bytes in bf16, 16 in float32) and needs,
// for a real A, 16 exponentials of the states and 3 of softplus and gate: at 16 a clock and multiprocessor
// that is some 90 microseconds for 16.8 M samples and channels where their memory takes 45. About as many
// issue slots go to the 7 other instructions of a state and step. So the special functions bound it;
// everything else is kept off them.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/selective_scan.cuh"

namespace nigiri::cuda::scan {
namespace {

struct ForwardOperands : Operands {
    Rows y;
    States state, checkpoints;
};

template <bool kComplex>
constexpr int forward_warps = kComplex ? 12 : 16;
constexpr int forward_columns = 3;  // u, delta and z of a warp

template <class T, bool kComplex, Discretization kRule, Mix kMix>
__global__ void __launch_bounds__(32 * forward_warps<kComplex>, 1)
    forward_kernel(const __grid_constant__ ForwardOperands p) {
    using N = Number<kComplex>;
    using M = Matrices<T, kComplex, kMix>;
    using C = Columns<T>;
    constexpr int parts = kComplex ? 2 : 1;
    extern __shared__ __align__(16) unsigned char memory[];
    const Place at(p);
    const int64_t state_row = at.batch * p.channels;
    const Mail mail(p, at, reinterpret_cast<uint64_t*>(memory), [&](int number, int channel_lane) {
        const int channel = at.warp_channel() + channel_lane;
        const bool exists = p.state.data != nullptr && channel < p.channels;
        return exists ? *p.state.at<kComplex>(state_row + channel, number) : 0.0f;
    });
    unsigned char* const rounds = memory + Mail::bytes(p.numbers) * p.groups * p.rounds;
    unsigned char* const tables = rounds + M::round_bytes(p) * p.rounds;
    M matrices(p, at, rounds, tables);
    T* const u =
        reinterpret_cast<T*>(tables + M::table_bytes(p) * p.groups) + forward_columns * C::elements * at.warp;
    T *const delta = u + C::elements, *const z = delta + C::elements;
    const bool has_z = p.z.data != nullptr,
               keeps = p.checkpoints.data != nullptr && at.segment == 0 && at.inside;
    const float skip = p.skip != nullptr && at.inside ? p.skip[at.channel] * (kComplex ? 0.5f : 1.0f) : 0.0f;
    // What a slice begins with is fetched while the one before is worked on.
    const auto fetch = [&](int64_t slice) {
        if (slice >= p.slices) return;
        C::fetch(p, at, p.u, slice, u);
        if (p.delta.data != nullptr) C::fetch(p, at, p.delta, slice, delta);
        matrices.fetch(p, at, slice, 0);
    };
    // Waits for a tile of B and C, and for whatever else was fetched.
    const auto open_tile = [&](int64_t slice, int first) {
        wait_for_copies();
        if (!matrices.any_selective()) return __syncwarp();
        at.group_barrier(p);
        matrices.turn(p, at);
        at.group_barrier(p);
    };
    fetch(at.position);
    cluster_barrier();

    for (int64_t slice = at.position; slice < p.slices; slice += at.ring) {
        const auto turn = static_cast<uint32_t>(slice + 1);
        float* const checkpoint =
            keeps ? p.checkpoints.at<kComplex>((slice * p.batch + at.batch) * p.channels + at.channel, 0)
                  : nullptr;
        float dt[steps], x[steps], y[steps], total = 0;
        for (int k0 = 0; k0 < p.numbers; k0 += tile_numbers) {
            open_tile(slice, k0);
            if (k0 == 0) {
                C::read(at, u, x);
                C::read(at, delta, dt);
                __syncwarp();
                if (has_z) C::fetch(p, at, p.z, slice, z);
                make_dt(p, at, slice, dt);
#pragma unroll
                for (int i = 0; i < steps; ++i) {
                    y[i] = skip * x[i];
                    if (kRule == Discretization::euler) x[i] *= dt[i];
                    total += dt[i];
                }
            }
            if (k0 + tile_numbers < p.numbers)
                matrices.fetch(p, at, slice, k0 + tile_numbers);
            else
                fetch(slice + at.ring);
            const int tile_end = min(tile_numbers, p.numbers - k0);
#pragma unroll 1
            for (int k = 0; k < tile_end; k += parts) {
                const Rule<kComplex, kRule> rule(matrices.a(k0, k));
                N abar[steps], input[steps];
                discretize(rule, matrices, k0, k, dt, x, abar, input);
                N h = input[0];
#pragma unroll
                for (int i = 1; i < steps; ++i) h = mul_add(abar[i], h, input[i]);
                Segment<kComplex> so_far{h, decay_of(rule, total, abar)};
                so_far.template accumulate<false>();

                const N start = mail.receive<kComplex>(k0 + k, turn), end = so_far.apply(start);
                if (at.segment == segments - 1) mail.send<kComplex>(end, k0 + k, turn + 1);
                if (checkpoint != nullptr) {
                    checkpoint[k0 + k] = start.re;
                    if constexpr (kComplex) checkpoint[k0 + k + 1] = start.im;
                }
                h = segment_start<false>(end, start, at.segment);
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    N c[4];
                    matrices.c(k0, k, q, c);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        h = mul_add(abar[i], h, input[i]);
                        y[i] = real_mul_add(c[j], h, y[i]);
                    }
                }
            }
        }
        if constexpr (kComplex) {
#pragma unroll
            for (int i = 0; i < steps; ++i) y[i] *= 2.0f;
        }
        if (has_z) {
            wait_for_copies();
            __syncwarp();
            C::read(at, z, x);
#pragma unroll
            for (int i = 0; i < steps; ++i) y[i] *= x[i] * sigmoid(x[i]);
        }
        store_steps<T>(p, at, p.y, slice, y);
    }
    cluster_barrier();  // nobody leaves while others may still write to its boxes
    if (p.state.data == nullptr || at.position != p.slices % at.ring) return;
    for (int k = 0; k < p.numbers; ++k) {
        const float x = mail.receive<false>(k, static_cast<uint32_t>(p.slices + 1)).re;
        if (at.segment == 0 && at.inside) *p.state.at<kComplex>(state_row + at.channel, k) = x;
    }
}

// A few steps, as generation makes them: 4 lanes have a channel and 4 numbers each of its states at a time.
// Bounded by the states, which are read and written once.
constexpr int few_steps = 8, few_lanes = 4, few_numbers = 4;

template <class T>
__device__ inline float element(const Rows& rows, int64_t row, int64_t column) {
    return load(rows.row<T>(row) + column);
}

template <class T, bool kComplex, Discretization kRule>
__global__ void __launch_bounds__(256) few_steps_kernel(const __grid_constant__ ForwardOperands p) {
    using N = Number<kComplex>;
    constexpr int parts = kComplex ? 2 : 1, states = few_numbers / parts;
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / few_lanes;
    const int part_of = static_cast<int>(threadIdx.x) % few_lanes;
    const int64_t channel_rows = p.batch * p.channels;
    // Lanes behind the end stay for the sums; they work on the last channel and store nothing.
    const int64_t state_row = min(at, channel_rows - 1), batch = state_row / p.channels,
                  row = batch * p.length;
    const int channel = static_cast<int>(state_row % p.channels), length = static_cast<int>(p.length);
    const bool inside = at < channel_rows;
    float dt[few_steps], x[few_steps], y[few_steps];
#pragma unroll
    for (int l = 0; l < few_steps; ++l) {
        if (l >= length) break;
        float raw = p.delta_bias != nullptr ? p.delta_bias[channel] : 0.0f;
        if (p.delta.data != nullptr) raw += element<T>(p.delta, row + l, channel);
        dt[l] = p.softplus ? softplus(raw) : raw;
        x[l] = element<T>(p.u, row + l, channel) * (kRule == Discretization::euler ? dt[l] : 1.0f);
        y[l] = 0;
    }
    for (int k0 = part_of * few_numbers; k0 < p.numbers; k0 += few_lanes * few_numbers) {
#pragma unroll
        for (int j = 0; j < states; ++j) {
            const int k = k0 + j * parts;
            if (k >= p.numbers) break;
            const auto number = [&](const float* from) {
                N v = N::of(from[0]);
                if constexpr (kComplex) v.im = from[1];
                return v;
            };
            const auto matrix = [&](const Rows& rows, const N& constant, bool selective, int l) {
                if (!selective) return constant;
                N v = N::of(element<T>(rows, row + l, k));
                if constexpr (kComplex) v.im = element<T>(rows, row + l, k + 1);
                return v;
            };
            const Rule<kComplex, kRule> rule(number(p.a.at<kComplex>(channel, k)));
            const N b = p.selective_b ? N::of(0) : number(p.constant_b.at<kComplex>(channel, k));
            const N c = p.selective_c ? N::of(0) : number(p.constant_c.at<kComplex>(channel, k));
            N h = p.state.data != nullptr ? number(p.state.at<kComplex>(state_row, k)) : N::of(0);
            if (p.checkpoints.data != nullptr && inside) {
                float* to = p.checkpoints.at<kComplex>(state_row, k);
                to[0] = h.re;
                if constexpr (kComplex) to[1] = h.im;
            }
#pragma unroll
            for (int l = 0; l < few_steps; ++l) {
                if (l >= length) break;
                N abar, aux, in = matrix(p.b, b, p.selective_b, l);
                rule.step(dt[l], abar, aux);
                if (kRule != Discretization::euler) in = mul(rule.gamma(dt[l], aux), in);
                h = mul_add(abar, h, scale(in, x[l]));
                y[l] = real_mul_add(matrix(p.c, c, p.selective_c, l), h, y[l]);
            }
            if (p.state.data != nullptr && inside) {
                float* to = p.state.at<kComplex>(state_row, k);
                to[0] = h.re;
                if constexpr (kComplex) to[1] = h.im;
            }
        }
    }
#pragma unroll
    for (int l = 0; l < few_steps; ++l) {
        if (l >= length) break;
        float sum = y[l] + __shfl_xor_sync(all_lanes, y[l], 1);
        sum += __shfl_xor_sync(all_lanes, sum, 2);
        if constexpr (kComplex) sum *= 2.0f;
        if (!inside || part_of != l % few_lanes) continue;
        if (p.skip != nullptr) sum = fmaf(p.skip[channel], element<T>(p.u, row + l, channel), sum);
        if (p.z.data != nullptr) {
            const float z = element<T>(p.z, row + l, channel);
            sum *= z * sigmoid(z);
        }
        store(static_cast<T*>(p.y.data) + ((row + l) * p.y.stride + channel), sum);
    }
}

}  // namespace

}  // namespace nigiri::cuda::scan

namespace nigiri {

void CudaBackend::selective_scan_forward(const SelectiveScanForward& op) {
    using namespace cuda::scan;
    check_operands(op);
    cuda::require(op.u.dtype != DType::f64, "selective_scan", "elements of type float32 or bf16");
    if (op.u.size() == 0) return;
    ForwardOperands p{operands_of(op), rows_of(op.y), states_of(op.state, op),
                      number_rows_of(op.checkpoints, op)};
    dispatch_variant(op, [&](auto element, auto is_complex, auto rule, auto mix) {
        using T = decltype(element);
        if (p.length <= few_steps) {
            const Launch launch{stream_, cuda::ceil_div(p.batch * p.channels * few_lanes, 256), 256, 1, 0};
            return start(few_steps_kernel<T, is_complex.value, rule.value>, launch, p,
                         "the selective scan of a few steps");
        }
        using M = Matrices<T, is_complex.value, mix.value>;
        const Budget budget{forward_warps<is_complex.value>,
                            Mail::bytes(p.numbers) + forward_columns * Columns<T>::bytes,
                            M::round_bytes(p),
                            M::table_bytes(p),
                            is_complex.value ? 190.0 : 45.0,
                            is_complex.value ? 1200.0 : 450.0,
                            5};
        const Launch launch = plan(p, op.a[1], budget, multiprocessors_, stream_);
        start(forward_kernel<T, is_complex.value, rule.value, mix.value>, launch, p, "the selective scan");
    });
}

}  // namespace nigiri
