// Vector arithmetic of the float32 selective scan: real or complex numbers, one per lane, and the three
// discretisations. Included inside files that use foreach_target.h.
#if defined(NIGIRI_KERNELS_CPU_SELECTIVE_SCAN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIGIRI_KERNELS_CPU_SELECTIVE_SCAN_INL_H
#undef NIGIRI_KERNELS_CPU_SELECTIVE_SCAN_INL_H
#else
#define NIGIRI_KERNELS_CPU_SELECTIVE_SCAN_INL_H
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/cpu/selective_scan_planes.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::scan::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace simd = nigiri::cpu::HWY_NAMESPACE::simd;

using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;
constexpr Tag tag;
constexpr int lane_count = static_cast<int>(hn::MaxLanes(Tag()));

HWY_INLINE V constant(float x) { return hn::Set(tag, x); }

// A real or complex number per lane. In memory the parts lie one vector apart.
template <bool kComplex>
struct Number {
    V re;
};
template <>
struct Number<true> {
    V re, im;
};

template <bool kComplex>
HWY_INLINE Number<kComplex> load(const float* p) {
    if constexpr (kComplex)
        return {hn::Load(tag, p), hn::Load(tag, p + lane_count)};
    else
        return {hn::Load(tag, p)};
}
template <bool kComplex>
HWY_INLINE void store(const Number<kComplex>& x, float* p) {
    hn::Store(x.re, tag, p);
    if constexpr (kComplex) hn::Store(x.im, tag, p + lane_count);
}
// One number for all lanes; complex numbers in memory are (re, im) pairs.
template <bool kComplex>
HWY_INLINE Number<kComplex> broadcast(const float* p) {
    if constexpr (kComplex)
        return {constant(p[0]), constant(p[1])};
    else
        return {constant(p[0])};
}
template <bool kComplex>
HWY_INLINE Number<kComplex> zero() {
    if constexpr (kComplex)
        return {hn::Zero(tag), hn::Zero(tag)};
    else
        return {hn::Zero(tag)};
}

template <bool kComplex>
HWY_INLINE Number<kComplex> add(Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::Add(x.re, y.re), hn::Add(x.im, y.im)};
    else
        return {hn::Add(x.re, y.re)};
}
// x s for a real s.
template <bool kComplex>
HWY_INLINE Number<kComplex> scale(Number<kComplex> x, V s) {
    if constexpr (kComplex)
        return {hn::Mul(x.re, s), hn::Mul(x.im, s)};
    else
        return {hn::Mul(x.re, s)};
}
// x s + y
template <bool kComplex>
HWY_INLINE Number<kComplex> scale_add(Number<kComplex> x, V s, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::MulAdd(x.re, s, y.re), hn::MulAdd(x.im, s, y.im)};
    else
        return {hn::MulAdd(x.re, s, y.re)};
}
// conj(x) s + y
template <bool kComplex>
HWY_INLINE Number<kComplex> conj_scale_add(Number<kComplex> x, V s, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::MulAdd(x.re, s, y.re), hn::NegMulAdd(x.im, s, y.im)};
    else
        return {hn::MulAdd(x.re, s, y.re)};
}
// x y + z
template <bool kComplex>
HWY_INLINE Number<kComplex> mul_add(Number<kComplex> x, Number<kComplex> y, Number<kComplex> z) {
    if constexpr (kComplex)
        return {hn::NegMulAdd(x.im, y.im, hn::MulAdd(x.re, y.re, z.re)),
                hn::MulAdd(x.im, y.re, hn::MulAdd(x.re, y.im, z.im))};
    else
        return {hn::MulAdd(x.re, y.re, z.re)};
}
template <bool kComplex>
HWY_INLINE Number<kComplex> mul(Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::NegMulAdd(x.im, y.im, hn::Mul(x.re, y.re)), hn::MulAdd(x.im, y.re, hn::Mul(x.re, y.im))};
    else
        return {hn::Mul(x.re, y.re)};
}
// conj(x) y
template <bool kComplex>
HWY_INLINE Number<kComplex> conj_mul(Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::MulAdd(x.im, y.im, hn::Mul(x.re, y.re)), hn::NegMulAdd(x.im, y.re, hn::Mul(x.re, y.im))};
    else
        return {hn::Mul(x.re, y.re)};
}
// Re(x y) + z
template <bool kComplex>
HWY_INLINE V real_mul_add(Number<kComplex> x, Number<kComplex> y, V z) {
    const V re = hn::MulAdd(x.re, y.re, z);
    if constexpr (kComplex)
        return hn::NegMulAdd(x.im, y.im, re);
    else
        return re;
}
// Re(conj(x) y) + z
template <bool kComplex>
HWY_INLINE V real_conj_mul_add(Number<kComplex> x, Number<kComplex> y, V z) {
    const V re = hn::MulAdd(x.re, y.re, z);
    if constexpr (kComplex)
        return hn::MulAdd(x.im, y.im, re);
    else
        return re;
}
template <bool kComplex>
HWY_INLINE V square_of_modulus(Number<kComplex> x) {
    if constexpr (kComplex)
        return hn::MulAdd(x.re, x.re, hn::Mul(x.im, x.im));
    else
        return hn::Mul(x.re, x.re);
}
template <bool kComplex>
HWY_INLINE Number<kComplex> inverse(Number<kComplex> x) {
    if constexpr (kComplex) {
        const V s = hn::Div(constant(1), square_of_modulus(x));
        return {hn::Mul(x.re, s), hn::Neg(hn::Mul(x.im, s))};
    } else {
        return {hn::Div(constant(1), x.re)};
    }
}
template <bool kComplex>
HWY_INLINE Number<kComplex> select(hn::Mask<Tag> m, Number<kComplex> x, Number<kComplex> y) {
    if constexpr (kComplex)
        return {hn::IfThenElse(m, x.re, y.re), hn::IfThenElse(m, x.im, y.im)};
    else
        return {hn::IfThenElse(m, x.re, y.re)};
}
template <bool kComplex>
HWY_INLINE Number<kComplex> add_real(Number<kComplex> x, float s) {
    x.re = hn::Add(x.re, constant(s));
    return x;
}

// 2^x = 2^n 2^r with x = n + r: n through the low bits of x + 1.5 * 2^23.
struct Exp2Parts {
    V r;
    hn::Vec<hn::RebindToSigned<Tag>> shift;  // n in the exponent's place

    HWY_INLINE explicit Exp2Parts(V x) {
        // 2^-126 stands for everything below, infinity for everything above. Operands in this order keep NaN.
        const V c = hn::Min(constant(128), hn::Max(constant(-126), x)), magic = constant(12582912.0f);
        const V shifted = hn::Add(c, magic);
        r = hn::Sub(c, hn::Sub(shifted, magic));
        shift = hn::ShiftLeft<23>(hn::BitCast(hn::RebindToSigned<Tag>(), shifted));
    }
    // p 2^n for p in [0.7, 1.5): an integer addition to the exponent.
    HWY_INLINE V times_power(V p) const {
        return hn::BitCast(tag, hn::Add(hn::BitCast(hn::RebindToSigned<Tag>(), p), shift));
    }
};

// 2^x, 2 ulp: simd::exp2 without the care for results below 2^-126, which no state would notice. This is where the
// scan spends its time.
HWY_INLINE V exp2_fast(V x) {
    const Exp2Parts parts(x);
    V p = constant(0.0013264700214426844f);
    p = hn::MulAdd(p, parts.r, constant(0.009671533905221503f));
    p = hn::MulAdd(p, parts.r, constant(0.05550733999665252f));
    p = hn::MulAdd(p, parts.r, constant(0.2402224176079433f));
    p = hn::MulAdd(p, parts.r, constant(0.6931469773569697f));
    p = hn::MulAdd(p, parts.r, constant(1.0f));
    return parts.times_power(p);
}

// 2^x - 1, accurate relative to itself also where x is tiny.
HWY_INLINE V exp2_minus_1(V x) {
    const Exp2Parts parts(x);
    V p = constant(0.0001545316294512069f);  // (2^r - 1) / r within 1.3e-8 on [-1/2, 1/2]
    p = hn::MulAdd(p, parts.r, constant(0.0013390863364671234f));
    p = hn::MulAdd(p, parts.r, constant(0.009618082557277852f));
    p = hn::MulAdd(p, parts.r, constant(0.05550357114219078f));
    p = hn::MulAdd(p, parts.r, constant(0.24022650760568126f));
    p = hn::MulAdd(p, parts.r, constant(0.6931471880262288f));
    const V power = parts.times_power(constant(1));
    return hn::MulAdd(hn::Mul(p, parts.r), power, hn::Sub(power, constant(1)));
}

// (-1)^n sin(pi f) and (-1)^n (1 - cos(pi f)) of an angle pi (n + f), |f| <= 1/2, and (-1)^n as a sign bit.
struct HalfTurn {
    V sine, versine, sign;

    // The angle is dt (hi + lo) pi. dt hi - n is exact in a fused multiply-add, so the phase keeps all its bits however
    // many turns there are.
    HWY_INLINE HalfTurn(V dt, V hi, V lo) {
        const hn::RebindToSigned<Tag> integer;
        const V magic = constant(12582912.0f), shifted = hn::MulAdd(dt, hi, magic);
        const V f = hn::MulAdd(dt, lo, hn::MulSub(dt, hi, hn::Sub(shifted, magic)));
        sign = hn::BitCast(tag, hn::ShiftLeft<31>(hn::BitCast(integer, shifted)));
        const V z = hn::Mul(f, f);
        V s = constant(0.07765591227601387f);  // sin(pi f) / f in f^2 within 7e-9
        s = hn::MulAdd(s, z, constant(-0.5982904112834275f));
        s = hn::MulAdd(s, z, constant(2.550077386528912f));
        s = hn::MulAdd(s, z, constant(-5.167710076668315f));
        s = hn::MulAdd(s, z, constant(3.1415926400772034f));
        V c = constant(0.024627111595228457f);  // (1 - cos(pi f)) / f^2 in f^2 within 1e-9
        c = hn::MulAdd(c, z, constant(-0.23507436832239592f));
        c = hn::MulAdd(c, z, constant(1.3352399607008951f));
        c = hn::MulAdd(c, z, constant(-4.0587114146834375f));
        c = hn::MulAdd(c, z, constant(4.934802196986985f));
        sine = hn::Xor(hn::Mul(s, f), sign);
        versine = hn::Xor(hn::Mul(c, z), sign);
    }
    HWY_INLINE V signed_one() const { return hn::Xor(constant(1), sign); }
    HWY_INLINE V cosine() const { return hn::Sub(signed_one(), versine); }
};

// Abar and what the input is multiplied with. A rule is made once per state and channel from A and then asked at every
// time step. `aux` is the second number of a step that the backward pass needs: gamma (zoh), 1 / (1 - dt A / 2)
// (bilinear), nothing (euler). Bbar u is B x with x = dt u for euler and gamma B x with x = u for the other two.
template <bool kComplex, Discretization kRule>
struct Rule {
    using N = Number<kComplex>;
    N a, inverse_a;
    V log2_e_a, hi, lo;

    Rule() = default;
    HWY_INLINE explicit Rule(N a_) : a(a_) {
        if constexpr (kRule == Discretization::zoh) {
            // A of zero would divide by zero; (e^(dt A) - 1) / A is dt to the last bit here.
            const V tiny = constant(1e-15f);
            a.re = hn::IfThenElse(hn::Lt(square_of_modulus(a), constant(1e-30f)), hn::Neg(tiny), a.re);
            inverse_a = inverse(a);
        }
        if constexpr (kRule != Discretization::bilinear) {
            log2_e_a = hn::Mul(a.re, constant(1.4426950408889634f));
            if constexpr (kComplex) {
                // 1 / pi as a sum of two floats.
                const V p = constant(0.318309873342514f), q = constant(1.2841276486597053e-08f);
                hi = hn::Mul(a.im, p);
                lo = hn::MulAdd(a.im, q, hn::MulSub(a.im, p, hi));
            }
        }
    }

    HWY_INLINE void step(V dt, N& abar, N& aux) const {
        if constexpr (kRule == Discretization::euler) {
            const V e = exp2_fast(hn::Mul(dt, log2_e_a));
            if constexpr (kComplex) {
                const HalfTurn angle(dt, hi, lo);
                abar = {hn::Mul(e, angle.cosine()), hn::Mul(e, angle.sine)};
            } else {
                abar = {e};
            }
        } else if constexpr (kRule == Discretization::zoh) {
            const V e = exp2_minus_1(hn::Mul(dt, log2_e_a)), one = constant(1);
            N minus_1;  // e^(dt A) - 1
            if constexpr (kComplex) {
                const HalfTurn angle(dt, hi, lo);
                // e cos + (cos - 1), and cos - 1 = (sign - 1) - versine does not cancel for small angles.
                minus_1 = {hn::MulAdd(e, angle.cosine(), hn::Sub(hn::Sub(angle.signed_one(), one), angle.versine)),
                           hn::MulAdd(e, angle.sine, angle.sine)};
            } else {
                minus_1 = {e};
            }
            abar = add_real(minus_1, 1);
            aux = mul(minus_1, inverse_a);
        } else {
            const V half = hn::Mul(dt, constant(0.5f));
            const N x = scale(a, half);
            N less = x;
            less.re = hn::Sub(constant(1), x.re);
            if constexpr (kComplex) less.im = hn::Neg(x.im);
            aux = inverse(less);
            abar = mul(add_real(x, 1), aux);
        }
    }

    // Bbar / B from `aux`.
    HWY_INLINE N gamma(V dt, N aux) const {
        if constexpr (kRule == Discretization::bilinear)
            return scale(aux, dt);
        else
            return aux;
    }
    // W: Abar and gamma have the derivatives A W and W in dt; Abar has dt W in A.
    HWY_INLINE N slope(N abar, N aux) const {
        if constexpr (kRule == Discretization::bilinear)
            return mul(aux, aux);
        else
            return abar;
    }
    // d gamma / d A
    HWY_INLINE N gamma_a(V dt, N abar, N aux) const {
        if constexpr (kRule == Discretization::bilinear) {
            return scale(mul(aux, aux), hn::Mul(constant(0.5f), hn::Mul(dt, dt)));
        } else {
            // dt^2 times the derivative of (e^x - 1) / x at x = dt A: the closed form (dt Abar - gamma) / A where it
            // does not cancel, else the series of (k + 1) / (k + 2)! x^k.
            const N x = scale(a, dt);
            constexpr float series[] = {8.0f / 362880, 7.0f / 40320, 6.0f / 5040, 5.0f / 720,
                                        4.0f / 120,    3.0f / 24,    2.0f / 6,    1.0f / 2};
            N p = zero<kComplex>();
            for (const float c : series) p = add_real(mul(p, x), c);
            N difference = scale(abar, dt);
            difference.re = hn::Sub(difference.re, aux.re);
            if constexpr (kComplex) difference.im = hn::Sub(difference.im, aux.im);
            return select(hn::Lt(square_of_modulus(x), constant(0.25f)), scale(p, hn::Mul(dt, dt)),
                          mul(difference, inverse_a));
        }
    }
};

// A vector of channels [d, d + count) from a row; the lanes behind are zero and no memory behind is touched.
HWY_INLINE V load_channels(const float* p, int64_t count) {
    if (HWY_LIKELY(count >= lane_count)) return hn::LoadU(tag, p);
    HWY_ALIGN float part[lane_count] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = p[i];
    return hn::Load(tag, part);
}
HWY_INLINE void store_channels(V x, float* p, int64_t count) {
    if (HWY_LIKELY(count >= lane_count)) return hn::StoreU(x, tag, p);
    HWY_ALIGN float part[lane_count];
    hn::Store(x, tag, part);
    for (int64_t i = 0; i < count; ++i) p[i] = part[i];
}

// softplus and its slope at once, as simd::softplus and simd::sigmoid compute them but with one division for both.
HWY_INLINE V softplus(V x, V& slope) {
    const V one = constant(1), e = simd::exp(tag, hn::Neg(hn::Abs(x)));
    const V e1 = hn::Add(e, one), e2 = hn::Add(e1, one), inverse = hn::Div(one, hn::Mul(e1, e2));
    slope = hn::Mul(hn::Mul(hn::IfThenElse(hn::Lt(x, hn::Zero(tag)), e, one), e2), inverse);
    const V s = hn::Mul(hn::Mul(e, e1), inverse);  // ln(1 + e) = 2 atanh(e / (2 + e)); the polynomial of log1p_unit
    const V z = hn::Mul(s, s);
    V p = constant(0.28025140022479156f);
    p = hn::MulAdd(p, z, constant(0.27999013470407064f));
    p = hn::MulAdd(p, z, constant(0.4002170613180381f));
    p = hn::MulAdd(p, z, constant(0.6666641302425431f));
    return hn::Add(hn::Max(hn::Zero(tag), x), hn::MulAdd(hn::Mul(s, z), p, hn::Add(s, s)));
}

#if HWY_TARGET != HWY_SCALAR
// The sum of a vector's blocks of four lanes, to p[0..3].
template <class D>
HWY_INLINE void add_blocks(D d, hn::Vec<D> x, float* p) {
    if constexpr (hn::MaxLanes(D()) > 4) {
        const hn::Half<D> half;
        add_blocks(half, hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)), p);
    } else {
        hn::StoreU(x, d, p);
    }
}
#endif

// Sums of the lanes of four vectors, to p[0..3].
HWY_INLINE void store_sums(V s0, V s1, V s2, V s3, float* p) {
#if HWY_TARGET == HWY_SCALAR
    const V sums[] = {s0, s1, s2, s3};
    for (int i = 0; i < 4; ++i) p[i] = hn::GetLane(sums[i]);
#else
    const hn::Repartition<double, Tag> wide;
    const V x = hn::Add(hn::InterleaveLower(tag, s0, s1), hn::InterleaveUpper(tag, s0, s1));
    const V y = hn::Add(hn::InterleaveLower(tag, s2, s3), hn::InterleaveUpper(tag, s2, s3));
    const auto xw = hn::BitCast(wide, x), yw = hn::BitCast(wide, y);
    // Every block of four lanes holds its share of the four sums.
    const V sums = hn::Add(hn::BitCast(tag, hn::InterleaveLower(wide, xw, yw)),
                           hn::BitCast(tag, hn::InterleaveUpper(wide, xw, yw)));
    add_blocks(tag, sums, p);
#endif
}

// Vector `i` of a plane, counting parts within states: number i of a matrix row, for vector v of the group's channels.
HWY_INLINE int64_t plane_offset(const Planes& p, int64_t i, int64_t v) {
    return i / p.parts * p.state_size() + (v * p.parts + i % p.parts) * p.lanes;
}

// to_plane and from_plane by fours: four neighbours of a row are one lane of four vectors.
HWY_INLINE void rows_to_plane(const Planes& p, int64_t group, const StateMatrix& m, int64_t row, float* plane) {
    if (m.state_stride != p.parts) return to_plane(p, group, m, row, plane);
    const int64_t numbers = p.states * p.parts, padded = p.padded_states() * p.parts;
    HWY_ALIGN float part[4 * lane_count] = {};
    for (int64_t v = 0; v < p.vectors; ++v) {
        const int64_t d = group * p.width() + v * lane_count, count = std::min<int64_t>(lane_count, p.channels - d);
        for (int64_t i = 0; i < padded; i += 4) {
            const float* from = m.data + (row + d) * m.row_stride + i;
            const int64_t left = numbers - i;
            if (left < 4 || count < lane_count) std::fill_n(part, 4 * lane_count, 0.0f);
            for (int64_t lane = 0; lane < count; ++lane, from += m.row_stride)
                left >= 4 ? std::copy_n(from, 4, part + 4 * lane) : std::copy_n(from, left, part + 4 * lane);
            V x[4];
            hn::LoadInterleaved4(tag, part, x[0], x[1], x[2], x[3]);
            for (int64_t k = 0; k < std::min<int64_t>(4, padded - i); ++k)
                hn::Store(x[k], tag, plane + plane_offset(p, i + k, v));
        }
    }
}
HWY_INLINE void plane_to_rows(const Planes& p, int64_t group, const float* plane, const StateMatrix& m, int64_t row) {
    if (m.state_stride != p.parts) return from_plane(p, group, plane, m, row);
    const int64_t numbers = p.states * p.parts;
    HWY_ALIGN float part[4 * lane_count];
    for (int64_t v = 0; v < p.vectors; ++v) {
        const int64_t d = group * p.width() + v * lane_count, count = std::min<int64_t>(lane_count, p.channels - d);
        for (int64_t i = 0; i < numbers; i += 4) {
            float* to = m.data + (row + d) * m.row_stride + i;
            const int64_t left = numbers - i;
            V x[4];
            for (int64_t k = 0; k < 4; ++k)
                x[k] = k < left ? hn::Load(tag, plane + plane_offset(p, i + k, v)) : hn::Zero(tag);
            hn::StoreInterleaved4(x[0], x[1], x[2], x[3], tag, part);
            for (int64_t lane = 0; lane < count; ++lane, to += m.row_stride)
                left >= 4 ? std::copy_n(part + 4 * lane, 4, to) : std::copy_n(part + 4 * lane, left, to);
        }
    }
}

}  // namespace nigiri::cpu::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
