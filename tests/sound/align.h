// Where one sound is found in another.
#pragma once

#include <cmath>
#include <complex>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/fft64.h"

namespace nigiri::test {

struct Alignment {
    int64_t lag = 0;         // sample 0 of the part is sample `lag` of the whole
    double correlation = 0;  // normalised, of the two there
};

// Pearson's correlation without the means (sounds have none): <a, b> / (|a| |b|).
inline double correlation(std::span<const float> a, std::span<const float> b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
        ab += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

// The lag, from 0 on, at which `part` fits best (largest inner product, found by transforms).
inline Alignment align(std::span<const float> whole, std::span<const float> part) {
    if (part.empty() || whole.size() < part.size()) return {};
    int64_t n = 1;
    while (n < static_cast<int64_t>(whole.size() + part.size())) n *= 2;
    const Fft64 fft(n);
    std::vector<std::complex<double>> a(static_cast<size_t>(n)), b(static_cast<size_t>(n));
    for (size_t i = 0; i < whole.size(); ++i) a[i] = whole[i];
    for (size_t i = 0; i < part.size(); ++i) b[i] = part[i];
    fft.forward(a.data());
    fft.forward(b.data());
    // The inverse transform of A conj(B) is the conjugate of a forward one of its conjugate; only the real part counts.
    for (size_t k = 0; k < a.size(); ++k) a[k] = std::conj(a[k]) * b[k];
    fft.forward(a.data());
    Alignment best;
    double most = -1;
    for (size_t lag = 0; lag + part.size() <= whole.size(); ++lag)
        if (a[lag].real() > most) {
            most = a[lag].real();
            best.lag = static_cast<int64_t>(lag);
        }
    best.correlation = correlation(whole.subspan(static_cast<size_t>(best.lag), part.size()), part);
    return best;
}

}  // namespace nigiri::test
