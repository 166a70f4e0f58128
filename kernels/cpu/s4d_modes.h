// The continuous modes of an S4D layer, their discretisation and the chain rule through it: double, one mode at a
// time, for every element type. What is linear in the length lives elsewhere.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "kernels/s4d_kernel.h"

namespace nigiri::cpu {

using Complex = std::complex<double>;

// phi(z) = (e^z - 1) / z and its derivative; by their series near zero, where the quotients cancel.
struct Phi {
    Complex value, derivative;
};

inline Phi phi_of(Complex z) {
    if (std::norm(z) >= 0.01) {
        const Complex e = std::exp(z), value = (e - 1.0) / z;
        return {value, (e - value) / z};
    }
    // value = sum z^k / (k + 1)!, derivative = sum (k + 1) z^k / (k + 2)!; below |z| = 0.1 ten terms are exact.
    Complex value = 0, derivative = 0, power = 1;
    double factorial = 1;
    for (int k = 0; k < 10; ++k) {
        factorial *= k + 1;
        value += power / factorial;
        derivative += power * ((k + 1) / (factorial * (k + 2)));
        power *= z;
    }
    return {value, derivative};
}

// One mode n of one channel d. For real layers every number here is real.
struct S4dMode {
    double dt;
    Complex a, b, c;     // A, B, C
    Complex abar, gain;  // the discrete pole; Bbar = gain B
    Complex bbar() const { return gain * b; }
};

template <class T>
S4dMode s4d_mode(const S4dParameters& p, int64_t d, int64_t n) {
    const int64_t s = d % p.a_real[0], modes = p.a_real[1];
    const auto read = [&](const View& v, int64_t row) -> Complex {
        if (!p.is_complex) return static_cast<double>(v.row<T>(row)[n]);
        const T* pair = v.row<T>(row * modes + n);
        return {static_cast<double>(pair[0]), static_cast<double>(pair[1])};
    };
    S4dMode m;
    m.dt = p.rate * std::exp(static_cast<double>(p.inv_dt.row<T>(0)[d]));
    m.a = -std::exp(static_cast<double>(p.a_real.row<T>(s)[n]));
    if (p.is_complex) m.a -= Complex(0, static_cast<double>(p.a_imag.row<T>(s)[n]));
    m.b = read(p.b, s);
    m.c = read(p.c, d);
    const Complex z = m.dt * m.a;
    if (p.discretization == Discretization::zoh) {
        m.abar = std::exp(z);
        m.gain = m.dt * phi_of(z).value;
    } else {
        m.abar = (1.0 + 0.5 * z) / (1.0 - 0.5 * z);
        m.gain = m.dt / (1.0 - 0.5 * z);
    }
    return m;
}

// Gradients as dL/dRe + i dL/dIm.
struct S4dModeGradient {
    double inv_dt, a_real, a_imag;
    Complex b, c;
};

// `sum` = sum_l dK_l Abar^l and `moment` = sum_l l dK_l Abar^(l - 1), from which everything follows, since
// K_l = r Re(C Bbar Abar^l). For a holomorphic f the gradient at x is the gradient at f times conj(f'(x)).
inline S4dModeGradient s4d_mode_backward(const S4dParameters& p, const S4dMode& m, Complex sum, Complex moment) {
    const double r = p.is_complex ? 2 : 1;
    const Complex z = m.dt * m.a;
    Complex abar_dz, gain_ddt, gain_da;
    if (p.discretization == Discretization::zoh) {
        abar_dz = m.abar;
        gain_ddt = m.abar;
        gain_da = m.dt * m.dt * phi_of(z).derivative;
    } else {
        const Complex q = 1.0 / (1.0 - 0.5 * z);
        abar_dz = q * q;
        gain_ddt = q * q;
        gain_da = 0.5 * m.dt * m.dt * q * q;
    }
    const Complex g_weight = r * std::conj(sum);  // at C Bbar
    const Complex g_z = r * std::conj(m.c * m.bbar() * moment * abar_dz);
    const Complex g_bbar = g_weight * std::conj(m.c);
    const Complex g_gain = g_bbar * std::conj(m.b);
    const Complex g_a = g_z * m.dt + g_gain * std::conj(gain_da);
    const double g_dt = std::real(g_z * std::conj(m.a) + g_gain * std::conj(gain_ddt));
    return {.inv_dt = g_dt * m.dt,
            .a_real = g_a.real() * m.a.real(),  // dA/da_real = Re A
            .a_imag = -g_a.imag(),
            .b = g_bbar * std::conj(m.gain),
            .c = g_weight * std::conj(m.bbar())};
}

// Adds the gradients of all modes (D, N) to the operation's; copies get the sum over their channels, in the channels'
// order.
void s4d_add_gradients(const S4dKernelBackward& op, const std::vector<S4dModeGradient>& gradients);

}  // namespace nigiri::cpu
