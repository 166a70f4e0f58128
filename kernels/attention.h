// Causal softmax attention of several heads (Vaswani et al. 2017). Head h has the E = D / heads channels from h E on:
//   s[i, j] = q_i . k_j / sqrt(E) for j <= past + i, else -infinity;   y_i = sum_j softmax_j(s[i, :]) v_j.
// Scores are computed for some rows at a time, so that memory grows with the length, not with its square; the backward
// pass computes them again from the sums kept. Keys and values may have rows beyond the last one that is seen: what
// stands there must be finite. With bfloat16 activations (CUDA) scores and sums are float32; weights are rounded.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct AttentionForward {
    int64_t heads = 1;
    View q;            // (B, L, D)
    View k, v;         // (B, K, D), K >= past + L
    int64_t past = 0;  // keys before the one of q's first row
    View y;            // (B, L, D), =; not q, k or v
    View log_sums;     // (B, L, heads), =, optional: ln sum_j exp(s[i, j]), kept for the backward pass
};

struct AttentionBackward {
    int64_t heads = 1;
    View q, k, v, y, log_sums;  // as above, with past = 0 and K = L
    View dy;                    // (B, L, D)
    View dq, dk, dv;            // (B, L, D), =
};

}  // namespace nigiri
