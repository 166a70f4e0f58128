// The weights of a softmax, for drawing from it: single-precision exponentials at the speed of the vector unit.
#pragma once

#include <cstddef>
#include <span>

namespace nigiri {

// Weights are summed up in blocks of this many, so that a draw need not look at all of them.
inline constexpr size_t weight_block = 16;
inline constexpr size_t weight_blocks(size_t n) { return (n + weight_block - 1) / weight_block; }

// weights[i] = exp((logits[i] - peak) * scale), 2 ulp, and blocks[j] = the sum of weights 16 j .. 16 j + 15; returns
// the sum of all, NaN where any logit is NaN. `peak` is the largest logit, so that no weight is above 1; all spans have
// their full sizes, n, n and weight_blocks(n).
double softmax_weights(std::span<const float> logits, float peak, float scale, std::span<float> weights,
                       std::span<float> blocks);

// The largest of at least one number; anything where one of them is NaN.
float largest(std::span<const float> x);

}  // namespace nigiri
