// The selective scan, backwards.
//
// e[l], the gradient of the state after step l, is a scan from the end: e[l] = r g[l] conj(C[l]) +
// conj(Abar[l + 1]) e[l + 1], with g the gradient before the gate. A warp has its slice's states from the
// checkpoint at its start and e from the ring, which here runs from the last slice to the first. Everything
// else follows step by step:
//   dC = r g conj(h), dB = conj(Bbar / B) u e, du, ddt and dA from e, the state before the step and Abar.
// du, ddelta and dz are sums over states and stay in registers; dB and dC are sums over channels: 4 lanes are
// added up by a matrix product with ones and two by a shuffle, the block's warps in shared memory, blocks by
// a kernel of its own.
//
// A state and step takes one exponential as it does forwards, but some 25 other instructions, and these bound
// the pass: about three times the forward pass. The partial sums of dB and dC move 16 bytes per sample and 32
// channels.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/selective_scan.cuh"

namespace nigiri::cuda::scan {
namespace {

struct BackwardOperands : Operands {
    States checkpoints;
    Rows dy, du, ddelta, dz;
    // Shares of selective dB and dC, (blocks, B L, numbers), and of the parameters' gradients, (B span, sums,
    // channels).
    float *db, *dc, *sums;
};

template <bool kComplex>
constexpr int backward_warps = kComplex ? 8 : 12;

// What a warp adds up over its slices, 8 channels each: dA, a constant B's and C's gradients, those of bias
// and skip.
struct Sums {
    int b, c, bias, skip, count;
    __host__ __device__ Sums(int numbers, bool selective_b, bool selective_c) {
        b = numbers;
        c = b + (selective_b ? 0 : numbers);
        bias = c + (selective_c ? 0 : numbers);
        skip = bias + 1;
        count = skip + 1;
    }
};

// A warp's dB and dC of a tile: [dB, dC][step][number], padded against bank conflicts, twice so that one is
// filled while the other is added up.
constexpr int share_pitch = tile_numbers + 1, share_floats = 2 * slice_steps * share_pitch;

size_t backward_bytes(const Operands& p) {
    const bool shares = p.selective_b || p.selective_c;
    return Mail::bytes(p.numbers) +
           sizeof(float) * (2 * tile_floats + 2 * channel_tile_floats +
                            lane_channels * Sums(p.numbers, p.selective_b, p.selective_c).count +
                            (shares ? 2 * share_floats : 0));
}

// What a kernel is made for: any mixture of selective and constant matrices; both selective, with gradients
// in float32 or in bf16; both constant.
enum class Mix : uint8_t { any, exact, narrow, constant };

// The sum over a slice's segments: lanes of one channel.
__device__ inline float sum_segments(float x) {
    x += __shfl_xor_sync(all_lanes, x, lane_channels);
    return x + __shfl_xor_sync(all_lanes, x, 2 * lane_channels);
}

// Of the sums over the warp's 8 channels for 16 steps a lane gets two: of this step of its segment, and the
// next one.
__device__ inline int first_sum(int lane) {
    return 4 * (lane % 4) + 2 * (lane / 4 % 2);
}

// Takes numbers of the lane's steps and adds them up, over channels for the gradient of a selective matrix,
// over steps for that of a constant one. In the layout of mma.m16n8k8 the 4 lanes of a quad hold 4 columns of
// a row of A, so a B of ones adds them up; products of 4 vectors of steps with ones in different columns
// leave the 16 sums of a quad in its 4 lanes. tf32 leaves out bits: 5e-4 of a term at most, a fourth of what
// a bf16 result loses; for float32 they are added up too.
template <Mix kMix>
class StepSums {
  public:
    // Steps 4 q to 4 q + 3.
    __device__ void put(bool selective, int lane, int q, const float (&v)[4]) {
        if (kMix == Mix::constant || (kMix == Mix::any && !selective)) {
            sum_[0] += (v[0] + v[1]) + (v[2] + v[3]);
            return;
        }
        const bool here = lane / 8 == q;
        const float even = here && lane / 4 % 2 == 0 ? 1.0f : 0.0f,
                    odd = here && lane / 4 % 2 == 1 ? 1.0f : 0.0f;
        mma_tf32(sum_, v, even, odd);
        if constexpr (kMix != Mix::narrow) {
            float rest[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) rest[i] = v[i] - __uint_as_float(__float_as_uint(v[i]) & 0xffffe000u);
            mma_tf32(sum_, rest, even, odd);
        }
    }
    // `share` is where the lane's first sum goes, `sum` where that of the lane's channel is.
    __device__ void finish(bool selective, int lane, float* share, float* sum) {
        if (kMix == Mix::constant || (kMix == Mix::any && !selective)) {
            const float s = sum_segments(sum_[0]);
            if (lane < lane_channels) *sum += s;
            return;
        }
        // Of steps 4 t to 4 t + 3 these are 0, 2, 1, 3; the other quad of the segment has the same ones.
        const bool upper = (lane & 4) != 0;
        const float keep0 = upper ? sum_[1] : sum_[0], keep1 = upper ? sum_[3] : sum_[2];
        const float send0 = upper ? sum_[0] : sum_[1], send1 = upper ? sum_[2] : sum_[3];
        share[0] = keep0 + __shfl_xor_sync(all_lanes, send0, 4);
        share[share_pitch] = keep1 + __shfl_xor_sync(all_lanes, send1, 4);
    }

  private:
    float sum_[4] = {0, 0, 0, 0};
};

template <bool kComplex, Mix kMix>
struct NumberSums {
    StepSums<kMix> re, im;

    __device__ void put(bool selective, int lane, int q, const Number<kComplex> (&x)[4]) {
        const float r[4] = {x[0].re, x[1].re, x[2].re, x[3].re};
        re.put(selective, lane, q, r);
        if constexpr (kComplex) {
            const float i[4] = {x[0].im, x[1].im, x[2].im, x[3].im};
            im.put(selective, lane, q, i);
        }
    }
    __device__ void finish(bool selective, int lane, float* share, float* sum) {
        re.finish(selective, lane, share, sum);
        if constexpr (kComplex) im.finish(selective, lane, share + 1, sum + lane_channels);
    }
};

// Adds up the shares of the warps that have this slice, and stores them.
__device__ inline void store_shares(const BackwardOperands& p, const Place& at, const float* shares,
                                    int warp_floats, int64_t begin, int first) {
    p.groups > 1 ? warps_barrier(1 + at.round, p.groups) : __syncwarp();
    shares += at.round * p.groups * warp_floats;
    for (int i = at.group * 32 + at.lane; i < 2 * slice_steps * tile_numbers; i += 32 * p.groups) {
        const int number = i % tile_numbers, r = i / tile_numbers, step = r % slice_steps;
        float* const to = r < slice_steps ? p.db : p.dc;
        if (to == nullptr || begin + step >= p.length || first + number >= p.numbers) continue;
        float sum = 0;
        for (int g = 0; g < p.groups; ++g) sum += shares[g * warp_floats + r * share_pitch + number];
        const int64_t row = (at.block * p.batch + at.batch) * p.length + begin + step;
        to[row * p.numbers + first + number] = sum;
    }
}

// From the sums over states to the gradients of u, delta and z; `dx` and `ddt` change. g is r times the
// gradient before the gate.
template <bool kComplex, Discretization kRule>
__device__ void store_gradients(const BackwardOperands& p, const Place& at, int64_t row, int count,
                                const float (&dt)[steps], const float (&g)[steps], float (&dx)[steps],
                                float (&ddt)[steps], const float (&y)[steps], float& dbias, float& dskip) {
    constexpr float r = kComplex ? 2 : 1;
    const float skip = p.skip != nullptr && at.inside ? p.skip[at.channel] : 0.0f;
    float u[steps];
    load_steps(p.u, p.narrow, row, at.channel, count, u);
#pragma unroll
    for (int i = 0; i < steps; ++i) {
        if (kRule == Discretization::euler) {
            ddt[i] = fmaf(u[i], dx[i], ddt[i]);
            dx[i] *= dt[i];
        }
        if (p.softplus) ddt[i] *= softplus_slope(dt[i]);
        dbias += ddt[i];
        dskip = fmaf(g[i] / r, u[i], dskip);
        dx[i] = fmaf(skip, g[i] / r, dx[i]);
    }
    store_steps(p.du, p.narrow, row, at.channel, count, dx);
    if (p.ddelta.data != nullptr) store_steps(p.ddelta, p.narrow, row, at.channel, count, ddt);
    if (p.z.data == nullptr) return;
    float z[steps], dy[steps];
    load_steps(p.z, p.narrow, row, at.channel, count, z);
    load_steps(p.dy, p.narrow, row, at.channel, count, dy);
#pragma unroll
    for (int i = 0; i < steps; ++i) {
        const float s = sigmoid(z[i]);
        z[i] = dy[i] * fmaf(skip, u[i], r * y[i]) * s * fmaf(z[i], 1.0f - s, 1.0f);
    }
    store_steps(p.dz, p.narrow, row, at.channel, count, z);
}

template <bool kComplex, Discretization kRule, Mix kMix>
__global__ void __launch_bounds__(32 * backward_warps<kComplex>, 1)
    backward_kernel(const __grid_constant__ BackwardOperands p) {
    using N = Number<kComplex>;
    constexpr int parts = kComplex ? 2 : 1;
    constexpr bool is_euler = kRule == Discretization::euler;
    extern __shared__ __align__(16) unsigned char memory[];
    const Place at(p);
    const bool selective_b = kMix == Mix::any ? p.selective_b : kMix != Mix::constant;
    const bool selective_c = kMix == Mix::any ? p.selective_c : kMix != Mix::constant;
    const Mail mail(p, at, reinterpret_cast<uint64_t*>(memory), [](int, int) { return 0.0f; });
    const Sums place(p.numbers, selective_b, selective_c);
    const int used = p.groups * p.rounds, sum_floats = place.count * lane_channels;
    float* const floats = reinterpret_cast<float*>(memory + Mail::bytes(p.numbers) * used);
    float* const b_tile = floats + at.warp * (2 * tile_floats + 2 * channel_tile_floats);
    float *const c_tile = b_tile + tile_floats, *const a_tile = c_tile + tile_floats;
    float* const start_tile = a_tile + channel_tile_floats;
    float* const sums = floats + used * (2 * tile_floats + 2 * channel_tile_floats) + at.warp * sum_floats;
    float* const shares = floats + used * (2 * tile_floats + 2 * channel_tile_floats + sum_floats);
    const int share_at = at.warp * 2 * share_floats + (at.segment * steps + first_sum(at.lane)) * share_pitch;
    const Matrix b(at, selective_b, b_tile), c(at, selective_c, c_tile);
    for (int i = at.lane; i < sum_floats; i += 32) sums[i] = 0;
    cluster_barrier();

    float dbias = 0, dskip = 0;
    int buffer = 0;
    for (int64_t turn = at.position; turn < p.slices; turn += at.ring) {
        const int64_t slice = p.slices - 1 - turn, begin = slice * slice_steps,
                      first = begin + at.segment * steps;
        const int64_t row = at.batch * p.length + first;
        const int count = at.count(p, first);
        const auto mail_turn = static_cast<uint32_t>(turn + 1);
        float dt[steps], x[steps], g[steps], dx[steps], ddt[steps], y[steps], total = 0;
        load_steps(p.dy, p.narrow, row, at.channel, count, g);
        if (p.z.data != nullptr) {
            load_steps(p.z, p.narrow, row, at.channel, count, y);
#pragma unroll
            for (int i = 0; i < steps; ++i) g[i] *= y[i] * sigmoid(y[i]);
        }
        load_steps(p.u, p.narrow, row, at.channel, count, x);
        load_dt(p, row, at.channel, count, dt);
#pragma unroll
        for (int i = 0; i < steps; ++i) {
            if (is_euler) x[i] *= dt[i];
            if (kComplex) g[i] *= 2.0f;
            total += dt[i];
            dx[i] = ddt[i] = y[i] = 0;
        }
        for (int k0 = 0; k0 < p.numbers; k0 += tile_numbers, buffer ^= 1) {
            __syncwarp();
            stage<kComplex>(p, at, begin, k0, b_tile, c_tile, a_tile);
            stage_channels<kComplex, 1, lane_channels>(
                p, at, p.checkpoints, (slice * p.batch + at.batch) * p.channels, k0, start_tile);
            __syncwarp();
            float* const db_share = shares + share_at + buffer * share_floats;
            float* const dc_share = db_share + slice_steps * share_pitch;
            float* const channel_sums = sums + k0 * lane_channels + at.channel_lane;
            const int tile_end = min(tile_numbers, p.numbers - k0);
#pragma unroll 1
            for (int k = 0; k < tile_end; k += parts) {
                const Rule<kComplex, kRule> rule(load_channel_number<kComplex>(a_tile, k, at.channel_lane));
                N abar[steps], h[steps];
                discretize(rule, b, k, dt, x, abar, h);
                N end = h[0];
#pragma unroll
                for (int i = 1; i < steps; ++i) end = mul_add(abar[i], end, h[i]);
                const N decay = decay_of(rule, total, abar);
                Segment<kComplex> forwards{end, decay};
                forwards.template accumulate<false>();
                const N slice_start = load_channel_number<kComplex>(start_tile, k, at.channel_lane);
                const N start = segment_start<false>(forwards.apply(slice_start), slice_start, at.segment);
                h[0] = mul_add(abar[0], start, h[0]);
#pragma unroll
                for (int i = 1; i < steps; ++i) h[i] = mul_add(abar[i], h[i - 1], h[i]);

                NumberSums<kComplex, kMix> dc;
                N e = N::of(0.0f);
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    N cq[4], v[4];
                    c.load(k, q, cq);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
                        y[i] = real_mul_add(cq[j], h[i], y[i]);
                        v[j] = scale(conj(h[i]), g[i]);
                        const N own = scale(conj(cq[j]), g[i]);
                        e = i == steps - 1 ? own : mul_add(conj(abar[i + 1]), e, own);
                    }
                    dc.put(selective_c, at.lane, q, v);
                }
                dc.finish(selective_c, at.lane, dc_share + k, channel_sums + (place.c + k) * lane_channels);

                Segment<kComplex> backwards{mul(conj(abar[0]), e), conj(decay)};
                backwards.template accumulate<true>();
                // conj(Abar) e of the step after the slice, the segment, and then every step.
                const N slice_after = mail.receive<kComplex>(k0 + k, mail_turn),
                        before = backwards.apply(slice_after);
                if (at.segment == 0) mail.send<kComplex>(before, k0 + k, mail_turn + 1);
                N after = segment_start<true>(before, slice_after, at.segment);

                NumberSums<kComplex, kMix> db;
                N da = N::of(0.0f);
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    N bq[4], cq[4], v[4];
                    b.load(k, q, bq);
                    c.load(k, q, cq);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
                        e = add(scale(conj(cq[j]), g[i]), after);
                        after = mul(conj(abar[i]), e);
                        const N previous = conj(i > 0 ? h[i - 1] : start);
                        if constexpr (is_euler) {
                            const N d = mul(after, previous);  // the gradient of dt A
                            ddt[i] = real_mul_add(conj(rule.a), d, ddt[i]);
                            da = add(scale(d, dt[i]), da);
                            dx[i] = real_mul_add(conj(bq[j]), e, dx[i]);
                            v[j] = scale(e, x[i]);
                        } else {
                            N again, aux;
                            rule.step(dt[i], again, aux);
                            const N gamma = rule.gamma(dt[i], aux), slope = conj(rule.slope(again, aux));
                            const N dabar = mul(e, previous), dgamma = scale(mul(conj(bq[j]), e), x[i]);
                            ddt[i] = real_mul_add(slope, mul_add(conj(rule.a), dabar, dgamma), ddt[i]);
                            da = add(da, mul_add(scale(slope, dt[i]), dabar,
                                                 mul(conj(rule.gamma_a(dt[i], again, aux)), dgamma)));
                            const N through = mul(conj(gamma), e);
                            dx[i] = real_mul_add(conj(bq[j]), through, dx[i]);
                            v[j] = scale(through, x[i]);
                        }
                    }
                    db.put(selective_b, at.lane, q, v);
                }
                db.finish(selective_b, at.lane, db_share + k, channel_sums + (place.b + k) * lane_channels);
                da.re = sum_segments(da.re);
                if constexpr (kComplex) da.im = sum_segments(da.im);
                if (at.segment == 0) {
                    channel_sums[k * lane_channels] += da.re;
                    if constexpr (kComplex) channel_sums[(k + 1) * lane_channels] += da.im;
                }
            }
            if (selective_b || selective_c)
                store_shares(p, at, shares + buffer * share_floats, 2 * share_floats, begin, k0);
        }
        store_gradients<kComplex, kRule>(p, at, row, count, dt, g, dx, ddt, y, dbias, dskip);
    }

    dbias = sum_segments(dbias);
    dskip = sum_segments(dskip);
    if (at.segment == 0) {
        sums[place.bias * lane_channels + at.channel_lane] = dbias;
        sums[place.skip * lane_channels + at.channel_lane] = dskip;
    }
    cluster_barrier();  // also: nobody leaves while others may still write to its boxes
    if (at.round > 0) return;
    for (int i = at.lane; i < sum_floats; i += 32) {
        const int channel = at.channel - at.channel_lane + i % lane_channels;
        if (channel >= p.channels) continue;
        float sum = 0;
        for (int r = 0; r < p.rounds; ++r) sum += sums[r * p.groups * sum_floats + i];
        const int64_t share = (at.batch * p.span + at.rank) * place.count + i / lane_channels;
        p.sums[share * p.channels + channel] = sum;
    }
}

// dB or dC from the blocks' shares. Bounded by reading these.
__global__ void __launch_bounds__(256) add_shares_kernel(const float* __restrict__ shares, int blocks,
                                                         int64_t rows, int numbers, Rows to, bool narrow) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, size = rows * numbers;
    if (i >= size) return;
    float sum = 0;
#pragma unroll 4
    for (int k = 0; k < blocks; ++k) sum += shares[k * size + i];
    const int64_t at = i / numbers * to.stride + i % numbers;
    narrow ? store(static_cast<bf16*>(to.data) + at, sum) : store(static_cast<float*>(to.data) + at, sum);
}

// The parameters' gradients: sums over the batch and the blocks of a cluster. One thread adds up one number.
struct ParameterGradients {
    States a, b, c;
    float *bias, *skip;
};

template <bool kComplex>
__global__ void __launch_bounds__(256) add_sums_kernel(const float* __restrict__ sums, int64_t shares,
                                                       Sums place, int channels, ParameterGradients to) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x,
                  size = int64_t{place.count} * channels;
    if (i >= size) return;
    float sum = 0;
#pragma unroll 8
    for (int64_t k = 0; k < shares; ++k) sum += sums[k * size + i];
    const int number = static_cast<int>(i / channels), channel = static_cast<int>(i % channels);
    if (number < place.b)
        *to.a.at<kComplex>(channel, number) += sum;
    else if (number < place.c)
        *to.b.at<kComplex>(channel, number - place.b) += sum;
    else if (number < place.bias)
        *to.c.at<kComplex>(channel, number - place.c) += sum;
    else if (float* const vector = number == place.bias ? to.bias : to.skip; vector != nullptr)
        vector[channel] += sum;
}

unsigned blocks_of(int64_t threads) {
    return static_cast<unsigned>(ceil_div(threads, 256));
}

}  // namespace
}  // namespace nigiri::cuda::scan

namespace nigiri {

void CudaBackend::selective_scan_backward(const SelectiveScanBackward& op) {
    using namespace cuda::scan;
    check_operands(op);
    cuda::require(op.u.dtype != DType::f64, "selective_scan", "elements of type float32 or bf16");
    if (op.u.size() == 0) return;
    BackwardOperands p{operands_of(op)};
    p.checkpoints = number_rows_of(op.checkpoints, op);
    p.dy = rows_of(op.dy), p.du = rows_of(op.du), p.ddelta = rows_of(op.ddelta), p.dz = rows_of(op.dz);
    const Sums place(p.numbers, p.selective_b, p.selective_c);
    const int64_t rows = p.batch * p.length;
    dispatch_variant(op, [&](auto is_complex, auto rule) {
        const Budget budget{backward_warps<is_complex.value>, backward_bytes(p),
                            is_complex.value ? 600.0 : 250.0};
        const Launch launch = plan(p, budget, multiprocessors_, stream_);
        const auto shares_of = [&](bool selective) {
            return selective ? allocate({p.blocks, rows, p.numbers}, DType::f32) : Tensor();
        };
        const Tensor db = shares_of(p.selective_b), dc = shares_of(p.selective_c);
        const Tensor sums = allocate({p.batch * p.span, place.count, p.channels}, DType::f32);
        p.db = db.as<float>(), p.dc = dc.as<float>(), p.sums = sums.as<float>();
        const bool both = p.selective_b && p.selective_c, none = !p.selective_b && !p.selective_c;
        auto* kernel = backward_kernel<is_complex.value, rule.value, Mix::any>;
        if constexpr (rule.value == Discretization::euler) {  // what models use most has kernels of its own
            if (none) kernel = backward_kernel<is_complex.value, rule.value, Mix::constant>;
            if constexpr (!is_complex.value) {
                if (both)
                    kernel = p.narrow ? backward_kernel<false, rule.value, Mix::narrow>
                                      : backward_kernel<false, rule.value, Mix::exact>;
            }
        }
        start(kernel, launch, p, "the selective scan's backward pass");

        for (const auto& [shares, to] : {std::pair(p.db, op.db), std::pair(p.dc, op.dc)})
            if (shares != nullptr)
                add_shares_kernel<<<blocks_of(rows * p.numbers), 256, 0, stream_>>>(
                    shares, p.blocks, rows, p.numbers, rows_of(to), p.narrow);
        const ParameterGradients gradients{states_of(op.da, op),
                                           p.selective_b ? States{} : states_of(op.db, op),
                                           p.selective_c ? States{} : states_of(op.dc, op),
                                           op.ddelta_bias.as<float>(), op.dskip.as<float>()};
        add_sums_kernel<is_complex.value><<<blocks_of(int64_t{place.count} * p.channels), 256, 0, stream_>>>(
            p.sums, p.batch * p.span, place, p.channels, gradients);
        cuda::check_launch("adding up the selective scan's gradients");
    });
}

}  // namespace nigiri
