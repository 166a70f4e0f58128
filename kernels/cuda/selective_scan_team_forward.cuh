// The body of the selective scan's forward pass for sixteen real states, with the layout of selective_scan_team.cuh.
#pragma once

#include "kernels/cuda/selective_scan_team.cuh"

namespace nigiri::cuda::scan::team {

// A block's shared memory, as BackwardMemory.
template <class T>
struct ForwardMemory {
    static constexpr int arrays = 3;  // u, z and delta
    int a, vectors, boxes, teams;
    int partial, strip, totals, raw, matrices, team;
    size_t bytes;

    __host__ __device__ explicit ForwardMemory(const Operands& p) {
        const int channels = strip_channels * p.groups, size = static_cast<int>(sizeof(float));
        a = 0;
        vectors = a + size * channels * states;
        boxes = vectors + size * 2 * channels;
        teams = boxes + Mail::bytes(p) * p.rounds;
        partial = 0;
        strip = partial + size * partial_floats;
        totals = strip + size * 2 * strip_floats;
        raw = totals + size * strip_channels * segments;
        matrices = raw + static_cast<int>(sizeof(T)) * 2 * arrays * raw_elements<T>;
        team = matrices + static_cast<int>(sizeof(T)) * 2 * matrix_elements;
        bytes = static_cast<size_t>(teams) + static_cast<size_t>(team) * p.rounds;
    }
};

// kWhole: z, delta and softplus are there.
template <class T, bool kWhole, int kUnroll>
__device__ inline void forward(const ForwardOperands& p, unsigned char* memory) {
    constexpr bool kExact = sizeof(T) == 4;
    constexpr int strips_of_rows = TeamRows<T>::strips;
    const Seat at(p);
    const ForwardMemory<T> places(p);
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
    float* const partial = reinterpret_cast<float*>(own + places.partial);
    float* const dts = reinterpret_cast<float*>(own + places.strip);
    float* const totals = reinterpret_cast<float*>(own + places.totals);
    T* const raw = reinterpret_cast<T*>(own + places.raw);
    T* const matrices = reinterpret_cast<T*>(own + places.matrices);
    for (int i = static_cast<int>(threadIdx.x); i < channels * states; i += threads)
        a_table[i] = log2_e * *p.a.at<false>(at.first_channel + i / states, i % states);
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += threads) {
        biases[i] = p.delta_bias != nullptr ? p.delta_bias[at.first_channel + i] : 0.0f;
        skips[i] = p.skip != nullptr ? p.skip[at.first_channel + i] : 0.0f;
    }

    const StripLane lane(at);
    constexpr int buffer_elements = ForwardMemory<T>::arrays * raw_elements<T>;
    const auto fetch_rows = [&](int64_t slice, int strip, int buffer) {
        if (slice >= p.slices) return;
        const bool exists = at.thread < at.count(p, slice);
        const int64_t row = at.row(p, slice) + (exists ? at.thread : 0);
        const int channel = at.first_channel + strip * strip_channels;
        const TeamRows<T> to(at, lane, raw + buffer * buffer_elements);
        to.fetch(p.u, row, channel, 0, exists);
        if (gated) to.fetch(p.z, row, channel, 1, exists);
        if (given) to.fetch(p.delta, row, channel, 2, exists);
    };
    fetch_rows(at.position, 0, 0);
    if (at.position < p.slices) fetch_matrices(p, at, at.position, matrices);
    cluster_barrier();

    const Ones ones(at.lane);
    float* const own_strip = dts + lane.place();
    const float* const own_partial = partial + lane.sums();
    const float* const segment_strip = dts + at.segment * segment_pitch;
    float* const segment_sums = partial + at.part * part_floats + at.segment * steps + 4 * at.quad;
    int rows_buffer = 0;
    for (int64_t slice = at.position; slice < p.slices; slice += at.ring) {
        const auto mail_turn = static_cast<uint32_t>(slice + 1);
        const int count = at.count(p, slice);
        float* const checkpoint =
            keeps ? p.checkpoints.at<false>((slice * p.batch + at.batch) * p.channels + at.first_channel, at.state)
                  : nullptr;
        float b[steps], c[steps];
#pragma unroll 1
        for (int strip = 0; strip < at.strips; ++strip) {
            const int channel = strip * strip_channels;  // of the block
            const TeamRows<T> arrived(at, lane, raw + rows_buffer * buffer_elements);
            wait_for_copies();
            __syncwarp();
            {
                float dt[4] = {0, 0, 0, 0}, x[4];
                if (given) arrived.read(2, strip, dt);
                make_steps(p, at, lane, count, softened, biases[channel + lane.channel], dt, totals);
                arrived.read(0, strip, x);
#pragma unroll
                for (int j = 0; j < 4; ++j) x[j] *= dt[j];
                store_four(own_strip, dt);
                store_four(own_strip + strip_floats, x);
            }
            at.barrier();
            if (strip % strips_of_rows == 0) {
                const bool last = strip + strips_of_rows >= at.strips;
                fetch_rows(last ? slice + at.ring : slice, last ? 0 : strip + strips_of_rows, rows_buffer ^ 1);
            }
            if (strip == 0) {
                const T* const from = matrices + at.segment * steps * states + at.state;
#pragma unroll
                for (int i = 0; i < steps; ++i) {
                    b[i] = load(from + i * states);
                    c[i] = load(from + i * states + matrix_elements);
                }
            }
#pragma unroll kUnroll
            for (int k = 0; k < strip_channels; ++k) {
                const float a = a_table[(channel + k) * states + at.state];
                const float* const dt_row = segment_strip + k * strip_pitch;
                const float* const x_row = dt_row + strip_floats;
                float so_far = exp2_approx(totals[k * segments + at.segment] * a);
                // The segment's end state from zero.
                float abar[steps], input[steps], h = 0;
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float dt[4], x[4];
                    load_four(dt_row + 4 * q, dt);
                    load_four(x_row + 4 * q, x);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        abar[i] = exp2_approx(dt[j] * a);
                        input[i] = b[i] * x[j];
                        h = i == 0 ? input[0] : fmaf(abar[i], h, input[i]);
                    }
                }
                join_segments<false, 1>(at.segment, h, so_far);
                join_segments<false, 2>(at.segment, h, so_far);
                const float slice_start = mail.receive(channel + k, mail_turn);
                h = fmaf(so_far, slice_start, h);
                if (at.segment == segments - 1) mail.send(h, channel + k, mail_turn + 1);
                if (keeps && at.segment == 0) checkpoint[(channel + k) * p.checkpoints.channel_stride] = slice_start;
                h = __shfl_up_sync(all_lanes, h, 4);
                h = at.segment == 0 ? slice_start : h;
                QuadSums<kExact> y;
#pragma unroll
                for (int q = 0; q < steps / 4; ++q) {
                    float v[4];
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        const int i = 4 * q + j;
                        h = fmaf(abar[i], h, input[i]);
                        v[j] = c[i] * h;
                    }
                    y.put(ones, q, v);
                }
                y.store(segment_sums + k * slice_steps);
            }
            at.barrier();
            if (strip == 0 && slice + at.ring < p.slices) fetch_matrices(p, at, slice + at.ring, matrices);
            {
                const float skip = skips[channel + lane.channel];
                float u[4], y[4];
                arrived.read(0, strip, u);
                add_parts(own_partial, y);
#pragma unroll
                for (int j = 0; j < 4; ++j) y[j] = fmaf(skip, u[j], y[j]);
                if (gated) {
                    float z[4];
                    arrived.read(1, strip, z);
#pragma unroll
                    for (int j = 0; j < 4; ++j) y[j] *= z[j] * sigmoid(z[j]);
                }
                arrived.write(0, strip, y);
            }
            if (strip % strips_of_rows + 1 == strips_of_rows) {
                __syncwarp();
                if (at.thread < count)
                    arrived.store(p.y, at.row(p, slice) + at.thread,
                                  at.first_channel + (strip + 1 - strips_of_rows) * strip_channels, 0);
                rows_buffer ^= 1;
            }
        }
    }
    cluster_barrier();  // nobody leaves while others may still write to its boxes
    if (p.state.data == nullptr || at.position != p.slices % at.ring) return;
    for (int channel = 0; channel < channels; ++channel) {
        const float x = mail.receive(channel, static_cast<uint32_t>(p.slices + 1));
        if (at.segment == 0) *p.state.at<false>(state_row + channel, at.state) = x;
    }
}

}  // namespace nigiri::cuda::scan::team
