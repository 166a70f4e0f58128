// Moving and adding. Views are matrices of rows of any row stride, of equal shape. Fill, Copy and the shifts take every
// element type, Add the float ones. On CUDA Copy also converts between float32 and bfloat16, and each operand of Add
// may be either of them (the sum is taken in float32).
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct Fill {
    View y;
    double value = 0;
};
struct Copy {
    View x, y;  // y = x
};
struct Add {
    View x1, x2, y;  // y = x1 + x2; y may be either
};

// y[b, 0, :] = 0, y[b, l, :] = x[b, l - 1, :]: what makes an up-pool causal.
struct ShiftForward {
    View x, y;  // (B, L, D), =; not the same memory
};
struct ShiftBackward {
    View dy, dx;  // dx[b, L - 1, :] = 0, dx[b, l, :] = dy[b, l + 1, :]; not the same memory
};

}  // namespace nigiri
