// The spectrum of real samples, in double precision: what analysis needs of the complex transform.
#pragma once

#include <complex>
#include <span>
#include <vector>

#include "kernels/fft64.h"

namespace nigiri {

class RealFft {
  public:
    // size: even, at least 2; else Error.
    explicit RealFft(int size);

    int size() const { return size_; }
    int bins() const { return size_ / 2 + 1; }
    // X_k = sum_n x_n exp(-2 pi i k n / size) for k = 0 .. size / 2. x has size() elements, out bins().
    void forward(std::span<const double> x, std::span<std::complex<double>> out);

  private:
    int size_;
    Fft64 half_;                                  // of size / 2 complex numbers
    std::vector<std::complex<double>> twiddles_;  // exp(-2 pi i k / size), k < size / 2
    std::vector<std::complex<double>> work_;
};

}  // namespace nigiri
