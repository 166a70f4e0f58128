#include "kernels/adamw.h"

#include <array>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adamw.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

#ifndef NIGIRI_KERNELS_CPU_ADAMW_ONCE
#define NIGIRI_KERNELS_CPU_ADAMW_ONCE
namespace nigiri::cpu {

// The step's constants, computed in double and then rounded once.
template <class T>
struct AdamWFactors {
    explicit AdamWFactors(const AdamW& op)
        : keep(static_cast<T>(1 - op.lr * op.weight_decay)),
          beta1(static_cast<T>(op.beta1)),
          rest1(static_cast<T>(1 - op.beta1)),
          beta2(static_cast<T>(op.beta2)),
          rest2(static_cast<T>(1 - op.beta2)),
          rate(static_cast<T>(op.lr / (1 - std::pow(op.beta1, static_cast<double>(op.step))))),
          scale2(static_cast<T>(1 / std::sqrt(1 - std::pow(op.beta2, static_cast<double>(op.step))))),
          eps(static_cast<T>(op.eps)),
          gradient_scale(static_cast<T>(op.gradient_scale)) {}
    T keep, beta1, rest1, beta2, rest2, rate, scale2, eps, gradient_scale;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void adamw_block(Rows weight, Rows grad, Rows m, Rows v, const AdamWFactors<float>& f, int64_t n) {
    simd::map(1, n, [=](auto d, auto at) HWY_ATTR {
        const auto g = hn::Mul(at.load(d, grad), hn::Set(d, f.gradient_scale));
        const auto m1 = hn::MulAdd(at.load(d, m), hn::Set(d, f.beta1), hn::Mul(g, hn::Set(d, f.rest1)));
        const auto v1 = hn::MulAdd(at.load(d, v), hn::Set(d, f.beta2), hn::Mul(hn::Mul(g, g), hn::Set(d, f.rest2)));
        const auto root = hn::MulAdd(hn::Sqrt(v1), hn::Set(d, f.scale2), hn::Set(d, f.eps));
        const auto step = hn::Mul(hn::Div(m1, root), hn::Set(d, f.rate));
        at.store(hn::Sub(hn::Mul(at.load(d, weight), hn::Set(d, f.keep)), step), d, weight);
        at.store(hn::Zero(d), d, grad);
        at.store(m1, d, m);
        at.store(v1, d, v);
    });
}

double sum_of_squares_row(const float* x, int64_t n) {
    const hn::ScalableTag<double> d;
    const hn::Rebind<float, decltype(d)> half;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    auto a = hn::Zero(d), b = hn::Zero(d);  // two chains hide the latency of the addition
    int64_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
        const auto u = hn::PromoteTo(d, hn::LoadU(half, x + i)), v = hn::PromoteTo(d, hn::LoadU(half, x + i + lanes));
        a = hn::MulAdd(u, u, a);
        b = hn::MulAdd(v, v, b);
    }
    double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
    for (; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
    return sum;
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(adamw_block);
HWY_EXPORT(sum_of_squares_row);

void plain_adamw(const AdamW& op) {
    const AdamWFactors<double> f(op);
    double *weight = op.weight.as<double>(), *grad = op.grad.as<double>();
    double *m = op.m.as<double>(), *v = op.v.as<double>();
    for (int64_t i = 0; i < op.weight.size(); ++i) {
        const double g = f.gradient_scale * grad[i];
        m[i] = f.beta1 * m[i] + f.rest1 * g;
        v[i] = f.beta2 * v[i] + f.rest2 * g * g;
        weight[i] = weight[i] * f.keep - f.rate * m[i] / (std::sqrt(v[i]) * f.scale2 + f.eps);
        grad[i] = 0;
    }
}

// The elements [begin, end) of a view of any row stride, row by row.
template <class F>
double sum_over(const View& x, int64_t begin, int64_t end, const F& row_sum) {
    if (x.contiguous()) return row_sum(0, begin, end - begin);
    double sum = 0;
    for (int64_t i = begin; i < end;) {
        const int64_t row = i / x.columns(), column = i % x.columns();
        const int64_t count = std::min(x.columns() - column, end - i);
        sum += row_sum(row, column, count);
        i += count;
    }
    return sum;
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::adamw(const AdamW& op) {
    for (const View* v : {&op.weight, &op.grad, &op.m, &op.v})
        require(v->shape == op.weight.shape && v->dtype == op.weight.dtype && v->contiguous(), "adamw",
                "contiguous operands of equal shape and type");
    require(op.step >= 1, "adamw", "steps that count from 1");
    require(op.weight.dtype != DType::i32, "adamw", "float elements");
    if (op.weight.dtype == DType::f64) {
        plain_adamw(op);
        return;
    }
    const AdamWFactors<float> factors(op);
    const auto f = [&](const Block& b) {
        HWY_DYNAMIC_DISPATCH(adamw_block)
        (b.of(op.weight), b.of(op.grad), b.of(op.m), b.of(op.v), factors, b.columns);
    };
    parallel_blocks(threads(), 4, f, op.weight, op.grad, op.m, op.v);
}

double CpuBackend::sum(const View& x) {
    double sum = 0;
    dispatch(x.dtype, [&](auto zero) {
        using T = decltype(zero);
        for (int64_t r = 0; r < x.rows(); ++r)
            for (int64_t c = 0; c < x.columns(); ++c) sum += static_cast<double>(x.row<T>(r)[c]);
    });
    return sum;
}

double CpuBackend::sum_of_squares(const View& x) {
    constexpr int64_t slices = 64;
    std::array<double, slices> partial{};
    dispatch(x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const auto row_sum = [&](int64_t row, int64_t column, int64_t count) {
            const T* p = x.row<T>(row) + column;
            if constexpr (std::is_same_v<T, float>) {
                return HWY_DYNAMIC_DISPATCH(sum_of_squares_row)(p, count);
            } else {
                double sum = 0;
                for (int64_t i = 0; i < count; ++i) sum += p[i] * p[i];
                return sum;
            }
        };
        parallel_slices(threads(), x.size(), slices, x.size(), [&](int64_t s, int64_t begin, int64_t end) {
            partial[static_cast<size_t>(s)] = sum_over(x, begin, end, row_sum);
        });
    });
    double sum = 0;
    for (const double p : partial) sum += p;
    return sum;
}

}  // namespace nigiri
#endif
