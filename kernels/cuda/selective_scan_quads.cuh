// How the selective scan of sixteen real states with selective B and C is laid out on the device.
//
// Two warps, a team, have a slice of 64 steps of one sequence, eight states each, and go through the channels of their
// block one after the other. A lane has two states and a segment of 8 steps: lane = 4 * segment + state % 8 / 2. So
// four lanes, a quad, have the warp's states of a segment. A lane's B and C stay in registers for all channels, and so
// do its sums of dB and dC, while what is a sum over states (y, du, d delta) is added up in the lane, over a quad by a
// matrix product with ones, and over the two warps in shared memory. Two states are two recurrences that do not wait
// for each other, and read a step's numbers once.
//
// What only depends on channel and step (dt, the input, the gradient before the gate) is made for four channels at a
// time, a strip: a lane has 4 steps of one of them. In between the lanes read it by vectors of 4 steps.
//
// Slices go round the teams of a block or of a cluster as they do in selective_scan.cuh: from team to team a number per
// channel and state is handed on in mailboxes in shared memory.
#pragma once

#include "kernels/cuda/selective_scan_gradients.cuh"

namespace nigiri::cuda::scan::quads {

inline constexpr int states = 16, lane_states = 2, segments = 8, steps = slice_steps / segments;
inline constexpr int team_warps = 2, team_threads = 32 * team_warps;
inline constexpr int strip_channels = 4, most_strips = 8;
static_assert(segments * states == team_threads * lane_states && team_threads == slice_steps);

// Where a thread is. Of the operands `groups` is the number of strips and `rounds` that of teams.
struct Seat {
    int lane, half, team, thread, segment;
    int quad, state;  // the lane's place in its quad, its first state
    int position, ring, rank, block, first_channel, strips;
    int64_t batch;

    __device__ explicit Seat(const Operands& p) {
        lane = static_cast<int>(threadIdx.x) % 32;
        half = static_cast<int>(threadIdx.x) / 32 % team_warps;
        team = static_cast<int>(threadIdx.x) / team_threads;
        thread = static_cast<int>(threadIdx.x) % team_threads;
        segment = lane / 4;
        quad = lane % 4;
        state = lane_states * (4 * half + quad);
        rank = static_cast<int>(blockIdx.x) % p.span;
        position = rank * p.rounds + team;
        ring = p.rounds * p.span;
        const int column = static_cast<int>(blockIdx.x) / p.span;
        block = column % p.blocks;
        batch = column / p.blocks;
        first_channel = block * p.groups * strip_channels;
        strips = min(p.groups, (p.channels - first_channel) / strip_channels);
    }
    __device__ int64_t row(const Operands& p, int slice) const {
        return batch * p.length + int64_t{slice} * slice_steps;
    }
    __device__ int count(const Operands& p, int slice) const {
        return min(static_cast<int>(p.length) - slice * slice_steps, slice_steps);
    }
    __device__ void barrier() const { warps_barrier(1 + team, team_warps); }
    __device__ bool is_first() const { return segment == 0; }
    __device__ bool is_last() const { return segment == segments - 1; }
};

// The mailboxes, as in selective_scan.cuh: [channel][state] of every team.
class Mail {
  public:
    static __host__ __device__ int bytes(const Operands& p) {
        return static_cast<int>(sizeof(uint64_t)) * states * strip_channels * p.groups;
    }  // a team

    // `start(channel, state)` comes in at the first turn.
    template <class F>
    __device__ Mail(const Operands& p, const Seat& at, unsigned char* boxes, F&& start) {
        const int team_bytes = bytes(p);
        auto* const own = reinterpret_cast<uint64_t*>(boxes + at.team * team_bytes);
        for (int i = at.thread; i < team_bytes / static_cast<int>(sizeof(uint64_t)); i += team_threads)
            own[i] = at.position == 0 ? word_of(start(i / states, i % states), 1) : 0;
        const bool last = at.team + 1 == p.rounds;
        const auto offset = static_cast<uint32_t>(at.state * static_cast<int>(sizeof(uint64_t)));
        far_ = last && p.span > 1;
        inbox_ = shared_address(own) + offset;
        outbox_ = shared_address(boxes + (last ? 0 : at.team + 1) * team_bytes) + offset;
        if (far_) outbox_ = cluster_address(outbox_, static_cast<uint32_t>((at.rank + 1) % p.span));
    }
    // Has a look at what is for `channel`, some time before it is needed.
    struct Letter {
        uint64_t first, second;
    };
    __device__ Letter look(int channel) const {
        Letter letter;
        read_boxes(inbox_ + static_cast<uint32_t>(channel * channel_bytes), letter.first, letter.second);
        return letter;
    }
    __device__ void receive(Letter letter, int channel, uint32_t turn, float (&x)[lane_states]) const {
        while (!__all_sync(all_lanes, is_of(letter.first, turn) && is_of(letter.second, turn))) letter = look(channel);
        x[0] = __uint_as_float(static_cast<uint32_t>(letter.first));
        x[1] = __uint_as_float(static_cast<uint32_t>(letter.second));
    }
    // Without a branch, so that what follows can begin before.
    __device__ void send(bool ours, const float (&x)[lane_states], int channel, uint32_t turn) const {
        const uint32_t to = outbox_ + static_cast<uint32_t>(channel * channel_bytes);
        write_boxes_if(ours && !far_, ours && far_, to, word_of(x[0], turn), word_of(x[1], turn));
    }

  private:
    static constexpr int channel_bytes = states * static_cast<int>(sizeof(uint64_t));
    __device__ static uint64_t word_of(float x, uint32_t turn) {
        return static_cast<uint64_t>(turn) << 32 | __float_as_uint(x);
    }
    __device__ static bool is_of(uint64_t word, uint32_t turn) { return static_cast<uint32_t>(word >> 32) == turn; }
    uint32_t inbox_, outbox_;
    bool far_;
};

// Four neighbouring numbers, as they are in memory.
template <class T>
__device__ inline void load_four(const T* from, float (&v)[4]) {
    const float4 x = load_vector(from);
    v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
}
__device__ inline void store_four(float* to, const float (&v)[4]) {
    *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}

// A strip's numbers and sums over states: [channel][step], read and written as vectors of 4 steps by lanes of all
// segments. A gap puts these into banks of their own.
__host__ __device__ constexpr int place_of(int step) { return step + step / 32 * 4; }
inline constexpr int strip_pitch = slice_steps + 4, strip_floats = strip_channels * strip_pitch;

// A lane as one of the strip: its channel and the first of its 4 steps.
struct StripLane {
    int order, channel, step;
    __device__ explicit StripLane(const Seat& at)
        : order(at.lane % 8), channel(at.lane / 8), step(32 * at.half + 4 * (at.lane % 8)) {}
    __device__ int place() const { return channel * strip_pitch + place_of(step); }
};

// Rows of u, z, dy and delta come by 16 bytes, thread = step, and only the warp that brought a row reads it. Where a
// strip's numbers are made or used up, a lane has 4 steps of a channel: a gap after 8 rows puts these into banks of
// their own.
template <class T>
inline constexpr int raw_channels = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int raw_elements = slice_steps / 8 * 9 * raw_channels<T>;

// Where the block's channels of a sequence begin, and the bytes from row to row. A table of these is in shared memory:
// it takes many instructions to make one, and registers to keep them.
struct alignas(16) Sequence {
    unsigned char* first;
    int pitch;

    template <class T>
    __device__ static Sequence of(const Rows& rows, const Operands& p, int64_t batch, int first_channel) {
        return {reinterpret_cast<unsigned char*>(rows.row<T>(batch * p.length) + first_channel),
                rows.stride * static_cast<int>(sizeof(T))};
    }
};
template <class T>
__device__ inline T* row_of(const Sequence& sequence, int i, int element) {
    return reinterpret_cast<T*>(sequence.first + static_cast<int64_t>(i) * sequence.pitch) + element;
}

// The team's rows in shared memory.
template <class T>
class SharedRows {
  public:
    static constexpr int strips = raw_channels<T> / strip_channels;  // in 16 bytes

    __device__ SharedRows(const Seat& at, const StripLane& lane, T* raw)
        : row_(raw + (at.thread + at.thread / 8) * raw_channels<T>),
          steps_(raw + (lane.step + lane.step / 8) * raw_channels<T> + lane.channel) {}
    // Brings the thread's row from `from` on, or zeros.
    __device__ void fetch(const T* from, int array, bool exists) const {
        copy_ahead<16>(shared_address(row_ + array * raw_elements<T>), from, exists);
    }
    __device__ void store(T* to, int array) const {
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(row_ + array * raw_elements<T>);
    }
    // The 4 steps of the lane's channel in a strip.
    __device__ void read(int array, int strip, float (&v)[4]) const {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = load(at(array, strip, j));
    }
    __device__ void write(int array, int strip, const float (&v)[4]) const {
#pragma unroll
        for (int j = 0; j < 4; ++j) cuda::store(at(array, strip, j), v[j]);
    }

  private:
    __device__ T* at(int array, int strip, int j) const {
        return steps_ + array * raw_elements<T> + strip % strips * strip_channels + j * raw_channels<T>;
    }
    T *row_, *steps_;
};

// Selective B and C of a slice: 64 rows of B, then 64 of C, with a gap after each segment.
inline constexpr int matrix_segment = steps * states + 8, matrix_elements = segments * matrix_segment;
template <class T>
__device__ inline void fetch_matrices(const Operands& p, const Seat& at, int slice, T* to) {
    const int count = at.count(p, slice);
    const int64_t row = at.row(p, slice);
    constexpr int vectors = states / 4;
#pragma unroll
    for (int i = 0; i < vectors; ++i) {
        const int step = (at.thread + i * team_threads) / vectors, column = at.thread % vectors * 4;
        const bool exists = step < count;
        const int64_t from = row + (exists ? step : 0);
        const uint32_t shared = shared_address(to + step * states + step / steps * 8 + column);
        copy_ahead<4 * sizeof(T)>(shared, p.b.row<T>(from) + column, exists);
        copy_ahead<4 * sizeof(T)>(shared + matrix_elements * sizeof(T), p.c.row<T>(from) + column, exists);
    }
}
__device__ inline void load_two(const float* from, float (&v)[2]) {
    const float2 x = *reinterpret_cast<const float2*>(from);
    v[0] = x.x, v[1] = x.y;
}
__device__ inline void load_two(const bf16* from, float (&v)[2]) {
    const float2 x = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(from));
    v[0] = x.x, v[1] = x.y;
}
__device__ inline void store_two(float* to, const float (&v)[2]) {
    *reinterpret_cast<float2*>(to) = make_float2(v[0], v[1]);
}
// A lane's part of them.
template <class T>
__device__ inline void read_matrices(const Seat& at, const T* matrices, float (&b)[steps][lane_states],
                                     float (&c)[steps][lane_states]) {
    const T* const from = matrices + at.segment * matrix_segment + at.state;
#pragma unroll
    for (int i = 0; i < steps; ++i) {
        load_two(from + i * states, b[i]);
        load_two(from + i * states + matrix_elements, c[i]);
    }
}

// dt of 4 steps from what is in delta's place, its slope in delta, and the sum over their segment to `totals`.
__device__ inline void make_steps(const StripLane& lane, int count, bool softened, float bias, float (&dt)[4],
                                  float (&slope)[4], float* totals) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const float x = dt[j] + bias;
        if (softened) {
            const float e = exp2_approx(-fabsf(x) * log2_e);
            dt[j] = softplus(x, e);
            slope[j] = inverse_approx(1.0f + e) * (x >= 0 ? 1.0f : e);
        } else {
            dt[j] = x;
            slope[j] = 1;
        }
        dt[j] = lane.step + j < count ? dt[j] : 0.0f;  // Abar is 1 behind the end, and nothing comes in
    }
    float total = (dt[0] + dt[1]) + (dt[2] + dt[3]);
    total += __shfl_xor_sync(all_lanes, total, 1);
    if (lane.order % 2 == 0) totals[lane.channel * segments + lane.step / steps] = total;
}

// Sums over the 4 lanes of a quad for 4 steps. In the layout of mma.m16n8k8 these hold 4 columns of a row of A twice,
// so a B with ones for the first four in even columns and for the others in odd ones leaves the sums in all lanes of
// the quad. tf32 leaves out bits: 4e-4 of a term on average, a fourth of what a bf16 result loses; where kExact these
// are added up too.
struct Ones {
    float even, odd;
    __device__ explicit Ones(int lane) : even(lane / 4 % 2 == 0 ? 1.0f : 0.0f), odd(1.0f - even) {}
};
template <bool kExact>
__device__ inline void store_quad_sums(const Ones& ones, const float (&v)[4], bool ours, float* to) {
    const float rows[4] = {v[0], v[2], v[1], v[3]};  // then the sums come in order
    float sum[4] = {0, 0, 0, 0};
    mma_tf32(sum, rows, ones.even, ones.odd);
    if constexpr (kExact) {
        float rest[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) rest[i] = rows[i] - __uint_as_float(__float_as_uint(rows[i]) & 0xffffe000u);
        mma_tf32(sum, rest, ones.even, ones.odd);
    }
    if (ours) store_four(to, sum);
}

// What both warps have added up over their states.
__device__ inline void load_sums(const float* from, float (&v)[4]) {
    float other[4];
    load_four(from, v);
    load_four(from + strip_floats, other);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] += other[j];
}

// Scans over a slice's segments, one forwards and one backwards: what a segment adds to a state becomes what the slice
// has added so far. Decays of zero where there is no segment to come from keep them free of branches. Shuffles stay in
// the order that they are written in, so those that do not wait for each other stand together.
template <bool kReverse>
__device__ inline float from_segment(float x, int distance) {
    return kReverse ? __shfl_down_sync(all_lanes, x, 4 * distance) : __shfl_up_sync(all_lanes, x, 4 * distance);
}
template <bool kReverse>
class Scan {
  public:
    __device__ Scan(const Seat& at, const float (&decay)[lane_states]) {
#pragma unroll
        for (int s = 0; s < lane_states; ++s) decay_[s] = (kReverse ? at.is_last() : at.is_first()) ? 0.0f : decay[s];
    }
    __device__ void shift(const float (&end)[lane_states], int distance) {
#pragma unroll
        for (int s = 0; s < lane_states; ++s) from_[s] = from_segment<kReverse>(end[s], distance);
        if (distance < segments / 2) {
#pragma unroll
            for (int s = 0; s < lane_states; ++s) decay_from_[s] = from_segment<kReverse>(decay_[s], distance);
        }
    }
    __device__ void join(float (&end)[lane_states]) {
#pragma unroll
        for (int s = 0; s < lane_states; ++s) {
            end[s] = fmaf(decay_[s], from_[s], end[s]);
            decay_[s] *= decay_from_[s];
        }
    }

  private:
    float decay_[lane_states], from_[lane_states], decay_from_[lane_states];
};

}  // namespace nigiri::cuda::scan::quads
