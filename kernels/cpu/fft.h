// Fourier transforms of one real sequence by a library: FFTW (NIGIRI_FFT=fftw) or kissfft (NIGIRI_FFT=kissfft).
// Not part of the default build, whose convolution has transforms of its own (lane_fft.h).
//   forward: X_k = sum_t x_t e^(-2 pi i k t / n), k = 0 .. n / 2      inverse: n x_t from X (not scaled).
// The same bits every time: FFTW estimates its plans rather than timing them, as a measured plan may differ from run
// to run and with it the rounding.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>

namespace nigiri::cpu {

class RealFft {
  public:
    virtual ~RealFft() = default;

    // Made once for every size and kept; size is one that fft_size gives. Safe from any thread.
    static std::shared_ptr<const RealFft> of_size(int64_t size);

    // Both destroy their input. Arrays are aligned to 64 bytes: `size` real and size / 2 + 1 complex numbers.
    virtual void forward(float* x, std::complex<float>* spectrum) const = 0;
    virtual void inverse(std::complex<float>* spectrum, float* x) const = 0;
};

// The least fast size that is at least `length`: 2^k, 3 2^k or 5 2^k; even.
int64_t fft_size(int64_t length);

}  // namespace nigiri::cpu
