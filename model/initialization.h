// How parameters begin, in float64. Every draw comes from the caller's generator, in order.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "kernels/random.h"

namespace nigiri {

// The state matrices of the published S4 family: the s4d ones from Gu, Gupta, Goel & Re 2022 ("On the parameterization
// and initialization of diagonal state space models"), legs from Gu, Goel & Re 2022 ("Efficiently modeling long
// sequences with structured state spaces").
enum class StateInit {
    s4d_lin,   // A_n = -1/2 + i pi n (the published code's 1e-4 instead of the zero frequency)
    s4d_inv,   // A_n = -1/2 + i M / pi (M / (2n + 1) - 1), M = 2N
    s4d_legs,  // the eigenvalues of the normal part of HiPPO-LegS, fastest first, and its B
    s4d_real,  // A_n = -(n + 1), real
    legs,      // HiPPO-LegS itself, diagonal plus low rank: s4d_legs and P
};

// N states. Complex ones stand for conjugate pairs; of each pair the one below the real axis is kept:
// A_n = -exp(a_real) - i a_imag.
struct StateMatrices {
    std::vector<double> a_real;
    std::vector<double> a_imag;  // empty for s4d_real
    std::vector<std::complex<double>> b;
    std::vector<std::complex<double>> p;  // legs only: A = diag(A_n) - p p^H
};

// `states` N is at least 1; state size M = 2N where complex.
StateMatrices initial_state(StateInit init, int64_t states);

// The ranges of s4d_lin and s4d_real filled at random, `copies` times `states` numbers, row-major, every one drawn by
// itself: complex A = -U(0, 1) - i pi N U(0, 1), real A = -N U(0, 1), B = 1. These are the published S4 code's
// initialisations with real_random and imag_random (lin) or real_random (real). No real part is nearer to 0 than 1e-4:
// the logarithm of it is what is stored.
StateMatrices random_state(Random& random, int64_t states, int64_t copies, bool is_complex);
// The values of one copy, `copies` times.
StateMatrices copies_of(const StateMatrices& one, int64_t copies);

// C~ = C (I - Abar^length) per channel, and back: what the S4 kernel stores (kernels/s4_kernel.h). `matrices` holds one
// copy, shared by all channels; log_dt is (D), c is (D, N), row-major.
std::vector<std::complex<double>> tied_output(const StateMatrices& matrices, const std::vector<double>& log_dt,
                                              int64_t length, const std::vector<std::complex<double>>& c);
std::vector<std::complex<double>> untied_output(const StateMatrices& matrices, const std::vector<double>& log_dt,
                                                int64_t length, const std::vector<std::complex<double>>& tied);

// Steps: log dt, uniform between the logarithms of the bounds (S4, S4D).
std::vector<double> log_uniform_steps(Random& random, int64_t count, double dt_min = 0.001, double dt_max = 0.1);
// Biases whose softplus is such a step, at least 1e-4 (S6's dt_proj): dt + log(1 - exp(-dt)).
std::vector<double> softplus_steps(Random& random, int64_t count, double dt_min = 0.001, double dt_max = 0.1);
// S6's A_log, (D, N): log(1), ..., log(N) in every row.
std::vector<double> s6_a_log(int64_t width, int64_t states);

std::vector<double> uniform(Random& random, int64_t count, double low, double high);
// U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for the weights and the biases of linear layers and
// convolutions.
std::vector<double> fan_in_uniform(Random& random, int64_t count, int64_t fan_in);
std::vector<double> normal(Random& random, int64_t count, double deviation = 1);
// Standard complex normal numbers: each part has variance 1/2.
std::vector<std::complex<double>> complex_normal(Random& random, int64_t count);

}  // namespace nigiri
