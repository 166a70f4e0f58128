// AdamW (Loshchilov & Hutter 2019), PyTorch's order of operations:
//   w -= lr weight_decay w;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps),   g = gradient_scale * grad.
// All operands are parameters or their like: float32 (or float64 on the CPU), contiguous.
#pragma once

#include <memory>
#include <vector>

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

// All parameters of a network, which are updated together: hundreds of small tensors are then one launch on a GPU.
struct AdamWSet {
    struct Item {
        View weight, grad, m, v;  // as above
        double lr = 1e-3, weight_decay = 0;
        View rounded = {};  // optional, bf16: the new weight rounded, =
    };
    std::vector<Item> items;
    // What a backend made of the items when it first saw them, so they must not change afterwards.
    mutable std::shared_ptr<void> prepared;
};

// One step of a set. The gradients' common norm is limited to `clip` (0: no limit) before the update. Where that norm
// is not a number, nothing is updated.
struct AdamWStep {
    const AdamWSet& set;
    double factor = 1;  // times every item's lr
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double clip = 0;
    int64_t step = 1;
};

}  // namespace nigiri
