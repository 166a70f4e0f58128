// How the selective scan is laid out on the device; both passes share it.
//
// A warp takes 8 channels and a slice of 64 steps: lane = 8 * segment + channel, and each of the 4 segments
// is 16 steps that a lane keeps in registers (dt, input, output). States are then worked on one after the
// other:
//   1. Abar of the lane's 16 steps, once: exponentials are dear, 16 a clock and
//   multiprocessor.
//   2. The segment's end state from a zero start (one fused multiply-add a step) and its decay.
//   3. The 4 segments are combined by shuffles; the state at the slice's start comes from the warp that has
//   the slice
//      before, and the state at its end goes to the warp that has the next one.
//   4. The steps once more from the true start, now with the output.
// So nothing is computed twice but the multiply-add of step 2, any number of states works, and a sequence
// keeps as many warps busy as there are in its ring: slices go round the warps of a block, or of a cluster of
// blocks, and what is handed on is one number per state and channel in a mailbox in shared memory. A warp
// never waits for more than its predecessor, and a mailbox is written again only when the ring has gone
// round, which cannot happen before it was read: whoever writes box (warp, state) again has the state that
// the reader of that box passed on. The backward pass has the same ring running from the end to the start,
// and checkpoints (the states at the starts of slices) for the forward direction.
//
// `groups` warps of a block have neighbouring channels and the same slice: they share B and C, and add up
// their shares of dB and dC.
#pragma once

#include "kernels/cuda/selective_scan_tiles.cuh"

namespace nigiri::cuda::scan {

// Abar and Bbar u of the lane's steps for one state.
template <class M, bool kComplex, Discretization kRule>
__device__ inline void discretize(const Rule<kComplex, kRule>& rule, const M& matrices, int first, int number,
                                  const float (&dt)[steps], const float (&x)[steps], Number<kComplex> (&abar)[steps],
                                  Number<kComplex> (&input)[steps]) {
#pragma unroll
    for (int q = 0; q < steps / 4; ++q) {
        Number<kComplex> b[4];
        matrices.b(first, number, q, b);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int i = 4 * q + j;
            Number<kComplex> aux;
            rule.step(dt[i], abar[i], aux);
            if constexpr (kRule == Discretization::euler)
                input[i] = scale(b[j], x[i]);
            else
                input[i] = scale(mul(rule.gamma(dt[i], aux), b[j]), x[i]);
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

// States are worked on by pairs of numbers: two real ones or a complex one. Two give the scheduler something
// to do while the other one's shuffles are under way.
template <bool kComplex>
inline constexpr int pair_states = kComplex ? 1 : 2;

// What a segment does to a state: state -> decay state + end. Segments follow each other in a slice.
template <bool kComplex>
struct Segment {
    Number<kComplex> end, decay;

    // Joins this with the `kDistance` segments before it. After distances 1 and 2 it is the whole slice so
    // far.
    template <bool kReverse, int kDistance>
    __device__ void join() {
        if constexpr (kComplex)
            join_lanes<kReverse, kDistance * lane_channels>(end.re, end.im, decay.re, decay.im);
        else
            join_lanes<kReverse, kDistance * lane_channels>(end.re, decay.re);
    }
    __device__ Number<kComplex> apply(Number<kComplex> state) const { return mul_add(decay, state, end); }
};

// Joins the segments of a pair of states.
template <bool kReverse, bool kComplex>
__device__ inline void accumulate(Segment<kComplex> (&pair)[pair_states<kComplex>]) {
#pragma unroll
    for (auto& segment : pair) segment.template join<kReverse, 1>();
#pragma unroll
    for (auto& segment : pair) segment.template join<kReverse, 2>();
}

// The state at the start of the lane's segment from those at the ends of all segments and at the slice's
// start.
template <bool kReverse, bool kComplex>
__device__ inline Number<kComplex> segment_start(Number<kComplex> end, Number<kComplex> slice_start, int segment) {
    const auto before = [&](float x, float start) {
        const float y =
            kReverse ? __shfl_down_sync(all_lanes, x, lane_channels) : __shfl_up_sync(all_lanes, x, lane_channels);
        return segment == (kReverse ? segments - 1 : 0) ? start : y;
    };
    if constexpr (kComplex)
        return {before(end.re, slice_start.re), before(end.im, slice_start.im)};
    else
        return {before(end.re, slice_start.re)};
}

// A pair of states as the two numbers it is.
template <bool kComplex>
__device__ inline float2 numbers_of(const Number<kComplex> (&pair)[pair_states<kComplex>]) {
    if constexpr (kComplex)
        return {pair[0].re, pair[0].im};
    else
        return {pair[0].re, pair[1].re};
}
template <bool kComplex>
__device__ inline void set_pair(Number<kComplex> (&pair)[pair_states<kComplex>], float2 x) {
    pair[0].re = x.x;
    if constexpr (kComplex)
        pair[0].im = x.y;
    else
        pair[1].re = x.y;
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
        const int warp_boxes = p.padded * lane_channels;
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
    // The two numbers from `number` on.
    __device__ float2 receive(int number, uint32_t turn) const {
        const uint32_t from = inbox_ + static_cast<uint32_t>(number * number_bytes);
        uint64_t first = read_box(from), second = read_box(from + number_bytes);
        const auto came = [&] {
            return static_cast<uint32_t>(first >> 32) == turn && static_cast<uint32_t>(second >> 32) == turn;
        };
        while (!__all_sync(all_lanes, came())) first = read_box(from), second = read_box(from + number_bytes);
        return {__uint_as_float(static_cast<uint32_t>(first)), __uint_as_float(static_cast<uint32_t>(second))};
    }
    __device__ void send(float2 x, int number, uint32_t turn) const {
        const uint32_t to = outbox_ + static_cast<uint32_t>(number * number_bytes);
        if (far_) {
            write_box_of_cluster(to, word_of(x.x, turn));
            write_box_of_cluster(to + number_bytes, word_of(x.y, turn));
        } else {
            write_box(to, word_of(x.x, turn));
            write_box(to + number_bytes, word_of(x.y, turn));
        }
    }

  private:
    static constexpr int number_bytes = lane_channels * sizeof(uint64_t);

    __device__ static uint64_t word_of(float x, uint32_t turn) {
        return static_cast<uint64_t>(turn) << 32 | __float_as_uint(x);
    }

    uint32_t inbox_, outbox_;
    bool far_;
};

struct ForwardOperands : Operands {
    Rows y;
    States state, checkpoints;
};

// What the host prepares for both passes.
Operands operands_of(const SelectiveScan& op);
Rows rows_of(const View& v);
States states_of(const View& v, const SelectiveScan& op);       // (..., D, N), complex (..., D, N, 2)
States number_rows_of(const View& v, const SelectiveScan& op);  // (..., N), complex (..., 2N)

// How much shared memory a pass asks for, and how long it works: on a state of a slice, clocks of a whole
// multiprocessor and clocks of a warp that has one for itself; on a slice beside that as long as on
// `slice_states` states.
struct Budget {
    int warps;  // at most
    size_t bytes_per_warp, bytes_per_round, bytes_per_group;
    double clocks, latency, slice_states;
};

struct Launch {
    cudaStream_t stream;
    int64_t blocks;
    int threads, span;
    size_t shared;
};

inline constexpr size_t shared_memory = 226 << 10;  // of a block

// How many clusters of `span` blocks that have a multiprocessor each run at once. Clusters stay within a part
// of the chip whose size only the driver knows.
int clusters_at_once(int span, int multiprocessors);

// Chooses groups, rounds and span and writes them to `p`.
Launch plan(Operands& p, int64_t states, const Budget& budget, int multiprocessors, cudaStream_t stream);

// Starts a kernel that takes `p`. A block may have all of a multiprocessor's shared memory.
template <class P>
void start(void (*kernel)(P), const Launch& launch, const P& p, const char* name) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch.shared)),
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

template <auto kValue>
using Constant = std::integral_constant<decltype(kValue), kValue>;

// Calls f(T{}, complex, rule, mix) with the activations' type and types that carry the others as `value`.
// What models use most, euler's rule with B and C of one kind, has kernels of its own.
template <class F>
void dispatch_variant(const SelectiveScan& op, F&& f) {
    using enum Discretization;
    dispatch(op.u.dtype, [&](auto element) {
        const auto with_rule = [&](auto is_complex) {
            const bool selective = op.selective_b && op.selective_c, constant = !op.selective_b && !op.selective_c;
            if (op.discretization == zoh) return f(element, is_complex, Constant<zoh>{}, Constant<Mix::any>{});
            if (op.discretization == bilinear)
                return f(element, is_complex, Constant<bilinear>{}, Constant<Mix::any>{});
            if (selective) return f(element, is_complex, Constant<euler>{}, Constant<Mix::selective>{});
            if (constant) return f(element, is_complex, Constant<euler>{}, Constant<Mix::constant>{});
            f(element, is_complex, Constant<euler>{}, Constant<Mix::any>{});
        };
        op.is_complex ? with_rule(Constant<true>{}) : with_rule(Constant<false>{});
    });
}

}  // namespace nigiri::cuda::scan
