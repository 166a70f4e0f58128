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

constexpr size_t forward_floats = 2 * tile_floats + channel_tile_floats;  // B, C and A of a warp

template <bool kComplex>
constexpr int forward_warps = kComplex ? 12 : 16;

__device__ void gate_and_store(const ForwardOperands& p, const Place& at, int64_t row, int count,
                               float (&y)[steps]) {
    float v[steps];
    if (p.skip != nullptr) {
        const float skip = at.inside ? p.skip[at.channel] : 0.0f;
        load_steps(p.u, p.narrow, row, at.channel, count, v);
#pragma unroll
        for (int i = 0; i < steps; ++i) y[i] = fmaf(skip, v[i], y[i]);
    }
    if (p.z.data != nullptr) {
        load_steps(p.z, p.narrow, row, at.channel, count, v);
#pragma unroll
        for (int i = 0; i < steps; ++i) y[i] *= v[i] * sigmoid(v[i]);
    }
    store_steps(p.y, p.narrow, row, at.channel, count, y);
}

template <bool kComplex, Discretization kRule>
__global__ void __launch_bounds__(32 * forward_warps<kComplex>, 1)
    forward_kernel(const __grid_constant__ ForwardOperands p) {
    using N = Number<kComplex>;
    constexpr int parts = kComplex ? 2 : 1;
    extern __shared__ __align__(16) unsigned char memory[];
    const Place at(p);
    const int64_t state_row = at.batch * p.channels;
    const Mail mail(p, at, reinterpret_cast<uint64_t*>(memory), [&](int number, int channel_lane) {
        const int channel = at.channel - at.channel_lane + channel_lane;
        const bool exists = p.state.data != nullptr && channel < p.channels;
        return exists ? *p.state.at<kComplex>(state_row + channel, number) : 0.0f;
    });
    float* const floats = reinterpret_cast<float*>(memory + Mail::bytes(p.numbers) * p.groups * p.rounds);
    float* const b_tile = floats + at.warp * forward_floats;
    float *const c_tile = b_tile + tile_floats, *const a_tile = c_tile + tile_floats;
    const Matrix b(at, p.selective_b, b_tile), c(at, p.selective_c, c_tile);
    const bool keeps = p.checkpoints.data != nullptr && at.segment == 0 && at.inside;
    cluster_barrier();

    for (int64_t slice = at.position; slice < p.slices; slice += at.ring) {
        const int64_t begin = slice * slice_steps, first = begin + at.segment * steps;
        const int64_t row = at.batch * p.length + first;
        const int count = at.count(p, first);
        const auto turn = static_cast<uint32_t>(slice + 1);
        float* const checkpoint =
            keeps ? p.checkpoints.at<kComplex>((slice * p.batch + at.batch) * p.channels + at.channel, 0)
                  : nullptr;
        float dt[steps], x[steps], y[steps], total = 0;
        load_steps(p.u, p.narrow, row, at.channel, count, x);
        load_dt(p, row, at.channel, count, dt);
#pragma unroll
        for (int i = 0; i < steps; ++i) {
            if (kRule == Discretization::euler) x[i] *= dt[i];
            total += dt[i];
            y[i] = 0;
        }
        for (int k0 = 0; k0 < p.numbers; k0 += tile_numbers) {
            __syncwarp();
            stage<kComplex>(p, at, begin, k0, b_tile, c_tile, a_tile);
            __syncwarp();
            const int tile_end = min(tile_numbers, p.numbers - k0);
#pragma unroll 1
            for (int k = 0; k < tile_end; k += parts) {
                const Rule<kComplex, kRule> rule(load_channel_number<kComplex>(a_tile, k, at.channel_lane));
                N abar[steps], input[steps];
                discretize(rule, b, k, dt, x, abar, input);
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
                    N cq[4];
                    c.load(k, q, cq);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        h = mul_add(abar[i], h, input[i]);
                        y[i] = real_mul_add(cq[j], h, y[i]);
                    }
                }
            }
        }
        if constexpr (kComplex) {
#pragma unroll
            for (int i = 0; i < steps; ++i) y[i] *= 2.0f;
        }
        gate_and_store(p, at, row, count, y);
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

__device__ inline float element(const Rows& rows, bool narrow, int64_t row, int64_t column) {
    const int64_t at = row * rows.stride + column;
    return narrow ? load(static_cast<const bf16*>(rows.data) + at)
                  : load(static_cast<const float*>(rows.data) + at);
}

template <bool kComplex, Discretization kRule>
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
        if (p.delta.data != nullptr) raw += element(p.delta, p.narrow, row + l, channel);
        dt[l] = p.softplus ? softplus(raw) : raw;
        x[l] = element(p.u, p.narrow, row + l, channel) * (kRule == Discretization::euler ? dt[l] : 1.0f);
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
                N v = N::of(element(rows, p.narrow, row + l, k));
                if constexpr (kComplex) v.im = element(rows, p.narrow, row + l, k + 1);
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
        if (p.skip != nullptr) sum = fmaf(p.skip[channel], element(p.u, p.narrow, row + l, channel), sum);
        if (p.z.data != nullptr) {
            const float z = element(p.z, p.narrow, row + l, channel);
            sum *= z * sigmoid(z);
        }
        const int64_t to = (row + l) * p.y.stride + channel;
        p.narrow ? store(static_cast<bf16*>(p.y.data) + to, sum)
                 : store(static_cast<float*>(p.y.data) + to, sum);
    }
}

// Whether four neighbours of any row can be read at once.
bool has_vectors(const View& v) {
    const size_t bytes = 4 * size_of(v.dtype);
    return v.columns() % 4 == 0 && v.row_stride % 4 == 0 && reinterpret_cast<uintptr_t>(v.data) % bytes == 0;
}

}  // namespace

Rows rows_of(const View& v) {
    return {v.data, v.row_stride};
}

States states_of(const View& v, const SelectiveScan& op) {
    if (!v) return {};
    if (!op.is_complex) return {v.as<float>(), v.row_stride, 1};
    return {v.as<float>(), op.a[1] * v.row_stride, v.row_stride};
}

States number_rows_of(const View& v, const SelectiveScan& op) {
    if (!v) return {};
    return {v.as<float>(), v.row_stride, op.is_complex ? 2 : 1};
}

Operands operands_of(const SelectiveScan& op) {
    require(op.u[2] < (1 << 30) && op.a[1] < (1 << 20), "selective_scan", "fewer channels and states");
    Operands p{};
    p.batch = op.u[0], p.length = op.u[1], p.channels = static_cast<int>(op.u[2]);
    p.slices = ceil_div(p.length, slice_steps);
    p.numbers = static_cast<int>(op.is_complex ? 2 * op.a[1] : op.a[1]);
    p.narrow = op.u.dtype == DType::bf16;
    p.softplus = op.softplus, p.selective_b = op.selective_b, p.selective_c = op.selective_c;
    p.u = rows_of(op.u), p.delta = rows_of(op.delta), p.z = rows_of(op.z);
    p.a = states_of(op.a, op);
    if (op.selective_b)
        p.b = rows_of(op.b), p.vector_b = has_vectors(op.b);
    else
        p.constant_b = states_of(op.b, op);
    if (op.selective_c)
        p.c = rows_of(op.c), p.vector_c = has_vectors(op.c);
    else
        p.constant_c = states_of(op.c, op);
    p.delta_bias = op.delta_bias.as<float>(), p.skip = op.skip.as<float>();
    return p;
}

Launch plan(Operands& p, const Budget& budget, int multiprocessors, cudaStream_t stream) {
    constexpr size_t shared_memory = 226 << 10;
    const int warps = static_cast<int>(std::min<size_t>(budget.warps, shared_memory / budget.bytes_per_warp));
    require(warps > 0, "selective_scan", "fewer states: their mailboxes do not fit into shared memory");
    // A value handed on takes some 200 clocks to the next warp and 800 to one on another multiprocessor.
    const auto clocks_of = [&](int groups, int rounds, int span) {
        const double work = groups * rounds * budget.clocks * p.numbers / 32;
        const double hops = rounds * span * 200.0 + (span > 1 ? span * 600.0 : 0.0);
        const int64_t blocks = p.batch * ceil_div(p.channels, lane_channels * groups) * span;
        return static_cast<double>(ceil_div(blocks, multiprocessors) * ceil_div(p.slices, rounds * span)) *
               std::max(work, hops) * (1 + 0.01 * span);
    };
    double best = 0;
    for (const int groups : {4, 2, 1, 8, 16})
        for (const int span : {1, 2, 4, 8}) {
            if (groups > warps || (groups > 1 && groups / 2 * lane_channels >= p.channels)) continue;
            const int rounds = static_cast<int>(std::min<int64_t>(warps / groups, ceil_div(p.slices, span)));
            const double clocks = clocks_of(groups, rounds, span);
            if (best > 0 && clocks >= best) continue;
            best = clocks;
            p.groups = groups, p.rounds = rounds, p.span = span;
        }
    p.blocks = static_cast<int>(ceil_div(p.channels, lane_channels * p.groups));
    const int used = p.groups * p.rounds;
    return {stream, p.batch * p.blocks * p.span, 32 * used, p.span, used * budget.bytes_per_warp};
}

}  // namespace nigiri::cuda::scan

namespace nigiri {

void CudaBackend::selective_scan_forward(const SelectiveScanForward& op) {
    using namespace cuda::scan;
    check_operands(op);
    cuda::require(op.u.dtype != DType::f64, "selective_scan", "elements of type float32 or bf16");
    if (op.u.size() == 0) return;
    ForwardOperands p{operands_of(op), rows_of(op.y), states_of(op.state, op),
                      number_rows_of(op.checkpoints, op)};
    dispatch_variant(op, [&](auto is_complex, auto rule) {
        if (p.length <= few_steps) {
            const Launch launch{stream_, cuda::ceil_div(p.batch * p.channels * few_lanes, 256), 256, 1, 0};
            return start(few_steps_kernel<is_complex.value, rule.value>, launch, p,
                         "the selective scan of a few steps");
        }
        const Budget budget{forward_warps<is_complex.value>,
                            Mail::bytes(p.numbers) + forward_floats * sizeof(float),
                            is_complex.value ? 280.0 : 90.0};
        const Launch launch = plan(p, budget, multiprocessors_, stream_);
        start(forward_kernel<is_complex.value, rule.value>, launch, p, "the selective scan");
    });
}

}  // namespace nigiri
