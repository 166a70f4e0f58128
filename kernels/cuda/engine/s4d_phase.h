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

template <class W, int kStreams>
NIGIRI_LANES typename W::Int block_place(const Place<W, kStreams>& at, uint32_t step, int tile) {
    return (at.tile + (static_cast<int>(step & block_mask) + tile)) & block_mask;
}

template <class W, int kStreams>
struct S4dAhead {
    using C = Columns<kStreams>;
    // Lanes that share a stream share the inputs too; where none share, loading 15 inputs early takes too many
    // registers.
    static constexpr int held = C::share > 1 ? block_samples / C::share : 0;
    Own<W, kStreams> pre;
    typename W::Float tap[held + 1];
    Own<W, kStreams> input[held + 1];
};

// What does not depend on the present input, loaded early.
template <class W, int kStreams>
NIGIRI_LANES S4dAhead<W, kStreams> prepare_s4d(const BlockMemory& m, const Place<W, kStreams>& at, const S4dPart& p,
                                               int tile, uint32_t step) {
    using Ahead = S4dAhead<W, kStreams>;
    constexpr int share = Columns<kStreams>::share;
    Ahead a;
    const typename W::Int j = block_place<W, kStreams>(at, step, tile), first = (at.tile + tile) * block_samples;
    a.pre = load_own<W, kStreams>(at, true, m.state, p.pre, at.g + (first + j) * channel_tile);
    NIGIRI_UNROLL
    for (int i = 0; i < Ahead::held; ++i) {
        const typename W::Int place = at.rank + i * share;
        a.tap[i] = W::fetch(m.constants, (((j - place) & block_mask) + first) * channel_tile + at.g + p.taps);
        a.input[i] = load_own<W, kStreams>(at, true, m.state, p.inputs, at.g + (place + first) * channel_tile);
    }
    return a;
}

// y for the inputs u of the tile's channels; `skip` includes the first tap.
template <class W, int kStreams>
NIGIRI_LANES Own<W, kStreams> finish_s4d(const BlockMemory& m, const Place<W, kStreams>& at, const S4dPart& p, int tile,
                                         uint32_t step, const S4dAhead<W, kStreams>& a, typename W::Float skip,
                                         const Own<W, kStreams>& u) {
    using F = typename W::Float;
    using C = Columns<kStreams>;
    const typename W::Int j = block_place<W, kStreams>(at, step, tile), first = (at.tile + tile) * block_samples;
    Own<W, kStreams> y;
    if constexpr (C::share > 1) {
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) {
            F past = 0.0f;
            NIGIRI_UNROLL
            for (int i = 0; i < S4dAhead<W, kStreams>::held; ++i) {
                // Where the present block has no input yet, one of the block before stands, and some other tap.
                const F tap = W::select(at.rank + i * C::share < j, a.tap[i], F(0.0f));
                past = W::fma(tap, a.input[i].v[o], past);
            }
            past = past + W::shuffle_xor(past, kStreams == 1 ? 1 : 2);
            y.v[o] = W::fma(skip, u.v[o], a.pre.v[o] + past);
        }
    } else {
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) y.v[o] = W::fma(skip, u.v[o], a.pre.v[o]);
        const int places = (static_cast<int>(step & block_mask) + tile) & block_mask;  // j, the same for all lanes
        NIGIRI_UNROLL_BY(4)
        for (int i = 0; i < places; ++i) {
            const F tap = W::fetch(m.constants, at.g + (first + (places - i)) * channel_tile + p.taps);
            const auto input = load_own<W, kStreams>(at, true, m.state, p.inputs, at.g + (first + i) * channel_tile);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) y.v[o] = W::fma(tap, input.v[o], y.v[o]);
        }
    }
    store_own<W, kStreams>(at, true, m.state, p.inputs, at.g + (first + j) * channel_tile, u);
    return y;
}

// The tiles whose block ends with this sample: a channel a warp, a mode a lane. The first `busy` warps have products to
// do meanwhile, and take part only where no others are left.
template <class W, int kStreams>
NIGIRI_LANES void complete_s4d_blocks(const W& w, const BlockMemory& m, const Layer& layer, uint32_t step, int busy) {
    using F = typename W::Float;
    using I = typename W::Int;
    using F2 = typename W::Float2;
    const S4dPart& p = layer.s4d;
    const int first_tile = block_mask - static_cast<int>(step & block_mask);
    const I lane = W::lane();
    const int workers = busy < Columns<kStreams>::warps ? Columns<kStreams>::warps - busy : Columns<kStreams>::warps;
    const int worker = Columns<kStreams>::warps - 1 - w.index();
    if (worker >= workers) return;
    for (int task = worker;; task += workers) {
        const int tile = first_tile + task / channel_tile * block_samples, g = task % channel_tile;
        if (tile >= layer.channel_tiles) return;
        const int channel = tile * channel_tile + g;
        for (int s = 0; s < kStreams; ++s) {
            const int at = channel * kStreams + s;
            const F inputs = W::load_if(lane < block_samples, m.state,
                                        ((lane & block_mask) + tile * block_samples) * (channel_tile * kStreams) +
                                            (g * kStreams + s + p.inputs),
                                        0.0f);
            const int begin = static_cast<int>(W::first(W::load(m.state, I(at + p.begin))));
            F y[block_samples];
            NIGIRI_UNROLL
            for (int j = 0; j < block_samples; ++j) y[j] = 0.0f;
            for (int mode = 0; mode < p.modes; mode += warp_lanes) {
                const I n = (lane + (channel * p.modes + mode)) * 2, place = (lane + (at * p.modes + mode)) * 2 + p.h;
                const F2 a = W::fetch2(m.constants, n + p.abar), c = W::fetch2(m.constants, n + p.cbar);
                F2 h = W::load2(m.state, place);
                NIGIRI_UNROLL
                for (int i = 0; i < block_samples; ++i) {
                    const F u = W::from_lane(inputs, i);
                    if (i >= begin) {
                        const F re = W::fma(a.x, h.x, W::fma(a.y * -1.0f, h.y, u));
                        h.y = W::fma(a.x, h.y, a.y * h.x);
                        h.x = re;
                    }
                }
                W::store2(m.state, place, h);
                F2 v = {c.x * h.x - c.y * h.y, W::fma(c.x, h.y, c.y * h.x)};
                NIGIRI_UNROLL
                for (int j = 0; j < block_samples; ++j) {
                    const F re = a.x * v.x - a.y * v.y;
                    v.y = W::fma(a.x, v.y, a.y * v.x);
                    v.x = re;
                    y[j] = y[j] + re;
                }
            }
            // Sums over the lanes: each exchange halves the numbers that a lane still has to add up.
            NIGIRI_UNROLL
            for (int width = block_samples / 2; width > 0; width /= 2) {
                const typename W::Mask high = (lane & (2 * width)) != 0;
                NIGIRI_UNROLL
                for (int j = 0; j < width; ++j)
                    y[j] = W::select(high, y[j + width], y[j]) +
                           W::shuffle_xor(W::select(high, y[j], y[j + width]), 2 * width);
            }
            const F total = y[0] + W::shuffle_xor(y[0], 1);
            W::store_if((lane & 1) == 0, m.state,
                        ((lane >> 1) + tile * block_samples) * (channel_tile * kStreams) + (g * kStreams + s + p.pre),
                        total);
            if (begin != 0) W::store_if(lane == 0, m.state, I(at + p.begin), 0.0f);
        }
    }
}

}  // namespace nigiri::cuda::engine
