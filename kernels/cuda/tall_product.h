// Linear layers over very many rows of few columns, in bfloat16. What the library does with such shapes is
// far from the speed of memory where a side has a few dozen columns, and it reads dy twice going back. Here a
// block walks over tiles of rows, with the whole weight in shared memory.
#pragma once

#include "kernels/cuda/cuda_backend.h"

namespace nigiri::cuda {

// y = x W^T + bias + residual. x and weight bf16, y bf16 or f32, bias of either type, residual of y's type.
// False, with nothing done, where the operands do not suit.
bool tall_forward(const CudaBackend& backend, const LinearForward& op);

// dx = dy W, dweight += dy^T x, dbias += column sums of dy, reading x and dy once. x, weight and dx bf16, dy
// bf16 or f32. False as above; dx and dweight must be wanted both.
bool tall_backward(CudaBackend& backend, const LinearBackward& op);

}  // namespace nigiri::cuda
