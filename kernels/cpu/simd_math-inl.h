// Elementary functions on vectors of float32, without branches, for every instruction set that Highway
// dispatches to. Included inside a file that uses foreach_target.h: hence the guard that opens again for
// every target.
//
// Errors were measured over all exponents (tests/kernels/simd_math_test.cpp holds them to it). NaN goes
// through every function; results below the smallest normal number may come out as zero.
#if defined(NIGIRI_KERNELS_CPU_SIMD_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIGIRI_KERNELS_CPU_SIMD_MATH_INL_H
#undef NIGIRI_KERNELS_CPU_SIMD_MATH_INL_H
#else
#define NIGIRI_KERNELS_CPU_SIMD_MATH_INL_H
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE::simd {

namespace hn = hwy::HWY_NAMESPACE;

// The first n <= lanes elements from p, zeros behind them; nothing beyond p[n - 1] is touched.
template <class D>
HWY_INLINE hn::Vec<D> load_first(D d, const hn::TFromD<D>* p, size_t n) {
    return hn::MaskedLoad(hn::FirstN(d, n), d, p);
}
template <class D>
HWY_INLINE void store_first(hn::Vec<D> v, D d, hn::TFromD<D>* p, size_t n) {
    hn::BlendedStore(v, hn::FirstN(d, n), d, p);
}

template <class D>
HWY_INLINE hn::TFromD<D> sum(D d, hn::Vec<D> v) {
    return hn::GetLane(hn::SumOfLanes(d, v));
}

namespace detail {

// 2 p(r) * 2^(n - 1), where `shifted` is 1.5 * 2^23 + n: its low bits are n, so shifting them to the
// exponent's place needs no conversion. The factor two moves the range so that n = 128 still overflows to
// infinity by itself and n = -126 gives exactly zero.
template <class D>
HWY_INLINE hn::Vec<D> times_power_of_two(D d, hn::Vec<D> twice_p, hn::Vec<D> shifted) {
    const hn::RebindToSigned<D> di;
    const auto exponent = hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 126 << 23));
    return hn::Mul(twice_p, hn::BitCast(d, exponent));
}

// Clamps, but keeps NaN: x86 returns the second operand where either is NaN.
template <class D>
HWY_INLINE hn::Vec<D> clamp(D d, float low, float high, hn::Vec<D> x) {
    return hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), x));
}

template <class D>
HWY_INLINE hn::Vec<D> keep_nan([[maybe_unused]] hn::Vec<D> x, hn::Vec<D> y) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128  // their Min and Max drop NaN
    return hn::IfThenElse(hn::IsNaN(x), x, y);
#else
    return y;
#endif
}

}  // namespace detail

// 2^x, 2.5 ulp. Zero below -125.5, infinity from 128.
template <class D>
HWY_INLINE hn::Vec<D> exp2(D d, hn::Vec<D> x) {
    const auto magic = hn::Set(d, 12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const auto c = detail::clamp(d, -126.4f, 128.4f, x);
    const auto shifted = hn::Add(c, magic);
    const auto r = hn::Sub(c, hn::Sub(shifted, magic));  // exact, in [-1/2, 1/2]
    // Minimax in relative error for 2 * 2^r with the constant term fixed: 9e-8.
    auto p = hn::Set(d, 2 * 0.0013264700214426844f);
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.009671533905221503f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.05550733999665252f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.2402224176079433f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.6931469773569697f));
    p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
    return detail::keep_nan<D>(x, detail::times_power_of_two(d, p, shifted));
}

// e^x, 2 ulp. Zero below -87, infinity from 88.73.
template <class D>
HWY_INLINE hn::Vec<D> exp(D d, hn::Vec<D> x) {
    const auto magic = hn::Set(d, 12582912.0f);
    const auto c = detail::clamp(d, -87.6f, 89.0f, x);
    const auto shifted = hn::MulAdd(c, hn::Set(d, 1.4426950408889634f), magic);
    const auto n = hn::Sub(shifted, magic);
    // ln 2 in two parts, the first of so few bits that n times it is exact also without fused multiply-add.
    auto r = hn::NegMulAdd(n, hn::Set(d, 0.693145751953125f), c);
    r = hn::NegMulAdd(n, hn::Set(d, 1.42860682030941723e-6f), r);
    // 2 (1 + r + r^2 P(r)) with P minimax for e^r in relative error on [-ln2 / 2, ln2 / 2]: 3e-9.
    auto p = hn::Set(d, 2 * 0.0013814598605101443f);
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.008368716881977559f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.04166838804695686f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.1666652063168602f));
    p = hn::MulAdd(p, r, hn::Set(d, 2 * 0.499999934477832f));
    p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
    p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
    return detail::keep_nan<D>(x, detail::times_power_of_two(d, p, shifted));
}

// ln x for positive normal finite x, 2 ulp.
template <class D>
HWY_INLINE hn::Vec<D> log(D d, hn::Vec<D> x) {
    const hn::RebindToSigned<D> di;
    const auto bits = hn::BitCast(di, x);
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    const auto e = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f3504f3)));
    const auto m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(e)));
    const auto n = hn::ConvertTo(d, e);
    // ln m = 2 atanh s.
    const auto s = hn::Div(hn::Sub(m, hn::Set(d, 1.0f)), hn::Add(m, hn::Set(d, 1.0f)));
    const auto z = hn::Mul(s, s);
    auto p = hn::Set(d, 0.2987186240449881f);
    p = hn::MulAdd(p, z, hn::Set(d, 0.3997753697535418f));
    p = hn::MulAdd(p, z, hn::Set(d, 0.6666677641513975f));
    const auto small = hn::MulAdd(n, hn::Set(d, 1.42860682030941723e-6f), hn::Mul(hn::Mul(s, z), p));
    const auto y = hn::MulAdd(n, hn::Set(d, 0.693145751953125f), hn::Add(small, hn::Add(s, s)));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// ln(1 + u) for u in [0, 1], 2 ulp, small u included.
template <class D>
HWY_INLINE hn::Vec<D> log1p_unit(D d, hn::Vec<D> u) {
    const auto s = hn::Div(u, hn::Add(u, hn::Set(d, 2.0f)));  // ln(1 + u) = 2 atanh s, s <= 1/3
    const auto z = hn::Mul(s, s);
    auto p = hn::Set(d, 0.28025140022479156f);
    p = hn::MulAdd(p, z, hn::Set(d, 0.27999013470407064f));
    p = hn::MulAdd(p, z, hn::Set(d, 0.4002170613180381f));
    p = hn::MulAdd(p, z, hn::Set(d, 0.6666641302425431f));
    return hn::MulAdd(hn::Mul(s, z), p, hn::Add(s, s));
}

// ln(1 + e^x) at every x, 2.5 ulp; its derivative is sigmoid.
template <class D>
HWY_INLINE hn::Vec<D> softplus(D d, hn::Vec<D> x) {
    const auto tail = log1p_unit(d, exp(d, hn::Neg(hn::Abs(x))));
    return hn::Add(hn::Max(hn::Zero(d), x), tail);
}

// 1 / (1 + e^-x), 2.5 ulp.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
    const auto one = hn::Set(d, 1.0f);
    return hn::Div(one, hn::Add(one, exp(d, hn::Neg(x))));
}

// x sigmoid(x), 2.5 ulp.
template <class D>
HWY_INLINE hn::Vec<D> silu(D d, hn::Vec<D> x) {
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp(d, hn::Neg(x))));
}

// The derivative of silu, given s = sigmoid(x): s (1 + x (1 - s)).
template <class D>
HWY_INLINE hn::Vec<D> silu_slope(D d, hn::Vec<D> x, hn::Vec<D> s) {
    return hn::Mul(s, hn::MulAdd(x, hn::Sub(hn::Set(d, 1.0f), s), hn::Set(d, 1.0f)));
}

// The standard normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2 and, through `density`, its
// derivative exp(-x^2 / 2) / sqrt(2 pi). Phi is within 1e-7; the lower tail keeps 2e-6 of its own size down
// to x = -6, because it is the density times the (smooth) Mills ratio and no difference of nearly equal
// numbers.
template <class D>
HWY_INLINE hn::Vec<D> normal_cdf(D d, hn::Vec<D> x, hn::Vec<D>& density) {
    const auto one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
    const auto a = hn::Abs(x), z = hn::Mul(x, x);
    const auto e = exp(d, hn::Mul(z, hn::Set(d, -0.5f)));
    density = hn::Mul(e, hn::Set(d, 0.3989422804014327f));
    // exp(a^2 / 2) Phi(-a) on [1, 13.3] as a polynomial of t = 1 / (1 + 0.28 a), minimax in relative error:
    // 7e-8.
    const auto t = hn::Div(one, hn::MulAdd(a, hn::Set(d, 0.28f), one));
    auto p = hn::Set(d, -0.059138119589791927f);
    p = hn::MulAdd(p, t, hn::Set(d, 0.13056875830276538f));
    p = hn::MulAdd(p, t, hn::Set(d, -0.002762406704714861f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.10958353698723297f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.09767449463650472f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.11232294964858346f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.11167362204196338f));
    const auto tail = hn::Mul(hn::Mul(p, t), e);
    const auto outer = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
    // (Phi(x) - 1/2) / x on [-1, 1] as a polynomial of x^2: 7e-9.
    auto q = hn::Set(d, 9.244816236961781e-05f);
    q = hn::MulAdd(q, z, hn::Set(d, -0.0011653103917711695f));
    q = hn::MulAdd(q, z, hn::Set(d, 0.009964140385403117f));
    q = hn::MulAdd(q, z, hn::Set(d, -0.0664887237239661f));
    q = hn::MulAdd(q, z, hn::Set(d, 0.39894219859249525f));
    return hn::IfThenElse(hn::Lt(a, one), hn::MulAdd(q, x, half), outer);
}

}  // namespace nigiri::cpu::HWY_NAMESPACE::simd
HWY_AFTER_NAMESPACE();

#endif
