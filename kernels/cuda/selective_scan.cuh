// How the selective scan is laid out on the device; both passes share it.
//
// A warp takes 8 channels and a slice of 64 steps: lane = 8 * segment + channel, and each of the 4 segments
// is 16 steps that a lane keeps in registers (dt, input, output). States are then worked on one after the
// other:
//   1. Abar of the lane's 16 steps, once. These exponentials are what bounds the pass: 16 a clock and
//   multiprocessor.
//   2. The segment's end state from a zero start (one fused multiply-add a step) and its decay.
//   3. The 4 segments are combined by shuffles; the state at the slice's start comes from the warp that has
//   the slice
//      before, and the state at its end goes to the warp that has the next one.
//   4. The steps once more from the true start, now with the output.
// So nothing is computed twice but the multiply-add of step 2, any number of states works, and a sequence
// keeps as many warps busy as there are in its ring: slices go round the warps of a block, or of a cluster of
// blocks, and what is handed on is one number per state and channel in a mailbox in shared memory. A warp
// never waits for more than its predecessor, and mailboxes are only written again when the ring has gone
// round, which cannot happen before they were read: whoever writes box (warp, state) again has the state that
// the reader of that box passed on. The backward pass has the same ring running from the end to the start,
// and checkpoints (the states at the starts of slices) for the forward direction.
//
// `groups` warps of a block have neighbouring channels and the same slice, so that they share sectors and
// lines of u, B and C in L1, and add up their shares of dB and dC.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/selective_scan_math.cuh"

namespace nigiri::cuda::scan {

inline constexpr int lane_channels = 8, segments = 4, steps = 16, slice_steps = segments * steps;
static_assert(slice_steps == selective_scan_checkpoint_every);
inline constexpr unsigned all_lanes = 0xffffffffu;

// B and C are brought to shared memory for this many numbers (a complex state has two) and a slice at a time,
// transposed. Segments are padded so that the 4 segments' vectors lie in different banks; a number's row then
// is `tile_pitch` long.
inline constexpr int tile_numbers = 8, segment_pitch = steps + 4, tile_pitch = segments * segment_pitch + 4;
inline constexpr int tile_floats = tile_numbers * tile_pitch;
inline constexpr int channel_tile_floats = tile_numbers * lane_channels;  // a value per number and channel

// Rows of activations, `stride` elements apart.
struct Rows {
    void* data = nullptr;
    int64_t stride = 0;
};

// Numbers of a parameter, a state or checkpoints, always float32.
struct States {
    float* data = nullptr;
    int64_t channel_stride = 0, state_stride = 0;

    template <bool kComplex>
    __device__ float* at(int64_t channel, int number) const {
        if constexpr (kComplex)
            return data + channel * channel_stride + (number >> 1) * state_stride + (number & 1);
        return data + channel * channel_stride + number;
    }
};

struct Operands {
    int64_t batch, length, slices;
    int channels, numbers;  // numbers = states, or twice that
    bool narrow;            // activations are bf16
    bool softplus, selective_b, selective_c, vector_b, vector_c;
    Rows u, delta, z, b, c;
    States a, constant_b, constant_c;
    const float *delta_bias, *skip;
    // The launch: a block has groups * rounds warps, a cluster `span` blocks; `blocks` of 8 * groups
    // channels.
    int groups, rounds, span, blocks;
};

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
    // How many of the segment's steps there are, from step `first` on.
    __device__ int count(const Operands& p, int64_t first) const {
        const int64_t left = p.length - first;
        return !inside || left <= 0 ? 0 : left < steps ? static_cast<int>(left) : steps;
    }
};

// The 16 steps of a lane: a column of `rows` from `row` on; zeros behind `count`.
template <class T>
__device__ inline void load_column(const T* p, int64_t stride, int count, float (&v)[steps]) {
#pragma unroll
    for (int i = 0; i < steps; ++i, p += stride) v[i] = i < count ? load(p) : 0.0f;
}
__device__ inline void load_steps(const Rows& rows, bool narrow, int64_t row, int column, int count,
                                  float (&v)[steps]) {
    const int64_t at = row * rows.stride + column;
    if (narrow)
        load_column(static_cast<const bf16*>(rows.data) + at, rows.stride, count, v);
    else
        load_column(static_cast<const float*>(rows.data) + at, rows.stride, count, v);
}
template <class T>
__device__ inline void store_column(T* p, int64_t stride, int count, const float (&v)[steps]) {
#pragma unroll
    for (int i = 0; i < steps; ++i, p += stride)
        if (i < count) store(p, v[i]);
}
__device__ inline void store_steps(const Rows& rows, bool narrow, int64_t row, int column, int count,
                                   const float (&v)[steps]) {
    const int64_t at = row * rows.stride + column;
    if (narrow)
        store_column(static_cast<bf16*>(rows.data) + at, rows.stride, count, v);
    else
        store_column(static_cast<float*>(rows.data) + at, rows.stride, count, v);
}

// dt of the lane's steps. Zero behind the end: then Abar is 1, and nothing comes in.
__device__ inline void load_dt(const Operands& p, int64_t row, int channel, int count, float (&dt)[steps]) {
    const float bias = p.delta_bias != nullptr && count > 0 ? p.delta_bias[channel] : 0.0f;
    if (p.delta.data != nullptr) {
        load_steps(p.delta, p.narrow, row, channel, count, dt);
#pragma unroll
        for (int i = 0; i < steps; ++i) dt[i] += bias;
    } else {
#pragma unroll
        for (int i = 0; i < steps; ++i) dt[i] = bias;
    }
    if (p.softplus) {
#pragma unroll
        for (int i = 0; i < steps; ++i) dt[i] = softplus(dt[i]);
    }
#pragma unroll
    for (int i = 0; i < steps; ++i) dt[i] = i < count ? dt[i] : 0.0f;
}

// Four neighbours of a row of B or C, `left` of which exist.
template <class T>
__device__ inline float4 load_four(const T* p, int left, bool vector) {
    if (vector) {
        if constexpr (sizeof(T) == 4) {
            return *reinterpret_cast<const float4*>(p);
        } else {
            const uint2 w = *reinterpret_cast<const uint2*>(p);
            return {__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
                    __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u)};
        }
    }
    return {left > 0 ? load(p) : 0.0f, left > 1 ? load(p + 1) : 0.0f, left > 2 ? load(p + 2) : 0.0f,
            left > 3 ? load(p + 3) : 0.0f};
}

// Numbers [first, first + tile_numbers) of a selective B or C over the slice from step `step` on. A lane
// turns 4 by 4.
__device__ inline void stage_selective(const Operands& p, const Place& at, const Rows& rows, bool vector,
                                       int64_t step, int first, float* tile) {
    const int number = at.lane % 2 * 4, quad = at.lane / 2, left = p.numbers - first - number;
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int64_t l = step + quad * 4 + j,
                      offset = (at.batch * p.length + l) * rows.stride + first + number;
        v[j] = {0, 0, 0, 0};
        if (l < p.length && left > 0)
            v[j] = p.narrow ? load_four(static_cast<const bf16*>(rows.data) + offset, left, vector)
                            : load_four(static_cast<const float*>(rows.data) + offset, left, vector);
    }
    float* to = tile + number * tile_pitch + quad / 4 * segment_pitch + quad % 4 * 4;
    *reinterpret_cast<float4*>(to) = {v[0].x, v[1].x, v[2].x, v[3].x};
    *reinterpret_cast<float4*>(to + tile_pitch) = {v[0].y, v[1].y, v[2].y, v[3].y};
    *reinterpret_cast<float4*>(to + 2 * tile_pitch) = {v[0].z, v[1].z, v[2].z, v[3].z};
    *reinterpret_cast<float4*>(to + 3 * tile_pitch) = {v[0].w, v[1].w, v[2].w, v[3].w};
}

// The same numbers of the warp's channels, each `kCopies` times side by side; number rows are `kPitch` long.
template <bool kComplex, int kCopies, int kPitch>
__device__ inline void stage_channels(const Operands& p, const Place& at, const States& values, int64_t row,
                                      int first, float* tile) {
    const int warp_channel = at.channel - at.channel_lane;
#pragma unroll
    for (int i = at.lane; i < channel_tile_floats; i += 32) {
        const int number = i % tile_numbers, channel = i / tile_numbers;
        const bool exists = first + number < p.numbers && warp_channel + channel < p.channels;
        const float x = exists ? *values.at<kComplex>(row + warp_channel + channel, first + number) : 0.0f;
#pragma unroll
        for (int copy = 0; copy < kCopies; ++copy) tile[number * kPitch + channel * kCopies + copy] = x;
    }
}

// B or C of one tile as a lane reads it: vectors of 4 steps, which for a constant matrix are 4 copies of one
// number.
struct Matrix {
    const float* tile;
    int at, stride;  // the lane's first vector of a number's row, and from there to the next one

    __device__ Matrix(const Place& place, bool selective, const float* tile_)
        : tile(tile_),
          at(selective ? place.segment * segment_pitch : place.channel_lane * 4),
          stride(selective ? 4 : 0) {}
    // Of steps 4 q to 4 q + 3, for the state whose numbers start at `number` of the tile.
    template <bool kComplex>
    __device__ void load(int number, int q, Number<kComplex> (&v)[4]) const {
        const float* from = tile + (number * tile_pitch + at + q * stride);
        const float4 re = *reinterpret_cast<const float4*>(from);
        v[0].re = re.x, v[1].re = re.y, v[2].re = re.z, v[3].re = re.w;
        if constexpr (kComplex) {
            const float4 im = *reinterpret_cast<const float4*>(from + tile_pitch);
            v[0].im = im.x, v[1].im = im.y, v[2].im = im.z, v[3].im = im.w;
        }
    }
};

// Brings B, C and A of a tile's numbers, from `first` on, to the warp's part of shared memory.
template <bool kComplex>
__device__ inline void stage(const Operands& p, const Place& at, int64_t step, int first, float* b_tile,
                             float* c_tile, float* a_tile) {
    if (p.selective_b)
        stage_selective(p, at, p.b, p.vector_b, step, first, b_tile);
    else
        stage_channels<kComplex, 4, tile_pitch>(p, at, p.constant_b, 0, first, b_tile);
    if (p.selective_c)
        stage_selective(p, at, p.c, p.vector_c, step, first, c_tile);
    else
        stage_channels<kComplex, 4, tile_pitch>(p, at, p.constant_c, 0, first, c_tile);
    stage_channels<kComplex, 1, lane_channels>(p, at, p.a, 0, first, a_tile);
}

template <bool kComplex>
__device__ inline Number<kComplex> load_channel_number(const float* tile, int number, int channel_lane) {
    const float* from = tile + number * lane_channels + channel_lane;
    if constexpr (kComplex)
        return {from[0], from[lane_channels]};
    else
        return {from[0]};
}

// Abar and Bbar u of the lane's steps.
template <bool kComplex, Discretization kRule>
__device__ inline void discretize(const Rule<kComplex, kRule>& rule, const Matrix& b, int number,
                                  const float (&dt)[steps], const float (&x)[steps],
                                  Number<kComplex> (&abar)[steps], Number<kComplex> (&input)[steps]) {
#pragma unroll
    for (int q = 0; q < steps / 4; ++q) {
        Number<kComplex> bq[4];
        b.load(number, q, bq);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int i = 4 * q + j;
            Number<kComplex> aux;
            rule.step(dt[i], abar[i], aux);
            if constexpr (kRule == Discretization::euler)
                input[i] = scale(bq[j], x[i]);
            else
                input[i] = scale(mul(rule.gamma(dt[i], aux), bq[j]), x[i]);
        }
    }
}

// The product of the segment's Abar.
template <bool kComplex, Discretization kRule>
__device__ inline Number<kComplex> decay_of(const Rule<kComplex, kRule>& rule, float total,
                                            const Number<kComplex> (&abar)[steps]) {
    if constexpr (kRule != Discretization::bilinear) {
        return rule.exponential(total);
    } else {
        Number<kComplex> p = abar[0];
#pragma unroll
        for (int i = 1; i < steps; ++i) p = mul(p, abar[i]);
        return p;
    }
}

// x of the lane `distance` segments before (after, where time runs backwards).
template <bool kReverse>
__device__ inline float from_before(float x, int distance) {
    return kReverse ? __shfl_down_sync(all_lanes, x, distance * lane_channels)
                    : __shfl_up_sync(all_lanes, x, distance * lane_channels);
}
template <bool kReverse, bool kComplex>
__device__ inline Number<kComplex> from_before(Number<kComplex> x, int distance) {
    if constexpr (kComplex)
        return {from_before<kReverse>(x.re, distance), from_before<kReverse>(x.im, distance)};
    else
        return {from_before<kReverse>(x.re, distance)};
}

// What a segment does to a state: state -> decay state + end. Segments follow each other in a slice.
template <bool kComplex>
struct Segment {
    Number<kComplex> end, decay;

    // Makes this the whole slice so far, the lane's segment included.
    template <bool kReverse>
    __device__ void accumulate() {
        if constexpr (kComplex) {
            join_lanes<kReverse, lane_channels>(end.re, end.im, decay.re, decay.im);
            join_lanes<kReverse, 2 * lane_channels>(end.re, end.im, decay.re, decay.im);
        } else {
            join_lanes<kReverse, lane_channels>(end.re, decay.re);
            join_lanes<kReverse, 2 * lane_channels>(end.re, decay.re);
        }
    }
    __device__ Number<kComplex> apply(Number<kComplex> state) const { return mul_add(decay, state, end); }
};

// The state at the start of the lane's segment from those at the ends of all segments and at the slice's
// start.
template <bool kReverse, bool kComplex>
__device__ inline Number<kComplex> segment_start(Number<kComplex> end, Number<kComplex> slice_start,
                                                 int segment) {
    const auto before = [&](float x, float start) {
        const float y = kReverse ? __shfl_down_sync(all_lanes, x, lane_channels)
                                 : __shfl_up_sync(all_lanes, x, lane_channels);
        return segment == (kReverse ? segments - 1 : 0) ? start : y;
    };
    if constexpr (kComplex)
        return {before(end.re, slice_start.re), before(end.im, slice_start.im)};
    else
        return {before(end.re, slice_start.re)};
}

// The mailboxes of a ring: a word for every warp, number and channel, with the number in the lower half and
// in the upper half the turn that it is for, counted from 1. The first turn's are filled at the start, the
// one behind the last is where a sequence's end comes out.
class Mail {
  public:
    static __host__ __device__ size_t bytes(int numbers) {
        return sizeof(uint64_t) * numbers * lane_channels;
    }  // a warp

    // `start(number, channel_lane)` is what the first turn receives.
    template <class F>
    __device__ Mail(const Operands& p, const Place& at, uint64_t* boxes, F&& start) {
        const int warp_boxes = p.numbers * lane_channels;
        for (int i = at.lane; i < warp_boxes; i += 32)
            boxes[at.warp * warp_boxes + i] =
                at.position == 0 ? word_of(start(i / lane_channels, i % lane_channels), 1) : 0;
        const bool last = at.round + 1 == p.rounds;
        const int next_warp = (last ? 0 : (at.round + 1) * p.groups) + at.group;
        far_ = last && p.span > 1;
        inbox_ = shared_address(boxes + at.warp * warp_boxes + at.channel_lane);
        outbox_ = shared_address(boxes + next_warp * warp_boxes + at.channel_lane);
        if (far_) outbox_ = cluster_address(outbox_, static_cast<uint32_t>((at.rank + 1) % p.span));
    }
    template <bool kComplex>
    __device__ Number<kComplex> receive(int number, uint32_t turn) const {
        const uint32_t from = inbox_ + static_cast<uint32_t>(number * number_bytes);
        Number<kComplex> x;
        x.re = wait_for(from, turn);
        if constexpr (kComplex) x.im = wait_for(from + number_bytes, turn);
        return x;
    }
    template <bool kComplex>
    __device__ void send(Number<kComplex> x, int number, uint32_t turn) const {
        const uint32_t to = outbox_ + static_cast<uint32_t>(number * number_bytes);
        write(to, word_of(x.re, turn));
        if constexpr (kComplex) write(to + number_bytes, word_of(x.im, turn));
    }

  private:
    static constexpr int number_bytes = lane_channels * sizeof(uint64_t);

    __device__ static uint64_t word_of(float x, uint32_t turn) {
        return static_cast<uint64_t>(turn) << 32 | __float_as_uint(x);
    }
    __device__ static float wait_for(uint32_t box, uint32_t turn) {
        uint64_t word = read_box(box);
        while (!__all_sync(all_lanes, static_cast<uint32_t>(word >> 32) == turn)) word = read_box(box);
        return __uint_as_float(static_cast<uint32_t>(word));
    }
    __device__ void write(uint32_t box, uint64_t word) const {
        far_ ? write_box_of_cluster(box, word) : write_box(box, word);
    }

    uint32_t inbox_, outbox_;
    bool far_;
};

// What the host prepares for both passes.
Operands operands_of(const SelectiveScan& op);

Rows rows_of(const View& v);
States states_of(const View& v, const SelectiveScan& op);       // (..., D, N), complex (..., D, N, 2)
States number_rows_of(const View& v, const SelectiveScan& op);  // (..., N), complex (..., 2N)

// How much a pass asks of a block, and how long it works.
struct Budget {
    int warps;              // at most
    size_t bytes_per_warp;  // of shared memory
    double clocks;          // of a multiprocessor for 32 states and 16 steps
};

struct Launch {
    cudaStream_t stream;
    int64_t blocks;
    int threads, span;
    size_t shared;
};

// Chooses groups, rounds and span and writes them to `p`.
Launch plan(Operands& p, const Budget& budget, int multiprocessors, cudaStream_t stream);

// Starts a kernel that takes `p`. A block may have all of a multiprocessor's shared memory.
template <class P>
void start(void (*kernel)(P), const Launch& launch, const P& p, const char* name) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(launch.shared)),
          name);
    cudaLaunchConfig_t config{};
    config.gridDim = static_cast<unsigned>(launch.blocks);
    config.blockDim = static_cast<unsigned>(launch.threads);
    config.dynamicSmemBytes = launch.shared;
    config.stream = launch.stream;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(launch.span);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = launch.span > 1 ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, p), name);
}

// Calls f(complex, rule) with types that carry the two as `value`.
template <class F>
void dispatch_variant(const SelectiveScan& op, F&& f) {
    const auto with_rule = [&](auto is_complex) {
        using enum Discretization;
        switch (op.discretization) {
            case euler:
                return f(is_complex, std::integral_constant<Discretization, euler>{});
            case zoh:
                return f(is_complex, std::integral_constant<Discretization, zoh>{});
            case bilinear:
                return f(is_complex, std::integral_constant<Discretization, bilinear>{});
        }
    };
    op.is_complex ? with_rule(std::true_type{}) : with_rule(std::false_type{});
}

}  // namespace nigiri::cuda::scan
