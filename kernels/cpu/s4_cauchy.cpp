#include "kernels/cpu/s4_cauchy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/s4_cauchy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;
using V = hn::Vec<D>;

struct Complex {
    V re, im;
};

HWY_INLINE Complex times(const Complex& a, const Complex& b) {
    return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::MulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}

HWY_INLINE Complex scaled(V s, const Complex& a) { return {hn::Mul(s, a.re), hn::Mul(s, a.im)}; }

HWY_INLINE Complex over(const Complex& a, const Complex& b) {
    const V inverse = hn::Div(hn::Set(D(), 1.0), hn::MulAdd(b.re, b.re, hn::Mul(b.im, b.im)));
    return scaled(inverse, times(a, {b.re, hn::Neg(b.im)}));
}

// q / dt at a vector of nodes for a pole (q) and for its conjugate (r). One division serves both.
struct Pair {
    Complex q, r;
};

HWY_INLINE Pair reciprocals(V sine2, V cosine, double pole_re, double pole_im) {
    const D d;
    const V re = hn::Mul(cosine, hn::Set(d, -pole_re));
    const V im = hn::NegMulAdd(cosine, hn::Set(d, pole_im), sine2);
    const V conjugate_im = hn::MulAdd(cosine, hn::Set(d, pole_im), sine2);
    const V square = hn::Mul(re, re);
    const V norm = hn::MulAdd(im, im, square), conjugate_norm = hn::MulAdd(conjugate_im, conjugate_im, square);
    const V inverse = hn::Div(hn::Set(d, 1.0), hn::Mul(norm, conjugate_norm));
    const V a = hn::Mul(inverse, conjugate_norm), b = hn::Mul(inverse, norm);
    return {{hn::Mul(re, a), hn::Neg(hn::Mul(im, a))}, {hn::Mul(re, b), hn::Neg(hn::Mul(conjugate_im, b))}};
}

// The four sums S(c b), S(c p), S(p* b), S(p* p): v q + v* r for every pair.
HWY_INLINE void sum_poles(const CauchyPoles& poles, V sine2, V cosine, Complex s[4]) {
    const D d;
    const int64_t count = poles.count;
    for (int i = 0; i < 4; ++i) s[i].re = s[i].im = hn::Zero(d);
    for (int64_t n = 0; n < count; ++n) {
        const Pair pair = reciprocals(sine2, cosine, poles.pole[n], poles.pole[count + n]);
        const V sum_re = hn::Add(pair.q.re, pair.r.re), sum_im = hn::Add(pair.q.im, pair.r.im);
        const V difference_re = hn::Sub(pair.q.re, pair.r.re), difference_im = hn::Sub(pair.q.im, pair.r.im);
        for (int i = 0; i < 4; ++i) {
            const V re = hn::Set(d, poles.weight[static_cast<size_t>(i)][n]);
            s[i].re = hn::MulAdd(re, sum_re, s[i].re);
            s[i].im = hn::MulAdd(re, sum_im, s[i].im);
            if (i == 3) break;  // p* p is real
            const V im = hn::Set(d, poles.weight[static_cast<size_t>(i)][count + n]);
            s[i].re = hn::NegMulAdd(im, difference_im, s[i].re);
            s[i].im = hn::MulAdd(im, difference_re, s[i].im);
        }
    }
}

void forward(const CauchyPoles& poles, const CauchyNodes& nodes, double* re, double* im) {
    const D d;
    for (int64_t k = 0; k < nodes.count; k += static_cast<int64_t>(hn::Lanes(d))) {
        const V sine = hn::LoadU(d, nodes.sine + k), cosine = hn::LoadU(d, nodes.cosine + k);
        Complex s[4];
        sum_poles(poles, hn::Add(sine, sine), cosine, s);
        const Complex divisor = {hn::MulAdd(cosine, s[3].re, hn::Set(d, 1.0)), hn::Mul(cosine, s[3].im)};
        const Complex correction = scaled(cosine, over(times(s[1], s[2]), divisor));
        const Complex y = times({cosine, sine}, {hn::Sub(s[0].re, correction.re), hn::Sub(s[0].im, correction.im)});
        hn::StoreU(y.re, d, re + k);
        hn::StoreU(y.im, d, im + k);
    }
}

// The gradients of a block's four sums, planar: (8, cauchy_block).
void sum_gradients(const CauchyPoles& poles, const CauchyNodes& nodes, int64_t begin, const double* re,
                   const double* im, double* gradients) {
    const D d;
    for (int64_t k = 0; k < cauchy_block; k += static_cast<int64_t>(hn::Lanes(d))) {
        const V sine = hn::LoadU(d, nodes.sine + begin + k), cosine = hn::LoadU(d, nodes.cosine + begin + k);
        Complex s[4];
        sum_poles(poles, hn::Add(sine, sine), cosine, s);
        const Complex g = times({cosine, sine}, {hn::LoadU(d, re + begin + k), hn::LoadU(d, im + begin + k)});
        const Complex divisor = {hn::MulAdd(cosine, s[3].re, hn::Set(d, 1.0)), hn::Mul(cosine, s[3].im)};
        const Complex gain = scaled(cosine, over(g, divisor));  // cos(phi) g / (1 + cos(phi) S(p* p))
        const Complex d1 = times(gain, s[2]), d2 = times(gain, s[1]);
        const Complex d3 = scaled(cosine, over(times(d1, s[1]), divisor));
        const Complex all[4] = {g, {hn::Neg(d1.re), hn::Neg(d1.im)}, {hn::Neg(d2.re), hn::Neg(d2.im)}, d3};
        for (int i = 0; i < 4; ++i) {
            hn::StoreU(all[i].re, d, gradients + (2 * i) * cauchy_block + k);
            hn::StoreU(all[i].im, d, gradients + (2 * i + 1) * cauchy_block + k);
        }
    }
}

void backward(const CauchyPoles& poles, const CauchyNodes& nodes, const double* re, const double* im, double* sums) {
    const D d;
    const int64_t count = poles.count;
    HWY_ALIGN double gradients[8 * cauchy_block];
    for (int64_t i = 0; i < 10 * count; ++i) sums[i] = 0;
    for (int64_t begin = 0; begin < nodes.count; begin += cauchy_block) {
        sum_gradients(poles, nodes, begin, re, im, gradients);
        for (int64_t n = 0; n < count; ++n) {
            V total[10];
            for (V& t : total) t = hn::Zero(d);
            for (int64_t k = 0; k < cauchy_block; k += static_cast<int64_t>(hn::Lanes(d))) {
                const V sine = hn::LoadU(d, nodes.sine + begin + k), cosine = hn::LoadU(d, nodes.cosine + begin + k);
                const Pair pair = reciprocals(hn::Add(sine, sine), cosine, poles.pole[n], poles.pole[count + n]);
                const V sum_re = hn::Add(pair.q.re, pair.r.re), sum_im = hn::Add(pair.q.im, pair.r.im);
                const V difference_re = hn::Sub(pair.q.re, pair.r.re), difference_im = hn::Sub(pair.q.im, pair.r.im);
                // With a the gradient of a sum and v its weight: total += a q + (a r)*, and for the pole
                // cos(phi) (sum a v) q^2 + (cos(phi) (sum a v*) r^2)*.
                V rr = hn::Zero(d), ii = rr, ri = rr, ir = rr;
                for (int i = 0; i < 4; ++i) {
                    const V a_re = hn::Load(d, gradients + (2 * i) * cauchy_block + k);
                    const V a_im = hn::Load(d, gradients + (2 * i + 1) * cauchy_block + k);
                    total[2 * i] = hn::MulAdd(a_re, sum_re, hn::NegMulAdd(a_im, sum_im, total[2 * i]));
                    total[2 * i + 1] =
                        hn::MulAdd(a_re, difference_im, hn::MulAdd(a_im, difference_re, total[2 * i + 1]));
                    const V v_re = hn::Set(d, poles.weight[static_cast<size_t>(i)][n]);
                    rr = hn::MulAdd(a_re, v_re, rr);
                    ir = hn::MulAdd(a_im, v_re, ir);
                    if (i == 3) break;  // p* p is real
                    const V v_im = hn::Set(d, poles.weight[static_cast<size_t>(i)][count + n]);
                    ii = hn::MulAdd(a_im, v_im, ii);
                    ri = hn::MulAdd(a_re, v_im, ri);
                }
                const Complex direct = times({hn::Sub(rr, ii), hn::Add(ri, ir)}, times(pair.q, pair.q));
                const Complex conjugate = times({hn::Add(rr, ii), hn::Sub(ir, ri)}, times(pair.r, pair.r));
                total[8] = hn::MulAdd(cosine, hn::Add(direct.re, conjugate.re), total[8]);
                total[9] = hn::MulAdd(cosine, hn::Sub(direct.im, conjugate.im), total[9]);
            }
            for (int i = 0; i < 10; ++i) sums[i * count + n] += hn::GetLane(hn::SumOfLanes(d, total[i]));
        }
    }
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void cauchy_forward(const CauchyPoles& poles, const CauchyNodes& nodes, double* re, double* im) {
    HWY_DYNAMIC_DISPATCH(forward)(poles, nodes, re, im);
}

void cauchy_backward(const CauchyPoles& poles, const CauchyNodes& nodes, const double* re, const double* im,
                     double* sums) {
    HWY_DYNAMIC_DISPATCH(backward)(poles, nodes, re, im, sums);
}

}  // namespace nigiri::cpu
#endif
