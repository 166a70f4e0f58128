// Element-wise non-linearities and gates. Views are matrices of rows of any row stride.
//   gelu(x) = x Phi(x), the exact (erf) form        glu([a, b]) = a sigmoid(b)
//   gate(x, z) = x silu(z)                          negative_exp(x) = -exp(x), of parameters: never bfloat16
//   product(x1, x2) = x1 x2
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct GeluForward {
    View x, y;  // (..., D); y = , may be x
};
struct GeluBackward {
    View x, dy, dx;  // dx =, may be dy
};

struct GluForward {
    View x;  // (..., 2 H): a then b
    View y;  // (..., H), =
};
struct GluBackward {
    View x;   // (..., 2 H)
    View dy;  // (..., H); on CUDA it may be float32 where x is bfloat16
    View dx;  // (..., 2 H), =
};

struct GateForward {
    View x, z;  // (..., D)
    View y;     // =, may be x
};
struct GateBackward {
    View x, z, dy;
    View dx, dz;  // =; dx may be dy
};

struct ProductForward {
    View x1, x2;  // (..., D)
    View y;       // =, may be either
};
struct ProductBackward {
    View x1, x2, dy;
    View dx1, dx2;  // =; dx1 may be dy
};

struct NegativeExpForward {
    View x, y;  // =
};
struct NegativeExpBackward {
    View y;   // the forward pass's result
    View dy;  // same shape
    View dx;  // +=
};

}  // namespace nigiri
