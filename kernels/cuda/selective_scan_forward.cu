// The selective scan, forwards.
//
// Per sample and channel the pass moves u, delta, z and y once (8 bytes in bf16, 16 in float32) and needs,
// for a real A, 16 exponentials of the states and 3 of softplus and gate: at 16 a clock and multiprocessor
// that is some 90 microseconds for 16.8 M samples and channels where their memory takes 45. It takes 240: what
// a profile shows is 14 instructions for each state and step, 9 of them in the loops over states, issued in 54 %
// of the cycles. So instructions, and waiting for them, bound it.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/selective_scan.cuh"
#include "kernels/cuda/selective_scan_quads.h"

namespace nigiri::cuda::scan {
namespace {

constexpr int forward_warps = 12;
constexpr int forward_columns = 3;  // u, delta and z of a warp

template <class T, bool kComplex, Discretization kRule, Mix kMix>
__global__ void __launch_bounds__(32 * forward_warps, 1) forward_kernel(const __grid_constant__ ForwardOperands p) {
    using N = Number<kComplex>;
    using M = Matrices<T, kComplex, kMix>;
    using C = Columns<T>;
    constexpr int pair = pair_states<kComplex>, parts = 2 / pair;
    extern __shared__ __align__(16) unsigned char memory[];
    const Place at(p);
    const int64_t state_row = at.batch * p.channels;
    const Mail mail(p, at, reinterpret_cast<uint64_t*>(memory), [&](int number, int channel_lane) {
        const int channel = at.warp_channel() + channel_lane;
        const bool exists = p.state.data != nullptr && channel < p.channels && number < p.numbers;
        return exists ? *p.state.at<kComplex>(state_row + channel, number) : 0.0f;
    });
    unsigned char* const rounds = memory + Mail::bytes(p.padded) * p.groups * p.rounds;
    unsigned char* const tables = rounds + M::round_bytes(p) * p.rounds;
    M matrices(p, at, rounds, tables);
    T* const u = reinterpret_cast<T*>(tables + M::table_bytes(p) * p.groups) + forward_columns * C::elements * at.warp;
    T *const delta = u + C::elements, *const z = delta + C::elements;
    const bool has_z = p.z.data != nullptr, keeps = p.checkpoints.data != nullptr && at.segment == 0 && at.inside;
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
            keeps ? p.checkpoints.at<kComplex>((slice * p.batch + at.batch) * p.channels + at.channel, 0) : nullptr;
        float dt[steps], x[steps], y[steps], total = 0;
        for (int k0 = 0; k0 < p.padded; k0 += tile_numbers) {
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
            if (k0 + tile_numbers < p.padded)
                matrices.fetch(p, at, slice, k0 + tile_numbers);
            else
                fetch(slice + at.ring);
            const int tile_end = min(tile_numbers, p.padded - k0);
#pragma unroll 1
            for (int k = 0; k < tile_end; k += 2) {
                Rule<kComplex, kRule> rule[pair];
                N abar[pair][steps], input[pair][steps], h[pair], start[pair], end[pair];
                Segment<kComplex> so_far[pair];
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    rule[n] = Rule<kComplex, kRule>(matrices.a(k0, k + n * parts));
                    discretize(rule[n], matrices, k0, k + n * parts, dt, x, abar[n], input[n]);
                }
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    h[n] = input[n][0];
#pragma unroll
                    for (int i = 1; i < steps; ++i) h[n] = mul_add(abar[n][i], h[n], input[n][i]);
                    so_far[n] = {h[n], decay_of(rule[n], total, abar[n])};
                }
                accumulate<false>(so_far);
                const float2 from = mail.receive(k0 + k, turn);
                set_pair<kComplex>(start, from);
#pragma unroll
                for (int n = 0; n < pair; ++n) end[n] = so_far[n].apply(start[n]);
                if (at.segment == segments - 1) mail.send(numbers_of<kComplex>(end), k0 + k, turn + 1);
                if (checkpoint != nullptr) {
                    checkpoint[k0 + k] = from.x;
                    if (kComplex || k0 + k + 1 < p.numbers) checkpoint[k0 + k + 1] = from.y;
                }
#pragma unroll
                for (int n = 0; n < pair; ++n) h[n] = segment_start<false>(end[n], start[n], at.segment);
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    N c[pair][4];
#pragma unroll
                    for (int n = 0; n < pair; ++n) matrices.c(k0, k + n * parts, q, c[n]);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
#pragma unroll
                        for (int n = 0; n < pair; ++n) {
                            h[n] = mul_add(abar[n][i], h[n], input[n][i]);
                            y[i] = real_mul_add(c[n][j], h[n], y[i]);
                        }
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
    for (int k = 0; k < p.padded; k += 2) {
        const float2 x = mail.receive(k, static_cast<uint32_t>(p.slices + 1));
        if (at.segment > 0 || !at.inside) continue;
        *p.state.at<kComplex>(state_row + at.channel, k) = x.x;
        if (k + 1 < p.numbers) *p.state.at<kComplex>(state_row + at.channel, k + 1) = x.y;
    }
}

// A few steps, as generation makes them: 4 lanes have a channel, and 4 numbers of its state each at a time.
// Bounded by the states, which are read and written once.
constexpr int few_steps = 8, few_lanes = 4, few_numbers = 4;

template <class T>
__device__ inline float element(const Rows& rows, int64_t row, int64_t column) {
    return load(rows.row<T>(row) + column);
}

// Four numbers that lie side by side, or as many as there are.
template <class T>
__device__ inline void load_numbers(const T* p, int left, bool vector, float (&v)[few_numbers]) {
    if (vector) {
        const float4 x = load_vector(p);
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    } else {
#pragma unroll
        for (int i = 0; i < few_numbers; ++i) v[i] = i < left ? load(p + i) : 0.0f;
    }
}

template <bool kComplex>
__device__ inline bool is_vector(const States& values) {
    const bool dense = !kComplex || values.state_stride == 2;
    return dense && values.channel_stride % 4 == 0 && reinterpret_cast<uintptr_t>(values.data) % 16 == 0;
}
template <bool kComplex>
__device__ inline void load_states(const States& values, int64_t row, int first, int left, float (&v)[few_numbers]) {
    if (left >= few_numbers && is_vector<kComplex>(values))
        return load_numbers(values.at<kComplex>(row, first), left, true, v);
#pragma unroll
    for (int i = 0; i < few_numbers; ++i) v[i] = i < left ? *values.at<kComplex>(row, first + i) : 0.0f;
}
template <bool kComplex>
__device__ inline void store_states(const States& values, int64_t row, int first, int left,
                                    const float (&v)[few_numbers]) {
    if (left >= few_numbers && is_vector<kComplex>(values)) {
        *reinterpret_cast<float4*>(values.at<kComplex>(row, first)) = {v[0], v[1], v[2], v[3]};
        return;
    }
#pragma unroll
    for (int i = 0; i < few_numbers; ++i)
        if (i < left) *values.at<kComplex>(row, first + i) = v[i];
}

template <bool kComplex>
__device__ inline Number<kComplex> number_of(const float (&v)[few_numbers], int state) {
    if constexpr (kComplex)
        return {v[2 * state], v[2 * state + 1]};
    else
        return {v[state]};
}

template <class T, bool kComplex, Discretization kRule, int kSteps>
__global__ void __launch_bounds__(256) few_steps_kernel(const __grid_constant__ ForwardOperands p) {
    using N = Number<kComplex>;
    constexpr int states = kComplex ? few_numbers / 2 : few_numbers;
    const uint32_t at = (blockIdx.x * blockDim.x + threadIdx.x) / few_lanes;
    const uint32_t channel_rows = static_cast<uint32_t>(p.batch) * p.channels;
    // Lanes behind the end stay for the sums; they work on the last channel and store nothing.
    const uint32_t state_row = min(at, channel_rows - 1), batch = state_row / p.channels;
    const int64_t row = batch * p.length;
    const int part = static_cast<int>(threadIdx.x) % few_lanes, length = static_cast<int>(p.length);
    const int channel = static_cast<int>(state_row - batch * p.channels);
    const bool inside = at < channel_rows;
    float dt[kSteps], x[kSteps], y[kSteps];
#pragma unroll
    for (int l = 0; l < kSteps; ++l) {
        if (l >= length) break;
        float raw = p.delta_bias != nullptr ? p.delta_bias[channel] : 0.0f;
        if (p.delta.data != nullptr) raw += element<T>(p.delta, row + l, channel);
        dt[l] = p.softplus ? softplus(raw) : raw;
        x[l] = element<T>(p.u, row + l, channel) * (kRule == Discretization::euler ? dt[l] : 1.0f);
        y[l] = 0;
    }
    for (int k = part * few_numbers; k < p.numbers; k += few_lanes * few_numbers) {
        const int left = p.numbers - k;
        float a[few_numbers], b[few_numbers], c[few_numbers], h[few_numbers] = {0, 0, 0, 0};
        if (p.state.data != nullptr) load_states<kComplex>(p.state, state_row, k, left, h);
        load_states<kComplex>(p.a, channel, k, left, a);
        if (!p.selective_b) load_states<kComplex>(p.constant_b, channel, k, left, b);
        if (!p.selective_c) load_states<kComplex>(p.constant_c, channel, k, left, c);
        if (p.checkpoints.data != nullptr && inside) store_states<kComplex>(p.checkpoints, state_row, k, left, h);
#pragma unroll
        for (int l = 0; l < kSteps; ++l) {
            if (l >= length) break;
            constexpr int bytes = few_numbers * sizeof(T);
            const bool whole = left >= few_numbers;
            if (p.selective_b) load_numbers(p.b.row<T>(row + l) + k, left, whole && p.b.vector >= bytes, b);
            if (p.selective_c) load_numbers(p.c.row<T>(row + l) + k, left, whole && p.c.vector >= bytes, c);
#pragma unroll
            for (int i = 0; i < states; ++i) {
                const Rule<kComplex, kRule> rule(number_of<kComplex>(a, i));
                N abar, aux, in = number_of<kComplex>(b, i);
                rule.step(dt[l], abar, aux);
                if (kRule != Discretization::euler) in = mul(rule.gamma(dt[l], aux), in);
                const N next = mul_add(abar, number_of<kComplex>(h, i), scale(in, x[l]));
                y[l] = real_mul_add(number_of<kComplex>(c, i), next, y[l]);
                if constexpr (kComplex)
                    h[2 * i] = next.re, h[2 * i + 1] = next.im;
                else
                    h[i] = next.re;
            }
        }
        if (p.state.data != nullptr && inside) store_states<kComplex>(p.state, state_row, k, left, h);
    }
#pragma unroll
    for (int l = 0; l < kSteps; ++l) {
        if (l >= length) break;
        float sum = y[l] + __shfl_xor_sync(all_lanes, y[l], 1);
        sum += __shfl_xor_sync(all_lanes, sum, 2);
        if constexpr (kComplex) sum *= 2.0f;
        if (!inside || part != l % few_lanes) continue;
        if (p.skip != nullptr) sum = fmaf(p.skip[channel], element<T>(p.u, row + l, channel), sum);
        if (p.z.data != nullptr) {
            const float z = element<T>(p.z, row + l, channel);
            sum *= z * sigmoid(z);
        }
        store(p.y.row<T>(row + l) + channel, sum);
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
    ForwardOperands p{operands_of(op), rows_of(op.y), states_of(op.state, op), number_rows_of(op.checkpoints, op)};
    dispatch_variant(op, [&](auto element, auto is_complex, auto rule, auto mix) {
        using T = decltype(element);
        if (p.length <= few_steps) {
            cuda::require(p.batch * p.channels < int64_t{1} << 29, "selective_scan",
                          "fewer channels or a smaller batch");
            const Launch launch{stream_, cuda::ceil_div(p.batch * p.channels * few_lanes, 256), 256, 1, 0};
            auto* const kernel = p.length == 1 ? few_steps_kernel<T, is_complex.value, rule.value, 1>
                                               : few_steps_kernel<T, is_complex.value, rule.value, few_steps>;
            return start(kernel, launch, p, "the selective scan of a few steps");
        }
        if constexpr (std::is_same_v<T, cuda::bf16> && !is_complex.value && rule.value == Discretization::euler &&
                      mix.value == Mix::selective)
            if (suits_quads<T>(p)) return start_quads<T>(p, multiprocessors_, stream_);
        using M = Matrices<T, is_complex.value, mix.value>;
        const Budget budget{forward_warps,
                            Mail::bytes(p.padded) + forward_columns * Columns<T>::bytes,
                            M::round_bytes(p),
                            M::table_bytes(p),
                            is_complex.value ? 190.0 : 60.0,
                            is_complex.value ? 1200.0 : 350.0,
                            5};
        const Launch launch = plan(p, op.a[1], budget, multiprocessors_, stream_);
        start(forward_kernel<T, is_complex.value, rule.value, mix.value>, launch, p, "the selective scan");
    });
}

}  // namespace nigiri
