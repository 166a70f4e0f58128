// Embedding: y[b, l, :] = table[tokens[b, l], :]. A token outside the vocabulary is an Error on the CPU; on CUDA, where
// nobody can look without waiting, its row of y is NaN, and its gradient is left out. On CUDA y and dy may be bfloat16.
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
