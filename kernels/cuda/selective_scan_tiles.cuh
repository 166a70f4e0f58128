// Where the selective scan's warps are and what they bring to shared memory.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/selective_scan_math.cuh"

namespace nigiri::cuda::scan {

inline constexpr int lane_channels = 8, segments = 4, steps = 16, slice_steps = segments * steps;
static_assert(slice_steps == selective_scan_checkpoint_every);
inline constexpr unsigned all_lanes = 0xffffffffu;

// Rows of activations, `stride` elements apart. Copies of `vector` bytes (16, 8, 4; 0: only elements) are
// aligned.
struct Rows {
    void* data = nullptr;
    int stride = 0, vector = 0;

    template <class T>
    __device__ T* row(int64_t i) const {
        return static_cast<T*>(data) + i * stride;
    }
};

// Numbers of a parameter, a state or checkpoints, always float32. A complex state is two numbers.
struct States {
    float* data = nullptr;
    int64_t channel_stride = 0, state_stride = 0;

    template <bool kComplex>
    __device__ float* at(int64_t channel, int number) const {
        if constexpr (kComplex) return data + channel * channel_stride + (number >> 1) * state_stride + (number & 1);
        return data + channel * channel_stride + number;
    }
};

struct Operands {
    int64_t batch, length, slices;
    int channels, numbers;
    int padded;  // numbers, made even: two are worked on at a time, and those that do not exist are zero
    bool softplus, selective_b, selective_c;
    Rows u, delta, z, b, c;
    States a, constant_b, constant_c;
    const float *delta_bias, *skip;
    // The launch: a block has groups * rounds warps, a cluster `span` blocks; `blocks` of 8 * groups
    // channels.
    int groups, rounds, span, blocks;
};

// What a kernel is made for: any mixture of selective and constant B and C, both selective, or both constant.
enum class Mix : uint8_t { any, selective, constant };
template <Mix kMix>
__device__ inline bool is_selective(bool selective) {
    return kMix == Mix::any ? selective : kMix == Mix::selective;
}

// Where a warp and its lanes are.
struct Place {
    int lane, segment, channel_lane, warp, group, round, rank;
    int position, ring;  // in the ring, and its size
    int64_t batch;
    int block, channel;
    bool inside;  // whether there is such a channel

    __device__ explicit Place(const Operands& p) {
        lane = static_cast<int>(threadIdx.x) % 32;
        warp = static_cast<int>(threadIdx.x) / 32;
        segment = lane / lane_channels;
        channel_lane = lane % lane_channels;
        group = warp % p.groups;
        round = warp / p.groups;
        rank = static_cast<int>(blockIdx.x) % p.span;
        position = rank * p.rounds + round;
        ring = p.rounds * p.span;
        const int column = static_cast<int>(blockIdx.x) / p.span;
        block = column % p.blocks;
        batch = column / p.blocks;
        channel = (block * p.groups + group) * lane_channels + channel_lane;
        inside = channel < p.channels;
    }
    __device__ int warp_channel() const { return channel - channel_lane; }
    // The row of the slice's first step.
    __device__ int64_t row(const Operands& p, int64_t slice) const { return batch * p.length + slice * slice_steps; }
    // How many of the slice's steps there are.
    __device__ int count(const Operands& p, int64_t slice) const {
        const int64_t left = p.length - slice * slice_steps;
        return left < slice_steps ? static_cast<int>(left) : slice_steps;
    }
    // Waits for the warps that have the same slice.
    __device__ void group_barrier(const Operands& p) const {
        p.groups > 1 ? warps_barrier(1 + round, p.groups) : __syncwarp();
    }
};

// Eight columns of a slice's rows go to shared memory, a segment to every `pitch` elements; zeros behind
// `count` steps and `columns` columns. This is the way for rows that cannot be copied by vectors, or have
// fewer columns.
inline constexpr int copied_columns = 8;
static_assert(lane_channels == copied_columns);

template <class T>
__device__ __noinline__ void copy_elements(const T* from, int stride, int count, int columns, T* to, int pitch,
                                           int thread, int threads) {
    for (int i = thread; i < slice_steps * copied_columns; i += threads) {
        const int step = i / copied_columns, c = i % copied_columns;
        to[step / steps * pitch + step % steps * copied_columns + c] =
            step < count && c < columns ? from[int64_t{step} * stride + c] : static_cast<T>(0.0f);
    }
}

// A warp's 8 columns of a slice. Segments are padded so that the 4 of them lie in different banks.
template <class T>
struct Columns {
    static constexpr int segment_pitch = steps * lane_channels + lane_channels;
    static constexpr int elements = segments * segment_pitch;
    static constexpr size_t bytes = elements * sizeof(T);

    __device__ static void fetch(const Operands& p, const Place& at, const Rows& rows, int64_t slice, T* to) {
        const T* const from = rows.row<T>(at.row(p, slice)) + at.warp_channel();
        const int count = at.count(p, slice), columns = p.channels - at.warp_channel();
        if (rows.vector < 16 || columns < lane_channels)
            return copy_elements(from, rows.stride, count, columns, to, segment_pitch, at.lane, 32);
        constexpr int vector = 16 / sizeof(T), per_row = lane_channels / vector, height = 32 / per_row;
        static_assert(height % steps == 0);
        const int step = at.lane / per_row, c = at.lane % per_row * vector;
        const T* const mine = from + (step * rows.stride + c);
        const uint32_t shared = shared_address(to + (step / steps * segment_pitch + step % steps * lane_channels + c));
#pragma unroll
        for (int i = 0; i < slice_steps; i += height)
            copy_ahead<16>(shared + i / steps * segment_pitch * sizeof(T), mine + int64_t{i} * rows.stride,
                           step + i < count);
    }
    __device__ static void read(const Place& at, const T* from, float (&v)[steps]) {
        const T* const first = from + (at.segment * segment_pitch + at.channel_lane);
#pragma unroll
        for (int i = 0; i < steps; ++i) v[i] = load(first + i * lane_channels);
    }
};

// The lane's 16 steps to a column of rows; `count` steps of the slice exist.
template <class T>
__device__ inline void store_steps(const Operands& p, const Place& at, const Rows& rows, int64_t slice,
                                   const float (&v)[steps]) {
    if (!at.inside) return;
    const int count = at.count(p, slice) - at.segment * steps;
    T* to = rows.row<T>(at.row(p, slice) + at.segment * steps) + at.channel;
    if (count >= steps) {
#pragma unroll
        for (int i = 0; i < steps; ++i, to += rows.stride) store(to, v[i]);
    } else {
#pragma unroll
        for (int i = 0; i < steps; ++i, to += rows.stride)
            if (i < count) store(to, v[i]);
    }
}

// dt of the lane's steps, from delta (anything, where there is none). Zero where there is no step: then Abar
// is 1, and nothing comes in.
__device__ inline void make_dt(const Operands& p, const Place& at, int64_t slice, float (&dt)[steps]) {
    const float bias = p.delta_bias != nullptr && at.inside ? p.delta_bias[at.channel] : 0.0f;
    const bool given = p.delta.data != nullptr;
#pragma unroll
    for (int i = 0; i < steps; ++i) dt[i] = given ? dt[i] + bias : bias;
    if (p.softplus) {
#pragma unroll
        for (int i = 0; i < steps; ++i) dt[i] = softplus(dt[i]);
    }
    const int count = at.inside ? at.count(p, slice) - at.segment * steps : 0;
    if (count < steps) {
#pragma unroll
        for (int i = 0; i < steps; ++i) dt[i] = i < count ? dt[i] : 0.0f;
    }
}

template <bool kComplex>
__device__ inline Number<kComplex> load_number(const float* table, int number, int channel_lane) {
    const float* from = table + (number * lane_channels + channel_lane);
    if constexpr (kComplex)
        return {from[0], from[lane_channels]};
    else
        return {from[0]};
}

// Four neighbours at once.
__device__ inline float4 load_vector(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline float4 load_vector(const bf16* p) {
    const uint2 w = *reinterpret_cast<const uint2*>(p);
    return {__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u), __uint_as_float(w.y << 16),
            __uint_as_float(w.y & 0xffff0000u)};
}

// A, B and C as the lanes read them. The warps of a group share the selective ones, of which `tile_numbers`
// numbers and a slice at a time are brought to shared memory as they lie, and there are turned to one row of
// steps per number. Rows are padded so that the 4 segments' vectors of 4 steps lie in different banks. Of A
// and of constant matrices a group has all numbers, [number][channel].
inline constexpr int tile_numbers = copied_columns;

template <class T, bool kComplex, Mix kMix>
class Matrices {
  public:
    static constexpr int segment_pitch = steps + 4, pitch = segments * segment_pitch + 4;
    static constexpr int tile_floats = tile_numbers * pitch, raw_elements = slice_steps * tile_numbers;

    // Bytes of shared memory, for the warps of a slice and for a group's channels.
    static __host__ __device__ size_t round_bytes(const Operands& p) {
        return p.selective_b || p.selective_c ? 2 * (raw_elements * sizeof(T) + tile_floats * sizeof(float)) : 0;
    }
    static __host__ __device__ size_t table_bytes(const Operands& p) {
        return sizeof(float) * lane_channels * p.padded * (1 + !p.selective_b + !p.selective_c);
    }

    // Fills the tables too; a barrier of the whole block has to follow.
    __device__ Matrices(const Operands& p, const Place& at, unsigned char* rounds, unsigned char* tables)
        : selective_b_(is_selective<kMix>(p.selective_b)),
          selective_c_(is_selective<kMix>(p.selective_c)),
          segment_(at.segment),
          channel_lane_(at.channel_lane) {
        tile_ = reinterpret_cast<float*>(rounds + round_bytes(p) * at.round);
        raw_ = reinterpret_cast<T*>(tile_ + 2 * tile_floats);
        a_ = reinterpret_cast<float*>(tables + table_bytes(p) * at.group);
        b_ = a_ + p.padded * lane_channels;
        c_ = selective_b_ ? b_ : b_ + p.padded * lane_channels;
        fill(p, at, p.a, a_);
        if (!selective_b_) fill(p, at, p.constant_b, b_);
        if (!selective_c_) fill(p, at, p.constant_c, c_);
    }

    __device__ bool any_selective() const { return selective_b_ || selective_c_; }

    // Starts bringing numbers [first, first + tile_numbers) of the slice.
    __device__ void fetch(const Operands& p, const Place& at, int64_t slice, int first) {
        fetch(p, at, selective_b_, p.b, slice, first, raw_);
        fetch(p, at, selective_c_, p.c, slice, first, raw_ + raw_elements);
    }
    // Turns them, when the copies have come: a thread has 4 steps of 4 numbers.
    __device__ void turn(const Operands& p, const Place& at) {
        const int share = max(1, 64 / p.groups);
        for (int i = at.group * share + at.lane; i < min(64, (at.group + 1) * share); i += 32) {
            const bool is_c = i >= 32;
            if (!(is_c ? selective_c_ : selective_b_)) continue;
            const int number = i % 2 * 4, step = i / 2 % 16 * 4;
            const T* from = raw_ + ((is_c ? raw_elements : 0) + step * tile_numbers + number);
            float4 v[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) v[j] = load_vector(from + j * tile_numbers);
            float* to =
                tile_ + ((is_c ? tile_floats : 0) + number * pitch + step / steps * segment_pitch + step % steps);
            *reinterpret_cast<float4*>(to) = {v[0].x, v[1].x, v[2].x, v[3].x};
            *reinterpret_cast<float4*>(to + pitch) = {v[0].y, v[1].y, v[2].y, v[3].y};
            *reinterpret_cast<float4*>(to + 2 * pitch) = {v[0].z, v[1].z, v[2].z, v[3].z};
            *reinterpret_cast<float4*>(to + 3 * pitch) = {v[0].w, v[1].w, v[2].w, v[3].w};
        }
    }

    // For the state with the numbers from `first + number` on, where `first` is the tile's.
    __device__ Number<kComplex> a(int first, int number) const {
        return load_number<kComplex>(a_, first + number, channel_lane_);
    }
    // Of steps 4 q to 4 q + 3.
    __device__ void b(int first, int number, int q, Number<kComplex> (&v)[4]) const {
        get(selective_b_, tile_, b_, first, number, q, v);
    }
    __device__ void c(int first, int number, int q, Number<kComplex> (&v)[4]) const {
        get(selective_c_, tile_ + tile_floats, c_, first, number, q, v);
    }

  private:
    __device__ static void fetch(const Operands& p, const Place& at, bool selective, const Rows& rows, int64_t slice,
                                 int first, T* to) {
        if (!selective) return;
        const T* const from = rows.row<T>(at.row(p, slice)) + first;
        const int count = at.count(p, slice), numbers = p.numbers - first;
        if (rows.vector < 8 || numbers < tile_numbers)
            return copy_elements(from, rows.stride, count, numbers, to, steps * tile_numbers, at.group * 32 + at.lane,
                                 32 * p.groups);
        constexpr int vector = 8 / sizeof(T), per_row = tile_numbers / vector, height = 32 / per_row;
        const int column = at.lane % per_row * vector;
        for (int step = at.group * height + at.lane / per_row; step < slice_steps; step += height * p.groups)
            copy_ahead<8>(shared_address(to + (step * tile_numbers + column)),
                          from + (int64_t{step} * rows.stride + column), step < count);
    }
    __device__ static void fill(const Operands& p, const Place& at, const States& values, float* to) {
        for (int i = at.round * 32 + at.lane; i < p.padded * lane_channels; i += 32 * p.rounds) {
            const int channel = at.warp_channel() + i % lane_channels;
            const bool exists = channel < p.channels && i / lane_channels < p.numbers;
            to[i] = exists ? *values.at<kComplex>(channel, i / lane_channels) : 0.0f;
        }
    }
    __device__ void get(bool selective, const float* tile, const float* table, int first, int number, int q,
                        Number<kComplex> (&v)[4]) const {
        if (selective) {
            const float* from = tile + (number * pitch + segment_ * segment_pitch + 4 * q);
            const float4 re = *reinterpret_cast<const float4*>(from);
            v[0].re = re.x, v[1].re = re.y, v[2].re = re.z, v[3].re = re.w;
            if constexpr (kComplex) {
                const float4 im = *reinterpret_cast<const float4*>(from + pitch);
                v[0].im = im.x, v[1].im = im.y, v[2].im = im.z, v[3].im = im.w;
            }
        } else {
            v[0] = v[1] = v[2] = v[3] = load_number<kComplex>(table, first + number, channel_lane_);
        }
    }

    bool selective_b_, selective_c_;
    int segment_, channel_lane_;
    float *tile_, *a_, *b_, *c_;
    T* raw_;
};

}  // namespace nigiri::cuda::scan
