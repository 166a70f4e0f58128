// The passes of lane_fft.h, for one SIMD target. Include after hwy/highway.h, once per target.
// A complex number of all lanes is two vectors, real parts then imaginary parts; a block is an array of them.
#if defined(NIGIRI_LANE_FFT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NIGIRI_LANE_FFT_INL
#undef NIGIRI_LANE_FFT_INL
#else
#define NIGIRI_LANE_FFT_INL
#endif

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/lane_fft.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using V = hn::Vec<Lanes>;
constexpr int64_t lanes = hn::MaxLanes(Lanes());
constexpr int64_t number = 2 * lanes;  // floats of one complex number

// Real channel-last data: sample t of the lanes' channels is at data + t * stride; zero from `length` on.
struct RealLanes {
    float* data;
    int64_t stride, length;
    int64_t count;  // channels; the lanes from there on are idle

    HWY_INLINE V load(int64_t t) const {
        if (t >= length) return hn::Zero(Lanes());
        const float* from = data + t * stride;
        if (count >= lanes) return hn::LoadU(Lanes(), from);
        HWY_ALIGN float some[lanes] = {};
        std::copy_n(from, count, some);
        return hn::Load(Lanes(), some);
    }
    HWY_INLINE void store(int64_t t, V x) const {
        if (t >= length) return;
        float* to = data + t * stride;
        if (count >= lanes) return hn::StoreU(x, Lanes(), to);
        HWY_ALIGN float some[lanes];
        hn::Store(x, Lanes(), some);
        std::copy_n(some, count, to);
    }
};

struct ComplexLanes {
    V re, im;

    HWY_INLINE static ComplexLanes load(const float* from) {
        return {hn::Load(Lanes(), from), hn::Load(Lanes(), from + lanes)};
    }
    HWY_INLINE void store(float* to) const {
        hn::Store(re, Lanes(), to);
        hn::Store(im, Lanes(), to + lanes);
    }
    HWY_INLINE ComplexLanes operator+(const ComplexLanes& o) const { return {hn::Add(re, o.re), hn::Add(im, o.im)}; }
    HWY_INLINE ComplexLanes operator-(const ComplexLanes& o) const { return {hn::Sub(re, o.re), hn::Sub(im, o.im)}; }
    HWY_INLINE ComplexLanes operator*(V x) const { return {hn::Mul(re, x), hn::Mul(im, x)}; }
    HWY_INLINE ComplexLanes operator*(const ComplexLanes& o) const {
        return {hn::NegMulAdd(im, o.im, hn::Mul(re, o.re)), hn::MulAdd(im, o.re, hn::Mul(re, o.im))};
    }
    // conj(*this) o
    HWY_INLINE ComplexLanes conj_times(const ComplexLanes& o) const {
        return {hn::MulAdd(im, o.im, hn::Mul(re, o.re)), hn::NegMulAdd(im, o.re, hn::Mul(re, o.im))};
    }
    // *this + x o
    HWY_INLINE ComplexLanes plus(V x, const ComplexLanes& o) const {
        return {hn::MulAdd(x, o.re, re), hn::MulAdd(x, o.im, im)};
    }
};
using CL = ComplexLanes;

// a - i b forward, a + i b on the way back.
template <bool Inverse>
HWY_INLINE CL turned(const CL& a, const CL& b) {
    if constexpr (Inverse) return {hn::Sub(a.re, b.im), hn::Add(a.im, b.re)};
    return {hn::Add(a.re, b.im), hn::Sub(a.im, b.re)};
}

template <bool Inverse>
HWY_INLINE CL twiddled(const CL& a, const float* w) {
    const CL factor = {hn::Set(Lanes(), w[0]), hn::Set(Lanes(), w[1])};
    if constexpr (Inverse) return factor.conj_times(a);
    return factor * a;
}

// Discrete Fourier transforms of Radix points, in place (unscaled).
template <bool Inverse, int Radix>
HWY_INLINE void butterfly(CL* a) {
    const Lanes tag;
    if constexpr (Radix == 3) {
        const CL sum = a[1] + a[2], difference = (a[1] - a[2]) * hn::Set(tag, 0.866025403784f);
        const CL middle = a[0].plus(hn::Set(tag, -0.5f), sum);
        a[0] = a[0] + sum;
        a[1] = turned<Inverse>(middle, difference);
        a[2] = turned<!Inverse>(middle, difference);
    } else if constexpr (Radix == 4) {
        const CL t0 = a[0] + a[2], t1 = a[0] - a[2], t2 = a[1] + a[3], t3 = a[1] - a[3];
        a[0] = t0 + t2;
        a[1] = turned<Inverse>(t1, t3);
        a[2] = t0 - t2;
        a[3] = turned<!Inverse>(t1, t3);
    } else if constexpr (Radix == 5) {
        const V c1 = hn::Set(tag, 0.309016994375f), c2 = hn::Set(tag, -0.809016994375f);
        const V s1 = hn::Set(tag, 0.951056516295f), s2 = hn::Set(tag, 0.587785252292f);
        const CL t1 = a[1] + a[4], t2 = a[2] + a[3], t3 = a[1] - a[4], t4 = a[2] - a[3];
        const CL m1 = a[0].plus(c1, t1).plus(c2, t2), m2 = a[0].plus(c2, t1).plus(c1, t2);
        const CL n1 = (t3 * s1).plus(s2, t4), n2 = (t3 * s2).plus(hn::Neg(s1), t4);
        a[0] = a[0] + t1 + t2;
        a[1] = turned<Inverse>(m1, n1);
        a[2] = turned<Inverse>(m2, n2);
        a[3] = turned<!Inverse>(m2, n2);
        a[4] = turned<!Inverse>(m1, n1);
    } else {
        static_assert(Radix == 8);
        CL even[4] = {a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]};
        const CL d0 = a[0] - a[4], d1 = a[1] - a[5], d2 = a[2] - a[6], d3 = a[3] - a[7];
        butterfly<Inverse, 4>(even);
        // The odd outputs: d1 and d3 turned by an eighth and three eighths; d2 by a quarter, which is a swap.
        const V s = hn::Set(tag, 0.707106781187f);
        const CL e1 = turned<Inverse>(d1, d1) * s, e3 = turned<!Inverse>(d3, d3) * s;  // e3 lacks a factor -1
        const CL t0 = turned<Inverse>(d0, d2), t1 = turned<!Inverse>(d0, d2), t2 = e1 - e3, t3 = e1 + e3;
        a[0] = even[0], a[2] = even[1], a[4] = even[2], a[6] = even[3];
        a[1] = t0 + t2;
        a[3] = turned<Inverse>(t1, t3);
        a[5] = t0 - t2;
        a[7] = turned<!Inverse>(t1, t3);
    }
}

// The first level takes real numbers: e^(-2 pi i p / 16) x_p, p < 4, is all that the quarter shift asks of them.
HWY_INLINE void first_forward(const LaneFftLevel& level, const RealLanes& x, float* block) {
    const Lanes tag;
    const V c1 = hn::Set(tag, 0.923879532511f), s1 = hn::Set(tag, -0.382683432365f);
    const V c2 = hn::Set(tag, 0.707106781187f), s2 = hn::Set(tag, -0.707106781187f);
    const int64_t quarter = level.size / 4;
    const float* w = level.twiddles.data();
    for (int64_t j = 0; j < quarter; ++j, w += 8) {
        const V x1 = x.load(j + quarter), x2 = x.load(j + 2 * quarter), x3 = x.load(j + 3 * quarter);
        CL a[4] = {{x.load(j), hn::Zero(tag)},
                   {hn::Mul(x1, c1), hn::Mul(x1, s1)},
                   {hn::Mul(x2, c2), hn::Mul(x2, s2)},
                   {hn::Neg(hn::Mul(x3, s1)), hn::Neg(hn::Mul(x3, c1))}};
        butterfly<false, 4>(a);
        for (int q = 0; q < 4; ++q) twiddled<false>(a[q], w + 2 * q).store(block + (j + q * quarter) * number);
    }
}

// Back to real numbers; `put(t, value)` takes them.
template <class Put>
HWY_INLINE void first_inverse(const LaneFftLevel& level, const float* block, const Put& put) {
    const Lanes tag;
    const V c1 = hn::Set(tag, 0.923879532511f), s1 = hn::Set(tag, 0.382683432365f), c2 = hn::Set(tag, 0.707106781187f);
    const int64_t quarter = level.size / 4;
    const float* w = level.twiddles.data();
    for (int64_t j = 0; j < quarter; ++j, w += 8) {
        CL a[4];
        for (int q = 0; q < 4; ++q) a[q] = twiddled<true>(CL::load(block + (j + q * quarter) * number), w + 2 * q);
        butterfly<true, 4>(a);
        put(j, a[0].re);
        put(j + quarter, hn::NegMulAdd(a[1].im, s1, hn::Mul(a[1].re, c1)));
        put(j + 2 * quarter, hn::Mul(c2, hn::Sub(a[2].re, a[2].im)));
        put(j + 3 * quarter, hn::NegMulAdd(a[3].im, c1, hn::Mul(a[3].re, s1)));
    }
}

// One level on `blocks` consecutive blocks.
template <bool Inverse, int Radix>
HWY_INLINE void pass_of_radix(const LaneFftLevel& level, float* data, int64_t blocks) {
    const int64_t columns = level.size / Radix;
    const float* w = level.twiddles.data();
    for (int64_t j = 0; j < columns; ++j, w += 2 * (Radix - 1))
        for (int64_t b = 0; b < blocks; ++b) {
            float* at = data + (b * level.size + j) * number;
            CL a[Radix];
            for (int q = 0; q < Radix; ++q) {
                a[q] = CL::load(at + q * columns * number);
                if (Inverse && q > 0) a[q] = twiddled<true>(a[q], w + 2 * (q - 1));
            }
            butterfly<Inverse, Radix>(a);
            for (int q = 0; q < Radix; ++q) {
                if (!Inverse && q > 0) a[q] = twiddled<false>(a[q], w + 2 * (q - 1));
                a[q].store(at + q * columns * number);
            }
        }
}

template <bool Inverse>
HWY_INLINE void pass(const LaneFftLevel& level, float* data, int64_t blocks) {
    if (level.radix == 4)
        pass_of_radix<Inverse, 4>(level, data, blocks);
    else
        pass_of_radix<Inverse, 8>(level, data, blocks);
}

// What is done with spectra. Every task names the blocks it works on; the others are null.
enum class SpectralTask {
    spectrum,   // x becomes its spectrum
    inverse,    // the spectrum x becomes a sequence
    convolve,   // x becomes x * kernel; kernel is a spectrum
    correlate,  // x becomes x correlated with kernel, and sum += conj(spectrum of u) spectrum of x; u is used up
};

struct Spectra {
    float *x, *u, *sum;
    const float* kernel;

    HWY_INLINE Spectra from(int64_t points) const {
        const int64_t floats = points * number;
        return {x + floats, u ? u + floats : u, sum ? sum + floats : sum, kernel ? kernel + floats : kernel};
    }
};

template <SpectralTask Task, int Radix>
HWY_INLINE void last_level(const Spectra& s, int64_t blocks) {
    for (int64_t b = 0; b < blocks * Radix * number; b += Radix * number) {
        CL x[Radix];
        for (int q = 0; q < Radix; ++q) x[q] = CL::load(s.x + b + q * number);
        if constexpr (Task != SpectralTask::inverse) butterfly<false, Radix>(x);
        if constexpr (Task == SpectralTask::convolve)
            for (int q = 0; q < Radix; ++q) x[q] = x[q] * CL::load(s.kernel + b + q * number);
        if constexpr (Task == SpectralTask::correlate) {
            CL u[Radix];
            for (int q = 0; q < Radix; ++q) u[q] = CL::load(s.u + b + q * number);
            butterfly<false, Radix>(u);
            for (int q = 0; q < Radix; ++q) {
                float* sum = s.sum + b + q * number;
                (CL::load(sum) + u[q].conj_times(x[q])).store(sum);
                x[q] = CL::load(s.kernel + b + q * number).conj_times(x[q]);
            }
        }
        if constexpr (Task != SpectralTask::spectrum) butterfly<true, Radix>(x);
        for (int q = 0; q < Radix; ++q) x[q].store(s.x + b + q * number);
    }
}

// Levels `first` and below of the plan, on one block of the size of level `first`.
template <SpectralTask Task>
void levels_from(const LaneFftPlan& plan, size_t first, const Spectra& s) {
    constexpr bool forward = Task != SpectralTask::inverse, back = Task != SpectralTask::spectrum;
    constexpr int64_t in_cache = 16 * 1024 / (number * 4);  // points; half of a small first-level cache
    const int64_t size = plan.levels[first].size;
    const size_t last = plan.levels.size() - 1;
    const auto go = [&](size_t i) HWY_ATTR {
        const LaneFftLevel& level = plan.levels[i];
        pass<false>(level, s.x, size / level.size);
        if constexpr (Task == SpectralTask::correlate) pass<false>(level, s.u, size / level.size);
    };
    if (size <= in_cache || first == last) {
        if constexpr (forward)
            for (size_t i = first; i < last; ++i) go(i);
        const int64_t blocks = size / plan.levels[last].size;
        switch (plan.levels[last].radix) {
            case 3:
                last_level<Task, 3>(s, blocks);
                break;
            case 4:
                last_level<Task, 4>(s, blocks);
                break;
            case 5:
                last_level<Task, 5>(s, blocks);
                break;
            default:
                last_level<Task, 8>(s, blocks);
        }
        if constexpr (back)
            for (size_t i = last; i-- > first;) pass<true>(plan.levels[i], s.x, size / plan.levels[i].size);
        return;
    }
    const LaneFftLevel& level = plan.levels[first];
    if constexpr (forward) go(first);
    for (int q = 0; q < level.radix; ++q) levels_from<Task>(plan, first + 1, s.from(q * (size / level.radix)));
    if constexpr (back) pass<true>(level, s.x, 1);
}

// Everything below the first level.
template <SpectralTask Task>
HWY_INLINE void below_first(const LaneFftPlan& plan, const Spectra& s) {
    for (int q = 0; q < 4; ++q) levels_from<Task>(plan, 1, s.from(q * (plan.size / 4)));
}

}  // namespace HWY_NAMESPACE
}  // namespace nigiri::cpu
HWY_AFTER_NAMESPACE();
#endif
