// A Fourier transform in double precision of any length: radix 2 where the length is a power of two,
// otherwise Bluestein's chirp algorithm (1970), which turns it into a convolution of a power-of-two length.
// The float32 convolutions use tuned ones; this one serves the S4 kernel and the analysis of audio, where it
// is a small part of the work and a length must never be refused.
#pragma once

#include <complex>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

namespace nigiri {

// The tables of one length; read-only once built, so threads may share it.
class Fft64 {
  public:
    using Complex = std::complex<double>;

    explicit Fft64(int64_t length) : length_(length), padded_(1) {
        const bool power_of_two = (length & (length - 1)) == 0;
        while (padded_ < (power_of_two ? length : 2 * length - 1)) padded_ *= 2;
        twiddle_.resize(static_cast<size_t>(padded_ / 2));
        for (size_t i = 0; i < twiddle_.size(); ++i)
            twiddle_[i] =
                std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(padded_));
        if (power_of_two) return;
        // k^2 is reduced modulo 2 length in integers: as a double the angle would lose all its digits.
        chirp_.resize(static_cast<size_t>(length));
        filter_.assign(static_cast<size_t>(padded_), Complex());
        for (int64_t k = 0, square = 0; k < length; ++k) {
            const Complex c =
                std::polar(1.0, -std::numbers::pi * static_cast<double>(square) / static_cast<double>(length));
            chirp_[static_cast<size_t>(k)] = c;
            filter_[static_cast<size_t>(k)] = filter_[static_cast<size_t>(k == 0 ? 0 : padded_ - k)] = std::conj(c);
            square = (square + 2 * k + 1) % (2 * length);
        }
        radix2(filter_.data());
        for (Complex& f : filter_) f /= static_cast<double>(padded_);
    }

    int64_t length() const { return length_; }
    // How many complex numbers `x` must have room for.
    int64_t workspace() const { return padded_; }

    // x[k] = sum_l x[l] exp(-2 pi i k l / length), in place, for the first `length` numbers of x; the rest is
    // lost.
    void forward(Complex* x) const {
        if (chirp_.empty()) return radix2(x);
        for (size_t k = 0; k < chirp_.size(); ++k) x[k] = product(x[k], chirp_[k]);
        for (size_t k = chirp_.size(); k < filter_.size(); ++k) x[k] = 0;
        radix2(x);
        // The inverse of the convolution's transform is a forward one between two conjugations.
        for (size_t k = 0; k < filter_.size(); ++k) x[k] = std::conj(product(x[k], filter_[k]));
        radix2(x);
        for (size_t k = 0; k < chirp_.size(); ++k) x[k] = product(std::conj(x[k]), chirp_[k]);
    }

  private:
    // std::complex's own product stops to ask for NaN; this one does not.
    static Complex product(const Complex& a, const Complex& b) {
        return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
    }

    void radix2(Complex* x) const {
        const int64_t n = padded_;
        for (int64_t i = 1, j = 0; i < n; ++i) {
            int64_t bit = n / 2;
            for (; j & bit; bit /= 2) j ^= bit;
            j ^= bit;
            if (i < j) std::swap(x[i], x[j]);
        }
        for (int64_t half = 1; half < n; half *= 2) {
            const int64_t stride = n / (2 * half);
            for (int64_t begin = 0; begin < n; begin += 2 * half)
                for (int64_t i = 0; i < half; ++i) {
                    const Complex b = product(x[begin + half + i], twiddle_[static_cast<size_t>(i * stride)]);
                    const Complex a = x[begin + i];
                    x[begin + i] = a + b;
                    x[begin + half + i] = a - b;
                }
        }
    }

    int64_t length_, padded_;
    std::vector<Complex> twiddle_, chirp_, filter_;
};

}  // namespace nigiri
