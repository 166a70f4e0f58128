// How the selective scan of sixteen real states with selective B and C is laid out on the device.
//
// Two warps, a team, have a slice of 64 steps of one sequence, and go through the channels of their block one after the
// other. A lane has one state and a segment of 16 steps: lane = 16 * (state / 4 % 2) + 4 * segment + state % 4, and the
// warp has states 0 to 7 or 8 to 15. So a lane's B and C stay in registers for all channels, and so do its sums of dB
// and dC, while what is a sum over states (y, du, d delta) is added up over the 4 lanes of a quad by a matrix product
// with ones, over the 4 quads of a segment in shared memory.
//
// What only depends on channel and step (dt, the input, the gradient before the gate) is made for four channels at a
// time, a strip: a lane has 4 steps of one of them. In between the lanes read it by vectors of 4 steps.
//
// A warp works on some channels at once: one alone is a chain of shuffles and multiply-adds that each wait for the one
// before, and there are too few warps to fill the gaps.
//
// Slices go round the teams of a block or of a cluster as they do in selective_scan.cuh: from team to team a number per
// channel and state is handed on in mailboxes in shared memory.
#pragma once

#include "kernels/cuda/selective_scan_gradients.cuh"

namespace nigiri::cuda::scan::team {

inline constexpr int states = 16, team_warps = 2, team_threads = 32 * team_warps, warp_states = states / team_warps;
inline constexpr int strip_channels = 4, most_strips = 8;
static_assert(team_threads == slice_steps && warp_states == 8);

// Where a thread is. Of the operands `groups` is the number of strips and `rounds` that of teams.
struct Seat {
    int lane, half, team, thread;
    int segment, state, quad;  // quad: of the four vectors of a segment the one whose sums the lane gets
    int part;                  // which fourth of the states
    int position, ring, rank, block, first_channel, strips;
    int64_t batch;

    __device__ explicit Seat(const Operands& p) {
        lane = static_cast<int>(threadIdx.x) % 32;
        half = static_cast<int>(threadIdx.x) / 32 % team_warps;
        team = static_cast<int>(threadIdx.x) / team_threads;
        thread = static_cast<int>(threadIdx.x) % team_threads;
        quad = lane % 4;
        segment = lane / 4 % 4;
        part = team_warps * half + lane / 16;
        state = 4 * part + quad;
        rank = static_cast<int>(blockIdx.x) % p.span;
        position = rank * p.rounds + team;
        ring = p.rounds * p.span;
        const int column = static_cast<int>(blockIdx.x) / p.span;
        block = column % p.blocks;
        batch = column / p.blocks;
        first_channel = block * p.groups * strip_channels;
        strips = min(p.groups, (p.channels - first_channel) / strip_channels);
    }
    __device__ int64_t row(const Operands& p, int64_t slice) const { return batch * p.length + slice * slice_steps; }
    __device__ int count(const Operands& p, int64_t slice) const {
        const int64_t left = p.length - slice * slice_steps;
        return left < slice_steps ? static_cast<int>(left) : slice_steps;
    }
    __device__ void barrier() const { warps_barrier(1 + team, team_warps); }
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
    // Of `channel` and those behind it.
    template <int kCount>
    __device__ void receive(int channel, uint32_t turn, float (&x)[kCount]) const {
        const uint32_t from = inbox_ + static_cast<uint32_t>(channel * channel_bytes);
        uint64_t words[kCount];
        bool came;
        do {
            came = true;
#pragma unroll
            for (int m = 0; m < kCount; ++m) {
                words[m] = read_box(from + static_cast<uint32_t>(m * channel_bytes));
                came = came && static_cast<uint32_t>(words[m] >> 32) == turn;
            }
        } while (!__all_sync(all_lanes, came));
#pragma unroll
        for (int m = 0; m < kCount; ++m) x[m] = __uint_as_float(static_cast<uint32_t>(words[m]));
    }
    // Without a branch, so that what follows can begin before.
    __device__ void send(bool ours, float x, int channel, uint32_t turn) const {
        const uint32_t to = outbox_ + static_cast<uint32_t>(channel * channel_bytes);
        write_box_if(ours && !far_, ours && far_, to, word_of(x, turn));
    }

  private:
    static constexpr int channel_bytes = states * static_cast<int>(sizeof(uint64_t));
    __device__ static uint64_t word_of(float x, uint32_t turn) {
        return static_cast<uint64_t>(turn) << 32 | __float_as_uint(x);
    }
    uint32_t inbox_, outbox_;
    bool far_;
};

// A strip's numbers are read and partial sums written as vectors of 4 steps by lanes of 4 segments and 2 parts: gaps
// put these into banks of their own.
__host__ __device__ constexpr int place_of(int step) { return step + step / 32 * 4; }
inline constexpr int strip_pitch = slice_steps + 4, strip_floats = strip_channels * strip_pitch;

// Partial sums over states: [part][channel][step].
inline constexpr int part_floats = strip_floats + 24, parts = 4, partial_floats = parts * part_floats;
static_assert(part_floats % 32 == 8);

// Four neighbouring numbers, as they are in memory.
template <class T>
__device__ inline void load_four(const T* from, float (&v)[4]) {
    const float4 x = load_vector(from);
    v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
}
__device__ inline void store_four(float* to, const float (&v)[4]) {
    *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ inline uint32_t bf16_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
}
__device__ inline void store_four(bf16* to, const float (&v)[4]) {
    *reinterpret_cast<uint2*>(to) = make_uint2(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]));
}

// Rows of u, z, dy and delta come by 16 bytes, thread = step, and only the warp that brought a row reads it. Where a
// strip's numbers are made or used up, a lane has 4 steps of a channel: a gap after 8 rows puts these into banks of
// their own.
template <class T>
inline constexpr int raw_channels = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int raw_elements = slice_steps / 8 * 9 * raw_channels<T>;

// A lane as one of the strip: its channel and the first of its 4 steps.
struct StripLane {
    int order, channel, step;
    __device__ explicit StripLane(const Seat& at)
        : order(at.lane % 8), channel(at.lane / 8), step(32 * at.half + 4 * (at.lane % 8)) {}
    __device__ int place() const { return channel * strip_pitch + place_of(step); }
};

// The team's rows in shared memory.
template <class T>
class TeamRows {
  public:
    static constexpr int strips = raw_channels<T> / strip_channels;  // in 16 bytes
    enum Array : int { array_u = 0, array_z = 2, array_delta = 4, array_dy = 6, row_arrays };  // two buffers of most

    __device__ TeamRows(const Seat& at, const StripLane& lane, T* raw)
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

// Where the block's channels of a sequence begin, and a row there.
template <class T>
struct Sequence {
    T* first;
    int stride;
    __device__ Sequence(const Rows& rows, const Operands& p, const Seat& at)
        : first(rows.row<T>(at.batch * p.length) + at.first_channel), stride(rows.stride) {}
    __device__ T* row(int i) const { return first + static_cast<int64_t>(i) * stride; }
};

// Selective B and C of a slice: 64 rows of B, then 64 of C, with a gap after each segment.
inline constexpr int matrix_segment = steps * states + 8, matrix_elements = segments * matrix_segment;
template <class T>
__device__ inline void fetch_matrices(const Operands& p, const Seat& at, int64_t slice, T* to) {
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
// A lane's part of them.
template <class T>
__device__ inline void read_matrices(const Seat& at, const T* matrices, float (&b)[steps], float (&c)[steps]) {
    const T* const from = matrices + at.segment * matrix_segment + at.state;
#pragma unroll
    for (int i = 0; i < steps; ++i) {
        b[i] = load(from + i * states);
        c[i] = load(from + i * states + matrix_elements);
    }
}

// What the lanes need of a strip's steps: dt of the lane's four with its slope in delta, and its segment's sum to
// `totals`.
__device__ inline void make_steps(const Seat& at, const StripLane& lane, int count, bool softened, float bias,
                                  float (&dt)[4], float (&slope)[4], float* totals) {
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
    total += __shfl_xor_sync(all_lanes, total, 2);
    if (lane.order % 4 == 0) totals[lane.channel * segments + lane.step / steps] = total;
}

// A quantity's sum over states.
__device__ inline void add_parts(const float* from, float (&v)[4]) {
    float s[parts][4];
#pragma unroll
    for (int i = 0; i < parts; ++i) load_four(from + i * part_floats, s[i]);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = (s[0][j] + s[1][j]) + (s[2][j] + s[3][j]);
}

// Sums over the 4 lanes of a quad, which are 4 states, for 4 steps. In the layout of mma.m16n8k8 the lanes of a quad
// hold 4 columns of a row of A twice, so a B with ones for the first four in even columns and for the others in odd ones
// leaves the sums in all lanes of the quad; the lane of this vector of steps stores them. tf32 leaves out bits: 4e-4 of a
// term on average, a fourth of what a bf16 result loses; where kExact these are added up too.
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

// Scans over a slice's segments: what they add to a state becomes what the slice has added so far. A decay of zero
// where there is no segment before (after, for `backward`) keeps them free of branches. Shuffles stay in the order that
// they are written in, so those that do not wait for each other stand together.
template <bool kReverse, int kCount>
__device__ inline void shift(int distance, const float (&from)[kCount], float (&to)[kCount]) {
#pragma unroll
    for (int m = 0; m < kCount; ++m)
        to[m] = kReverse ? __shfl_down_sync(all_lanes, from[m], 4 * distance)
                         : __shfl_up_sync(all_lanes, from[m], 4 * distance);
}
template <int kCount>
__device__ inline void add_decayed(const float (&decay)[kCount], const float (&x)[kCount], float (&end)[kCount]) {
#pragma unroll
    for (int m = 0; m < kCount; ++m) end[m] = fmaf(decay[m], x[m], end[m]);
}

}  // namespace nigiri::cuda::scan::team
