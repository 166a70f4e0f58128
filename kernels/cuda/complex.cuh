// Complex numbers in double on the device.
#pragma once

#include <cstdint>

namespace nigiri::cuda {

struct Complex {
    double re, im;
};

__device__ inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
__device__ inline Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ inline Complex operator*(double s, Complex a) { return {s * a.re, s * a.im}; }
__device__ inline Complex conj(Complex a) { return {a.re, -a.im}; }
__device__ inline double norm(Complex a) { return a.re * a.re + a.im * a.im; }
__device__ inline Complex operator/(Complex a, Complex b) { return (1 / norm(b)) * (a * conj(b)); }

__device__ inline Complex exp_of(Complex z) {
    double sine, cosine;
    sincos(z.im, &sine, &cosine);
    const double size = exp(z.re);
    return {size * cosine, size * sine};
}

// By squaring: the relative error is about `exponent` roundings of a double, 1e-10 at a million.
__device__ inline Complex power(Complex base, int64_t exponent) {
    Complex result = {1, 0};
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) result = result * base;
        base = base * base;
    }
    return result;
}

}  // namespace nigiri::cuda
