// The two products with powers of the poles that an S4D kernel of one channel is made of, in float32:
//   forward:  K_l = Re sum_n w_n a_n^l        backward:  S_n = sum_l dK_l a_n^l,  M_n = sum_l l dK_l a_n^l.
// With l = T i + j the powers split into a_n^(T i) and a_n^j, so that both are matrix products of T columns and
// L / T rows. The powers are multiplied up in double (their error grows as l times 1e-16) and only then rounded.
#pragma once

#include <cstdint>

namespace nigiri::cpu {

struct S4dChannel {
    bool is_complex;
    int64_t length;
    int64_t modes;            // padded to a multiple of s4d_mode_padding; what is padded has weight and pole zero
    const double* pole_re;    // (modes); |a| < 1
    const double* pole_im;    // only read where complex, as is weight_im
    const double* weight_re;  // forward only
    const double* weight_im;
};

inline constexpr int64_t s4d_mode_padding = 8;

// Floats of 64-byte aligned scratch that a call needs.
int64_t s4d_scratch_size(const S4dChannel& channel);

void s4d_kernel_row(const S4dChannel& channel, float* scratch, float* kernel);
// The four results are (modes); the imaginary parts are only written where complex.
void s4d_kernel_row_backward(const S4dChannel& channel, float* scratch, const float* dkernel, double* sum_re,
                             double* sum_im, double* moment_re, double* moment_im);

}  // namespace nigiri::cpu
