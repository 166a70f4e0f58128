// The discrete form of one S4 channel (s4_kernel.h), on the host and in float64: shared by the backends' discretisation
// and by the initialisation of C~.
//
// The state is closed under conjugation; only one of each pair is kept. With E = 1 / (1 - dt lambda / 2) and
// rho = dt / (1 + dt/2 p^H E p), bilinear discretisation of A = diag(lambda) - p p^H is Abar = 2 (I - dt/2 A)^-1 - I:
//   h'_n = a_n h_n - g_n Re(sum_m f_m h_m) + b_n u,    y = 2 Re(sum_n c_n h'_n)
//   a = 2 E - 1,   f = 2 p* E,   g = rho E p,   b = Bbar = dt E (b - rho/2 (p^H E b) p)
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace nigiri {

using ComplexVector = std::vector<std::complex<double>>;

struct S4Discrete {
    ComplexVector a, f, g, b;  // N each
};

// lambda, p, b: N conjugate halves each; Re lambda < 0, dt > 0.
S4Discrete s4_discretize(const ComplexVector& lambda, const ComplexVector& p, const ComplexVector& b, double dt);

// The stored C~ = C (I - Abar^length) of the true C, and back. O(N^3 log length).
ComplexVector s4_tied_c(const S4Discrete& layer, int64_t length, const ComplexVector& c);
ComplexVector s4_true_c(const S4Discrete& layer, int64_t length, const ComplexVector& tied);

// The number of taps that a kernel tied to `length` has at a sampling rate `rate` times coarser.
int64_t s4_length_at_rate(int64_t length, double rate);

}  // namespace nigiri
