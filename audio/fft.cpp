#include "audio/fft.h"

#include <numbers>
#include <string>

#include "kernels/error.h"

namespace nigiri {

namespace {

int checked(int size) {
    if (size < 2 || size % 2 != 0)
        throw Error("a spectrum of " + std::to_string(size) + " samples", "use an even number of samples, at least 2");
    return size;
}

}  // namespace

RealFft::RealFft(int size) : size_(checked(size)), half_(size / 2), work_(static_cast<size_t>(half_.workspace())) {
    twiddles_.resize(static_cast<size_t>(size / 2));
    for (size_t k = 0; k < twiddles_.size(); ++k)
        twiddles_[k] = std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k) / size);
}

void RealFft::forward(std::span<const double> x, std::span<std::complex<double>> out) {
    if (x.size() != static_cast<size_t>(size_) || out.size() != static_cast<size_t>(bins()))
        throw Error("a spectrum needs as many samples as its size says");
    // Even samples as real parts and odd ones as imaginary parts: one complex transform of half the size,
    // then the two halves are told apart by their symmetry.
    const size_t half = twiddles_.size();
    for (size_t i = 0; i < half; ++i) work_[i] = {x[2 * i], x[2 * i + 1]};
    half_.forward(work_.data());
    for (size_t k = 0; k <= half; ++k) {
        const std::complex<double> z = work_[k % half], mirrored = std::conj(work_[(half - k) % half]);
        const std::complex<double> even = 0.5 * (z + mirrored), odd = std::complex<double>(0, -0.5) * (z - mirrored);
        out[k] = even + (k < half ? twiddles_[k] : std::complex<double>(-1)) * odd;
    }
}

}  // namespace nigiri
