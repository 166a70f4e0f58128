// AdamW (Loshchilov & Hutter 2019), PyTorch's order of operations:
//   w -= lr weight_decay w;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps),   g = gradient_scale * grad.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct AdamW {
    View weight;  // any shape, contiguous, updated
    View grad;    // read, then set to zero
    View m, v;    // updated
    double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
    double gradient_scale = 1.0;
    int64_t step = 1;  // counts from 1
};

}  // namespace nigiri
