// Causal convolution along the length with a kernel as long as the sequence, and a skip:
//   y[b, l, d] = sum_{j <= min(l, Lk - 1)} kernel[d, j] u[b, l - j, d] + skip[d] u[b, l, d].
// float32 goes through FFTs of at least L + min(L, Lk) - 1 points; float64 is summed directly and is the judge.
// With bf16 activations (CUDA) the kernel, the skip and their gradients are float32, and so is all arithmetic.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct LongConvForward {
    View u;       // (B, L, D)
    View kernel;  // (D, Lk), Lk >= 1
    View skip;    // (D), optional
    View y;       // (B, L, D), =
};

struct LongConvBackward {
    View u, kernel, skip;
    View dy;       // (B, L, D)
    View du;       // (B, L, D), =
    View dkernel;  // (D, Lk), =
    View dskip;    // (D), +=, where skip is given
};

}  // namespace nigiri
