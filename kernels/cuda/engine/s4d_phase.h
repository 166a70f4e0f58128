// S4D in blocks of 16 samples, so that the state of a channel (h, the largest thing a stream remembers) is read and
// written once a block and not once a sample. With j the place in the block, k[d] = Re sum_n cbar abar^d:
//   y_j = pre_j + sum_{i <= j} k[j - i] u_i + skip u_j
// where pre_j = Re sum_n cbar abar^(j + 1) h is what the state before the block gives. When a block is complete, h goes
// over its 16 inputs and the next block's pre_0 ... pre_15 are made.
// The channel tiles of a layer begin their blocks one sample after the other, so that every sample has the same work.
//
// State of a layer: inputs, pre: [tile][place][channel of the tile][stream]; h: (channel, stream, modes, 2);
// begin: (channel, stream), where in the present block h stands: not 0 where a state was set in the middle of one.
#pragma once

#include "kernels/cuda/engine/block_memory.h"

namespace nigiri::cuda::engine {

// The place of a sample in a tile's block.
NIGIRI_LANES int block_place(int tile, uint32_t step) {
    return (static_cast<int>(step & block_mask) + tile) & block_mask;
}

// What the outputs of a tile's channels need beside the present input. kUsed = false: nothing is held.
template <class W, int kStreams, bool kUsed>
struct S4dAhead {
    using C = Columns<W, kStreams>;
    // Lanes that share a stream share the inputs too; where none share, loading 15 inputs early takes too many
    // registers.
    static constexpr int held = C::share > 1 && kUsed ? block_samples / C::share : 0;
    Own<W, kStreams> pre;
    typename W::Float tap[held + 1];
    Own<W, kStreams> input[held + 1];

    NIGIRI_LANES void load(const BlockMemory& m, const Place<W, kStreams>& at, const S4dPart& p, int tile, int j) {
        const int first = tile * (block_samples * channel_tile);
        pre = load_own<W, kStreams>(at, true, m.state, p.pre, at.g + (first + j * channel_tile));
        NIGIRI_UNROLL
        for (int i = 0; i < held; ++i) {
            const typename W::Int other = at.rank + i * C::share;
            tap[i] = W::fetch(m.constants, ((other * -1 + j) & block_mask) * channel_tile + at.g + (first + p.kernel));
            input[i] = load_own<W, kStreams>(at, true, m.state, p.inputs, other * channel_tile + at.g + first);
        }
    }

    // y for the inputs u of the tile's channels; `skip` includes the first tap.
    NIGIRI_LANES Own<W, kStreams> output(const BlockMemory& m, const Place<W, kStreams>& at, const S4dPart& p, int tile,
                                         int j, typename W::Float skip, const Own<W, kStreams>& u) const {
        using F = typename W::Float;
        const int first = tile * (block_samples * channel_tile);
        Own<W, kStreams> y;
        if constexpr (C::share > 1) {
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) {
                F past = 0.0f;
                NIGIRI_UNROLL
                for (int i = 0; i < held; ++i) {
                    // Where the present block has no input yet, one of the block before stands, and some other tap.
                    const F factor = W::select(at.rank + i * C::share < j, tap[i], F(0.0f));
                    past = W::fma(factor, input[i].v[o], past);
                }
                y.v[o] = W::fma(skip, u.v[o], pre.v[o] + shared_sum<W, kStreams>(past));
            }
        } else {
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) y.v[o] = W::fma(skip, u.v[o], pre.v[o]);
            NIGIRI_UNROLL_BY(4)
            for (int i = 0; i < j; ++i) {
                const F factor = W::fetch(m.constants, at.g + (p.kernel + first + (j - i) * channel_tile));
                const auto past = load_own<W, kStreams>(at, true, m.state, p.inputs, at.g + (first + i * channel_tile));
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o) y.v[o] = W::fma(factor, past.v[o], y.v[o]);
            }
        }
        store_own<W, kStreams>(at, true, m.state, p.inputs, at.g + (first + j * channel_tile), u);
        return y;
    }
};

// Who completes which blocks: a channel a warp, a mode a lane. The first `busy` warps have products to do meanwhile,
// and take part only where no others are left.
template <class W, int kStreams>
struct BlockTasks {
    int first_tile, first, step;

    NIGIRI_LANES BlockTasks(const W& w, uint32_t now, int busy)
        : first_tile(block_mask - static_cast<int>(now & block_mask)) {
        constexpr int warps = Columns<W, kStreams>::warps;
        step = busy < warps ? warps - busy : warps;
        first = warps - 1 - w.index();
    }
    NIGIRI_LANES bool any() const { return first < step; }
    NIGIRI_LANES int tile(int task) const { return first_tile + task / channel_tile * block_samples; }
    NIGIRI_LANES int channel(int task) const { return tile(task) * channel_tile + task % channel_tile; }
};

// A mode's factors and state.
template <class W>
struct Mode {
    typename W::Float2 a, c, h;

    template <int kStreams>
    NIGIRI_LANES static typename W::Float2 state(const BlockMemory& m, const S4dPart& p, int channel, int stream,
                                                 int mode) {
        return W::load2_once(m.state, (W::lane() + ((channel * kStreams + stream) * p.modes + mode)) * 2 + p.h);
    }
    // A plane of abar or cbar.
    NIGIRI_LANES static typename W::Float2 factor(const BlockMemory& m, int plane, const S4dPart& p, int channel,
                                                  int mode) {
        return W::fetch2_once(m.constants, (W::lane() + (channel * p.modes + mode)) * 2 + plane);
    }
    template <int kStreams>
    NIGIRI_LANES static Mode fetch(const BlockMemory& m, const S4dPart& p, int channel, int stream, int mode) {
        return {factor(m, p.abar, p, channel, mode), factor(m, p.cbar, p, channel, mode),
                state<kStreams>(m, p, channel, stream, mode)};
    }
};

// The first task's factor and state, which come from far away, before the barrier that the last input is behind.
template <class W, int kStreams>
NIGIRI_LANES void prepare_blocks(const W& w, const BlockMemory& m, const LayerHead& layer, const S4dPart& p, int busy,
                                 uint32_t step, StateAhead<W, kStreams>& ahead) {
    const BlockTasks<W, kStreams> tasks(w, step, busy);
    if constexpr (kStreams > 2) {
        // The states of all streams, into the second-level cache.
        constexpr int line = 32;
        const int floats = channel_tile * kStreams * p.modes * 2;
        for (int tile = tasks.first_tile; tile < layer.channel_tiles; tile += block_samples)
            for (int at = w.index() * warp_lanes * line; at < floats; at += Columns<W, kStreams>::threads * line)
                W::prefetch_if(W::lane() * line + at < floats, m.state, W::lane() * line + (at + tile * floats + p.h));
    }
    if (!tasks.any() || tasks.tile(tasks.first) >= layer.channel_tiles) return;
    const int channel = tasks.channel(tasks.first);
    const auto a = Mode<W>::factor(m, p.abar, p, channel, 0),
               h = Mode<W>::template state<kStreams>(m, p, channel, 0, 0);
    ahead.first = {a.x, a.y, h.x, h.y};
}

// Complex numbers: a b, and a z + u for a real u.
template <class F2>
NIGIRI_LANES F2 times(const F2& a, const F2& b) {
    return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};
}
template <class W>
NIGIRI_LANES typename W::Float2 step_of(const typename W::Float2& a, const typename W::Float2& z,
                                        const typename W::Float& u) {
    return {W::fma(a.x, z.x, W::fma(a.y * -1.0f, z.y, u)), W::fma(a.x, z.y, a.y * z.x)};
}

// One mode's state after a block of inputs. Halves of the block go side by side.
template <class W>
NIGIRI_LANES void take_inputs(const typename W::Float2& a, const typename W::Float (&u)[block_samples],
                              typename W::Float2& h) {
    using F = typename W::Float;
    using F2 = typename W::Float2;
    constexpr int half = block_samples / 2;
    const F2 a2 = times(a, a), a4 = times(a2, a2), a8 = times(a4, a4);
    F2 later = {u[half], F(0.0f)};
    NIGIRI_UNROLL
    for (int i = 0; i < half; ++i) {
        h = step_of<W>(a, h, u[i]);
        if (i > 0) later = step_of<W>(a, later, u[half + i]);
    }
    h = {W::fma(a8.x, h.x, W::fma(a8.y * -1.0f, h.y, later.x)), W::fma(a8.x, h.y, W::fma(a8.y, h.x, later.y))};
}

// The same where the state has seen the inputs before `begin`.
template <class W>
NIGIRI_LANES void take_late_inputs(const typename W::Float2& a, const typename W::Float& inputs, int begin,
                                   typename W::Float2& h) {
    NIGIRI_UNROLL_BY(1)
    for (int i = begin; i < block_samples; ++i) h = step_of<W>(a, h, W::from_lane(inputs, i));
}

// What it gives to the next 16 outputs, added to y.
template <class W>
NIGIRI_LANES void add_outputs(const typename W::Float2& a, const typename W::Float2& c, const typename W::Float2& h,
                              typename W::Float (&y)[block_samples]) {
    using F2 = typename W::Float2;
    constexpr int half = block_samples / 2;
    const F2 a2 = times(a, a), a4 = times(a2, a2), a8 = times(a4, a4);
    F2 v = times(c, h), w = times(a8, v);
    NIGIRI_UNROLL
    for (int j = 0; j < half; ++j) {
        v = times(a, v), w = times(a, w);
        y[j] = y[j] + v.x, y[half + j] = y[half + j] + w.x;
    }
}

// Sums of 2 kWidth numbers over the lanes: each exchange halves the numbers that a lane still has to add up.
template <class W, int kWidth>
NIGIRI_LANES void fold_lanes(typename W::Float (&y)[block_samples]) {
    const typename W::Mask high = (W::lane() & (2 * kWidth)) != 0;
    NIGIRI_UNROLL
    for (int j = 0; j < kWidth; ++j)
        y[j] = W::select(high, y[j + kWidth], y[j]) + W::shuffle_xor(W::select(high, y[j], y[j + kWidth]), 2 * kWidth);
    if constexpr (kWidth > 1) fold_lanes<W, kWidth / 2>(y);
}

// The tiles whose block ends with this sample.
template <class W, int kStreams>
NIGIRI_LANES void complete_s4d_blocks(const W& w, const BlockMemory& m, const Phase& phase, int busy, uint32_t step,
                                      const StateAhead<W, kStreams>& ahead) {
    using F = typename W::Float;
    using I = typename W::Int;
    using M = Mode<W>;
    const BlockTasks<W, kStreams> tasks(w, step, busy);
    if (!tasks.any()) return;
    const S4dPart p = W::record(phase.layer.s4d);
    const int tiles = phase.layer.channel_tiles;
    const bool one_each = p.modes == warp_lanes;  // a mode a lane: its factors serve all streams
    const I lane = W::lane();
    NIGIRI_UNROLL_BY(1)
    for (int task = tasks.first; tasks.tile(task) < tiles; task += tasks.step) {
        const int channel = tasks.channel(task);
        const int first = tasks.tile(task) * (block_samples * channel_tile) + task % channel_tile;
        M of = {{ahead.first.x, ahead.first.y}, M::factor(m, p.cbar, p, channel, 0), {ahead.first.z, ahead.first.w}};
        if (task != tasks.first) of = M::template fetch<kStreams>(m, p, channel, 0, 0);
        auto next = of.h;
        NIGIRI_UNROLL_BY(1)
        for (int s = 0; s < kStreams; ++s) {
            of.h = next;
            if (one_each && s + 1 < kStreams) next = M::template state<kStreams>(m, p, channel, s + 1, 0);
            const int at = channel * kStreams + s;
            const F inputs =
                W::load(m.state, (lane & block_mask) * (channel_tile * kStreams) + (first * kStreams + s + p.inputs));
            const int begin = static_cast<int>(W::first(W::load(m.state, I(at + p.begin))));
            F u[block_samples], y[block_samples];
            NIGIRI_UNROLL
            for (int i = 0; i < block_samples; ++i) u[i] = W::from_lane(inputs, i), y[i] = 0.0f;
            NIGIRI_UNROLL_BY(1)
            for (int mode = 0; mode < p.modes; mode += warp_lanes) {
                if (!one_each && s + mode > 0) of = M::template fetch<kStreams>(m, p, channel, s, mode);
                if (begin == 0)
                    take_inputs<W>(of.a, u, of.h);
                else
                    take_late_inputs<W>(of.a, inputs, begin, of.h);
                add_outputs<W>(of.a, of.c, of.h, y);
                W::store2(m.state, (lane + (at * p.modes + mode)) * 2 + p.h, of.h);
            }
            fold_lanes<W, block_samples / 2>(y);
            const F total = y[0] + W::shuffle_xor(y[0], 1);
            W::store_if((lane & 1) == 0, m.state,
                        (lane >> 1) * (channel_tile * kStreams) + (first * kStreams + s + p.pre), total);
            if (begin != 0) W::store_if(lane == 0, m.state, I(at + p.begin), 0.0f);
        }
    }
}

}  // namespace nigiri::cuda::engine
