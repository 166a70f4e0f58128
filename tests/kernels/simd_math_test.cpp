// The vector functions against the C++ library in double, over every instruction set of this machine.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/simd_math_test.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
namespace simd = cpu::HWY_NAMESPACE::simd;

template <class F>
void apply(F f, const float* x, float* y, size_t n) {
    const hn::ScalableTag<float> d;
    const size_t lanes = hn::Lanes(d);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, x + i)), d, y + i);
    if (i < n) simd::store_first(f(d, simd::load_first(d, x + i, n - i)), d, y + i, n - i);
}

void exp(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::exp(d, v); }, x, y, n);
}
void exp2(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::exp2(d, v); }, x, y, n);
}
void log(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::log(d, v); }, x, y, n);
}
void log1p_unit(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::log1p_unit(d, v); }, x, y, n);
}
void softplus(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::softplus(d, v); }, x, y, n);
}
void sigmoid(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::sigmoid(d, v); }, x, y, n);
}
void silu(const float* x, float* y, size_t n) {
    apply([](auto d, auto v) HWY_ATTR { return simd::silu(d, v); }, x, y, n);
}
void normal_cdf(const float* x, float* y, size_t n) {
    apply(
        [](auto d, auto v) HWY_ATTR {
            auto density = hn::Zero(d);
            return simd::normal_cdf(d, v, density);
        },
        x, y, n);
}
void normal_density(const float* x, float* y, size_t n) {
    apply(
        [](auto d, auto v) HWY_ATTR {
            auto density = hn::Zero(d);
            simd::normal_cdf(d, v, density);
            return density;
        },
        x, y, n);
}

}  // namespace
}  // namespace nigiri::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace nigiri {
namespace {

HWY_EXPORT(exp);
HWY_EXPORT(exp2);
HWY_EXPORT(log);
HWY_EXPORT(log1p_unit);
HWY_EXPORT(softplus);
HWY_EXPORT(sigmoid);
HWY_EXPORT(silu);
HWY_EXPORT(normal_cdf);
HWY_EXPORT(normal_density);

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Runs the case once for every instruction set that was built and that this processor has.
template <class F>
void on_every_target(F&& f) {
    const int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
    for (int64_t rest = all; rest != 0; rest &= rest - 1) {
        const int64_t target = rest & -rest;
        hwy::SetSupportedTargetsForTest(target);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
        SCOPED_TRACE(hwy::TargetName(target));
        f();
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Evenly spaced points and, for the small magnitudes, a geometric sequence of both signs.
std::vector<float> points(double low, double high) {
    std::vector<float> x;
    for (int i = 0; i <= 200000; ++i) x.push_back(static_cast<float>(low + (high - low) * i / 200000));
    for (double m = 1e-30; m < std::max(-low, high); m *= 1.07) {
        if (m <= high) x.push_back(static_cast<float>(m));
        if (-m >= low) x.push_back(static_cast<float>(-m));
    }
    return x;
}

// The largest error in units of the last place of the true value (of `floor_value`, where that is larger).
template <class Function, class Reference>
double worst_ulp(Function&& f, Reference&& reference, const std::vector<float>& x, double floor_value = 0x1p-126) {
    std::vector<float> y(x.size());
    f(x.data(), y.data(), x.size());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
        const double r = reference(static_cast<double>(x[i]));
        const double ulp = std::exp2(std::floor(std::log2(std::max(std::abs(r), floor_value))) - 23);
        const double error = std::abs(y[i] - r) / ulp;
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

TEST(SimdMath, KeepsItsStatedErrors) {
    on_every_target([] {
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(exp), [](double x) { return std::exp(x); }, points(-86.9, 88.7)),
                  2);
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(exp2), [](double x) { return std::exp2(x); }, points(-125.4, 127.99)),
                  2.5);
        std::vector<float> positive;
        for (double x = 0x1p-125; x < 0x1p126; x *= 1.0007) positive.push_back(static_cast<float>(x));
        for (double x = 0.5; x < 2; x += 1e-5) positive.push_back(static_cast<float>(x));
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(log), [](double x) { return std::log(x); }, positive),
                  2);
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(log1p_unit), [](double x) { return std::log1p(x); }, points(0, 1)),
                  2);
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(softplus),
                      [](double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); },
                      points(-86, 100)),
                  2.5);
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(sigmoid), [](double x) { return 1 / (1 + std::exp(-x)); }, points(-86, 100)),
                  2.5);
        EXPECT_LE(worst_ulp(
                      HWY_DYNAMIC_DISPATCH(silu), [](double x) { return x / (1 + std::exp(-x)); }, points(-80, 100)),
                  2.5);
    });
}

TEST(SimdMath, NormalDistributionIsExactInBothTails) {
    on_every_target([] {
        const std::vector<float> x = points(-6, 6);
        std::vector<float> cdf(x.size()), density(x.size());
        HWY_DYNAMIC_DISPATCH(normal_cdf)(x.data(), cdf.data(), x.size());
        HWY_DYNAMIC_DISPATCH(normal_density)(x.data(), density.data(), x.size());
        double absolute = 0, relative = 0, slope = 0;
        for (size_t i = 0; i < x.size(); ++i) {
            const double r = phi(x[i]);
            absolute = std::max(absolute, std::abs(cdf[i] - r));
            relative = std::max(relative, std::abs(cdf[i] / r - 1));
            slope = std::max(
                slope, std::abs(density[i] - std::exp(-0.5 * x[i] * static_cast<double>(x[i])) / std::sqrt(2 * M_PI)));
        }
        EXPECT_LE(absolute, 1e-7);
        EXPECT_LE(relative, 2e-6);  // exp(-x^2 / 2) at x = -6 has lost 18 rounding errors of x^2 / 2
        EXPECT_LE(slope, 1e-7);
    });
}

TEST(SimdMath, SpecialValues) {
    on_every_target([] {
        const auto at = [](auto f, float x) {
            float y = 0;
            f(&x, &y, 1);
            return y;
        };
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp), 0.0f), 1.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp), -infinity), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp), -1000.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp), 88.8f), infinity);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp), infinity), infinity);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp2), 10.0f), 1024.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp2), -300.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(exp2), 128.0f), infinity);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(log), 1.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(softplus), 1000.0f), 1000.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(softplus), -1000.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(sigmoid), 0.0f), 0.5f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(sigmoid), -1000.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(sigmoid), 1000.0f), 1.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(silu), 1000.0f), 1000.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(silu), -1000.0f), 0.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(normal_cdf), 1000.0f), 1.0f);
        EXPECT_EQ(at(HWY_DYNAMIC_DISPATCH(normal_cdf), -1000.0f), 0.0f);
        for (const auto f : {HWY_DYNAMIC_DISPATCH(exp), HWY_DYNAMIC_DISPATCH(exp2), HWY_DYNAMIC_DISPATCH(log),
                             HWY_DYNAMIC_DISPATCH(softplus), HWY_DYNAMIC_DISPATCH(sigmoid), HWY_DYNAMIC_DISPATCH(silu),
                             HWY_DYNAMIC_DISPATCH(normal_cdf)})
            EXPECT_TRUE(std::isnan(at(f, nan)));
    });
}

TEST(SimdMath, TouchesNothingBehindTheEnd) {
    on_every_target([] {
        for (size_t n = 1; n < 40; ++n) {
            std::vector<float> x(n, 1.0f),
                y(n + 1, 7.0f);  // x is exactly n long: a read beyond it fails under a sanitizer
            HWY_DYNAMIC_DISPATCH(exp)(x.data(), y.data(), n);
            EXPECT_EQ(y[n], 7.0f);
            EXPECT_NEAR(y[n - 1], 2.718281828f, 5e-7f);
        }
    });
}

}  // namespace
}  // namespace nigiri
#endif
