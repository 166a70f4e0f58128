// What engines do to one row of activations: padded to whole cache lines, one stream, one sample.
#pragma once

#include <cstdint>

#include "kernels/cpu/engine/arena.h"
#include "kernels/recurrent_program.h"

namespace nigiri::cpu {

// norm.h's three norms with weight and bias for every column, padded with zeros.
struct RowNorm {
    NormKind kind = NormKind::layer;
    float eps = 0;
    int64_t width = 0;
    const float *weight = nullptr, *bias = nullptr;

    RowNorm() = default;
    RowNorm(const NormMap& map, Arena& arena);

    // y = norm(x); what y holds behind the width is finite.
    void apply(const float* x, float* y) const;
};

// Of `count` elements, a multiple of row_unit, on cache lines.
void add_row(const float* x, float* y, int64_t count);                      // y += x
void gelu_row(float* x, int64_t count);                                     // x = gelu(x)
void add_glu_row(const float* a, const float* b, float* y, int64_t count);  // y += a sigmoid(b)
void gate_row(const float* z, float* y, int64_t count);                     // y *= silu(z)

}  // namespace nigiri::cpu
