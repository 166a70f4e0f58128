// The body of the selective scan's backward pass for sixteen real states; its mathematics are those of
// selective_scan_backward.cu, its layout that of selective_scan_quads.cuh.
#pragma once

#include "kernels/cuda/selective_scan_quads.cuh"

namespace nigiri::cuda::scan::quads {

// What a strip's steps have for the states (dt, the input dt u, the gradient before the gate) and for the end (the
// slope of dt in delta, what dz is of y), then each warp's sums over its states.
enum StripRow : int { row_dt, row_x, row_g, row_slope, row_gate, sum_y, sum_ddt = 7, sum_du = 9, strip_rows = 11 };
// Raw rows. u, z and delta have two buffers, used by turns, and later the gradients in their places.
enum RawArray : int { raw_u = 0, raw_z = 2, raw_delta = 4, raw_dy = 6, raw_arrays };

// A warp's sums of dA over segments: [channel][segment][state] of a strip, with gaps against bank conflicts.
inline constexpr int segment_sums_pitch = segments * states / team_warps + 8;
inline constexpr int segment_sums_floats = strip_channels * segment_sums_pitch;

// A block's shared memory: tables of its channels, then what every team has. B and C arrive where a strip is, between
// two slices.
template <class T>
struct BackwardMemory {
    int sequences, a, vectors, boxes, teams;             // where they begin; the boxes are all teams'
    int strip, totals, segment_sums, starts, raw, sums;  // in a team's memory of `team` bytes
    int state_floats, vector_floats, team;
    size_t bytes;

    __host__ __device__ explicit BackwardMemory(const Operands& p) {
        const int channels = strip_channels * p.groups, size = static_cast<int>(sizeof(float));
        sequences = 0;
        a = sequences + 8 * static_cast<int>(sizeof(Sequence));
        vectors = a + size * channels * states;
        boxes = vectors + size * 2 * channels;
        teams = boxes + Mail::bytes(p) * p.rounds;
        strip = 0;
        totals = strip + size * strip_rows * strip_floats;
        segment_sums = totals + size * strip_channels * segments;
        starts = segment_sums + size * team_warps * segment_sums_floats;
        raw = starts + size * 2 * raw_channels<T> * states;
        sums = raw + static_cast<int>(sizeof(T)) * raw_arrays * raw_elements<T>;
        state_floats = channels * states;
        vector_floats = 2 * channels;  // of a warp
        team = sums + size * (state_floats + team_warps * vector_floats);
        bytes = static_cast<size_t>(teams) + static_cast<size_t>(team) * p.rounds;
    }
};

// kWhole: z, delta and softplus are there.
template <class T, bool kWhole>
__device__ inline void backward(const BackwardOperands& p, unsigned char* memory) {
    constexpr bool kExact = sizeof(T) == 4;  // y, of which only dz is made
    constexpr int strips_of_rows = SharedRows<T>::strips;
    constexpr float ln_2 = 0.6931471805599453f;
    static_assert(sizeof(T) * 2 * matrix_elements <= sizeof(float) * strip_rows * strip_floats);
    const Seat at(p);
    const BackwardMemory<T> places(p);
    const bool gated = kWhole || p.z.data != nullptr, given = kWhole || p.delta.data != nullptr;
    const bool softened = kWhole || p.softplus;
    const Mail mail(p, at, memory + places.boxes, [](int, int) { return 0.0f; });
    float* const a_table = reinterpret_cast<float*>(memory + places.a);
    float* const biases = reinterpret_cast<float*>(memory + places.vectors);
    float* const skips = biases + strip_channels * p.groups;
    unsigned char* const own = memory + places.teams + places.team * at.team;
    float* const strip_start = reinterpret_cast<float*>(own + places.strip);
    float* const totals = reinterpret_cast<float*>(own + places.totals);
    float* const segment_sums = reinterpret_cast<float*>(own + places.segment_sums) + at.half * segment_sums_floats;
    float* const starts = reinterpret_cast<float*>(own + places.starts);
    float* const state_sums = reinterpret_cast<float*>(own + places.sums);  // dA
    // d bias and d skip of every channel, from the warp's steps
    float* const vector_sums = state_sums + places.state_floats + at.half * places.vector_floats;

    const int threads = team_threads * p.rounds, channels = strip_channels * at.strips;
    for (int i = static_cast<int>(threadIdx.x); i < channels * states; i += threads)
        a_table[i] = log2_e * *p.a.at<false>(at.first_channel + i / states, i % states);
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += threads) {
        biases[i] = p.delta_bias != nullptr ? p.delta_bias[at.first_channel + i] : 0.0f;
        skips[i] = p.skip != nullptr ? p.skip[at.first_channel + i] : 0.0f;
    }
    for (int i = at.thread; i < places.state_floats + team_warps * places.vector_floats; i += team_threads)
        state_sums[i] = 0;

    const StripLane lane(at);
    const SharedRows<T> rows(at, lane, reinterpret_cast<T*>(own + places.raw));
    enum { of_u, of_z, of_delta, of_dy, of_du, of_dz, of_ddelta, of_starts };
    Sequence* const sequences = reinterpret_cast<Sequence*>(memory + places.sequences);
    if (threadIdx.x == 0) {
        const Rows* const all[] = {&p.u, &p.z, &p.delta, &p.dy, &p.du, &p.dz, &p.ddelta};
#pragma unroll
        for (int i = 0; i < 7; ++i) sequences[i] = Sequence::of<T>(*all[i], p, at.batch, at.first_channel);
        sequences[of_starts] = {
            reinterpret_cast<unsigned char*>(p.checkpoints.at<false>(at.batch * p.channels + at.first_channel, 0)),
            static_cast<int>(p.batch) * p.channels * states * static_cast<int>(sizeof(float))};
    }
    __syncthreads();
    const auto fetch_gradient = [&](int slice, int strip) {
        if (slice < 0) return;
        const bool exists = at.thread < at.count(p, slice);
        const int row = slice * slice_steps + (exists ? at.thread : 0);
        rows.fetch(row_of<T>(sequences[of_dy], row, strip * strip_channels), raw_dy, exists);
    };
    const auto fetch_inputs = [&](int slice, int strip, int buffer) {
        if (slice < 0) return;
        const bool exists = at.thread < at.count(p, slice);
        const int row = slice * slice_steps + (exists ? at.thread : 0), channel = strip * strip_channels;
        constexpr int floats = raw_channels<T> * states / team_threads;
        const int place = channel * states + at.thread * floats;
        // All of the table at once: copies are not moved past its reading.
        const T* const from_u = row_of<T>(sequences[of_u], row, channel);
        const T* const from_z = row_of<T>(sequences[of_z], row, channel);
        const T* const from_delta = row_of<T>(sequences[of_delta], row, channel);
        const float* const from_starts = row_of<float>(sequences[of_starts], slice, place);
        rows.fetch(from_u, raw_u + buffer, exists);
        if (gated) rows.fetch(from_z, raw_z + buffer, exists);
        if (given) rows.fetch(from_delta, raw_delta + buffer, exists);
        copy_ahead<4 * floats>(shared_address(starts + buffer * raw_channels<T> * states + at.thread * floats),
                               from_starts, true);
    };
    const int slices = static_cast<int>(p.slices), first_slice = slices - 1 - at.position;
    T* const matrices = reinterpret_cast<T*>(strip_start);
    fetch_inputs(first_slice, 0, 0);
    fetch_gradient(first_slice, 0);
    if (first_slice >= 0) fetch_matrices(p, at, first_slice, matrices);
    cluster_barrier();

    const Ones ones(at.lane);
    float* const own_strip = strip_start + lane.place();
    float* const segment_strip = strip_start + place_of(at.segment * steps);
    const int own_part = at.half * strip_floats;
    int buffer = 0;
    for (int turn = at.position; turn < slices; turn += at.ring) {
        const int slice = slices - 1 - turn;
        const auto mail_turn = static_cast<uint32_t>(turn + 1);
        const int count = at.count(p, slice);
        float b[steps][lane_states], c[steps][lane_states], db[steps][lane_states], dc[steps][lane_states];
        wait_for_copies();
        at.barrier();
        read_matrices(at, matrices, b, c);
        at.barrier();
#pragma unroll
        for (int i = 0; i < steps; ++i) {
#pragma unroll
            for (int s = 0; s < lane_states; ++s) db[i][s] = dc[i][s] = 0;
        }
#pragma unroll 1
        for (int strip = 0; strip < at.strips; ++strip) {
            const int channel = strip * strip_channels;  // of the block
            wait_for_copies();
            __syncwarp();
            {
                float dt[4] = {0, 0, 0, 0}, slope[4], x[4], g[4];
                if (given) rows.read(raw_delta + buffer, strip, dt);
                make_steps(lane, count, softened, biases[channel + lane.channel], dt, slope, totals);
                store_four(own_strip + row_dt * strip_floats, dt);
                store_four(own_strip + row_slope * strip_floats, slope);
                rows.read(raw_u + buffer, strip, x);
#pragma unroll
                for (int j = 0; j < 4; ++j) x[j] *= dt[j];
                store_four(own_strip + row_x * strip_floats, x);
                rows.read(raw_dy, strip, g);
                if (gated) {
                    float z[4], gate[4];
                    rows.read(raw_z + buffer, strip, z);
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
            if (strip % strips_of_rows == 0) {
                const bool last = strip + strips_of_rows >= at.strips;
                fetch_inputs(last ? slice - at.ring : slice, last ? 0 : strip + strips_of_rows, buffer ^ 1);
            }
            if (strip % strips_of_rows + 1 == strips_of_rows) {
                const bool last = strip + 1 >= at.strips;
                fetch_gradient(last ? slice - at.ring : slice, last ? 0 : strip + 1);
            }
#pragma unroll 1
            for (int k = 0; k < strip_channels; ++k) {
                float* const k_strip = segment_strip + k * strip_pitch;
                const auto letter = mail.look(channel + k);
                float a[lane_states], slice_start[lane_states], decay[lane_states];
                float abar[steps][lane_states], h[steps][lane_states], state[lane_states], before[lane_states];
                load_two(a_table + (channel + k) * states + at.state, a);
                load_two(starts + (buffer * raw_channels<T> + strip % strips_of_rows * strip_channels + k) * states +
                             at.state,
                         slice_start);
                const float total = totals[k * segments + at.segment];
#pragma unroll
                for (int s = 0; s < lane_states; ++s) {
                    decay[s] = exp2_approx(total * a[s]);
                    // The segment's end state, the first one's from the slice's start and the others' from zero.
                    state[s] = at.is_first() ? slice_start[s] : 0.0f;
                }
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float dt[4], x[4];
                    load_four(k_strip + row_dt * strip_floats + 4 * q, dt);
                    load_four(k_strip + row_x * strip_floats + 4 * q, x);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) {
                            abar[i][s] = exp2_approx(dt[j] * a[s]);
                            h[i][s] = b[i][s] * x[j];
                            state[s] = fmaf(abar[i][s], state[s], h[i][s]);
                        }
                    }
                }
                // Of the gradient of the states, e, only what the segment itself adds to it.
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    float g[4];
                    load_four(k_strip + row_g * strip_floats + 4 * q, g);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) {
                            const float input = c[i][s] * g[j];
                            before[s] = i == steps - 1 ? input : fmaf(abar[i + 1][s], before[s], input);
                        }
                    }
                }
                float slice_after[lane_states], start[lane_states], after[lane_states];
                mail.receive(letter, channel + k, mail_turn, slice_after);
                {
                    Scan<true> back(at, decay);
                    Scan<false> forth(at, decay);
#pragma unroll
                    for (int s = 0; s < lane_states; ++s) {
                        before[s] *= abar[0][s];
                        if (at.is_last()) before[s] = fmaf(decay[s], slice_after[s], before[s]);
                    }
#pragma unroll
                    for (int distance = 1; distance < segments; distance *= 2) {
                        back.shift(before, distance);
                        forth.shift(state, distance);
                        back.join(before);
                        forth.join(state);
                    }
                }
                mail.send(at.is_first(), before, channel + k, mail_turn + 1);
#pragma unroll
                for (int s = 0; s < lane_states; ++s) {
                    after[s] = from_segment<true>(before[s], 1);
                    after[s] = at.is_last() ? slice_after[s] : after[s];
                }
#pragma unroll
                for (int s = 0; s < lane_states; ++s) {
                    start[s] = from_segment<false>(state[s], 1);
                    start[s] = at.is_first() ? slice_start[s] : start[s];
                    h[0][s] = fmaf(abar[0][s], start[s], h[0][s]);
                }
#pragma unroll
                for (int i = 1; i < steps; ++i) {
#pragma unroll
                    for (int s = 0; s < lane_states; ++s) h[i][s] = fmaf(abar[i][s], h[i - 1][s], h[i][s]);
                }
                // Every step with all of e.
                float da[lane_states] = {0, 0};
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    float g[4], dt[4], x[4], y[4], v[4], w[4];
                    load_four(k_strip + row_g * strip_floats + 4 * q, g);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        y[j] = c[i][0] * h[i][0];
#pragma unroll
                        for (int s = 1; s < lane_states; ++s) y[j] = fmaf(c[i][s], h[i][s], y[j]);
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) dc[i][s] = fmaf(g[j], h[i][s], dc[i][s]);
                    }
                    store_quad_sums<kExact>(ones, y, at.quad == q, k_strip + own_part + sum_y * strip_floats + 4 * q);
                    load_four(k_strip + row_dt * strip_floats + 4 * q, dt);
                    load_four(k_strip + row_x * strip_floats + 4 * q, x);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
                        v[j] = w[j] = 0;
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) {
                            const float e = fmaf(c[i][s], g[j], after[s]);
                            after[s] = abar[i][s] * e;
                            const float d = after[s] * (i > 0 ? h[i - 1][s] : start[s]);  // the gradient of dt A
                            v[j] = s == 0 ? a[s] * d : fmaf(a[s], d, v[j]);
                            da[s] = fmaf(d, dt[j], da[s]);
                            w[j] = s == 0 ? b[i][s] * e : fmaf(b[i][s], e, w[j]);
                            db[i][s] = fmaf(e, x[j], db[i][s]);
                        }
                    }
                    store_quad_sums<true>(ones, v, at.quad == q, k_strip + own_part + sum_ddt * strip_floats + 4 * q);
                    store_quad_sums<true>(ones, w, at.quad == q, k_strip + own_part + sum_du * strip_floats + 4 * q);
                }
                store_two(segment_sums + k * segment_sums_pitch + lane_states * at.lane, da);
            }
            at.barrier();
            {
                const int state = lane.order;  // of the warp's
                const float* const from = segment_sums + lane.channel * segment_sums_pitch + state;
                float da[segments];
#pragma unroll
                for (int i = 0; i < segments; ++i) da[i] = from[i * (states / team_warps)];
                state_sums[(channel + lane.channel) * states + states / team_warps * at.half + state] +=
                    ((da[0] + da[1]) + (da[2] + da[3])) + ((da[4] + da[5]) + (da[6] + da[7]));
            }
            const float skip = skips[channel + lane.channel];
            float dbias = 0, dskip = 0;
            {
                float u[4], dx[4], ddt[4], dt[4], g[4], slope[4];
                rows.read(raw_u + buffer, strip, u);
                if (gated) {
                    float gate[4], y[4];
                    load_four(own_strip + row_gate * strip_floats, gate);
                    load_sums(own_strip + sum_y * strip_floats, y);
#pragma unroll
                    for (int j = 0; j < 4; ++j) y[j] = fmaf(skip, u[j], y[j]) * gate[j];
                    rows.write(raw_z + buffer, strip, y);
                }
                load_sums(own_strip + sum_ddt * strip_floats, ddt);
                load_sums(own_strip + sum_du * strip_floats, dx);
                load_four(own_strip + row_slope * strip_floats, slope);
                load_four(own_strip + row_dt * strip_floats, dt);
                load_four(own_strip + row_g * strip_floats, g);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    ddt[j] = fmaf(u[j], dx[j], ln_2 * ddt[j]) * slope[j];  // the lanes have log2(e) A
                    dbias += ddt[j];
                    dskip = fmaf(g[j], u[j], dskip);
                    dx[j] = fmaf(skip, g[j], dt[j] * dx[j]);
                }
                rows.write(raw_u + buffer, strip, dx);
                if (given) rows.write(raw_delta + buffer, strip, ddt);
            }
            const bool odd = at.lane % 2 != 0;
            float total = (odd ? dskip : dbias) + __shfl_xor_sync(all_lanes, odd ? dbias : dskip, 1);
            total += __shfl_xor_sync(all_lanes, total, 2);
            total += __shfl_xor_sync(all_lanes, total, 4);
            if (lane.order < 2) vector_sums[(channel + lane.channel) * 2 + lane.order] += total;
            if (strip % strips_of_rows + 1 == strips_of_rows) {
                __syncwarp();
                if (at.thread < count) {
                    const int row = slice * slice_steps + at.thread;
                    const int first = (strip + 1 - strips_of_rows) * strip_channels;
                    T* const to_du = row_of<T>(sequences[of_du], row, first);
                    T* const to_dz = row_of<T>(sequences[of_dz], row, first);
                    T* const to_ddelta = row_of<T>(sequences[of_ddelta], row, first);
                    rows.store(to_du, raw_u + buffer);
                    if (gated) rows.store(to_dz, raw_z + buffer);
                    if (given) rows.store(to_ddelta, raw_delta + buffer);
                }
                buffer ^= 1;
            }
        }
        at.barrier();
        if (slice >= at.ring) fetch_matrices(p, at, slice - at.ring, matrices);
        const int64_t share =
            (at.block * p.batch * p.length + at.row(p, slice) + at.segment * steps) * states + at.state;
        const int left = count - at.segment * steps;
#pragma unroll
        for (int i = 0; i < steps; ++i)
            if (i < left) {
                store_two(p.db + share + i * states, db[i]);
                store_two(p.dc + share + i * states, dc[i]);
            }
    }

    cluster_barrier();  // also: nobody leaves while others may still write to its boxes
    const float* const all_sums = reinterpret_cast<const float*>(memory + places.teams + places.sums);
    const int team_floats = places.team / static_cast<int>(sizeof(float));
    const Sums sums(states, true, true);
    const int64_t first_row = (at.batch * p.span + at.rank) * sums.count;
    for (int i = static_cast<int>(threadIdx.x); i < sums.count * channels; i += threads) {
        const int channel = i % channels, number = i / channels;
        float sum = 0;
        for (int team = 0; team < p.rounds; ++team) {
            const float* const from = all_sums + team * team_floats;
            const float* const vector = from + places.state_floats + channel * 2 + (number == sums.skip ? 1 : 0);
            sum += number < states ? from[channel * states + number] : vector[0] + vector[places.vector_floats];
        }
        p.sums[(first_row + number) * p.channels + at.first_channel + channel] = sum;
    }
}

}  // namespace nigiri::cuda::scan::quads
