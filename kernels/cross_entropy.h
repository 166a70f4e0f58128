// Softmax cross-entropy in nats: loss[m] = logsumexp(logits[m, :]) - logits[m, target[m]].
// A target that is no class is an Error on the CPU; on CUDA its loss and gradient are NaN. On CUDA logits and dlogits
// may each be float32 or bfloat16, losses are float32.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct CrossEntropy {
    View logits;   // (..., V)
    View targets;  // (rows) int32 in [0, V), or -1: position ignored, loss and gradient 0
    View losses;   // (rows), =
    View dlogits;  // (..., V), = scale * (softmax - onehot), optional; may be logits itself
    double scale = 1.0;
    View scale_at = {};  // (1), of losses' type, optional: the scale, read when the operation runs, in place of `scale`
};

}  // namespace nigiri
