// The body of the selective scan's backward pass for sixteen real states; its mathematics are those of
// selective_scan_backward.cu, its layout that of selective_scan_team.cuh.
#pragma once

#include "kernels/cuda/selective_scan_team.cuh"

namespace nigiri::cuda::scan::team {

// What a strip's steps have for the states (dt, the input dt u, the gradient before the gate, the slope of dt in delta
// and that times u) and for the end (what dz is of y).
enum StripRow : int { row_dt, row_x, row_g, row_slope, row_gate, row_slope_u, strip_rows };
// Sums over states.
enum Partial : int { of_y, of_ddt, of_du, partials };

inline constexpr float ln_2 = 0.6931471805599453f;

// A block's shared memory: tables of its channels, then what every team has. B and C arrive where partial sums are
// while none are needed.
template <class T, bool kExact>
struct BackwardMemory {
    int a, vectors, teams;  // where they begin
    int boxes;              // in the teams' part: all teams' mailboxes, then a team's memory, `team` bytes
    int partial, strip, totals, starts, raw, sums, team;
    int state_floats, sum_floats;  // of a warp
    size_t bytes;

    __host__ __device__ explicit BackwardMemory(const Operands& p) {
        const int channels = strip_channels * p.groups, size = static_cast<int>(sizeof(float));
        a = 0;
        vectors = a + size * channels * states;
        boxes = vectors + size * 2 * channels;
        teams = boxes + Mail::bytes(p) * p.rounds;
        partial = 0;
        strip = partial + size * partials * partial_floats;
        totals = strip + size * (kExact ? strip_rows - 1 : strip_rows) * strip_floats;
        starts = totals + size * strip_channels * segments;
        raw = starts + size * 2 * raw_channels<T> * states;
        sums = raw + static_cast<int>(sizeof(T)) * TeamRows<T>::row_arrays * raw_elements<T>;
        state_floats = channels * 2 * warp_states;
        sum_floats = channels * (kExact ? 2 : 1);
        team = sums + size * team_warps * (state_floats + sum_floats);
        bytes = static_cast<size_t>(teams) + static_cast<size_t>(team) * p.rounds;
    }
};

// Adds up what the lanes have over a slice's segments and adds it to dA and the bias's gradient: of channel segment % 2,
// dA in the first two segments. The lanes have log2(e) A.
template <int kPair>
__device__ inline void add_state_sums(const Seat& at, const float (&a)[kPair], const float (&da)[kPair],
                                      const float (&dbias_a)[kPair], const float (&dbias_b)[kPair], float* to) {
    float x[2][kPair];
#pragma unroll
    for (int m = 0; m < kPair; ++m) {
        x[0][m] = da[m];
        x[1][m] = fmaf(ln_2 * a[m], dbias_a[m], dbias_b[m]);
    }
    const bool odd = at.segment % 2 != 0, late = at.segment >= 2;
    float sum[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        if constexpr (kPair == 2)
            sum[i] = (odd ? x[i][1] : x[i][0]) + __shfl_xor_sync(all_lanes, odd ? x[i][0] : x[i][1], 4);
        else
            sum[i] = x[i][0] + __shfl_xor_sync(all_lanes, x[i][0], 4);
    }
    const float total = (late ? sum[1] : sum[0]) + __shfl_xor_sync(all_lanes, late ? sum[0] : sum[1], 8);
    float* const own = to + (kPair == 2 ? at.segment % 2 * 2 * warp_states : 0) + (late ? warp_states : 0) +
                       at.state % warp_states;
    if (kPair == 2 || !odd) *own += total;
}

// kWhole: z, delta and softplus are there. kPair: how many channels a warp works on at once. kExact: sums over states
// keep all bits. Else the lanes add up the bias's gradient, which is not rounded to bf16, before these sums.
template <class T, bool kWhole, int kPair, bool kExact>
__device__ inline void backward(const BackwardOperands& p, unsigned char* memory) {
    constexpr int strips_of_rows = TeamRows<T>::strips;
    // tf32 leaves out 3.5e-4 of a term on average, always towards zero.
    constexpr float whole_term = kExact ? 1.0f : 1.000352f;
    static_assert(sizeof(T) * 2 * matrix_elements <= sizeof(float) * partials * partial_floats);
    const Seat at(p);
    const BackwardMemory<T, kExact> places(p);
    const bool gated = kWhole || p.z.data != nullptr, given = kWhole || p.delta.data != nullptr;
    const bool softened = kWhole || p.softplus;
    const Mail mail(p, at, memory + places.boxes, [](int, int) { return 0.0f; });
    float* const a_table = reinterpret_cast<float*>(memory + places.a);
    float* const biases = reinterpret_cast<float*>(memory + places.vectors);
    float* const skips = biases + strip_channels * p.groups;
    unsigned char* const own = memory + places.teams + places.team * at.team;
    float* const partial = reinterpret_cast<float*>(own + places.partial);
    float* const strip_start = reinterpret_cast<float*>(own + places.strip);
    float* const totals = reinterpret_cast<float*>(own + places.totals);
    float* const starts = reinterpret_cast<float*>(own + places.starts);
    float* const warp_sums =
        reinterpret_cast<float*>(own + places.sums) + at.half * (places.state_floats + places.sum_floats);
    float* const state_sums = warp_sums + places.sum_floats;  // dA, d bias: [channel][which][state]

    const int threads = team_threads * p.rounds, channels = strip_channels * at.strips;
    for (int i = static_cast<int>(threadIdx.x); i < channels * states; i += threads)
        a_table[i] = log2_e * *p.a.at<false>(at.first_channel + i / states, i % states);
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += threads) {
        biases[i] = p.delta_bias != nullptr ? p.delta_bias[at.first_channel + i] : 0.0f;
        skips[i] = p.skip != nullptr ? p.skip[at.first_channel + i] : 0.0f;
    }
    for (int i = at.lane; i < places.state_floats + places.sum_floats; i += 32) warp_sums[i] = 0;

    // u, z and delta in two buffers, used by turns, and later the gradients in their places; dy is used up at once.
    const StripLane lane(at);
    const TeamRows<T> rows(at, lane, reinterpret_cast<T*>(own + places.raw));
    const Sequence<T> us(p.u, p, at), zs(p.z, p, at), dys(p.dy, p, at), deltas(p.delta, p, at);
    const Sequence<T> dus(p.du, p, at), dzs(p.dz, p, at), ddeltas(p.ddelta, p, at);
    const auto fetch = [&](int64_t slice, int strip, int buffer, bool inputs, bool gradient) {
        if (slice < 0) return;
        const bool exists = at.thread < at.count(p, slice);
        const int row = static_cast<int>(slice) * slice_steps + (exists ? at.thread : 0);
        const int channel = strip * strip_channels;
        if (gradient) rows.fetch(dys.row(row) + channel, TeamRows<T>::array_dy, exists);
        if (!inputs) return;
        rows.fetch(us.row(row) + channel, TeamRows<T>::array_u + buffer, exists);
        if (gated) rows.fetch(zs.row(row) + channel, TeamRows<T>::array_z + buffer, exists);
        if (given) rows.fetch(deltas.row(row) + channel, TeamRows<T>::array_delta + buffer, exists);
        constexpr int floats = raw_channels<T> * states / team_threads;
        const int first = at.thread * floats;
        copy_ahead<4 * floats>(
            shared_address(starts + buffer * raw_channels<T> * states + first),
            p.checkpoints.at<false>((slice * p.batch + at.batch) * p.channels + at.first_channel + channel +
                                        first / states,
                                    first % states),
            true);
    };
    const int64_t first_slice = p.slices - 1 - at.position;
    T* const matrices = reinterpret_cast<T*>(partial);
    fetch(first_slice, 0, 0, true, true);
    if (first_slice >= 0) fetch_matrices(p, at, first_slice, matrices);
    cluster_barrier();

    const Ones ones(at.lane);
    float* const own_strip = strip_start + lane.place();
    const float* const own_partial = partial + lane.place();
    // As one of the states: where its strip's steps and its sums are.
    const float* const segment_strip = strip_start + place_of(at.segment * steps);
    float* const segment_sums = partial + at.part * part_floats + place_of(at.segment * steps);
    int buffer = 0;
    for (int64_t turn = at.position; turn < p.slices; turn += at.ring) {
        const int64_t slice = p.slices - 1 - turn;
        const auto mail_turn = static_cast<uint32_t>(turn + 1);
        const int count = at.count(p, slice);
        float b[steps], c[steps], db[steps], dc[steps];
#pragma unroll 1
        for (int strip = 0; strip < at.strips; ++strip) {
            const int channel = strip * strip_channels;  // of the block
            const bool first_of_rows = strip % strips_of_rows == 0;
            const bool last_of_rows = strip % strips_of_rows + 1 == strips_of_rows;
            wait_for_copies();
            __syncwarp();
            {
                float dt[4] = {0, 0, 0, 0}, slope[4], x[4], g[4];
                if (given) rows.read(TeamRows<T>::array_delta + buffer, strip, dt);
                make_steps(at, lane, count, softened, biases[channel + lane.channel], dt, slope, totals);
                store_four(own_strip + row_dt * strip_floats, dt);
                store_four(own_strip + row_slope * strip_floats, slope);
                rows.read(TeamRows<T>::array_u + buffer, strip, x);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    slope[j] *= x[j];
                    x[j] *= dt[j];
                }
                store_four(own_strip + row_x * strip_floats, x);
                if (!kExact) store_four(own_strip + row_slope_u * strip_floats, slope);
                rows.read(TeamRows<T>::array_dy, strip, g);
                if (gated) {
                    float z[4], gate[4];
                    rows.read(TeamRows<T>::array_z + buffer, strip, z);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const float s = sigmoid(z[j]), open = z[j] * s;
                        gate[j] = g[j] * fmaf(open, 1.0f - s, s);
                        g[j] *= open;
                    }
                    store_four(own_strip + row_gate * strip_floats, gate);
                }
                store_four(own_strip + row_g * strip_floats, g);
            }
            at.barrier();
            {
                const bool last = strip + strips_of_rows >= at.strips + (first_of_rows ? 0 : 1);
                const int next = first_of_rows ? strip + strips_of_rows : strip + 1;
                fetch(last ? slice - at.ring : slice, last ? 0 : next, buffer ^ 1, first_of_rows, last_of_rows);
            }
            if (strip == 0) {
                read_matrices(at, matrices, b, c);
#pragma unroll
                for (int i = 0; i < steps; ++i) db[i] = dc[i] = 0;
                at.barrier();
            }
#pragma unroll 1
            for (int k = 0; k < strip_channels; k += kPair) {
                float a[kPair], slice_start[kPair], decay[kPair], abar[kPair][steps], h[kPair][steps];
                float state[kPair], before[kPair];
                const float* const k_strip = segment_strip + k * strip_pitch;
                const float* const k_starts =
                    starts + ((buffer * raw_channels<T> + strip % strips_of_rows * strip_channels) + k) * states +
                    at.state;
#pragma unroll
                for (int m = 0; m < kPair; ++m) {
                    a[m] = a_table[(channel + k + m) * states + at.state];
                    slice_start[m] = k_starts[m * states];
                    decay[m] = exp2_approx(totals[(k + m) * segments + at.segment] * a[m]);
                    // The segment's end state, the first one's from the slice's start and the others' from zero.
                    state[m] = at.segment == 0 ? slice_start[m] : 0.0f;
                }
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
#pragma unroll
                    for (int m = 0; m < kPair; ++m) {
                        const float* const from = k_strip + m * strip_pitch + 4 * q;
                        float dt[4], x[4];
                        load_four(from + row_dt * strip_floats, dt);
                        load_four(from + row_x * strip_floats, x);
#pragma unroll
                        for (int j = 0; j < 4; ++j) {
                            const int i = 4 * q + j;
                            abar[m][i] = exp2_approx(dt[j] * a[m]);
                            h[m][i] = b[i] * x[j];
                            state[m] = fmaf(abar[m][i], state[m], h[m][i]);
                        }
                    }
                }
                // Of the gradient of the states, e, only what the segment itself adds to it.
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
#pragma unroll
                    for (int m = 0; m < kPair; ++m) {
                        float g[4];
                        load_four(k_strip + m * strip_pitch + 4 * q + row_g * strip_floats, g);
#pragma unroll
                        for (int j = 3; j >= 0; --j) {
                            const int i = 4 * q + j;
                            const float input = c[i] * g[j];
                            before[m] = i == steps - 1 ? input : fmaf(abar[m][i + 1], before[m], input);
                        }
                    }
                }
                float slice_after[kPair], start[kPair], after[kPair];
                mail.receive(channel + k, mail_turn, slice_after);
#pragma unroll
                for (int m = 0; m < kPair; ++m) {
                    before[m] *= abar[m][0];
                    if (at.segment == segments - 1) before[m] = fmaf(decay[m], slice_after[m], before[m]);
                }
                {
                    float back[kPair], forth[kPair], back_e[kPair], back_d[kPair], forth_e[kPair], forth_d[kPair];
#pragma unroll
                    for (int m = 0; m < kPair; ++m) {
                        back[m] = at.segment == segments - 1 ? 0.0f : decay[m];
                        forth[m] = at.segment == 0 ? 0.0f : decay[m];
                    }
                    shift<true>(1, back, back_d);
                    shift<false>(1, forth, forth_d);
                    shift<true>(1, before, back_e);
                    shift<false>(1, state, forth_e);
                    add_decayed(back, back_e, before);
                    add_decayed(forth, forth_e, state);
                    shift<true>(2, before, back_e);
                    shift<false>(2, state, forth_e);
#pragma unroll
                    for (int m = 0; m < kPair; ++m) {
                        back[m] = decay[m] * back_d[m];
                        forth[m] = decay[m] * forth_d[m];
                    }
                    add_decayed(back, back_e, before);
                    add_decayed(forth, forth_e, state);
                    shift<true>(1, before, after);
                    shift<false>(1, state, start);
                }
#pragma unroll
                for (int m = 0; m < kPair; ++m) {
                    mail.send(at.segment == 0, before[m], channel + k + m, mail_turn + 1);
                    after[m] = at.segment == segments - 1 ? slice_after[m] : after[m];
                    start[m] = at.segment == 0 ? slice_start[m] : start[m];
                    h[m][0] = fmaf(abar[m][0], start[m], h[m][0]);
                }
#pragma unroll
                for (int i = 1; i < steps; ++i) {
#pragma unroll
                    for (int m = 0; m < kPair; ++m) h[m][i] = fmaf(abar[m][i], h[m][i - 1], h[m][i]);
                }
                // Every step with all of e.
                float da[kPair], dbias_a[kPair], dbias_b[kPair];
#pragma unroll
                for (int m = 0; m < kPair; ++m) da[m] = dbias_a[m] = dbias_b[m] = 0;
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    const bool ours = at.quad == q;
#pragma unroll
                    for (int m = 0; m < kPair; ++m) {
                        const float* const from = k_strip + m * strip_pitch + 4 * q;
                        float* const to = segment_sums + (k + m) * strip_pitch + 4 * q;
                        float g[4], dt[4], x[4], y[4], v[4], w[4], slope[4], slope_u[4];
                        load_four(from + row_g * strip_floats, g);
#pragma unroll
                        for (int j = 0; j < 4; ++j) {
                            const int i = 4 * q + j;
                            y[j] = c[i] * h[m][i];
                            dc[i] = fmaf(g[j], h[m][i], dc[i]);
                        }
                        store_quad_sums<sizeof(T) == 4>(ones, y, ours, to + of_y * partial_floats);
                        load_four(from + row_dt * strip_floats, dt);
                        load_four(from + row_x * strip_floats, x);
                        if (!kExact) {
                            load_four(from + row_slope * strip_floats, slope);
                            load_four(from + row_slope_u * strip_floats, slope_u);
                        }
#pragma unroll
                        for (int j = 3; j >= 0; --j) {
                            const int i = 4 * q + j;
                            const float e = fmaf(c[i], g[j], after[m]);
                            after[m] = abar[m][i] * e;
                            const float d = after[m] * (i > 0 ? h[m][i - 1] : start[m]);  // the gradient of dt A
                            v[j] = a[m] * d;
                            da[m] = fmaf(d, dt[j], da[m]);
                            w[j] = b[i] * e;
                            db[i] = fmaf(e, x[j], db[i]);
                            if (!kExact) {
                                dbias_a[m] = fmaf(slope[j], d, dbias_a[m]);
                                dbias_b[m] = fmaf(slope_u[j], w[j], dbias_b[m]);
                            }
                        }
                        store_quad_sums<kExact>(ones, v, ours, to + of_ddt * partial_floats);
                        store_quad_sums<kExact>(ones, w, ours, to + of_du * partial_floats);
                    }
                }
                add_state_sums(at, a, da, dbias_a, dbias_b, state_sums + (channel + k) * 2 * warp_states);
            }
            at.barrier();
            {
                const float skip = skips[channel + lane.channel];
                float u[4], dx[4], ddt[4], dt[4], g[4], slope[4], dbias = 0, dskip = 0;
                rows.read(TeamRows<T>::array_u + buffer, strip, u);
                if (gated) {
                    float gate[4], y[4];
                    load_four(own_strip + row_gate * strip_floats, gate);
                    add_parts(own_partial + of_y * partial_floats, y);
#pragma unroll
                    for (int j = 0; j < 4; ++j) y[j] = fmaf(skip, u[j], y[j]) * gate[j];
                    rows.write(TeamRows<T>::array_z + buffer, strip, y);
                }
                add_parts(own_partial + of_ddt * partial_floats, ddt);
                add_parts(own_partial + of_du * partial_floats, dx);
                load_four(own_strip + row_slope * strip_floats, slope);
                load_four(own_strip + row_dt * strip_floats, dt);
                load_four(own_strip + row_g * strip_floats, g);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (!kExact) dx[j] *= whole_term;
                    ddt[j] = fmaf(u[j], dx[j], ln_2 * whole_term * ddt[j]) * slope[j];
                    dbias += ddt[j];
                    dskip = fmaf(g[j], u[j], dskip);
                    dx[j] = fmaf(skip, g[j], dt[j] * dx[j]);
                }
                rows.write(TeamRows<T>::array_u + buffer, strip, dx);
                if (given) rows.write(TeamRows<T>::array_delta + buffer, strip, ddt);
                if constexpr (kExact) {
                    const bool odd = at.lane % 2 != 0;
                    float total = (odd ? dskip : dbias) + __shfl_xor_sync(all_lanes, odd ? dbias : dskip, 1);
                    total += __shfl_xor_sync(all_lanes, total, 2);
                    total += __shfl_xor_sync(all_lanes, total, 4);
                    if (lane.order < 2) warp_sums[(channel + lane.channel) * 2 + lane.order] += total;
                } else {
#pragma unroll
                    for (int i = 1; i < 8; i *= 2) dskip += __shfl_xor_sync(all_lanes, dskip, i);
                    if (lane.order == 0) warp_sums[channel + lane.channel] += dskip;
                }
            }
            if (last_of_rows) {
                __syncwarp();
                if (at.thread < count) {
                    const int row = static_cast<int>(slice) * slice_steps + at.thread;
                    const int first = (strip + 1 - strips_of_rows) * strip_channels;
                    rows.store(dus.row(row) + first, TeamRows<T>::array_u + buffer);
                    if (gated) rows.store(dzs.row(row) + first, TeamRows<T>::array_z + buffer);
                    if (given) rows.store(ddeltas.row(row) + first, TeamRows<T>::array_delta + buffer);
                }
                buffer ^= 1;
            }
        }
        at.barrier();  // nobody reads partial sums now
        if (slice >= at.ring) fetch_matrices(p, at, slice - at.ring, matrices);
        const int64_t share =
            (at.block * p.batch * p.length + at.row(p, slice) + at.segment * steps) * states + at.state;
        const int left = count - at.segment * steps;
#pragma unroll
        for (int i = 0; i < steps; ++i)
            if (i < left) {
                p.db[share + i * states] = db[i];
                p.dc[share + i * states] = dc[i];
            }
    }

    cluster_barrier();  // also: nobody leaves while others may still write to its boxes
    const float* const all_sums = reinterpret_cast<const float*>(memory + places.teams + places.sums);
    const int warp_floats = places.state_floats + places.sum_floats, vectors = kExact ? 2 : 1;
    const int team_floats = places.team / static_cast<int>(sizeof(float));
    const Sums sums(states, true, true);
    const int64_t first_row = (at.batch * p.span + at.rank) * sums.count;
    for (int i = static_cast<int>(threadIdx.x); i < sums.count * channels; i += threads) {
        const int channel = i % channels, number = i / channels;
        float sum = 0;
        for (int t = 0; t < p.rounds * team_warps; ++t) {
            const int half = t % team_warps;
            const float* const vector = all_sums + t / team_warps * team_floats + half * warp_floats;
            const float* const state = vector + places.sum_floats + channel * 2 * warp_states;
            if (number < states) {
                if (number / warp_states == half) sum += state[number % warp_states];
            } else if (number == sums.skip) {
                sum += vector[channel * vectors + vectors - 1];
            } else if constexpr (kExact) {
                sum += vector[channel * vectors];
            } else {
                for (int s = 0; s < warp_states; ++s) sum += state[warp_states + s];
            }
        }
        p.sums[(first_row + number) * p.channels + at.first_channel + channel] = sum;
    }
}

}  // namespace nigiri::cuda::scan::team
