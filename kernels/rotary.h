// Rotary positions (Su et al. 2021): in every head of E = D / heads channels the pair of channels (2 i, 2 i + 1) at
// position p is turned by the angle p 10000^(-2 i / E'), E' the even part of E; an odd last channel stays. Products of
// two rows turned so depend on the distance of their positions only.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct Rotary {
    int64_t heads = 1;
    View x;                // (B, L, D), row l at position first + l
    View y;                // (B, L, D), =; may be x
    int64_t first = 0;     // below 2^31; the angle is taken in float64
    bool inverse = false;  // turns back: what the gradient needs
};

}  // namespace nigiri
