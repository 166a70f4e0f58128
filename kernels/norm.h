// Normalisation over the last axis.
//   layer : y = weight * (x - mean) / std + bias            (Ba et al. 2016), weight and bias (D)
//   rms   : y = weight * x / sqrt(mean(x^2) + eps)           (Zhang & Sennrich 2019), weight (D), no bias
//   scalar: y = weight / std * (x - mean + bias)             (the S4 repository's TransposedLN), weight, bias (1)
// with std = sqrt(biased variance + eps). Statistics of float32 rows are accumulated in float32 or better.
// On CUDA x and dx may be float32 (a residual stream) where y and dy are bfloat16; weight, bias, their gradients, mean
// and rstd are float32.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

enum class NormKind : uint8_t { layer, rms, scalar };

struct NormForward {
    NormKind kind = NormKind::layer;
    double eps = 1e-5;
    View x;       // (..., D)
    View weight;  // (D) or (1)
    View bias;    // (D) or (1); empty for rms
    View y;       // (..., D), =; may be x itself
    View mean;    // (rows), =, optional: kept for the backward pass (0 for rms)
    View rstd;    // (rows), =, optional
};

struct NormBackward {
    NormKind kind = NormKind::layer;
    View x;           // (..., D)
    View weight;      // as above
    View bias;        // as above (scalar needs its value); empty for rms
    View mean, rstd;  // (rows), from the forward pass
    View dy;          // (..., D)
    View dx;          // (..., D), = or, where `accumulate`, +=
    View dweight;     // +=
    View dbias;       // +=; empty for rms
    bool accumulate = false;
};

}  // namespace nigiri
