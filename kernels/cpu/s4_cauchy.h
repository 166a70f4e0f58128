// The spectrum of one channel's S4 kernel and its adjoint: the inner loops of s4_kernel.cpp, in float64.
//
// At w = exp(-2 i phi), phi = pi k / length, 1 - w = 2 i sin(phi) exp(-i phi) and 1 + w = 2 cos(phi) exp(-i phi), so
// the Woodbury formula of s4_kernel.h becomes, with q_n = dt / (2 i sin(phi) - cos(phi) dt lambda_n),
//   K^ = exp(i phi) [ S(c b) - cos(phi) S(c p) S(p* b) / (1 + cos(phi) S(p* p)) ],   S(v) = sum v_n q_n
// over the conjugate-closed state. Nothing is singular here, not even at w = -1, and |1 + cos(phi) S(p* p)| >= 1.
#pragma once

#include <array>
#include <cstdint>

namespace nigiri::cpu {

inline constexpr int64_t cauchy_block = 256;  // nodes come in whole blocks

// Planar: all real parts, then all imaginary parts, each of `count` numbers.
struct CauchyPoles {
    int64_t count = 0;                      // conjugate pairs
    const double* pole = nullptr;           // dt lambda
    std::array<const double*, 4> weight{};  // dt times: c b, c p, p* b, p* p
};

// Nodes beyond the last one needed are padding: sine 1, cosine 0, and no gradient.
struct CauchyNodes {
    int64_t count = 0;                                // a multiple of cauchy_block
    const double *sine = nullptr, *cosine = nullptr;  // of phi
};

// re and im: (nodes.count), =: K^ at every node.
void cauchy_forward(const CauchyPoles& poles, const CauchyNodes& nodes, double* re, double* im);

// The adjoint for dL = Re sum_k g_k dK^_k, g = re + i im at every node. Sums are over nodes:
//   sums[2 i + part][n], i < 4: 1 / dt times t_i in dL = Re sum_n sum_i t_i dv_i, v_i the i-th weight without its dt
//   sums[8 + part][n]:          1 / dt times t in dL = Re sum_n t dlambda_n
// `sums` is (10, poles.count), =.
void cauchy_backward(const CauchyPoles& poles, const CauchyNodes& nodes, const double* re, const double* im,
                     double* sums);

}  // namespace nigiri::cpu
