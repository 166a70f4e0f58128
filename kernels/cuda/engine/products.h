// Products of a packed matrix with the streams' values, on the tensor cores. A warp takes whole tiles of 16 rows.
//
// Weights come from the second-level cache, and nothing waits for them: each warp holds the next pieces of each of two
// windows in registers, four pieces for matrices of an odd number of granules and eight for the others, and loads a
// piece's successor as soon as it has been used, across tiles, matrices and barriers.
#pragma once

#include "kernels/cuda/engine/block_memory.h"

namespace nigiri::cuda::engine {

template <class W, int kStreams>
struct Windows {
    static constexpr int tiles = Columns<kStreams>::tiles;
    typename W::Word4 narrow[tiles][granule_pieces], wide[tiles][2 * granule_pieces];
};

// `from` is own_piece() of the first tile's first piece; tiles are `stride` pieces apart.
template <class W, int kTiles, int kPieces>
NIGIRI_LANES void fill_window(typename W::Word4 (&window)[kTiles][kPieces], const Piece* from, int stride) {
    NIGIRI_UNROLL
    for (int i = 0; i < kTiles; ++i) {
        NIGIRI_UNROLL
        for (int j = 0; j < kPieces; ++j) window[i][j] = W::fetch_piece(from + i * stride + j * warp_lanes);
    }
}

// Before a stage's first product, if another stage has used the windows.
template <class W, int kStreams>
NIGIRI_LANES void open_windows(const W& w, Windows<W, kStreams>& windows, const Piece* weights, const Stage& stage) {
    const int first = w.index() * windows.tiles;
    const Piece* own = W::own_piece(weights);
    if (first < stage.narrow_tiles)
        fill_window<W>(windows.narrow, own + (stage.narrow_ahead + first * stage.narrow_stride), stage.narrow_stride);
    if (first < stage.wide_tiles)
        fill_window<W>(windows.wide, own + (stage.wide_ahead + first * stage.wide_stride), stage.wide_stride);
}

// A place in the weights: own_piece() of a tile's first piece, null for none, and the way to the next tile.
struct TileStart {
    const Piece* at;
    int stride;
};

// sums += all granules of the tiles from `now` on; the first pieces of those from `after` on are loaded.
template <class W, int kStreams, int kPieces>
NIGIRI_LANES void multiply_tiles(typename W::Word4 (&window)[Columns<kStreams>::tiles][kPieces], const Matrix& m,
                                 TileStart now, const TileStart& after, const Piece* operand,
                                 typename W::Float (&sums)[Columns<kStreams>::tiles][2][4]) {
    using C = Columns<kStreams>;
    constexpr int step = kPieces / granule_pieces;
    const typename W::Int column = W::lane() / 4;
    const typename W::Int slot = column * 4 + ((W::lane() % 4) ^ ((column >> 1) & 3));
    for (int g = 0; g < m.granules; g += step) {
        if (g + step < m.granules)
            now.at += kPieces * warp_lanes;
        else
            now = after;
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
                    const int piece = i * granule_pieces + 2 * half + j;
                    NIGIRI_UNROLL
                    for (int t = 0; t < C::tiles; ++t) {
                        auto& weights = window[t][piece];
                        NIGIRI_UNROLL
                        for (int p = 0; p < C::products; ++p)
                            W::mma(sums[t][j], weights, j == 0 ? values[p].x : values[p].z,
                                   j == 0 ? values[p].y : values[p].w);
                        if (now.at != nullptr) weights = W::fetch_piece(now.at + t * now.stride + piece * warp_lanes);
                    }
                }
            }
        }
    }
}

// For the warp's tiles, some at once: prepared = prepare(tile); then finish(tile, rows, prepared) with the sums of the
// rows g and g + 8 of the lane's tile, for the streams of its own.
template <class W, int kStreams, class P, class F>
NIGIRI_LANES void product(const W& w, Windows<W, kStreams>& windows, const Piece* weights,
                          const Place<W, kStreams>& place, const Matrix& m, const uint16_t* operand, P&& prepare,
                          F&& finish) {
    using C = Columns<kStreams>;
    const int stride = m.granules * granule_pieces * warp_lanes, first = w.index() * C::tiles;
    const Piece* own = W::own_piece(weights);
    const TileStart ahead = {first < m.ahead_tiles ? own + (m.ahead + first * m.ahead_stride) : nullptr,
                             m.ahead_stride};
    if (first >= m.tiles && ahead.at != nullptr) {
        if (m.wide)
            fill_window<W>(windows.wide, ahead.at, ahead.stride);
        else
            fill_window<W>(windows.narrow, ahead.at, ahead.stride);
    }
    TileStart now = {own + (m.weights + first * stride), stride};
    for (int tile = first; tile < m.tiles; tile += C::warps * C::tiles) {
        const auto prepared = prepare(tile);
        const TileStart next = {now.at + C::warps * C::tiles * stride, stride};
        const TileStart after = tile + C::warps * C::tiles < m.tiles ? next : ahead;
        typename W::Float sums[C::tiles][2][4] = {};
        const Piece* values = reinterpret_cast<const Piece*>(operand);
        if (m.wide)
            multiply_tiles<W, kStreams>(windows.wide, m, now, after, values, sums);
        else
            multiply_tiles<W, kStreams>(windows.narrow, m, now, after, values, sums);
        Own<W, kStreams> rows[2];
        NIGIRI_UNROLL
        for (int t = 0; t < C::tiles; ++t) {
            NIGIRI_UNROLL
            for (int i = 0; i < 4; ++i) sums[t][0][i] = sums[t][0][i] + sums[t][1][i];
            Own<W, kStreams> of_tile[2];
            sum_parts<W, kStreams>(place, sums[t][0], of_tile[0], of_tile[1]);
            NIGIRI_UNROLL
            for (int half = 0; half < 2; ++half) {
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o)
                    rows[half].v[o] =
                        t == 0 ? of_tile[half].v[o] : W::select(place.tile == t, of_tile[half].v[o], rows[half].v[o]);
            }
        }
        finish(tile, rows, prepared);
        now = next;
    }
}

// rows = weights x + bias, or, where x was normed: weights (x - mean) rstd + bias, from weights x.
template <class W, int kStreams>
NIGIRI_LANES void add_bias(const Matrix& m, const float* constants, const Place<W, kStreams>& at, int tile,
                           Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        const auto c = W::fetch2(constants, at.row(tile, half) * 2 + m.constants);
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<kStreams>::own; ++o) rows[half].v[o] = rows[half].v[o] + c.y;
    }
}
template <class W, int kStreams>
NIGIRI_LANES void apply_scale(const Matrix& m, const float* constants, const Place<W, kStreams>& at, int tile,
                              const Scale<W, kStreams>& scale, Own<W, kStreams>* rows) {
    NIGIRI_UNROLL
    for (int half = 0; half < 2; ++half) {
        const auto c = W::fetch2(constants, at.row(tile, half) * 2 + m.constants);
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<kStreams>::own; ++o)
            rows[half].v[o] = W::fma(scale.rstd.v[o], rows[half].v[o] - scale.mean.v[o] * c.x, c.y);
    }
}

}  // namespace nigiri::cuda::engine
