// The body of the selective scan's forward pass for sixteen real states, with the layout of selective_scan_quads.cuh.
#pragma once

#include "kernels/cuda/selective_scan_quads.cuh"

namespace nigiri::cuda::scan::quads {

// A block's shared memory, as BackwardMemory.
template <class T>
struct ForwardMemory {
    enum Row : int { row_dt, row_x, sum_y, strip_rows = 4 };
    enum Raw : int { raw_u = 0, raw_z = 2, raw_delta = 4, raw_arrays = 6 };  // two buffers each; y goes to u's place
    int sequences, a, vectors, boxes, teams;
    int strip, totals, raw, matrices, team;
    size_t bytes;

    __host__ __device__ explicit ForwardMemory(const Operands& p) {
        const int channels = strip_channels * p.groups, size = static_cast<int>(sizeof(float));
        sequences = 0;
        a = sequences + 4 * static_cast<int>(sizeof(Sequence));
        vectors = a + size * channels * states;
        boxes = vectors + size * 2 * channels;
        teams = boxes + Mail::bytes(p) * p.rounds;
        strip = 0;
        totals = strip + size * strip_rows * strip_floats;
        raw = totals + size * strip_channels * segments;
        matrices = raw + static_cast<int>(sizeof(T)) * raw_arrays * raw_elements<T>;
        team = matrices + static_cast<int>(sizeof(T)) * 2 * matrix_elements;
        bytes = static_cast<size_t>(teams) + static_cast<size_t>(team) * p.rounds;
    }
};

// kWhole: z, delta and softplus are there.
template <class T, bool kWhole>
__device__ inline void forward(const ForwardOperands& p, unsigned char* memory) {
    using M = ForwardMemory<T>;
    constexpr int strips_of_rows = SharedRows<T>::strips;
    const Seat at(p);
    const M places(p);
    const bool gated = kWhole || p.z.data != nullptr, given = kWhole || p.delta.data != nullptr;
    const bool softened = kWhole || p.softplus, keeps = p.checkpoints.data != nullptr;
    const int64_t state_row = at.batch * p.channels + at.first_channel;
    const int threads = team_threads * p.rounds, channels = strip_channels * at.strips;
    const Mail mail(p, at, memory + places.boxes, [&](int channel, int state) {
        const bool exists = p.state.data != nullptr && channel < channels;
        return exists ? *p.state.at<false>(state_row + channel, state) : 0.0f;
    });
    float* const a_table = reinterpret_cast<float*>(memory + places.a);
    float* const biases = reinterpret_cast<float*>(memory + places.vectors);
    float* const skips = biases + strip_channels * p.groups;
    unsigned char* const own = memory + places.teams + places.team * at.team;
    float* const strip_start = reinterpret_cast<float*>(own + places.strip);
    float* const totals = reinterpret_cast<float*>(own + places.totals);
    T* const matrices = reinterpret_cast<T*>(own + places.matrices);
    for (int i = static_cast<int>(threadIdx.x); i < channels * states; i += threads)
        a_table[i] = log2_e * *p.a.at<false>(at.first_channel + i / states, i % states);
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += threads) {
        biases[i] = p.delta_bias != nullptr ? p.delta_bias[at.first_channel + i] : 0.0f;
        skips[i] = p.skip != nullptr ? p.skip[at.first_channel + i] : 0.0f;
    }

    const int slices = static_cast<int>(p.slices);
    const StripLane lane(at);
    const SharedRows<T> rows(at, lane, reinterpret_cast<T*>(own + places.raw));
    enum { of_u, of_z, of_delta, of_y };
    Sequence* const sequences = reinterpret_cast<Sequence*>(memory + places.sequences);
    if (threadIdx.x == 0) {
        const Rows* const all[] = {&p.u, &p.z, &p.delta, &p.y};
#pragma unroll
        for (int i = 0; i < 4; ++i) sequences[i] = Sequence::of<T>(*all[i], p, at.batch, at.first_channel);
    }
    __syncthreads();
    const auto fetch_rows = [&](int slice, int strip, int buffer) {
        if (slice >= slices) return;
        const bool exists = at.thread < at.count(p, slice);
        const int row = slice * slice_steps + (exists ? at.thread : 0);
        const int channel = strip * strip_channels;
        // All of the table at once: copies are not moved past its reading.
        const T* const from_u = row_of<T>(sequences[of_u], row, channel);
        const T* const from_z = row_of<T>(sequences[of_z], row, channel);
        const T* const from_delta = row_of<T>(sequences[of_delta], row, channel);
        rows.fetch(from_u, M::raw_u + buffer, exists);
        if (gated) rows.fetch(from_z, M::raw_z + buffer, exists);
        if (given) rows.fetch(from_delta, M::raw_delta + buffer, exists);
    };
    fetch_rows(at.position, 0, 0);
    if (at.position < slices) fetch_matrices(p, at, at.position, matrices);
    cluster_barrier();

    const Ones ones(at.lane);
    float* const own_strip = strip_start + lane.place();
    float* const segment_strip = strip_start + place_of(at.segment * steps);
    const int own_part = at.half * strip_floats;
    int buffer = 0;
    for (int slice = at.position; slice < slices; slice += at.ring) {
        const auto mail_turn = static_cast<uint32_t>(slice + 1);
        const int count = at.count(p, slice);
        float* const checkpoint =
            keeps ? p.checkpoints.at<false>((slice * p.batch + at.batch) * p.channels + at.first_channel, at.state)
                  : nullptr;
        float b[steps][lane_states], c[steps][lane_states];
#pragma unroll 1
        for (int strip = 0; strip < at.strips; ++strip) {
            const int channel = strip * strip_channels;  // of the block
            wait_for_copies();
            __syncwarp();
            {
                float dt[4] = {0, 0, 0, 0}, slope[4], x[4];
                if (given) rows.read(M::raw_delta + buffer, strip, dt);
                make_steps(lane, count, softened, biases[channel + lane.channel], dt, slope, totals);
                rows.read(M::raw_u + buffer, strip, x);
#pragma unroll
                for (int j = 0; j < 4; ++j) x[j] *= dt[j];
                store_four(own_strip + M::row_dt * strip_floats, dt);
                store_four(own_strip + M::row_x * strip_floats, x);
            }
            at.barrier();
            if (strip % strips_of_rows == 0) {
                const bool last = strip + strips_of_rows >= at.strips;
                fetch_rows(last ? slice + at.ring : slice, last ? 0 : strip + strips_of_rows, buffer ^ 1);
            }
            if (strip == 0) read_matrices(at, matrices, b, c);
#pragma unroll 1
            for (int k = 0; k < strip_channels; ++k) {
                float* const k_strip = segment_strip + k * strip_pitch;
                const auto letter = mail.look(channel + k);
                float a[lane_states], decay[lane_states], h[lane_states], slice_start[lane_states];
                float abar[steps][lane_states], input[steps][lane_states];
                load_two(a_table + (channel + k) * states + at.state, a);
                const float total = totals[k * segments + at.segment];
                // The segment's end state from zero.
#pragma unroll
                for (int s = 0; s < lane_states; ++s) decay[s] = exp2_approx(total * a[s]);
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float dt[4], x[4];
                    load_four(k_strip + M::row_dt * strip_floats + 4 * q, dt);
                    load_four(k_strip + M::row_x * strip_floats + 4 * q, x);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) {
                            abar[i][s] = exp2_approx(dt[j] * a[s]);
                            input[i][s] = b[i][s] * x[j];
                            h[s] = i == 0 ? input[0][s] : fmaf(abar[i][s], h[s], input[i][s]);
                        }
                    }
                }
                mail.receive(letter, channel + k, mail_turn, slice_start);
                {
                    Scan<false> forth(at, decay);
#pragma unroll
                    for (int s = 0; s < lane_states; ++s)
                        if (at.is_first()) h[s] = fmaf(decay[s], slice_start[s], h[s]);
#pragma unroll
                    for (int distance = 1; distance < segments; distance *= 2) {
                        forth.shift(h, distance);
                        forth.join(h);
                    }
                }
                mail.send(at.is_last(), h, channel + k, mail_turn + 1);
                if (keeps && at.is_first())
                    store_two(checkpoint + (channel + k) * p.checkpoints.channel_stride, slice_start);
#pragma unroll
                for (int s = 0; s < lane_states; ++s) {
                    h[s] = from_segment<false>(h[s], 1);
                    h[s] = at.is_first() ? slice_start[s] : h[s];
                }
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float y[4];
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
#pragma unroll
                        for (int s = 0; s < lane_states; ++s) {
                            h[s] = fmaf(abar[i][s], h[s], input[i][s]);
                            y[j] = s == 0 ? c[i][s] * h[s] : fmaf(c[i][s], h[s], y[j]);
                        }
                    }
                    store_quad_sums<false>(ones, y, at.quad == q, k_strip + own_part + M::sum_y * strip_floats + 4 * q);
                }
            }
            at.barrier();
            if (strip == 0 && slice + at.ring < slices) fetch_matrices(p, at, slice + at.ring, matrices);
            {
                const float skip = skips[channel + lane.channel];
                float u[4], y[4];
                rows.read(M::raw_u + buffer, strip, u);
                load_sums(own_strip + M::sum_y * strip_floats, y);
#pragma unroll
                for (int j = 0; j < 4; ++j) y[j] = fmaf(skip, u[j], y[j]);
                if (gated) {
                    float z[4];
                    rows.read(M::raw_z + buffer, strip, z);
#pragma unroll
                    for (int j = 0; j < 4; ++j) y[j] *= z[j] * sigmoid(z[j]);
                }
                rows.write(M::raw_u + buffer, strip, y);
            }
            if (strip % strips_of_rows + 1 == strips_of_rows) {
                __syncwarp();
                if (at.thread < count)
                    rows.store(row_of<T>(sequences[of_y], slice * slice_steps + at.thread,
                                         (strip + 1 - strips_of_rows) * strip_channels),
                               M::raw_u + buffer);
                buffer ^= 1;
            }
        }
    }
    cluster_barrier();  // nobody leaves while others may still write to its boxes
    if (p.state.data == nullptr || at.position != p.slices % at.ring) return;
    for (int channel = 0; channel < channels; ++channel) {
        float x[lane_states];
        mail.receive(mail.look(channel), channel, static_cast<uint32_t>(p.slices + 1), x);
        if (at.is_first()) store_two(p.state.at<false>(state_row + channel, at.state), x);
    }
}

}  // namespace nigiri::cuda::scan::quads
