// The modes of an S4D layer on the device: their parameters, discretisation and the chain rule through it, in
// double, one mode of one channel at a time (the CPU's s4d_modes.h holds the same formulas).
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/complex.cuh"
#include "kernels/s4d_kernel.h"

namespace nigiri::cuda {

// A float32 view as kernels see it.
struct Rows {
    float* data;
    int64_t stride;

    Rows(const View& v) : data(static_cast<float*>(v.data)), stride(v.row_stride) {}  // NOLINT: a View seen so
    __device__ float* row(int64_t i) const { return data + i * stride; }
};

struct S4dModes {
    Rows inv_dt, a_real, a_imag, b, c;
    int64_t channels, copies, modes;
    double rate;
    bool is_complex, zoh;

    explicit S4dModes(const S4dParameters& p)
        : inv_dt(p.inv_dt),
          a_real(p.a_real),
          a_imag(p.a_imag),
          b(p.b),
          c(p.c),
          channels(p.inv_dt.size()),
          copies(p.a_real[0]),
          modes(p.a_real[1]),
          rate(p.rate),
          is_complex(p.is_complex),
          zoh(p.discretization == Discretization::zoh) {}
};

// phi(z) = (e^z - 1) / z and its derivative; by their series near zero, where the quotients cancel.
struct Phi {
    Complex value, derivative;
};

__device__ inline Phi phi_of(Complex z) {
    if (norm(z) >= 0.01) {
        const Complex e = exp_of(z), value = (e - Complex{1, 0}) / z;
        return {value, (e - value) / z};
    }
    Phi phi = {{0, 0}, {0, 0}};
    Complex term = {1, 0};
    double factorial = 1;
    for (int k = 0; k < 10; ++k) {
        factorial *= k + 1;
        phi.value = phi.value + (1 / factorial) * term;
        phi.derivative = phi.derivative + ((k + 1) / (factorial * (k + 2))) * term;
        term = term * z;
    }
    return phi;
}

struct S4dMode {
    double dt;
    Complex a, b, c;     // A, B, C
    Complex abar, gain;  // the discrete pole; Bbar = gain B

    __device__ Complex bbar() const { return gain * b; }
};

__device__ inline S4dMode s4d_mode(const S4dModes& p, int64_t d, int64_t n) {
    const int64_t s = d % p.copies;
    const auto read = [&](const Rows& v, int64_t row) -> Complex {
        if (!p.is_complex) return {v.row(row)[n], 0};
        const float* pair = v.row(row * p.modes + n);
        return {pair[0], pair[1]};
    };
    S4dMode m;
    m.dt = p.rate * exp(static_cast<double>(p.inv_dt.data[d]));
    m.a = {-exp(static_cast<double>(p.a_real.row(s)[n])), 0};
    if (p.is_complex) m.a.im = -static_cast<double>(p.a_imag.row(s)[n]);
    m.b = read(p.b, s);
    m.c = read(p.c, d);
    const Complex z = m.dt * m.a;
    if (p.zoh) {
        m.abar = exp_of(z);
        m.gain = m.dt * phi_of(z).value;
    } else {
        const Complex above = {1 + 0.5 * z.re, 0.5 * z.im}, below = {1 - 0.5 * z.re, -0.5 * z.im};
        m.abar = above / below;
        m.gain = Complex{m.dt, 0} / below;
    }
    return m;
}

// C Bbar with the 2 that stands for the conjugate halves: K_l = Re(weight Abar^l).
__device__ inline Complex s4d_weight(const S4dModes& p, const S4dMode& m) {
    return (p.is_complex ? 2.0 : 1.0) * (m.c * m.bbar());
}

// One mode's share of the gradients, dL/dRe + i dL/dIm; `p` is S4's alone.
struct ModeGradient {
    double inv_dt, a_real, a_imag;
    Complex b, c, p;
};

// From `sum` = sum_l dK_l Abar^l and `moment` = sum_l l dK_l Abar^(l - 1). For a holomorphic f the gradient
// at x is the gradient at f times conj(f'(x)).
__device__ inline ModeGradient s4d_mode_backward(const S4dModes& p, const S4dMode& m, Complex sum, Complex moment) {
    const double r = p.is_complex ? 2 : 1;
    const Complex z = m.dt * m.a;
    Complex abar_dz, gain_ddt, gain_da;
    if (p.zoh) {
        abar_dz = m.abar;
        gain_ddt = m.abar;
        gain_da = (m.dt * m.dt) * phi_of(z).derivative;
    } else {
        const Complex q = Complex{1, 0} / Complex{1 - 0.5 * z.re, -0.5 * z.im};
        abar_dz = q * q;
        gain_ddt = q * q;
        gain_da = (0.5 * m.dt * m.dt) * (q * q);
    }
    const Complex g_weight = r * conj(sum);  // at C Bbar
    const Complex g_z = r * conj(m.c * m.bbar() * moment * abar_dz);
    const Complex g_bbar = g_weight * conj(m.c);
    const Complex g_gain = g_bbar * conj(m.b);
    const Complex g_a = m.dt * g_z + g_gain * conj(gain_da);
    const double g_dt = (g_z * conj(m.a) + g_gain * conj(gain_ddt)).re;
    return {g_dt * m.dt,
            g_a.re * m.a.re,  // dA/da_real = Re A
            -g_a.im,         g_bbar * conj(m.gain), g_weight * conj(m.bbar()), {0, 0}};
}

// Where the gradients of an S4D or S4 layer go; each may be absent.
struct ModeGradientViews {
    View dinv_dt, da_real, da_imag, dp, db, dc;
};

// Adds `gradients` (D, N), in device memory, to the views: copies get the sum over their channels, in the
// channels' order, and steps the sum over their modes.
void add_mode_gradients(cudaStream_t stream, const ModeGradient* gradients, int64_t channels, int64_t copies,
                        int64_t modes, bool is_complex, const ModeGradientViews& views);

}  // namespace nigiri::cuda
