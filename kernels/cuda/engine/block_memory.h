// What the phases of one group of streams read and write, and the arithmetic they share.
#pragma once

#include "kernels/cuda/engine/columns.h"
#include "kernels/cuda/engine/packed.h"

namespace nigiri::cuda::engine {

// Pointers into shared memory, and into the state of the group whose turn it is.
struct BlockMemory {
    const Piece* weights = nullptr;
    const float* constants = nullptr;
    float* state = nullptr;
    const Stage* stages = nullptr;
    const Phase* phases = nullptr;
    const Layer* layers = nullptr;
    float* x = nullptr;
    uint16_t *operand_x = nullptr, *operand_y = nullptr;
    float *u = nullptr, *z = nullptr, *projected = nullptr, *stats = nullptr, *logits = nullptr;
    int32_t* codes = nullptr;

    BlockMemory() = default;
    NIGIRI_LANES BlockMemory(const SharedLayout& l, unsigned char* shared, const Piece* all_weights,
                             const float* all_constants)
        : weights(all_weights),
          constants(all_constants),
          stages(reinterpret_cast<const Stage*>(shared + l.stages)),
          phases(reinterpret_cast<const Phase*>(shared + l.phases)),
          layers(reinterpret_cast<const Layer*>(shared + l.layers)),
          x(reinterpret_cast<float*>(shared + l.x)),
          operand_x(reinterpret_cast<uint16_t*>(shared + l.operand_x)),
          operand_y(reinterpret_cast<uint16_t*>(shared + l.operand_y)),
          u(reinterpret_cast<float*>(shared + l.u)),
          z(reinterpret_cast<float*>(shared + l.z)),
          projected(reinterpret_cast<float*>(shared + l.projected)),
          stats(reinterpret_cast<float*>(shared + l.stats)),
          logits(reinterpret_cast<float*>(shared + l.logits)),
          codes(reinterpret_cast<int32_t*>(shared + l.codes)) {}
};

inline constexpr float log2_of_e = 1.4426950408889634f;

template <class W>
NIGIRI_LANES typename W::Float silu(typename W::Float x) {
    return x * W::reciprocal(W::exp2(x * -log2_of_e) + 1.0f);
}
template <class W>
NIGIRI_LANES typename W::Float sigmoid(typename W::Float x) {
    return W::reciprocal(W::exp2(x * -log2_of_e) + 1.0f);
}
template <class W>
NIGIRI_LANES typename W::Float gelu(typename W::Float x) {
    return x * 0.5f * (W::erf(x * 0.7071067811865476f) + 1.0f);
}
// ln(1 + e^x). The polynomial is ln(1 + e) / e within 3e-8 on [0, 1]: small steps keep all their bits.
template <class W>
NIGIRI_LANES typename W::Float softplus(typename W::Float x) {
    const typename W::Float e = W::exp2(W::magnitude(x) * -log2_of_e);
    typename W::Float p = W::fma(e, 0.00523269409f, -0.0295052379f);
    p = W::fma(p, e, 0.0782259554f);
    p = W::fma(p, e, -0.136632457f);
    p = W::fma(p, e, 0.191060066f);
    p = W::fma(p, e, -0.24842982f);
    p = W::fma(p, e, 0.333190978f);
    p = W::fma(p, e, -0.499994934f);
    p = W::fma(p, e, 0.99999994f);
    return W::fma(p, e, W::maximum(x, typename W::Float(0.0f)));
}

template <class W>
NIGIRI_LANES typename W::Float warp_sum(typename W::Float x) {
    NIGIRI_UNROLL
    for (int distance = 16; distance > 0; distance /= 2) x = x + W::shuffle_xor(x, distance);
    return x;
}

// Mean and deviation of a row of x, for the lane's own streams.
template <class W, int kStreams>
struct Scale {
    Own<W, kStreams> mean, rstd;
};

// From the mean and the squares about it that the writers of x left for every part of its rows, put together as Chan et
// al. do: nothing cancels. Up to four parts (the outer stage's) stay in registers between the two sums.
template <class W, int kStreams>
NIGIRI_LANES Scale<W, kStreams> norm_scale(const BlockMemory& m, const Place<W, kStreams>& at, const Norm& norm) {
    using F = typename W::Float;
    constexpr int held = 4;
    Scale<W, kStreams> r;
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<kStreams>::own; ++o) {
        const typename W::Int stream = at.stream + o;
        const auto part_of = [&](int t) { return W::load2(m.stats, (stream + t * kStreams) * 2); };
        const auto count_of = [&](int t) {
            return t < norm.parts - 1 ? norm.part : t == norm.parts - 1 ? norm.last_part : 0.0f;
        };
        typename W::Float2 part[held];
        F mean = 0.0f;
        NIGIRI_UNROLL
        for (int t = 0; t < held; ++t) {
            part[t] = part_of(t < norm.parts ? t : 0);
            mean = W::fma(part[t].x, count_of(t), mean);
        }
        NIGIRI_UNROLL_BY(1)
        for (int t = held; t < norm.parts; ++t) mean = W::fma(part_of(t).x, count_of(t), mean);
        mean = mean * norm.each;
        F squares = 0.0f;
        const auto add = [&](const typename W::Float2& p, float count) {
            const F off = p.x - mean;
            squares = W::fma(off * off, count, squares);
            squares = W::fma(p.y, count > 0 ? 1.0f : 0.0f, squares);
        };
        NIGIRI_UNROLL
        for (int t = 0; t < held; ++t) add(part[t], count_of(t));
        NIGIRI_UNROLL_BY(1)
        for (int t = held; t < norm.parts; ++t) add(part_of(t), count_of(t));
        F variance = squares * norm.each;
        if (norm.kind == NormKind::rms) {
            variance = W::fma(mean, mean, variance);
            mean = 0.0f;
        }
        r.mean.v[o] = mean - norm.bias;
        r.rstd.v[o] = W::rsqrt(variance + norm.eps);
    }
    return r;
}

// New values of the residual stream: kHalves = 2: of the rows g and g + 8 of a tile of 16, 1: of the row g of a tile of
// eight. What `how` says happens to them first.
template <class W, int kStreams, int kHalves>
NIGIRI_LANES void settle(const BlockMemory& m, const Place<W, kStreams>& at, const Settle& how, const Stage& stage,
                         int pool_phase, int tile, Own<W, kStreams> (&values)[kHalves]) {
    using C = Columns<kStreams>;
    using F = typename W::Float;
    using I = typename W::Int;
    constexpr int rows = 8 * kHalves;
    NIGIRI_UNROLL
    for (int half = 0; half < kHalves; ++half) {
        Own<W, kStreams>& v = values[half];
        const I row = at.g + ((at.tile + tile) * rows + half * 8);
        const typename W::Mask exists = row < stage.width;
        const auto add = [&](const float* p, int base, const I& from) {
            const auto more = load_own<W, kStreams>(at, exists, p, base, from);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) v.v[o] = v.v[o] + more.v[o];
        };
        if (how.add_x) add(m.x, 0, row);
        if (how.add >= 0) add(m.state, how.add, row);
        if (how.push) {
            store_own<W, kStreams>(at, exists, m.state, stage.down, row + pool_phase * stage.width, v);
            add(m.state, stage.up, row + pool_phase * stage.width);
        }
        if (how.save >= 0) store_own<W, kStreams>(at, exists, m.state, how.save, row, v);
        store_own<W, kStreams>(at, exists, m.x, 0, row, v);
        write_operand<W, kStreams>(m.operand_x, at, exists, row, v);
    }
    // Mean and squares of the tile, about its first row so that nothing cancels.
    const I left = (at.tile + tile) * -rows + stage.width;
    const F each = W::reciprocal(F(W::select(left < rows, left, left * 0 + rows)));
    NIGIRI_UNROLL
    for (int o = 0; o < C::own; ++o) {
        const F pivot = W::from_lane(values[0].v[o], at.q);
        F sum = W::select(at.g < left, values[0].v[o] - pivot, F(0.0f)), squares = sum * sum;
        if constexpr (kHalves == 2) {
            const F other = W::select(at.g + 8 < left, values[1].v[o] - pivot, F(0.0f));
            sum = sum + other;
            squares = W::fma(other, other, squares);
        }
        NIGIRI_UNROLL
        for (int distance = 4; distance <= 16; distance *= 2) {
            sum = sum + W::shuffle_xor(sum, distance);
            squares = squares + W::shuffle_xor(squares, distance);
        }
        const F off = sum * each;
        const typename W::Mask writes = (at.g == 0) & (at.rank == 0) & (left > 0);
        const I to = (at.stream + (at.tile + tile) * kStreams + o) * 2;
        W::store_if(writes, m.stats, to, off + pivot);
        W::store_if(writes, m.stats, to + 1, W::maximum(W::fma(off * -1.0f, sum, squares), F(0.0f)));
    }
}

}  // namespace nigiri::cuda::engine
