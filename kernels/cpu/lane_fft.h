// Fourier transforms for convolutions, many channels at a time: a SIMD lane is a channel, so that no butterfly ever
// moves data between lanes, and data laid out channel-last needs no transposition.
//
// The transform takes n real numbers to n complex ones, at a quarter between the usual frequencies:
//   X_k = sum_t x_t e^(-2 pi i t (k + 1/4) / n).
// There z = e^(-2 pi i (k + 1/4) / n) has z^n = -i. So the product of two spectra is that of the polynomials modulo
// z^n + i: what a linear convolution has from n on comes back as an imaginary part, and the real part is exact.
// (This is known as right-angle convolution.) No padding to 2 n points is needed, and every one of the n values is a
// plain complex number: one multiplication each, nothing to unpack.
//
// Frequencies come out in the order that decimation in frequency leaves them in, and the inverse takes them so; only
// products of spectra are ever wanted. The recursion goes depth first: a block that fits a cache is finished there,
// products and way back included (lane_fft-inl.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace nigiri::cpu {

struct LaneFftLevel {
    int radix;     // the first level: 4; then 4 or 8; the last, which needs no twiddles: 3, 4, 5 or 8
    int64_t size;  // points of the blocks this level divides
    std::vector<float>
        twiddles;  // for each j < size / radix: (re, im) for the outputs 1 .. radix - 1 (first level: from 0)
};

struct LaneFftPlan {
    int64_t size;
    std::vector<LaneFftLevel> levels;  // at least two

    // Made once for every size and kept.
    static std::shared_ptr<const LaneFftPlan> of_size(int64_t size);
};

// The least size that there are plans for and that is at least `length`: 2^k, 3 2^k or 5 2^k, a multiple
// of 16.
int64_t lane_fft_size(int64_t length);

}  // namespace nigiri::cpu
