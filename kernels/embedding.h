// Embedding: y[b, l, :] = table[tokens[b, l], :].
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct EmbeddingForward {
    View tokens;  // (B, L) int32 in [0, V)
    View table;   // (V, D)
    View y;       // (B, L, D), =
};

struct EmbeddingBackward {
    View tokens;  // (B, L) int32
    View dy;      // (B, L, D)
    View dtable;  // (V, D), +=, summed in a fixed order (no atomics)
};

}  // namespace nigiri
