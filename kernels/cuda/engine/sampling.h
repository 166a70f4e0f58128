// Drawing a code from a stream's logits as model/sampler.h defines it, by one warp: lane l has the codes 8 l ... 8 l +
// 7 in registers. Weights and their sums are float32, so that a draw at the very edge between two codes may fall on the
// other side than in the sampler's float64.
#pragma once

#include "kernels/cuda/engine/block_memory.h"
#include "kernels/cuda/engine/sampling_controls.h"

namespace nigiri::cuda::engine {

inline constexpr int lane_codes = most_drawn_codes / warp_lanes;

// Random::uniform() of random.h.
NIGIRI_LANES double random_uniform(uint64_t seed, uint64_t stream, uint64_t position) {
    uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32),
             c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    NIGIRI_UNROLL
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(p1);
        c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const uint64_t bits = static_cast<uint64_t>(c1) << 32 | c0;
    return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

struct Drawn {
    int32_t code = 0;
    float bits = 0;  // -log2 of its probability at temperature 1
    bool is_valid = false;
};

template <class W>
struct LaneCodes {
    typename W::Float v[lane_codes];

    template <class F>
    NIGIRI_LANES static LaneCodes make(F&& f) {
        LaneCodes r;
        NIGIRI_UNROLL
        for (int j = 0; j < lane_codes; ++j) r.v[j] = f(j);
        return r;
    }
    NIGIRI_LANES typename W::Float total() const {
        typename W::Float sum = v[0];
        NIGIRI_UNROLL
        for (int j = 1; j < lane_codes; ++j) sum = sum + v[j];
        return warp_sum<W>(sum);
    }
};

// Numbers in the order of floats.
template <class W>
NIGIRI_LANES typename W::Word ordered(typename W::Float x) {
    const typename W::Word bits = W::bits(x);
    return W::select((bits >> 31) != 0u, bits ^ 0xffffffffu, bits | 0x80000000u);
}

// The largest threshold for which reaches(threshold) still holds; it holds for 0.
template <class F>
NIGIRI_LANES uint32_t last_threshold(F&& reaches) {
    uint32_t threshold = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1)
        if (reaches(threshold | bit)) threshold |= bit;
    return threshold;
}

// Drops what lies below `threshold`, and of what equals it all but the first `equals` in the order of codes. Dropped
// codes get weight and key 0.
template <class W>
NIGIRI_LANES void keep_from(uint32_t threshold, int equals, typename W::Word (&keys)[lane_codes],
                            LaneCodes<W>& weights) {
    using F = typename W::Float;
    typename W::Int own = W::lane() * 0;
    NIGIRI_UNROLL
    for (int j = 0; j < lane_codes; ++j) own = own + W::select(keys[j] == threshold, own * 0 + 1, own * 0);
    // Small counts are exact in float32.
    F before = F(own);
    NIGIRI_UNROLL
    for (int distance = 1; distance < warp_lanes; distance *= 2) before = before + W::from_below(before, distance);
    before = before - F(own);
    NIGIRI_UNROLL
    for (int j = 0; j < lane_codes; ++j) {
        const typename W::Mask equal = keys[j] == threshold;
        const typename W::Mask keeps = (keys[j] > threshold) | (equal & (before < static_cast<float>(equals)));
        before = before + W::select(equal, F(1.0f), F(0.0f));
        weights.v[j] = W::select(keeps, weights.v[j], F(0.0f));
        keys[j] = W::select(keeps, keys[j], keys[j] * 0u);
    }
}

// Top-k, then the likeliest of what is left until their weights reach p of its sum.
template <class W>
NIGIRI_LANES void cut(const SamplingControls& how, const LaneCodes<W>& logits, LaneCodes<W>& weights) {
    using F = typename W::Float;
    using I = typename W::Int;
    typename W::Word keys[lane_codes];
    NIGIRI_UNROLL
    for (int j = 0; j < lane_codes; ++j) keys[j] = ordered<W>(logits.v[j]);
    if (how.top_k > 0) {
        const auto count = [&](uint32_t least) {
            I n = W::lane() * 0;
            NIGIRI_UNROLL
            for (int j = 0; j < lane_codes; ++j) n = n + W::select(keys[j] >= least, n * 0 + 1, n * 0);
            return W::sum(n);
        };
        const uint32_t threshold = last_threshold([&](uint32_t t) { return count(t) >= how.top_k; });
        const int above = threshold == 0xffffffffu ? 0 : count(threshold + 1);
        keep_from<W>(threshold, how.top_k - above, keys, weights);
    }
    if (how.top_p < 1) {
        const auto mass = [&](uint32_t least) -> float {
            return W::first(
                LaneCodes<W>::make([&](int j) { return W::select(keys[j] >= least, weights.v[j], F(0.0f)); }).total());
        };
        const float wanted = how.top_p * mass(1);
        const uint32_t threshold = last_threshold([&](uint32_t t) { return mass(t) >= wanted; });
        // Of codes that are equally likely, as few as reach it.
        const float above = threshold == 0xffffffffu ? 0.0f : mass(threshold + 1), equal = mass(threshold) - above;
        int equals = 1;
        I n = W::lane() * 0;
        NIGIRI_UNROLL
        for (int j = 0; j < lane_codes; ++j) n = n + W::select(keys[j] == threshold, n * 0 + 1, n * 0);
        const int all = W::sum(n);
        while (equals < all && above + equal * static_cast<float>(equals) / static_cast<float>(all) < wanted) ++equals;
        keep_from<W>(threshold, equals, keys, weights);
    }
}

// Running sums of weights: those before the lane's codes, and of all codes.
template <class W>
struct RunningSums {
    typename W::Float before;
    float total;

    NIGIRI_LANES explicit RunningSums(const LaneCodes<W>& weights) {
        typename W::Float sum = weights.v[0];
        NIGIRI_UNROLL
        for (int j = 1; j < lane_codes; ++j) sum = sum + weights.v[j];
        typename W::Float up_to = sum;
        NIGIRI_UNROLL
        for (int distance = 1; distance < warp_lanes; distance *= 2) up_to = up_to + W::from_below(up_to, distance);
        before = up_to - sum;
        total = W::first(W::from_lane(up_to, warp_lanes - 1));
    }
};

// The first code whose running sum exceeds `target`; where rounding leaves none, the last with a weight.
template <class W>
NIGIRI_LANES int choose(const LaneCodes<W>& weights, typename W::Float running, float target) {
    using I = typename W::Int;
    I hit = W::lane() * 0 - 1, last = hit;
    NIGIRI_UNROLL
    for (int j = 0; j < lane_codes; ++j) {
        const typename W::Mask has = weights.v[j] > 0.0f;
        running = running + weights.v[j];
        hit = W::select(has & (hit < 0) & (running > target), hit * 0 + j, hit);
        last = W::select(has, last * 0 + j, last);
    }
    const uint32_t hits = W::ballot(hit >= 0), any = W::ballot(last >= 0);
    if (hits != 0) {
        const int lane = W::lowest_bit(hits);
        return lane * lane_codes + W::first(W::from_lane(hit, lane));
    }
    const int lane = W::highest_bit(any | 1u);
    return lane * lane_codes + W::first(W::from_lane(last, lane));
}

// `logits`: of one stream, vocabulary <= 256, padded to a multiple of 16.
template <class W>
NIGIRI_LANES Drawn draw_code(const float* logits, int vocabulary, const SamplingControls& how, double uniform) {
    using F = typename W::Float;
    constexpr float lowest = -3.0e38f;
    const auto x = LaneCodes<W>::make([&](int j) {
        const typename W::Int code = W::lane() * lane_codes + j;
        return W::load_if(code < vocabulary, logits, code, lowest);
    });
    F peak_lane = x.v[0], all = x.v[0] * 0.0f;
    NIGIRI_UNROLL
    for (int j = 0; j < lane_codes; ++j) {
        peak_lane = W::maximum(peak_lane, x.v[j]);
        all = all + x.v[j] * 0.0f;  // not a number where a logit is none or infinite
    }
    Drawn drawn;
    drawn.is_valid = W::ballot(!(all == 0.0f)) == 0;
    if (!drawn.is_valid) return drawn;
    // Whole numbers in the order of floats have a fast maximum.
    const uint32_t top = W::largest(ordered<W>(peak_lane));
    peak_lane = W::from_bits(typename W::Word((top >> 31) != 0u ? top ^ 0x80000000u : top ^ 0xffffffffu));
    const auto weigh = [&](float scale) {
        return LaneCodes<W>::make([&](int j) {
            const typename W::Int code = W::lane() * lane_codes + j;
            return W::select(code < vocabulary, W::exp2((x.v[j] - peak_lane) * scale), F(0.0f));
        });
    };
    LaneCodes<W> weights = weigh(log2_of_e);
    RunningSums<W> sums(weights);
    const float sum = sums.total;
    float target = 0;
    if (how.temperature > 0) {
        const bool cuts = (how.top_k > 0 && how.top_k < vocabulary) || how.top_p < 1;
        if (how.temperature != 1) weights = weigh(log2_of_e / how.temperature);
        if (cuts) cut<W>(how, x, weights);
        if (cuts || how.temperature != 1) sums = RunningSums<W>(weights);
        target = static_cast<float>(uniform * static_cast<double>(sums.total));
    } else {
        weights = LaneCodes<W>::make([&](int j) { return W::select(x.v[j] == peak_lane, F(1.0f), F(0.0f)); });
        sums = RunningSums<W>(weights);
    }
    drawn.code = choose<W>(weights, sums.before, target);
    const float chosen = logits[drawn.code];
    drawn.bits = W::first(W::log2(F(sum))) - (chosen - W::first(peak_lane)) * log2_of_e;
    return drawn;
}

}  // namespace nigiri::cuda::engine
