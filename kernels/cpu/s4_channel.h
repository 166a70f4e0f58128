// One S4 channel on the CPU, for the backend's recurrence and for engines. Its factors are six planes of 2 N doubles,
// laid out for interleaved (re, im) states h (s4_discrete.h): Re a twice; -Im a, Im a; Re f, -Im f; g; b; 2 Re c,
// -2 Im c. So a h is two products, and both sums are plain dots.
#pragma once

#include <complex>
#include <cstdint>

namespace nigiri::cpu {

inline int64_t s4_factors(int64_t states) { return 12 * states; }  // doubles a channel

// The numbers of state n.
inline void s4_put_factors(double* factors, int64_t states, int64_t n, std::complex<double> a, std::complex<double> f,
                           std::complex<double> g, std::complex<double> b, std::complex<double> c) {
    const auto put = [&](int64_t which, double re, double im) {
        factors[2 * (which * states + n)] = re;
        factors[2 * (which * states + n) + 1] = im;
    };
    put(0, a.real(), a.real());
    put(1, -a.imag(), a.imag());
    put(2, f.real(), -f.imag());
    put(3, g.real(), g.imag());
    put(4, b.real(), b.imag());
    put(5, 2 * c.real(), -2 * c.imag());
}

// `length` samples of a channel, `u_stride` and `y_stride` elements apart, from the state h of 2 N doubles on.
void s4_run_channel(const double* factors, int64_t states, double skip, const float* u, float* y, int64_t length,
                    int64_t u_stride, int64_t y_stride, double* h);
void s4_run_channel(const double* factors, int64_t states, double skip, const double* u, double* y, int64_t length,
                    int64_t u_stride, int64_t y_stride, double* h);

}  // namespace nigiri::cpu
