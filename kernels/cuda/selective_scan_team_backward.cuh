// The body of the selective scan's backward pass for sixteen real states; its mathematics are those of
// selective_scan_backward.cu, its layout that of selective_scan_team.cuh.
#pragma once

#include "kernels/cuda/selective_scan_team.cuh"

namespace nigiri::cuda::scan::team {

// A block's shared memory: tables of its channels, then what every team has.
template <class T, bool kLean = false>
struct BackwardMemory {
    int a, vectors, teams;  // where they begin
    int boxes;              // in the teams' part: all teams' mailboxes, then a team's memory, `team` bytes
    int partial, strip, totals, starts, raw, matrices, sums, team;
    int da_floats, sum_floats;  // of a warp
    size_t bytes;

    __host__ __device__ explicit BackwardMemory(const Operands& p) {
        const int channels = strip_channels * p.groups, size = static_cast<int>(sizeof(float));
        a = 0;
        vectors = a + size * channels * states;
        boxes = vectors + size * 2 * channels;
        teams = boxes + Mail::bytes(p) * p.rounds;
        partial = 0;
        strip = partial + size * 3 * partial_floats;
        totals = strip + size * 3 * strip_floats;
        starts = totals + size * strip_channels * segments;
        raw = starts + size * states * (kLean ? 2 * strip_channels : channels);
        matrices = raw + static_cast<int>(sizeof(T)) * (kLean ? 1 : 2) * arrays * raw_elements<T>;
        sums = matrices + (kLean ? 0 : static_cast<int>(sizeof(T)) * 2 * matrix_elements);
        da_floats = channels * warp_states;
        sum_floats = 2 * channels;
        team = sums + size * team_warps * (da_floats + sum_floats);
        bytes = static_cast<size_t>(teams) + static_cast<size_t>(team) * p.rounds;
    }
};

// kWhole: z, delta and softplus are there.
template <class T, bool kWhole, int kUnroll, bool kExact, bool kLean>
__device__ inline void backward(const BackwardOperands& p, unsigned char* memory) {
    constexpr int strips_of_rows = raw_channels<T> / strip_channels;
    // tf32 leaves out 3.5e-4 of a term on average, always towards zero. The lanes have log2(e) A.
    constexpr float whole_term = kExact ? 1.0f : 1.000352f, ln_2 = 0.6931471805599453f * whole_term;
    const Seat at(p);
    const BackwardMemory<T, kLean> places(p);
    const bool gated = kWhole || p.z.data != nullptr, given = kWhole || p.delta.data != nullptr;
    const bool softened = kWhole || p.softplus;
    const Mail mail(p, at, memory + places.boxes, [](int, int) { return 0.0f; });
    float* const a_table = reinterpret_cast<float*>(memory + places.a);
    float* const biases = reinterpret_cast<float*>(memory + places.vectors);
    float* const skips = biases + strip_channels * p.groups;
    unsigned char* const own = memory + places.teams + places.team * at.team;
    float* const partial = reinterpret_cast<float*>(own + places.partial);  // y, d delta, du
    float* const dts = reinterpret_cast<float*>(own + places.strip);
    float* const totals = reinterpret_cast<float*>(own + places.totals);
    float* const starts = reinterpret_cast<float*>(own + places.starts);
    T* const raw = reinterpret_cast<T*>(own + places.raw);
    T* const matrices = reinterpret_cast<T*>(own + places.matrices);
    float* const warp_sums =
        reinterpret_cast<float*>(own + places.sums) + at.half * (places.da_floats + places.sum_floats);
    float* const das = warp_sums + places.sum_floats;

    const int threads = team_threads * p.rounds, channels = strip_channels * at.strips;
    for (int i = static_cast<int>(threadIdx.x); i < channels * states; i += threads)
        a_table[i] = log2_e * *p.a.at<false>(at.first_channel + i / states, i % states);
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += threads) {
        biases[i] = p.delta_bias != nullptr ? p.delta_bias[at.first_channel + i] : 0.0f;
        skips[i] = p.skip != nullptr ? p.skip[at.first_channel + i] : 0.0f;
    }
    for (int i = at.lane; i < places.da_floats + places.sum_floats; i += 32) warp_sums[i] = 0;

    // u, z, dy and delta, and later the gradients in their places; two buffers, used by turns.
    const StripLane lane(at);
    const auto fetch_rows = [&](int64_t slice, int strip, int buffer) {
        if (slice < 0) return;
        const bool exists = at.thread < at.count(p, slice);
        const int64_t row = at.row(p, slice) + (exists ? at.thread : 0);
        const int channel = at.first_channel + strip * strip_channels;
        const TeamRows<T> to(at, lane, raw + buffer * arrays * raw_elements<T>);
        to.fetch(p.u, row, channel, 0, exists);
        if (gated) to.fetch(p.z, row, channel, 1, exists);
        to.fetch(p.dy, row, channel, 2, exists);
        if (given) to.fetch(p.delta, row, channel, 3, exists);
    };
    const auto fetch_starts = [&](int64_t slice, int strip, int buffer) {
        if (slice < 0) return;
        const int64_t from =
            (slice * p.batch + at.batch) * p.channels + at.first_channel + (kLean ? strip * strip_channels : 0);
        float* const to = starts + (kLean ? buffer * strip_channels * states : 0);
        for (int i = at.thread; i < (kLean ? strip_channels : channels) * states / 4; i += team_threads)
            copy_ahead<16>(shared_address(to + 4 * i),
                           p.checkpoints.at<false>(from + i / (states / 4), i % (states / 4) * 4), true);
    };
    const int64_t first_slice = p.slices - 1 - at.position;
    fetch_rows(first_slice, 0, 0);
    fetch_starts(first_slice, 0, 0);
    if (!kLean && first_slice >= 0) fetch_matrices(p, at, first_slice, matrices);
    cluster_barrier();

    const Ones ones(at.lane);
    float* const own_strip = dts + lane.place();
    const float* const own_partial = partial + lane.sums();
    // As one of the states: where its strip's steps and its sums are.
    const float* const segment_strip = dts + at.segment * segment_pitch;
    float* const segment_sums = partial + at.part * part_floats + at.segment * steps + 4 * at.quad;
    int rows_buffer = 0;
    for (int64_t turn = at.position; turn < p.slices; turn += at.ring) {
        const int64_t slice = p.slices - 1 - turn;
        const auto mail_turn = static_cast<uint32_t>(turn + 1);
        const int count = at.count(p, slice);
        float b[steps], c[steps], db[steps], dc[steps];
        if constexpr (kLean) {
            const int left = count - at.segment * steps;
            const int64_t row = at.row(p, slice) + at.segment * steps;
            const T *from_b = p.b.row<T>(row) + at.state, *from_c = p.c.row<T>(row) + at.state;
#pragma unroll
            for (int i = 0; i < steps; ++i, from_b += p.b.stride, from_c += p.c.stride) {
                b[i] = i < left ? load(from_b) : 0.0f;
                c[i] = i < left ? load(from_c) : 0.0f;
                db[i] = dc[i] = 0;
            }
        }
#pragma unroll 1
        for (int strip = 0; strip < at.strips; ++strip) {
            const int channel = strip * strip_channels;  // of the block
            const TeamRows<T> arrived(at, lane, raw + rows_buffer * arrays * raw_elements<T>);
            wait_for_copies();
            __syncwarp();
            {
                float dt[4] = {0, 0, 0, 0}, x[4], g[4];
                if (given) arrived.read(3, strip, dt);
                make_steps(p, at, lane, count, softened, biases[channel + lane.channel], dt, totals);
                arrived.read(0, strip, x);
                arrived.read(2, strip, g);
                if (gated) {
                    float z[4];
                    arrived.read(1, strip, z);
#pragma unroll
                    for (int j = 0; j < 4; ++j) g[j] *= z[j] * sigmoid(z[j]);
                }
#pragma unroll
                for (int j = 0; j < 4; ++j) x[j] *= dt[j];
                store_four(own_strip, dt);
                store_four(own_strip + strip_floats, x);
                store_four(own_strip + 2 * strip_floats, g);
            }
            at.barrier();
            if constexpr (kLean) {
                const bool last = strip + 1 == at.strips;
                fetch_starts(last ? slice - at.ring : slice, last ? 0 : strip + 1, (strip + 1) % 2);
            } else if (strip % strips_of_rows == 0) {
                const bool last = strip + strips_of_rows >= at.strips;
                fetch_rows(last ? slice - at.ring : slice, last ? 0 : strip + strips_of_rows, rows_buffer ^ 1);
            }
            if (!kLean && strip == 0) {
                const T* const from = matrices + at.segment * steps * states + at.state;
#pragma unroll
                for (int i = 0; i < steps; ++i) {
                    b[i] = load(from + i * states);
                    c[i] = load(from + i * states + matrix_elements);
                    db[i] = dc[i] = 0;
                }
            }
#pragma unroll kUnroll
            for (int k = 0; k < strip_channels; ++k) {
                const float a = a_table[(channel + k) * states + at.state];
                const float slice_start =
                    starts[((kLean ? strip % 2 * strip_channels : channel) + k) * states + at.state];
                const float* const dt_row = segment_strip + k * strip_pitch;
                const float *const x_row = dt_row + strip_floats, *const g_row = x_row + strip_floats;
                const float decay = exp2_approx(totals[k * segments + at.segment] * a);
                // The segment's end state, the first one's from the slice's start and the others' from zero.
                float abar[steps], h[steps], state = at.segment == 0 ? slice_start : 0.0f;
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float dt[4], x[4];
                    load_four(dt_row + 4 * q, dt);
                    load_four(x_row + 4 * q, x);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        abar[i] = exp2_approx(dt[j] * a);
                        h[i] = b[i] * x[j];
                        state = fmaf(abar[i], state, h[i]);
                    }
                }
                float so_far = decay;
                join_segments<false, 1>(at.segment, state, so_far);
                join_segments<false, 2>(at.segment, state, so_far);
                float start = __shfl_up_sync(all_lanes, state, 4);
                start = at.segment == 0 ? slice_start : start;
                h[0] = fmaf(abar[0], start, h[0]);
#pragma unroll
                for (int i = 1; i < steps; ++i) h[i] = fmaf(abar[i], h[i - 1], h[i]);
                // Of the gradient of the states, e, only what the segment itself adds to it.
                QuadSums<sizeof(T) == 4> y;
                float e = 0;
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    float g[4], v[4];
                    load_four(g_row + 4 * q, g);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
                        v[j] = c[i] * h[i];
                        dc[i] = fmaf(g[j], h[i], dc[i]);
                        const float input = c[i] * g[j];
                        e = i == steps - 1 ? input : fmaf(abar[i + 1], e, input);
                    }
                    y.put(ones, q, v);
                }
                y.store(segment_sums + k * slice_steps);
                float before = abar[0] * e;
                so_far = decay;
                join_segments<true, 1>(at.segment, before, so_far);
                join_segments<true, 2>(at.segment, before, so_far);
                const float slice_after = mail.receive(channel + k, mail_turn);
                before = fmaf(so_far, slice_after, before);
                if (at.segment == 0) mail.send(before, channel + k, mail_turn + 1);
                float after = __shfl_down_sync(all_lanes, before, 4);
                after = at.segment == segments - 1 ? slice_after : after;
                // Every step with all of e.
                QuadSums<kExact> ddt, du;
                float da = 0;
#pragma unroll
                for (int q = steps / 4 - 1; q >= 0; --q) {
                    float dt[4], x[4], g[4], v[4], w[4];
                    load_four(g_row + 4 * q, g);
                    load_four(dt_row + 4 * q, dt);
                    load_four(x_row + 4 * q, x);
#pragma unroll
                    for (int j = 3; j >= 0; --j) {
                        const int i = 4 * q + j;
                        e = fmaf(c[i], g[j], after);
                        after = abar[i] * e;
                        const float d = after * (i > 0 ? h[i - 1] : start);  // the gradient of dt A
                        v[j] = a * d;
                        da = fmaf(d, dt[j], da);
                        w[j] = b[i] * e;
                        db[i] = fmaf(e, x[j], db[i]);
                    }
                    ddt.put(ones, q, v);
                    du.put(ones, q, w);
                }
                ddt.store(segment_sums + k * slice_steps + partial_floats);
                du.store(segment_sums + k * slice_steps + 2 * partial_floats);
                da += __shfl_xor_sync(all_lanes, da, 4);
                da += __shfl_xor_sync(all_lanes, da, 8);
                if (at.segment == 0) das[(channel + k) * warp_states + at.state % warp_states] += da;
            }
            at.barrier();
            if (!kLean && strip == 0 && slice >= at.ring) fetch_matrices(p, at, slice - at.ring, matrices);
            if (!kLean && strip + 1 == at.strips) fetch_starts(slice - at.ring, 0, 0);
            {
                const float skip = skips[channel + lane.channel], bias = biases[channel + lane.channel];
                float u[4], dx[4], ddt[4], dt[4], g[4], v[4], dbias = 0, dskip = 0;
                arrived.read(0, strip, u);
                if (gated) {
                    float z[4], dy[4], y[4];
                    arrived.read(1, strip, z);
                    arrived.read(2, strip, dy);
                    add_parts(own_partial, y);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const float s = sigmoid(z[j]);
                        v[j] = fmaf(skip, u[j], y[j]) * dy[j] * (s * fmaf(z[j], 1.0f - s, 1.0f));
                    }
                    arrived.write(1, strip, v);
                }
                add_parts(own_partial + partial_floats, ddt);
                add_parts(own_partial + 2 * partial_floats, dx);
                if (softened) {
                    float delta[4] = {0, 0, 0, 0};
                    if (given) arrived.read(3, strip, delta);
#pragma unroll
                    for (int j = 0; j < 4; ++j) v[j] = sigmoid(delta[j] + bias);
                } else {
                    v[0] = v[1] = v[2] = v[3] = 1;
                }
                load_four(own_strip, dt);
                load_four(own_strip + 2 * strip_floats, g);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (!kExact) dx[j] *= whole_term;
                    ddt[j] = fmaf(u[j], dx[j], ln_2 * ddt[j]) * v[j];
                    dbias += ddt[j];
                    dskip = fmaf(g[j], u[j], dskip);
                    dx[j] = fmaf(skip, g[j], dt[j] * dx[j]);
                }
                arrived.write(0, strip, dx);
                if (given) arrived.write(3, strip, ddt);
                const bool odd = at.lane % 2 != 0;
                float total = (odd ? dskip : dbias) + __shfl_xor_sync(all_lanes, odd ? dbias : dskip, 1);
                total += __shfl_xor_sync(all_lanes, total, 2);
                total += __shfl_xor_sync(all_lanes, total, 4);
                if (lane.order < 2) warp_sums[(channel + lane.channel) * 2 + lane.order] += total;
            }
            if (strip % strips_of_rows + 1 == strips_of_rows) {
                __syncwarp();
                if (at.thread < count) {
                    const int64_t row = at.row(p, slice) + at.thread;
                    const int first = at.first_channel + (strip + 1 - strips_of_rows) * strip_channels;
                    arrived.store(p.du, row, first, 0);
                    if (gated) arrived.store(p.dz, row, first, 1);
                    if (given) arrived.store(p.ddelta, row, first, 3);
                }
                if constexpr (kLean) {
                    const bool last = strip + 1 == at.strips;
                    fetch_rows(last ? slice - at.ring : slice, last ? 0 : strip + 1, 0);
                } else {
                    rows_buffer ^= 1;
                }
            }
        }
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
    const int warp_floats = places.da_floats + places.sum_floats;
    const int team_floats = places.team / static_cast<int>(sizeof(float));
    const Sums rows(states, true, true);
    const int64_t first_row = (at.batch * p.span + at.rank) * rows.count;
    for (int i = static_cast<int>(threadIdx.x); i < rows.count * channels; i += threads) {
        const int channel = i % channels, number = i / channels;
        float sum = 0;
        for (int t = 0; t < p.rounds; ++t) {
            const float* const from = all_sums + t * team_floats;
            if (number < states) {
                sum += from[number / warp_states * warp_floats + places.sum_floats + channel * warp_states +
                            number % warp_states];
            } else {
                const int place = channel * 2 + (number == rows.skip ? 1 : 0);
                sum += from[place] + from[warp_floats + place];
            }
        }
        p.sums[(first_row + number) * p.channels + at.first_channel + channel] = sum;
    }
}

}  // namespace nigiri::cuda::scan::team
