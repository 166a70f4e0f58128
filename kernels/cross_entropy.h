// Softmax cross-entropy in nats: loss[m] = logsumexp(logits[m, :]) - logits[m, target[m]].
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct CrossEntropy {
    View logits;   // (..., V)
    View targets;  // (rows) int32 in [0, V), or -1: position ignored, loss and gradient 0
    View losses;   // (rows), =, element type of logits
    View dlogits;  // (..., V), = scale * (softmax - onehot), optional; may be logits itself
    double scale = 1.0;
};

}  // namespace nigiri
