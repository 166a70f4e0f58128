// A small real Fourier transform for analysis: double precision, powers of two. (The kernels' transform is
// built for long convolutions in float32 and plans ahead; a few thousand windows of 1024 need neither.)
#pragma once

#include <complex>
#include <span>
#include <vector>

namespace nigiri {

class RealFft {
  public:
    // size: a power of two, at least 2; else Error.
    explicit RealFft(int size);

    int size() const { return size_; }
    int bins() const { return size_ / 2 + 1; }
    // X_k = sum_n x_n exp(-2 pi i k n / size) for k = 0 .. size / 2. x has size() elements, out bins().
    void forward(std::span<const double> x, std::span<std::complex<double>> out);

  private:
    int size_;
    std::vector<std::complex<double>> twiddles_;  // exp(-2 pi i k / size), k < size / 2
    std::vector<std::complex<double>> work_;      // size / 2
};

}  // namespace nigiri
