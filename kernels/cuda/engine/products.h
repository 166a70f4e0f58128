// Products of a packed matrix with the streams' values, on the tensor cores. A warp takes whole tiles of 16 rows.
//
// Weights come from the second-level cache, and nothing waits for them: each warp holds the next pieces of each of two
// windows in registers, four pieces for matrices of an odd number of granules and eight for the others, and loads a
// piece's successor as soon as it has been used, across tiles, matrices and barriers.
#pragma once

#include "kernels/cuda/engine/block_memory.h"

namespace nigiri::cuda::engine {

template <class W>
struct Windows {
    typename W::Word4 narrow[granule_pieces], wide[2 * granule_pieces];
};

// 32 lanes' pieces follow each other.
template <class W, int kPieces>
NIGIRI_LANES void fill_window(typename W::Word4 (&window)[kPieces], const Piece* from) {
    NIGIRI_UNROLL
    for (int j = 0; j < kPieces; ++j) window[j] = W::fetch_piece(from + j * warp_lanes);
}

// Before a stage's first product, if another stage has used the windows.
template <class W>
NIGIRI_LANES void open_windows(const W& w, Windows<W>& windows, const Piece* weights, const Stage& stage) {
    if (w.index() < stage.narrow_tiles)
        fill_window<W>(windows.narrow, W::own_piece(weights) + (stage.narrow_ahead + w.index() * stage.narrow_stride));
    if (w.index() < stage.wide_tiles)
        fill_window<W>(windows.wide, W::own_piece(weights) + (stage.wide_ahead + w.index() * stage.wide_stride));
}

// sums += granules [0, m.granules) of a tile; `after` is the first piece wanted after them.
template <class W, int kStreams, int kPieces>
NIGIRI_LANES void multiply_tile(typename W::Word4 (&window)[kPieces], const Matrix& m, const Piece* at,
                                const Piece* after, const Piece* operand, typename W::Float (&sums)[2][4]) {
    using C = Columns<kStreams>;
    constexpr int step = kPieces / granule_pieces;
    const typename W::Int column = W::lane() / 4;
    const typename W::Int slot = column * 4 + ((W::lane() % 4) ^ ((column >> 1) & 3));
    for (int g = 0; g < m.granules; g += step) {
        at = g + step < m.granules ? at + kPieces * warp_lanes : after;
        NIGIRI_UNROLL
        for (int i = 0; i < step; ++i) {
            const int block = m.planes == 1 ? g + i : (g + i) / 3;
            NIGIRI_UNROLL
            for (int half = 0; half < 2; ++half) {
                typename W::Word4 values[C::products];
                NIGIRI_UNROLL
                for (int p = 0; p < C::products; ++p)
                    values[p] = W::load_words(operand, slot + ((2 * block + half) * C::products + p) * warp_lanes);
                NIGIRI_UNROLL
                for (int j = 0; j < 2; ++j) {
                    auto& piece = window[i * granule_pieces + 2 * half + j];
                    NIGIRI_UNROLL
                    for (int p = 0; p < C::products; ++p)
                        W::mma(sums[j], piece, j == 0 ? values[p].x : values[p].z, j == 0 ? values[p].y : values[p].w);
                    if (at != nullptr) piece = W::fetch_piece(at + (i * granule_pieces + 2 * half + j) * warp_lanes);
                }
            }
        }
    }
}

// For the warp's tiles: prepared = prepare(tile); then finish(tile, sums, prepared) with the sums of the rows g and
// g + 8 for the lane's own streams.
template <class W, int kStreams, class P, class F>
NIGIRI_LANES void product(const W& w, Windows<W>& windows, const Piece* weights, const Place<W, kStreams>& place,
                          const Matrix& m, const uint16_t* operand, P&& prepare, F&& finish) {
    const int stride = m.granules * granule_pieces * warp_lanes;
    const Piece* own = W::own_piece(weights);
    const Piece* ahead =
        w.index() < m.ahead_tiles ? own + (m.ahead + w.index() * m.ahead_stride) : static_cast<const Piece*>(nullptr);
    if (w.index() >= m.tiles && ahead != nullptr) {
        if (m.wide)
            fill_window<W>(windows.wide, ahead);
        else
            fill_window<W>(windows.narrow, ahead);
    }
    const Piece* at = own + (m.weights + w.index() * stride);
    for (int tile = w.index(); tile < m.tiles; tile += block_warps) {
        const auto prepared = prepare(tile);
        const Piece* next = at + block_warps * stride;
        const Piece* after = tile + block_warps < m.tiles ? next : ahead;
        typename W::Float sums[2][4] = {};
        const Piece* values = reinterpret_cast<const Piece*>(operand);
        if (m.wide)
            multiply_tile<W, kStreams>(windows.wide, m, at, after, values, sums);
        else
            multiply_tile<W, kStreams>(windows.narrow, m, at, after, values, sums);
        NIGIRI_UNROLL
        for (int i = 0; i < 4; ++i) sums[0][i] = sums[0][i] + sums[1][i];
        Own<W, kStreams> rows[2];
        sum_parts<W, kStreams>(place, sums[0], rows[0], rows[1]);
        finish(tile, rows, prepared);
        at = next;
    }
}

// rows = weights x + bias, or, where x was normed: weights (x - mean) rstd + bias, from weights x.
template <class W, int kStreams>
NIGIRI_LANES void add_bias(const Matrix& m, const float* constants, const Place<W, kStreams>& at, int tile,
                           Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        const auto c = W::fetch2(constants, (at.g + (tile * tile_rows + half * 8)) * 2 + m.constants);
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<kStreams>::own; ++o) rows[half].v[o] = rows[half].v[o] + c.y;
    }
}
template <class W, int kStreams>
NIGIRI_LANES void apply_scale(const Matrix& m, const float* constants, const Place<W, kStreams>& at, int tile,
                              const Scale<W, kStreams>& scale, Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        const auto c = W::fetch2(constants, (at.g + (tile * tile_rows + half * 8)) * 2 + m.constants);
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<kStreams>::own; ++o)
            rows[half].v[o] = W::fma(scale.rstd.v[o], rows[half].v[o] - scale.mean.v[o] * c.x, c.y);
    }
}

}  // namespace nigiri::cuda::engine
