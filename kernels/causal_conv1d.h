// Causal depthwise convolution of a short kernel, with an optional SiLU:
//   p[b, l, d] = bias[d] + sum_k weight[d, k] * x[b, l - (K - 1) + k, d],  y = silu(p) or p.
// Before the first sample stand the K - 1 inputs kept in `state`, or zeros. With bfloat16 activations weight, bias,
// their gradients and the state are float32.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct CausalConv1dForward {
    View x;       // (B, L, D)
    View weight;  // (D, K), 1 <= K <= 8
    View bias;    // (D), optional
    View y;       // (B, L, D), =; not x
    View state;   // (B, K - 1, D), optional: read as the past, then replaced by the last K - 1 inputs; L >= 1
    bool silu = true;
};

struct CausalConv1dBackward {
    View x, weight, bias;
    View dy;       // (B, L, D)
    View dx;       // (B, L, D), =; not dy
    View dweight;  // (D, K), +=
    View dbias;    // (D), +=, optional
    bool silu = true;
};

}  // namespace nigiri
