#include "audio/fft.h"

#include <numbers>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace nigiri {

RealFft::RealFft(int size) : size_(size) {
    if (size < 2 || (size & (size - 1)) != 0)
        throw Error("a spectrum of " + std::to_string(size) + " samples", "use a power of two, at least 2");
    const size_t half = static_cast<size_t>(size / 2);
    twiddles_.resize(half);
    for (size_t k = 0; k < half; ++k)
        twiddles_[k] = std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k) / size);
    work_.resize(half);
}

void RealFft::forward(std::span<const double> x, std::span<std::complex<double>> out) {
    if (x.size() != static_cast<size_t>(size_) || out.size() != static_cast<size_t>(bins()))
        throw Error("a spectrum needs as many samples as its size says");
    // Even samples as real parts and odd ones as imaginary parts: one complex transform of half the size,
    // then the two halves are told apart by their symmetry.
    const size_t half = work_.size();
    for (size_t i = 0, reversed = 0; i < half; ++i) {
        work_[reversed] = {x[2 * i], x[2 * i + 1]};
        size_t bit = half >> 1;
        for (; bit && (reversed & bit); bit >>= 1) reversed ^= bit;
        reversed |= bit;
    }
    for (size_t length = 2; length <= half; length *= 2) {
        const size_t stride = 2 * half / length;
        for (size_t begin = 0; begin < half; begin += length)
            for (size_t k = 0; k < length / 2; ++k) {
                const std::complex<double> a = work_[begin + k],
                                           b = work_[begin + k + length / 2] * twiddles_[k * stride];
                work_[begin + k] = a + b;
                work_[begin + k + length / 2] = a - b;
            }
    }
    for (size_t k = 0; k <= half; ++k) {
        const std::complex<double> z = work_[k % half], mirrored = std::conj(work_[(half - k) % half]);
        const std::complex<double> even = 0.5 * (z + mirrored),
                                   odd = std::complex<double>(0, -0.5) * (z - mirrored);
        out[k] = even + (k < half ? twiddles_[k] : std::complex<double>(-1)) * odd;
    }
}

}  // namespace nigiri
