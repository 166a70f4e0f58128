// How the streams of a block stand in the columns of the tensor cores' products.
//
// Products take bfloat16, activations are float32: each is the sum of three bfloat16 parts of 8 bits, which have
// columns of their own (few streams) or products of their own (eight), so that sums are those of float32 operands.
//   1 stream : columns 0, 1, 2 are the parts            2 streams: columns 2 part + stream
//   4 streams: columns 4 part + stream of the parts 0 and 1, then a second product for part 2
//   8 streams: columns are streams, one product a part
// A lane 4 g + q gets the columns 2 q, 2 q + 1 of the rows g and g + 8; sum_parts() leaves in it the sums of the `own`
// streams that it answers for from then on. With fewer than four streams several lanes share one; with a single stream
// a warp takes two tiles of rows at once, and a lane answers for one of them.
#pragma once

#include "kernels/cuda/engine/packed.h"

namespace nigiri::cuda::engine {

template <int kStreams>
struct Columns {
    static_assert(kStreams == 1 || kStreams == 2 || kStreams == 4 || kStreams == 8);
    static constexpr int products = kStreams == 8 ? 3 : kStreams == 4 ? 2 : 1;
    static constexpr int own = kStreams == 8 ? 2 : 1;
    static constexpr int share = kStreams <= 2 ? 2 : 1;  // lanes that answer for the same stream and row
    static constexpr int tiles = tiles_at_once(kStreams);
    static constexpr int warps = kStreams == 1 ? 8 : 16;  // of a block
    static constexpr int threads = warps * warp_lanes;

    NIGIRI_LANES static constexpr int product_of(int part) {
        return kStreams == 8 ? part : kStreams == 4 ? part / 2 : 0;
    }
    // Of the first stream; the others follow.
    NIGIRI_LANES static constexpr int column_of(int part) {
        return kStreams == 8 ? 0 : kStreams * (part % (8 / kStreams));
    }
};

// The streams a lane answers for: values of its own, or places in rows of all streams.
template <class W, int kStreams>
struct Own {
    typename W::Float v[Columns<kStreams>::own];
};

template <class W, int kStreams>
struct Place {
    using C = Columns<kStreams>;
    typename W::Int g, q;    // lane = 4 g + q
    typename W::Int stream;  // the first of `own`
    typename W::Int rank;    // among the lanes that share it
    typename W::Int tile;    // of those at once

    NIGIRI_LANES Place() : g(W::lane() / 4), q(W::lane() % 4), stream(q), rank(q * 0), tile(q * 0) {
        if constexpr (kStreams == 1) stream = q * 0, rank = q % 2, tile = q / 2;
        if constexpr (kStreams == 2) stream = q % 2, rank = q / 2;
        if constexpr (kStreams == 4) stream = 2 * (q % 2) + q / 2;
        if constexpr (kStreams == 8) stream = 2 * q;
    }
    // The lane's channel, of tiles of 8 from `first` on, and its row, g or g + 8 of tiles of 16.
    NIGIRI_LANES typename W::Int channel(int first) const { return g + (tile + first) * channel_tile; }
    NIGIRI_LANES typename W::Int row(int first, int half) const { return g + ((tile + first) * tile_rows + half * 8); }
};

// The place of (input k, part, stream) in an operand: 16 bytes are the eight inputs of a block that a lane reads. The
// permutation of these 16 bytes keeps the writes of four streams apart.
template <class W, int kStreams, class I, class J>
NIGIRI_LANES typename W::Int operand_index(const I& k, int part, const J& stream) {
    using C = Columns<kStreams>;
    const typename W::Int column = stream + C::column_of(part);
    const typename W::Int chunk = column * 4 + (((k >> 3) & 3) ^ ((column >> 1) & 3));
    return (((k >> 5) * C::products + C::product_of(part)) * 32 + chunk) * 8 + (k & 7);
}

template <class W>
struct Parts {
    typename W::Word part[3];

    NIGIRI_LANES explicit Parts(typename W::Float x) {
        typename W::Float rest = x;
        NIGIRI_UNROLL
        for (int i = 0; i < 3; ++i) {
            part[i] = W::to_bf16(rest);
            rest = rest - W::from_bits(part[i] << 16);
        }
    }
};

// Writes one input of one stream; the `share` lanes that hold the value share the work.
template <class W, int kStreams, int kShare, class I, class J, class R>
NIGIRI_LANES void write_operand_of(uint16_t* operand, typename W::Mask mask, const I& k, const J& stream, const R& rank,
                                   typename W::Float x) {
    const Parts<W> parts(x);
    NIGIRI_UNROLL
    for (int i = 0; i < 3; ++i)
        W::store_if(mask & (rank == i % kShare), operand, operand_index<W, kStreams>(k, i, stream), parts.part[i]);
}

template <class W, int kStreams, class I>
NIGIRI_LANES void write_operand(uint16_t* operand, const Place<W, kStreams>& at, typename W::Mask mask, const I& k,
                                const Own<W, kStreams>& x) {
    using C = Columns<kStreams>;
    NIGIRI_UNROLL
    for (int o = 0; o < C::own; ++o)
        write_operand_of<W, kStreams, C::share>(operand, mask, k, at.stream + o, at.rank, x.v[o]);
}

// From a product's sums to those of the lane's own streams, for the rows g (first) and g + 8 (second).
template <class W, int kStreams>
NIGIRI_LANES void sum_parts(const Place<W, kStreams>& at, const typename W::Float (&s)[4], Own<W, kStreams>& first,
                            Own<W, kStreams>& second) {
    using F = typename W::Float;
    if constexpr (kStreams == 8) {
        first.v[0] = s[0], first.v[1] = s[1], second.v[0] = s[2], second.v[1] = s[3];
    } else {
        NIGIRI_UNROLL
        for (int row = 0; row < 2; ++row) {
            const F x = s[2 * row], y = s[2 * row + 1];
            F r;
            if constexpr (kStreams == 1) {
                r = x + y;
                r = r + W::shuffle_xor(r, 1);
                r = r + W::shuffle_xor(r, 2);
            } else if constexpr (kStreams == 2) {
                const typename W::Mask odd = (at.q & 1) == 1;
                r = W::select(odd, y, x) + W::shuffle_xor(W::select(odd, x, y), 1);
                r = r + W::shuffle_xor(r, 2);
            } else {
                const typename W::Mask high = at.q >= 2;
                r = W::select(high, y, x) + W::shuffle_xor(W::select(high, x, y), 2);
            }
            (row == 0 ? first : second).v[0] = r;
        }
    }
}

// Rows [row][stream] of the lane's own streams, `base` elements on. Offsets are added up in 32 bits.
template <class W, int kStreams, class I>
NIGIRI_LANES Own<W, kStreams> load_own(const Place<W, kStreams>& at, typename W::Mask mask, const float* p, int base,
                                       const I& row) {
    Own<W, kStreams> r;
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<kStreams>::own; ++o)
        r.v[o] = W::load_if(mask, p, row * kStreams + at.stream + (base + o), 0.0f);
    return r;
}
template <class W, int kStreams, class I>
NIGIRI_LANES void store_own(const Place<W, kStreams>& at, typename W::Mask mask, float* p, int base, const I& row,
                            const Own<W, kStreams>& x) {
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<kStreams>::own; ++o)
        W::store_if(mask & (at.rank == 0), p, row * kStreams + at.stream + (base + o), x.v[o]);
}

}  // namespace nigiri::cuda::engine
