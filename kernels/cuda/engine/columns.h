// How the streams of a block stand in the columns of the tensor cores' products.
//
// Products take bfloat16, activations are float32: each is the sum of W::parts bfloat16 parts of 8 bits. Beside
// bfloat16 weights two parts are enough (16 bits of the activation against 8 of the weight), float32 weights get three.
//   up to 4 streams: the parts 0 and 1 of stream s are the columns 2 s and 2 s + 1; with fewer than four streams, all
//                    columns that the tensor cores have beside these repeat them. A part 2 has a product of its own,
//                    whose odd columns are zero.
//   8 streams:       columns are streams, one product a part.
// A lane 4 g + q gets the columns 2 q and 2 q + 1 of the rows g and g + 8, which are the parts of one stream: their sum
// is all that it takes (sum_parts()), and no lane needs another one's. It answers for the `own` streams that it thus
// has from then on; with fewer than four streams several lanes share one.
#pragma once

#include "kernels/cuda/engine/packed.h"

namespace nigiri::cuda::engine {

template <class W, int kStreams>
struct Columns {
    static_assert(kStreams == 1 || kStreams == 2 || kStreams == 4 || kStreams == 8);
    static constexpr int products = kStreams == 8 ? W::parts : (W::parts + 1) / 2;
    static constexpr int own = kStreams == 8 ? 2 : 1;
    static constexpr int share = kStreams < 4 ? 4 / kStreams : 1;  // lanes that answer for the same stream and row
    static constexpr int warps = block_warps(kStreams);
    static constexpr int threads = warps * warp_lanes;

    NIGIRI_LANES static constexpr int product_of(int part) { return kStreams == 8 ? part : part / 2; }
};

// The streams a lane answers for: values of its own, or places in rows of all streams.
template <class W, int kStreams>
struct Own {
    typename W::Float v[Columns<W, kStreams>::own];
};

template <class W, int kStreams>
struct Place {
    typename W::Int g, q;    // lane = 4 g + q
    typename W::Int stream;  // the first of `own`
    typename W::Int rank;    // among the lanes that share it

    NIGIRI_LANES Place() : g(W::lane() / 4), q(W::lane() % 4), stream(q), rank(q * 0) {
        if constexpr (kStreams == 1) stream = q * 0, rank = q;
        if constexpr (kStreams == 2) stream = q % 2, rank = q / 2;
        if constexpr (kStreams == 8) stream = 2 * q;
    }
    // The lane's channel, of tiles of 8, and its row, g or g + 8 of tiles of 16.
    NIGIRI_LANES typename W::Int channel(int tile) const { return g + tile * channel_tile; }
    NIGIRI_LANES typename W::Int row(int tile, int half) const { return g + (tile * tile_rows + half * 8); }
};

// The place of (input k, part, stream) in an operand: 16 bytes are the eight inputs of a block that a lane reads. The
// permutation of these 16 bytes keeps the writes of four streams apart.
template <class W, int kStreams, class I, class P, class J>
NIGIRI_LANES typename W::Int operand_index(const I& k, const P& part, const J& stream) {
    using C = Columns<W, kStreams>;
    const typename W::Int column = kStreams == 8 ? stream + part * 0 : stream * 2 + (part & 1);
    const typename W::Int product = kStreams == 8 ? part + stream * 0 : (part >> 1) + stream * 0;
    const typename W::Int chunk = column * 4 + (((k >> 3) & 3) ^ ((column >> 1) & 3));
    return (((k >> 5) * C::products + product) * 32 + chunk) * 8 + (k & 7);
}

// What a lane reads of an operand for its column of a product; more columns than there are repeat the first.
template <class W, int kStreams>
NIGIRI_LANES typename W::Int operand_slot() {
    const typename W::Int column = kStreams < 4 ? (W::lane() / 4) & (2 * kStreams - 1) : W::lane() / 4;
    return column * 4 + ((W::lane() % 4) ^ ((column >> 1) & 3));
}

template <class W>
struct Parts {
    typename W::Word part[W::parts];

    NIGIRI_LANES explicit Parts(typename W::Float x) {
        typename W::Float rest = x;
        NIGIRI_UNROLL
        for (int i = 0; i < W::parts; ++i) {
            part[i] = W::to_bf16(rest);
            if (i + 1 < W::parts) rest = rest - W::from_bits(part[i] << 16);
        }
    }
};

// Writes one input of one stream; of several lanes that hold the value, each stores a part.
template <class W, int kStreams, int kShare, class I, class J, class R>
NIGIRI_LANES void write_operand_of(uint16_t* operand, typename W::Mask mask, const I& k, const J& stream, const R& rank,
                                   typename W::Float x) {
    const Parts<W> parts(x);
    if constexpr (kShare >= W::parts) {
        typename W::Word own = parts.part[0];
        NIGIRI_UNROLL
        for (int i = 1; i < W::parts; ++i) own = W::select(rank == i, parts.part[i], own);
        W::store_if(mask & (rank < W::parts), operand, operand_index<W, kStreams>(k, rank, stream), own);
    } else {
        NIGIRI_UNROLL
        for (int i = 0; i < W::parts; ++i)
            W::store_if(mask & (rank == i % kShare), operand, operand_index<W, kStreams>(k, i, stream), parts.part[i]);
    }
}

template <class W, int kStreams, class I>
NIGIRI_LANES void write_operand(uint16_t* operand, const Place<W, kStreams>& at, typename W::Mask mask, const I& k,
                                const Own<W, kStreams>& x) {
    using C = Columns<W, kStreams>;
    NIGIRI_UNROLL
    for (int o = 0; o < C::own; ++o)
        write_operand_of<W, kStreams, C::share>(operand, mask, k, at.stream + o, at.rank, x.v[o]);
}

// From a product's sums to those of the lane's own streams, for the rows g (first) and g + 8 (second).
template <class W, int kStreams>
NIGIRI_LANES void sum_parts(const typename W::Float (&s)[4], Own<W, kStreams>& first, Own<W, kStreams>& second) {
    if constexpr (kStreams == 8)
        first.v[0] = s[0], first.v[1] = s[1], second.v[0] = s[2], second.v[1] = s[3];
    else
        first.v[0] = s[0] + s[1], second.v[0] = s[2] + s[3];
}

// The sum over the lanes that share a stream.
template <class W, int kStreams>
NIGIRI_LANES typename W::Float shared_sum(typename W::Float x) {
    if constexpr (kStreams == 1) x = x + W::shuffle_xor(x, 1);
    if constexpr (kStreams <= 2) x = x + W::shuffle_xor(x, 2);
    return x;
}

// Rows [row][stream] of the lane's own streams, `base` elements on. Offsets are added up in 32 bits.
template <class W, int kStreams, class I>
NIGIRI_LANES Own<W, kStreams> load_own(const Place<W, kStreams>& at, typename W::Mask mask, const float* p, int base,
                                       const I& row) {
    Own<W, kStreams> r;
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<W, kStreams>::own; ++o)
        r.v[o] = W::load_if(mask, p, row * kStreams + at.stream + (base + o), 0.0f);
    return r;
}
// The same of what another block may have written.
template <class W, int kStreams, class I>
NIGIRI_LANES Own<W, kStreams> load_own_fresh(const Place<W, kStreams>& at, typename W::Mask mask, const float* p,
                                             int base, const I& row) {
    Own<W, kStreams> r;
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<W, kStreams>::own; ++o)
        r.v[o] = W::load_if_fresh(mask, p, row * kStreams + at.stream + (base + o));
    return r;
}
template <class W, int kStreams, class I>
NIGIRI_LANES void store_own(const Place<W, kStreams>& at, typename W::Mask mask, float* p, int base, const I& row,
                            const Own<W, kStreams>& x) {
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<W, kStreams>::own; ++o)
        W::store_if(mask & (at.rank == 0), p, row * kStreams + at.stream + (base + o), x.v[o]);
}

}  // namespace nigiri::cuda::engine
