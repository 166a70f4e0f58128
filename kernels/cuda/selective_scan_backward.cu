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
#include "kernels/cuda/selective_scan_gradients.cuh"
#include "kernels/cuda/selective_scan_quads.h"

namespace nigiri::cuda::scan {
namespace {

constexpr int backward_warps = 8;

// The states at the slice's start, for a tile; two, so that one can be fetched while the other is used.
constexpr int start_floats = tile_numbers * lane_channels;
constexpr int backward_columns = 4;  // u, z, dy and delta of a warp

template <class T>
size_t warp_bytes(const Operands& p) {
    const int shares = p.selective_b || p.selective_c ? share_floats : 0;
    const int sums = lane_channels * Sums(p.padded, p.selective_b, p.selective_c).count;
    return Mail::bytes(p.padded) + backward_columns * Columns<T>::bytes +
           sizeof(float) * (2 * start_floats + sums + shares);
}

template <class T, bool kComplex, Discretization kRule, Mix kMix>
__global__ void __launch_bounds__(32 * backward_warps, 1) backward_kernel(const __grid_constant__ BackwardOperands p) {
    using N = Number<kComplex>;
    using M = Matrices<T, kComplex, kMix>;
    using C = Columns<T>;
    constexpr int pair = pair_states<kComplex>, parts = 2 / pair;
    constexpr bool is_euler = kRule == Discretization::euler, kExact = sizeof(T) == 4;
    extern __shared__ __align__(16) unsigned char memory[];
    const Place at(p);
    const bool selective_b = is_selective<kMix>(p.selective_b), selective_c = is_selective<kMix>(p.selective_c);
    const bool gated = p.z.data != nullptr;
    const int warps = p.groups * p.rounds;
    const Mail mail(p, at, reinterpret_cast<uint64_t*>(memory), [](int, int) { return 0.0f; });
    unsigned char* const rounds = memory + Mail::bytes(p.padded) * warps;
    unsigned char* const tables = rounds + M::round_bytes(p) * p.rounds;
    M matrices(p, at, rounds, tables);
    T* const u = reinterpret_cast<T*>(tables + M::table_bytes(p) * p.groups) + backward_columns * C::elements * at.warp;
    T *const z = u + C::elements, *const dy = z + C::elements, *const delta = dy + C::elements;
    float* const starts =
        reinterpret_cast<float*>(u + backward_columns * C::elements * (warps - at.warp)) + 2 * start_floats * at.warp;
    const Sums place(p.padded, selective_b, selective_c);
    const int sum_floats = place.count * lane_channels;
    float* const sums = starts + 2 * start_floats * (warps - at.warp) + sum_floats * at.warp;
    float* const shares = sums + sum_floats * (warps - at.warp) + share_floats * (at.warp - at.group);  // of the group
    float* const share = shares + share_floats * at.group + at.segment * steps + first_sum(at.lane);
    for (int i = at.lane; i < sum_floats; i += 32) sums[i] = 0;

    const auto fetch_columns = [&](int64_t slice) {
        if (slice < 0) return;
        C::fetch(p, at, p.u, slice, u);
        if (gated) C::fetch(p, at, p.z, slice, z);
        C::fetch(p, at, p.dy, slice, dy);
        if (p.delta.data != nullptr) C::fetch(p, at, p.delta, slice, delta);
    };
    int buffer = 0;
    const auto fetch_tile = [&](int64_t slice, int first) {
        if (slice < 0) return;
        matrices.fetch(p, at, slice, first);
        const int64_t from = (slice * p.batch + at.batch) * p.channels + at.warp_channel();
        for (int i = at.lane; i < start_floats; i += 32) {
            const int number = i % tile_numbers, channel = i / tile_numbers;
            const bool exists = first + number < p.numbers && at.warp_channel() + channel < p.channels;
            float* const to = starts + (buffer * start_floats + number * lane_channels + channel);
            copy_ahead<4>(shared_address(to),
                          exists ? p.checkpoints.at<kComplex>(from + channel, first + number) : p.checkpoints.data,
                          exists);
        }
        buffer ^= 1;
    };
    // The tile that the group worked on last, whose shares lie about.
    int64_t last_slice = -1;
    int last_first = 0;
    const auto open_tile = [&](int64_t slice, int first) {
        wait_for_copies();
        if (!matrices.any_selective()) return __syncwarp();
        at.group_barrier(p);
        if (last_slice >= 0) store_shares(p, at, shares, last_slice, last_first);
        matrices.turn(p, at);
        at.group_barrier(p);
        last_slice = slice, last_first = first;
    };
    const Halves halves(at.lane);
    const float skip = p.skip != nullptr && at.inside ? p.skip[at.channel] : 0.0f;
    constexpr float r = kComplex ? 2 : 1;
    float dbias = 0, dskip = 0;
    fetch_columns(p.slices - 1 - at.position);
    fetch_tile(p.slices - 1 - at.position, 0);
    cluster_barrier();

    for (int64_t turn = at.position; turn < p.slices; turn += at.ring) {
        const int64_t slice = p.slices - 1 - turn;
        const auto mail_turn = static_cast<uint32_t>(turn + 1);
        float dt[steps], x[steps], g[steps], dx[steps], ddt[steps], y[steps], total = 0;
        for (int k0 = 0; k0 < p.padded; k0 += tile_numbers) {
            open_tile(slice, k0);
            if (k0 == 0) {
                C::read(at, u, x);
                C::read(at, z, y);
                C::read(at, dy, g);
                C::read(at, delta, dt);
                make_dt(p, at, slice, dt);
                if (gated) {
#pragma unroll
                    for (int i = 0; i < steps; ++i) g[i] *= y[i] * sigmoid(y[i]);
                }
#pragma unroll
                for (int i = 0; i < steps; ++i) {
                    if (is_euler) x[i] *= dt[i];
                    if (kComplex) g[i] *= r;
                    total += dt[i];
                    dx[i] = ddt[i] = y[i] = 0;
                }
            }
            const float* const start_tile = starts + (buffer ^ 1) * start_floats;
            if (k0 + tile_numbers < p.padded)
                fetch_tile(slice, k0 + tile_numbers);
            else
                fetch_tile(slice - at.ring, 0);
            float* const channel_sums = sums + k0 * lane_channels + at.channel_lane;
            const int tile_end = min(tile_numbers, p.padded - k0);
#pragma unroll 1
            for (int k = 0; k < tile_end; k += 2) {
                Rule<kComplex, kRule> rule[pair];
                N abar[pair][steps], h[pair][steps], e[pair], decay[pair], slice_start[pair], start[pair];
                Segment<kComplex> forwards[pair], backwards[pair];
                NumberSums<kComplex, kMix, kExact> dc[pair], db[pair];
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    rule[n] = Rule<kComplex, kRule>(matrices.a(k0, k + n * parts));
                    slice_start[n] = load_number<kComplex>(start_tile, k + n * parts, at.channel_lane);
                    discretize(rule[n], matrices, k0, k + n * parts, dt, x, abar[n], h[n]);
                }
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    e[n] = h[n][0];
#pragma unroll
                    for (int i = 1; i < steps; ++i) e[n] = mul_add(abar[n][i], e[n], h[n][i]);
                    decay[n] = decay_of(rule[n], total, abar[n]);
                    forwards[n] = {e[n], decay[n]};
                }
                accumulate<false>(forwards);
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    start[n] = segment_start<false>(forwards[n].apply(slice_start[n]), slice_start[n], at.segment);
                    h[n][0] = mul_add(abar[n][0], start[n], h[n][0]);
#pragma unroll
                    for (int i = 1; i < steps; ++i) h[n][i] = mul_add(abar[n][i], h[n][i - 1], h[n][i]);
                }
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
#pragma unroll
                    for (int n = 0; n < pair; ++n) {
                        N c[4], v[4];
                        matrices.c(k0, k + n * parts, q, c);
#pragma unroll
                        for (int j = 3; j >= 0; --j) {
                            const int i = 4 * q + j;
                            y[i] = real_mul_add(c[j], h[n][i], y[i]);
                            v[j] = scale(conj(h[n][i]), g[i]);
                            const N own = scale(conj(c[j]), g[i]);
                            e[n] = i == steps - 1 ? own : mul_add(conj(abar[n][i + 1]), e[n], own);
                        }
                        dc[n].put(selective_c, halves, q, v);
                    }
                }
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    const int number = k + n * parts;
                    dc[n].finish(selective_c, at.lane, share + (tile_numbers + number) * share_pitch,
                                 channel_sums + (place.c + number) * lane_channels);
                    backwards[n] = {mul(conj(abar[n][0]), e[n]), conj(decay[n])};
                }
                accumulate<true>(backwards);
                // conj(Abar) e of the step after the slice, the segment, and then every step.
                N slice_after[pair], before[pair], after[pair], da[pair];
                set_pair<kComplex>(slice_after, mail.receive(k0 + k, mail_turn));
#pragma unroll
                for (int n = 0; n < pair; ++n) before[n] = backwards[n].apply(slice_after[n]);
                if (at.segment == 0) mail.send(numbers_of<kComplex>(before), k0 + k, mail_turn + 1);
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    after[n] = segment_start<true>(before[n], slice_after[n], at.segment);
                    da[n] = N::of(0.0f);
                }
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
#pragma unroll
                    for (int n = 0; n < pair; ++n) {
                        N b[4], c[4], v[4];
                        matrices.b(k0, k + n * parts, q, b);
                        matrices.c(k0, k + n * parts, q, c);
#pragma unroll
                        for (int j = 3; j >= 0; --j) {
                            const int i = 4 * q + j;
                            e[n] = add(scale(conj(c[j]), g[i]), after[n]);
                            after[n] = mul(conj(abar[n][i]), e[n]);
                            const N previous = conj(i > 0 ? h[n][i - 1] : start[n]);
                            if constexpr (is_euler) {
                                const N d = mul(after[n], previous);  // the gradient of dt A
                                ddt[i] = real_mul_add(conj(rule[n].a), d, ddt[i]);
                                da[n] = add(scale(d, dt[i]), da[n]);
                                dx[i] = real_mul_add(conj(b[j]), e[n], dx[i]);
                                v[j] = scale(e[n], x[i]);
                            } else {
                                N again, aux;
                                rule[n].step(dt[i], again, aux);
                                const N gamma = rule[n].gamma(dt[i], aux), slope = conj(rule[n].slope(again, aux));
                                const N dabar = mul(e[n], previous), dgamma = scale(mul(conj(b[j]), e[n]), x[i]);
                                ddt[i] = real_mul_add(slope, mul_add(conj(rule[n].a), dabar, dgamma), ddt[i]);
                                da[n] = add(da[n], mul_add(scale(slope, dt[i]), dabar,
                                                           mul(conj(rule[n].gamma_a(dt[i], again, aux)), dgamma)));
                                const N through = mul(conj(gamma), e[n]);
                                dx[i] = real_mul_add(conj(b[j]), through, dx[i]);
                                v[j] = scale(through, x[i]);
                            }
                        }
                        db[n].put(selective_b, halves, q, v);
                    }
                }
#pragma unroll
                for (int n = 0; n < pair; ++n) {
                    const int number = k + n * parts;
                    db[n].finish(selective_b, at.lane, share + number * share_pitch,
                                 channel_sums + (place.b + number) * lane_channels);
                }
                const float2 sum = numbers_of<kComplex>(da);
                const float first = sum_segments(sum.x), second = sum_segments(sum.y);
                if (at.segment == 0) {
                    channel_sums[k * lane_channels] += first;
                    channel_sums[(k + 1) * lane_channels] += second;
                }
            }
        }

        // From the sums over states to the gradients of u, delta and z. The next slice's columns come
        // meanwhile.
        float v[steps];
        C::read(at, u, x);
        C::read(at, z, v);
#pragma unroll
        for (int i = 0; i < steps; ++i) {
            const float s = gated ? sigmoid(v[i]) : 0.0f;
            y[i] = fmaf(skip, x[i], r * y[i]) * s * fmaf(v[i], 1.0f - s, 1.0f);
        }
        C::read(at, dy, v);
#pragma unroll
        for (int i = 0; i < steps; ++i) y[i] *= v[i];
        __syncwarp();
        fetch_columns(slice - at.ring);
        if (gated) store_steps<T>(p, at, p.dz, slice, y);
#pragma unroll
        for (int i = 0; i < steps; ++i) {
            if (is_euler) {
                ddt[i] = fmaf(x[i], dx[i], ddt[i]);
                dx[i] *= dt[i];
            }
            if (p.softplus) ddt[i] *= softplus_slope(dt[i]);
            dbias += ddt[i];
            dskip = fmaf(g[i] / r, x[i], dskip);
            dx[i] = fmaf(skip, g[i] / r, dx[i]);
        }
        store_steps<T>(p, at, p.du, slice, dx);
        if (p.ddelta.data != nullptr) store_steps<T>(p, at, p.ddelta, slice, ddt);
    }
    if (matrices.any_selective() && last_slice >= 0) {
        at.group_barrier(p);
        store_shares(p, at, shares, last_slice, last_first);
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
        const int channel = at.warp_channel() + i % lane_channels;
        if (channel >= p.channels) continue;
        float sum = 0;
        for (int round = 0; round < p.rounds; ++round) sum += sums[round * p.groups * sum_floats + i];
        const int64_t row = (at.batch * p.span + at.rank) * place.count + i / lane_channels;
        p.sums[row * p.channels + channel] = sum;
    }
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
    const Sums place(p.padded, p.selective_b, p.selective_c);
    const int64_t rows = p.batch * p.length;
    dispatch_variant(op, [&](auto element, auto is_complex, auto rule, auto mix) {
        using T = decltype(element);
        using M = Matrices<T, is_complex.value, mix.value>;
        const Budget budget{backward_warps,
                            warp_bytes<T>(p),
                            M::round_bytes(p),
                            M::table_bytes(p),
                            is_complex.value ? 400.0 : 180.0,
                            is_complex.value ? 2600.0 : 700.0,
                            4};
        const bool by_quads = !is_complex.value && rule.value == Discretization::euler && mix.value == Mix::selective &&
                              suits_quads<T>(p);
        const Launch launch = by_quads ? plan_quads<T>(p, multiprocessors_, stream_)
                                       : plan(p, op.a[1], budget, multiprocessors_, stream_);
        const auto shares_of = [&](bool selective) {
            return selective ? allocate({p.blocks, rows, p.numbers}, DType::f32) : Tensor();
        };
        const Tensor db = shares_of(p.selective_b), dc = shares_of(p.selective_c);
        const Tensor sums = allocate({p.batch * p.span, place.count, p.channels}, DType::f32);
        p.db = db.as<float>(), p.dc = dc.as<float>(), p.sums = sums.as<float>();
        if (by_quads)
            start_quads<T>(p, launch);
        else
            start(backward_kernel<T, is_complex.value, rule.value, mix.value>, launch, p,
                  "the selective scan's backward pass");

        for (const auto& [shares, to] : {std::pair(p.db, op.db), std::pair(p.dc, op.dc)})
            if (shares != nullptr) add_shares<T>(stream_, shares, p.blocks, rows, p.numbers, rows_of(to));
        add_sums(stream_, is_complex.value, p.sums, p.batch * p.span, place, p.channels,
                 {p.numbers, states_of(op.da, op), p.selective_b ? States{} : states_of(op.db, op),
                  p.selective_c ? States{} : states_of(op.dc, op), op.ddelta_bias.as<float>(), op.dskip.as<float>()});
    });
}

}  // namespace nigiri
