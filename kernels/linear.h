// Linear: y = x W^T + b. x and y are matrices of rows: (..., K) and (..., N), any row stride.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct LinearForward {
    View x;       // (..., K)
    View weight;  // (N, K)
    View bias;    // (N), optional
    View y;       // (..., N), = or, where `accumulate`, +=
    bool accumulate = false;
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
