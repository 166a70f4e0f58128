// Linear: y = x W^T + b. x and y are matrices of rows: (..., K) and (..., N), any row stride.
// On CUDA weight, bias and their gradients are float32 whatever the activations are. With x in bf16 the weight is
// rounded to bf16 (or is given so: weight and bias may be of x's and y's type) and products are accumulated in float32;
// y and dy may then be bf16 or f32 (a float32 residual stream; the gradient is rounded to bf16 before it is
// multiplied). With x in f32 everything is float32, in full (no TF32).
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct LinearForward {
    View x;       // (..., K)
    View weight;  // (N, K)
    View bias;    // (N), optional
    View y;       // (..., N), = or, where `accumulate`, +=
    bool accumulate = false;
    View residual = {};  // (..., N), optional, of y's type: y = residual + x W^T + b; not together with `accumulate`
};

struct LinearBackward {
    View x;        // (..., K); needed for dweight only
    View weight;   // (N, K); needed for dx only
    View dy;       // (..., N)
    View dx;       // (..., K), =, optional
    View dweight;  // (N, K), +=, optional
    View dbias;    // (N), +=, optional
};

}  // namespace nigiri
