// A few more outputs of a long causal convolution, from all of its inputs so far, as direct sums:
//   y[b, l, d] = sum_{j = 0}^{past + l} kernel[j, d] u[b, past + l - j, d] + skip[d] u[b, past + l, d].
// O(past) a sample: what a convolution costs whose kernel has no finite state.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct HistoryConv {
    View u;            // (B, T, D), T >= past + L: the inputs, row t at time t
    View kernel;       // (Tk, D), Tk >= past + L: by distance, as the inputs lie in memory
    View skip;         // (D)
    int64_t past = 0;  // inputs before the first output
    View y;            // (B, L, D), =
};

}  // namespace nigiri
