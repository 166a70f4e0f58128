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

// From piece `from` of the weights on.
template <class W, int kPieces>
NIGIRI_LANES void fill_window(typename W::Word4 (&window)[kPieces], const Piece* weights, int from) {
    W::fetch_pieces(weights, from, window);
}

// Before a stage's first product, if another stage has used the windows.
template <class W>
NIGIRI_LANES void open_windows(const W& w, Windows<W>& windows, const Piece* weights, const Stage& stage) {
    const int first = w.index();
    if (first < stage.narrow_tiles)
        fill_window<W>(windows.narrow, weights, stage.narrow_ahead + first * stage.narrow_stride);
    if (first < stage.wide_tiles) fill_window<W>(windows.wide, weights, stage.wide_ahead + first * stage.wide_stride);
}

// Sums of a tile. A chain of products on one accumulator takes longer than four side by side; and where parts have
// products of their own, the small ones are added up apart from the large ones: each addition loses bits of the larger.
template <class W>
struct TileSums {
    typename W::Float v[2][2][4] = {};
};

// sums += all granules of the tile whose first pieces the window holds. `now` is the place of these, `after` that of
// those which the window shall hold next; -1: none.
template <class W, int kStreams, int kPieces>
NIGIRI_LANES void multiply_tile(typename W::Word4 (&window)[kPieces], const Piece* weights, int granules, int now,
                                int after, const Piece* operand, TileSums<W>& sums) {
    using C = Columns<W, kStreams>;
    constexpr int step = kPieces / granule_pieces;
    constexpr int planes = W::parts == 3 ? 3 : 1;
    const typename W::Int slot = operand_slot<W, kStreams>();
    NIGIRI_UNROLL_BY(1)
    for (int g = 0; g < granules; g += step) {
        now = g + step < granules ? now + kPieces * warp_lanes : after;
        NIGIRI_UNROLL
        for (int i = 0; i < step; ++i) {
            const int block = (g + i) / planes;
            NIGIRI_UNROLL
            for (int half = 0; half < 2; ++half) {
                typename W::Word4 values[C::products];
                NIGIRI_UNROLL
                for (int p = 0; p < C::products; ++p)
                    values[p] = W::load_words(operand, slot + ((2 * block + half) * C::products + p) * warp_lanes);
                NIGIRI_UNROLL
                for (int j = 0; j < 2; ++j) {
                    NIGIRI_UNROLL
                    for (int p = 0; p < C::products; ++p)
                        W::mma(sums.v[C::products > 1 ? (p > 0) : half][j], window[i * granule_pieces + 2 * half + j],
                               j == 0 ? values[p].x : values[p].z, j == 0 ? values[p].y : values[p].w);
                }
            }
        }
        if (now >= 0) fill_window<W>(window, weights, now);
    }
}

// For the warp's tiles: prepared = prepare(tile); then finish(tile, rows, prepared) with the sums of the rows g and g +
// 8, for the streams of the lane's own.
template <class W, int kStreams, class P, class F>
NIGIRI_LANES void product(const W& w, Windows<W>& windows, const Piece* weights, const Matrix& m,
                          const uint16_t* operand, P&& prepare, F&& finish) {
    using C = Columns<W, kStreams>;
    const int stride = m.granules * granule_pieces * warp_lanes, first = w.index();
    const int ahead = first < m.ahead_tiles ? m.ahead + first * m.ahead_stride : -1;
    const auto* values = reinterpret_cast<const Piece*>(operand);
    if (first >= m.tiles) {
        if (ahead >= 0 && m.wide) fill_window<W>(windows.wide, weights, ahead);
        if (ahead >= 0 && !m.wide) fill_window<W>(windows.narrow, weights, ahead);
        return;
    }
    NIGIRI_UNROLL_BY(1)
    for (int tile = first; tile < m.tiles; tile += C::warps) {
        const int now = m.weights + tile * stride;
        const int after = tile + C::warps < m.tiles ? now + C::warps * stride : ahead;
        const auto prepared = prepare(tile);
        TileSums<W> sums;
        if (m.wide)
            multiply_tile<W, kStreams>(windows.wide, weights, m.granules, now, after, values, sums);
        else
            multiply_tile<W, kStreams>(windows.narrow, weights, m.granules, now, after, values, sums);
        NIGIRI_UNROLL
        for (int i = 0; i < 4; ++i)
            sums.v[0][0][i] = (sums.v[0][0][i] + sums.v[0][1][i]) + (sums.v[1][0][i] + sums.v[1][1][i]);
        Own<W, kStreams> rows[2];
        sum_parts<W, kStreams>(sums.v[0][0], rows[0], rows[1]);
        finish(tile, rows, prepared);
    }
}

// {sum of the row's weights, bias} of the lane's two rows.
template <class W>
struct RowConstants {
    typename W::Float2 row[2];

    template <int kStreams>
    NIGIRI_LANES static RowConstants fetch(const Matrix& m, const float* constants, const Place<W, kStreams>& at,
                                           int tile) {
        return {{W::fetch2(constants, at.row(tile, 0) * 2 + m.constants),
                 W::fetch2(constants, at.row(tile, 1) * 2 + m.constants)}};
    }
};

// rows = weights x + bias, or, where x was normed: weights (x - mean) rstd + bias, from weights x.
template <class W, int kStreams>
NIGIRI_LANES void add_bias(const RowConstants<W>& c, Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<W, kStreams>::own; ++o) rows[half].v[o] = rows[half].v[o] + c.row[half].y;
    }
}
template <class W, int kStreams>
NIGIRI_LANES void apply_scale(const RowConstants<W>& c, const Scale<W, kStreams>& scale, Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<W, kStreams>::own; ++o)
            rows[half].v[o] = W::fma(scale.rstd.v[o], rows[half].v[o] - scale.mean.v[o] * c.row[half].x, c.row[half].y);
    }
}

}  // namespace nigiri::cuda::engine
