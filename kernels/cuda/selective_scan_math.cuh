// Arithmetic of the selective scan on the device: real or complex numbers, softplus, and the three
// discretisations.
#pragma once

#include "kernels/cuda/selective_scan_ptx.cuh"
#include "kernels/selective_scan.h"

namespace nigiri::cuda::scan {

template <bool kComplex>
struct Number {
    float re;
    __device__ static Number of(float re_) { return {re_}; }
};
template <>
struct Number<true> {
    float re, im;
    __device__ static Number of(float re_) { return {re_, 0.0f}; }
};

// x s
template <bool kComplex>
__device__ inline Number<kComplex> scale(Number<kComplex> x, float s) {
    if constexpr (kComplex)
        return {x.re * s, x.im * s};
    else
        return {x.re * s};
}
template <bool kComplex>
__device__ inline Number<kComplex> add(Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {x.re + y.re, x.im + y.im};
    else
        return {x.re + y.re};
}
template <bool kComplex>
__device__ inline Number<kComplex> conj(Number<kComplex> x) {
    if constexpr (kComplex)
        return {x.re, -x.im};
    else
        return x;
}
template <bool kComplex>
__device__ inline Number<kComplex> mul(Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
    else
        return {x.re * y.re};
}
// x y + z
template <bool kComplex>
__device__ inline Number<kComplex> mul_add(Number<kComplex> x, Number<kComplex> y, Number<kComplex> z) {
    if constexpr (kComplex)
        return {fmaf(-x.im, y.im, fmaf(x.re, y.re, z.re)), fmaf(x.im, y.re, fmaf(x.re, y.im, z.im))};
    else
        return {fmaf(x.re, y.re, z.re)};
}
// Re(x y) + z
template <bool kComplex>
__device__ inline float real_mul_add(Number<kComplex> x, Number<kComplex> y, float z) {
    if constexpr (kComplex)
        return fmaf(-x.im, y.im, fmaf(x.re, y.re, z));
    else
        return fmaf(x.re, y.re, z);
}
template <bool kComplex>
__device__ inline float square_of_modulus(Number<kComplex> x) {
    if constexpr (kComplex)
        return x.re * x.re + x.im * x.im;
    else
        return x.re * x.re;
}
template <bool kComplex>
__device__ inline Number<kComplex> inverse(Number<kComplex> x) {
    if constexpr (kComplex) {
        const float s = 1.0f / square_of_modulus(x);
        return {x.re * s, -x.im * s};
    } else {
        return {1.0f / x.re};
    }
}

inline constexpr float log2_e = 1.4426950408889634f;
inline constexpr float rounding_magic = 12582912.0f;  // x + 1.5 * 2^23 holds round(x) in its low bits

// 2^x - 1, accurate relative to itself also where x is tiny.
__device__ inline float exp2_minus_1(float x) {
    const float clamped = fminf(128.0f, fmaxf(-126.0f, x)), shifted = clamped + rounding_magic;
    const float r = clamped - (shifted - rounding_magic);
    float p = 0.0001545316294512069f;  // (2^r - 1) / r within 1.3e-8 on [-1/2, 1/2]
    p = fmaf(p, r, 0.0013390863364671234f);
    p = fmaf(p, r, 0.009618082557277852f);
    p = fmaf(p, r, 0.05550357114219078f);
    p = fmaf(p, r, 0.24022650760568126f);
    p = fmaf(p, r, 0.6931471880262288f);
    const float power = __uint_as_float(0x3f800000u + (__float_as_uint(shifted) << 23));
    return fmaf(p * r, power, power - 1.0f);
}

// ln(1 + e^x). The polynomial is ln(1 + e) / e within 3e-8 on [0, 1]: small steps keep all their bits.
// `e` is e^-|x|.
__device__ inline float softplus(float x, float e) {
    float p = 0.00523269409f;
    p = fmaf(p, e, -0.0295052379f);
    p = fmaf(p, e, 0.0782259554f);
    p = fmaf(p, e, -0.136632457f);
    p = fmaf(p, e, 0.191060066f);
    p = fmaf(p, e, -0.24842982f);
    p = fmaf(p, e, 0.333190978f);
    p = fmaf(p, e, -0.499994934f);
    p = fmaf(p, e, 0.99999994f);
    return fmaf(p, e, fmaxf(x, 0.0f));
}
__device__ inline float softplus(float x) { return softplus(x, exp2_approx(-fabsf(x) * log2_e)); }
// The slope of softplus from its value y: 1 - e^-y.
__device__ inline float softplus_slope(float y) { return -exp2_minus_1(-y * log2_e); }

__device__ inline float sigmoid(float x) { return inverse_approx(1.0f + exp2_approx(-x * log2_e)); }

// sin and cos of the angle pi (n + f), |f| <= 1/2, without the common sign (-1)^n, which is kept as a sign
// bit.
struct HalfTurn {
    float sine, versine;  // sin(pi f), 1 - cos(pi f)
    uint32_t sign;

    // The angle is dt (hi + lo) pi. dt hi - n is exact in a fused multiply-add, so the phase keeps all its
    // bits however many turns there are.
    __device__ HalfTurn(float dt, float hi, float lo) {
        const float shifted = fmaf(dt, hi, rounding_magic);
        const float f = fmaf(dt, lo, fmaf(dt, hi, -(shifted - rounding_magic))), z = f * f;
        sign = __float_as_uint(shifted) << 31;
        float s = 0.07765591227601387f;  // sin(pi f) / f in f^2 within 7e-9
        s = fmaf(s, z, -0.5982904112834275f);
        s = fmaf(s, z, 2.550077386528912f);
        s = fmaf(s, z, -5.167710076668315f);
        s = fmaf(s, z, 3.1415926400772034f);
        float c = 0.024627111595228457f;  // (1 - cos(pi f)) / f^2 in f^2 within 1e-9
        c = fmaf(c, z, -0.23507436832239592f);
        c = fmaf(c, z, 1.3352399607008951f);
        c = fmaf(c, z, -4.0587114146834375f);
        c = fmaf(c, z, 4.934802196986985f);
        sine = s * f;
        versine = c * z;
    }
    __device__ float signed_(float x) const { return __uint_as_float(__float_as_uint(x) ^ sign); }
};

// Abar and what the input is multiplied with, as functions of dt for one A. Bbar u is B x with x = dt u for
// euler, and gamma B u for the other two. `aux` is the number of a step that gamma and the derivatives are
// made from: gamma itself (zoh), 1 / (1 - dt A / 2) (bilinear).
template <bool kComplex, Discretization kRule>
struct Rule {
    using N = Number<kComplex>;
    N a, inverse_a;
    float log2_e_a, hi, lo;

    Rule() = default;
    __device__ explicit Rule(N a_) : a(a_) {
        if constexpr (kRule == Discretization::zoh) {
            // A of zero would divide by zero; (e^(dt A) - 1) / A is dt to the last bit here.
            if (square_of_modulus(a) < 1e-30f) a.re = -1e-15f;
            inverse_a = inverse(a);
        }
        if constexpr (kRule != Discretization::bilinear) {
            log2_e_a = a.re * log2_e;
            if constexpr (kComplex) {
                constexpr float p = 0.318309873342514f,
                                q = 1.2841276486597053e-08f;  // 1 / pi as a sum of two floats
                hi = a.im * p;
                lo = fmaf(a.im, q, fmaf(a.im, p, -hi));
            }
        }
    }

    // e^(dt A)
    __device__ N exponential(float dt) const {
        const float e = exp2_approx(dt * log2_e_a);
        if constexpr (kComplex) {
            const HalfTurn angle(dt, hi, lo);
            const float s = angle.signed_(e);
            return {fmaf(-s, angle.versine, s), s * angle.sine};
        } else {
            return {e};
        }
    }

    __device__ void step(float dt, N& abar, N& aux) const {
        if constexpr (kRule == Discretization::euler) {
            abar = exponential(dt);
            aux = N::of(1.0f);
        } else if constexpr (kRule == Discretization::zoh) {
            N minus_1;  // e^(dt A) - 1
            minus_1.re = exp2_minus_1(dt * log2_e_a);
            if constexpr (kComplex) {
                const HalfTurn angle(dt, hi, lo);
                const float e = minus_1.re, one = angle.signed_(1.0f), versine = angle.signed_(angle.versine);
                const float sine = angle.signed_(angle.sine);
                // e cos + (cos - 1), and cos - 1 = (sign - 1) - versine does not cancel for small angles.
                minus_1.re = fmaf(e, one - versine, (one - 1.0f) - versine);
                minus_1.im = fmaf(e, sine, sine);
            }
            abar = minus_1;
            abar.re += 1.0f;
            aux = mul(minus_1, inverse_a);
        } else {
            const N x = scale(a, 0.5f * dt);
            N less = scale(x, -1.0f), more = x;
            less.re += 1.0f;
            more.re += 1.0f;
            aux = inverse(less);
            abar = mul(more, aux);
        }
    }

    // Bbar u / B from the step's input.
    __device__ N gamma(float dt, N aux) const {
        if constexpr (kRule == Discretization::bilinear)
            return scale(aux, dt);
        else
            return aux;
    }
    // W: Abar and gamma have the derivatives A W and W in dt; Abar has dt W in A.
    __device__ N slope(N abar, N aux) const {
        if constexpr (kRule == Discretization::bilinear)
            return mul(aux, aux);
        else
            return abar;
    }
    // d gamma / d A
    __device__ N gamma_a(float dt, N abar, N aux) const {
        if constexpr (kRule == Discretization::bilinear) {
            return scale(mul(aux, aux), 0.5f * dt * dt);
        } else {
            // dt^2 times the derivative of (e^x - 1) / x at x = dt A: (dt Abar - gamma) / A where it does not
            // cancel, else the series of (k + 1) / (k + 2)! x^k.
            const N x = scale(a, dt);
            if (square_of_modulus(x) >= 0.25f) return mul(add(scale(abar, dt), scale(aux, -1.0f)), inverse_a);
            constexpr float series[] = {8.0f / 362880, 7.0f / 40320, 6.0f / 5040, 5.0f / 720,
                                        4.0f / 120,    3.0f / 24,    2.0f / 6,    1.0f / 2};
            N p = N::of(0.0f);
#pragma unroll
            for (const float c : series) p = mul_add(p, x, N::of(c));
            return scale(p, dt * dt);
        }
    }
};

}  // namespace nigiri::cuda::scan
