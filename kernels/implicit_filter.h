// What an implicit kernel is made of beside linear maps (Hyena, Poli et al. 2023): the kernel's value at a distance is
// a small network's answer to features of that distance, under a window that decays.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

// y[l] = (t, cos(f_1 w), ..., cos(f_K w), -sin(f_1 w), ..., -sin(f_K w)) of the distance first + l, with
// t = distance / unit, w = 2 pi t, and frequencies f_k evenly spaced from 1e-4 to K - 1.
struct FilterFeatures {
    int64_t first = 0;
    double unit = 1;
    View y;  // (L, 1 + 2 K), =
};

// y[l, c] = sin(frequency[c] x[l, c]).
struct FilterSineForward {
    View x;          // (L, C)
    View frequency;  // (C)
    View y;          // (L, C), =; not x
};
struct FilterSineBackward {
    View x, frequency;
    View dy;          // (L, C)
    View dx;          // (L, C), =; not dy
    View dfrequency;  // (C), +=
};

// y[l, d] = x[l, d] exp(-r_d t), t = (first + l) / unit, with rates r_d evenly spaced between the ones that leave one
// per cent after 1.5 units (d = 0) and after 0.3 (d = D - 1).
struct FilterWindow {
    int64_t first = 0;
    double unit = 1;
    View x;  // (L, D), or where `from_kernel`, (D, L)
    View y;  // (L, D), or where `to_kernel`, (D, L); =, not x
    bool from_kernel = false, to_kernel = false;
};

}  // namespace nigiri
