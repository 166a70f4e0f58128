// What the phases of one group of streams read and write, and the arithmetic they share.
#pragma once

#include "kernels/cuda/engine/columns.h"
#include "kernels/cuda/engine/packed.h"

namespace nigiri::cuda::engine {

// Where things are: a block's shared memory by its layout, and the state of the group whose turn it is. Addresses are
// made where they are used: kept, they would take the registers that weights need.
struct BlockMemory {
    const SharedLayout& layout;
    unsigned char* shared;
    const Piece* weights;
    const float* constants;
    float* state;
    int32_t* codes;

    NIGIRI_LANES BlockMemory(const SharedLayout& l, unsigned char* block, const Piece* all_weights,
                             const float* all_constants)
        : layout(l),
          shared(block),
          weights(all_weights),
          constants(all_constants),
          state(nullptr),
          codes(at<int32_t>(l.codes)) {}

    NIGIRI_LANES const Stage* stages() const { return at<const Stage>(layout.stages); }
    NIGIRI_LANES const Phase* phases() const { return at<const Phase>(layout.phases); }
    NIGIRI_LANES float* x() const { return at<float>(layout.x); }
    NIGIRI_LANES uint16_t* operand_x() const { return at<uint16_t>(layout.operand_x); }
    NIGIRI_LANES uint16_t* operand_y() const { return at<uint16_t>(layout.operand_y); }
    NIGIRI_LANES float* u() const { return at<float>(layout.u); }
    NIGIRI_LANES float* z() const { return at<float>(layout.z); }
    NIGIRI_LANES float* projected() const { return at<float>(layout.projected); }
    NIGIRI_LANES float* stats() const { return at<float>(layout.stats); }
    NIGIRI_LANES float* logits() const { return at<float>(layout.logits); }

  private:
    template <class T>
    NIGIRI_LANES T* at(uint32_t offset) const {
        return reinterpret_cast<T*>(shared + NIGIRI_REMADE(offset));
    }
};

// What the next phase needs of a layer's state and its factors, loaded before the barrier: S4D or S6.
template <class W, int kStreams>
struct StateAhead {
    typename W::Float4 first, more[kStreams <= 2 ? kStreams : 1];
};

inline constexpr float log2_of_e = 1.4426950408889634f;

// e^x. What rounding took off the argument of exp2 is put back: without that the error would grow with x.
template <class W>
NIGIRI_LANES typename W::Float exponential(typename W::Float x) {
    constexpr float rest_of_log2_of_e = 1.92596299e-8f, ln_of_2 = 0.69314718f;
    const typename W::Float t = x * log2_of_e, y = W::exp2(t);
    const typename W::Float lost = W::fma(x, rest_of_log2_of_e, W::fma(x, log2_of_e, t * -1.0f));
    return W::fma(y * ln_of_2, lost, y);
}
template <class W>
NIGIRI_LANES typename W::Float sigmoid(typename W::Float x) {
    // Further out it is 0, and an infinite divisor has no reciprocal to improve.
    return W::reciprocal(exponential<W>(W::maximum(x, typename W::Float(-80.0f)) * -1.0f) + 1.0f);
}
template <class W>
NIGIRI_LANES typename W::Float silu(typename W::Float x) {
    return x * sigmoid<W>(x);
}
template <class W>
NIGIRI_LANES typename W::Float gelu(typename W::Float x) {
    return x * 0.5f * (W::erf(x * 0.7071067811865476f) + 1.0f);
}
// ln(1 + e^x). The polynomial is ln(1 + e) / e within 3e-8 on [0, 1]: small steps keep all their bits.
template <class W>
NIGIRI_LANES typename W::Float softplus(typename W::Float x) {
    const typename W::Float e = exponential<W>(W::maximum(W::magnitude(x) * -1.0f, typename W::Float(-80.0f)));
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

// The mean and the variance that the writers of x left for every part of its rows. Up to four parts (the outer
// stage's) are loaded at once; where there are fewer, the others have no rows and hold some numbers.
template <class W, int kStreams>
struct PartStatistics {
    static constexpr int held = held_parts;
    typename W::Float2 part[Columns<W, kStreams>::own][held];

    NIGIRI_LANES PartStatistics(const BlockMemory& m, const Place<W, kStreams>& at) {
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<W, kStreams>::own; ++o) {
            NIGIRI_UNROLL
            for (int t = 0; t < held; ++t) part[o][t] = load(m, at, o, t);
        }
    }
    NIGIRI_LANES static typename W::Float2 load(const BlockMemory& m, const Place<W, kStreams>& at, int o, int t) {
        return W::load2(m.stats(), (at.stream + (t * kStreams + o)) * 2);
    }

    // f(part, its rows) for the parts that are not held, four at a time.
    template <class F>
    NIGIRI_LANES static void for_more(const Norm& norm, F&& f) {
        NIGIRI_UNROLL_BY(1)
        for (int first = held; first < norm.parts; first += 4) {
            NIGIRI_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int t = first + i, last = norm.parts - 1;
                f(t < last ? t : last, t < last ? norm.part : t == last ? norm.last_part : 0.0f);
            }
        }
    }

    // Put together as Chan et al. do: nothing cancels.
    NIGIRI_LANES Scale<W, kStreams> scale(const BlockMemory& m, const Place<W, kStreams>& at, const Norm& norm) const {
        using F = typename W::Float;
        Scale<W, kStreams> r;
        NIGIRI_UNROLL
        for (int o = 0; o < Columns<W, kStreams>::own; ++o) {
            F sum[2] = {0.0f, 0.0f}, squares[2] = {0.0f, 0.0f};
            NIGIRI_UNROLL
            for (int t = 0; t < held; ++t) sum[t % 2] = W::fma(part[o][t].x, norm.count[t], sum[t % 2]);
            for_more(norm, [&](int t, float count) { sum[0] = W::fma(load(m, at, o, t).x, count, sum[0]); });
            F mean = (sum[0] + sum[1]) * norm.each;
            const auto add = [&](const typename W::Float2& p, float count, F& to) {
                const F off = p.x - mean;
                to = W::fma(W::fma(off, off, p.y), count, to);
            };
            NIGIRI_UNROLL
            for (int t = 0; t < held; ++t) add(part[o][t], norm.count[t], squares[t % 2]);
            for_more(norm, [&](int t, float count) { add(load(m, at, o, t), count, squares[0]); });
            F variance = (squares[0] + squares[1]) * norm.each;
            if (norm.kind == NormKind::rms) {
                variance = W::fma(mean, mean, variance);
                mean = 0.0f;
            }
            r.mean.v[o] = mean - norm.bias;
            r.rstd.v[o] = W::rsqrt(variance + norm.eps);
        }
        return r;
    }
};

// What is added to new values of the residual stream, loaded early: before and after the stage below gets its samples.
template <class W, int kStreams, int kHalves>
struct SettleAhead {
    Own<W, kStreams> before[kHalves], after[kHalves];

    NIGIRI_LANES SettleAhead(const BlockMemory& m, const Place<W, kStreams>& at, const Settle& how, int pool_phase,
                             int tile) {
        NIGIRI_UNROLL
        for (int half = 0; half < kHalves; ++half) {
            const typename W::Int row = at.g + (tile * 8 * kHalves + half * 8);
            const typename W::Mask exists = row < how.width;
            before[half] = load_own<W, kStreams>(at, exists & (how.add_x != 0), m.x(), 0, row);
            if (how.add >= 0) {
                const auto more = load_own<W, kStreams>(at, exists, m.state, how.add, row);
                NIGIRI_UNROLL
                for (int o = 0; o < Columns<W, kStreams>::own; ++o) before[half].v[o] = before[half].v[o] + more.v[o];
            }
            after[half] = load_own_fresh<W, kStreams>(at, exists & (how.push != 0), m.state, how.up,
                                                      row + pool_phase * how.width);
        }
    }
};

// New values of the residual stream: kHalves = 2: of the rows g and g + 8 of a tile of 16, 1: of the row g of a tile of
// eight. What `how` says happens to them first.
template <class W, int kStreams, int kHalves>
NIGIRI_LANES void settle(const BlockMemory& m, const Place<W, kStreams>& at, const Settle& how, int pool_phase,
                         int tile, const SettleAhead<W, kStreams, kHalves>& ahead,
                         Own<W, kStreams> (&values)[kHalves]) {
    using C = Columns<W, kStreams>;
    using F = typename W::Float;
    using I = typename W::Int;
    constexpr int rows = 8 * kHalves;
    W::sync();  // the lanes that share a stream have read what one of them now writes
    NIGIRI_UNROLL
    for (int half = 0; half < kHalves; ++half) {
        Own<W, kStreams>& v = values[half];
        const I row = at.g + (tile * rows + half * 8);
        const typename W::Mask exists = row < how.width;
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) v.v[o] = v.v[o] + ahead.before[half].v[o];
        if (how.push) store_own<W, kStreams>(at, exists, m.state, how.down, row + pool_phase * how.width, v);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) v.v[o] = v.v[o] + ahead.after[half].v[o];
        if (how.save >= 0) store_own<W, kStreams>(at, exists, m.state, how.save, row, v);
        store_own<W, kStreams>(at, exists, m.x(), 0, row, v);
        write_operand<W, kStreams>(m.operand_x(), at, exists, row, v);
    }
    // Mean and variance of the tile, about its first row so that nothing cancels.
    const int left = how.width - tile * rows;
    const float each = 1.0f / static_cast<float>(rows);
    const F share = left < rows ? W::reciprocal(F(static_cast<float>(left))) : F(each);
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
        const F off = sum * share;
        const typename W::Mask writes = (at.g == 0) & (at.rank == 0) & (left > 0);
        const I to = (at.stream + (tile * kStreams + o)) * 2;
        const F variance = W::maximum(W::fma(off * -1.0f, off, squares * share), F(0.0f));
        W::store2_if(writes, m.stats(), to, {off + pivot, variance});
    }
}

}  // namespace nigiri::cuda::engine
