#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class AdamWTest : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
};

struct State {
    double w, m = 0, v = 0;
};

// The rule in the order PyTorch writes it: decay, moments, bias corrections, step.
void reference_step(State& s, double grad, const AdamW& o) {
    const double g = grad * o.gradient_scale;
    s.w *= 1 - o.lr * o.weight_decay;
    s.m = o.beta1 * s.m + (1 - o.beta1) * g;
    s.v = o.beta2 * s.v + (1 - o.beta2) * g * g;
    const double m_hat = s.m / (1 - std::pow(o.beta1, static_cast<double>(o.step)));
    const double v_hat = s.v / (1 - std::pow(o.beta2, static_cast<double>(o.step)));
    s.w -= o.lr * m_hat / (std::sqrt(v_hat) + o.eps);
}

TEST_F(AdamWTest, FollowsTheRuleForManySteps) {
    for (const DType dtype : {f32, f64})
        for (const int64_t n : {1, 3, 16, 33, 40000}) {
            SCOPED_TRACE(std::string(name_of(dtype)) + ", " + std::to_string(n));
            const Tensor w = test::random_tensor(*backend, {n}, dtype, random), m = backend->zeros({n}, dtype),
                         v = backend->zeros({n}, dtype);
            const Tensor g = backend->allocate({n}, dtype);
            std::vector<State> expected;
            for (int64_t i = 0; i < n; ++i) expected.push_back({get(w, i)});
            AdamW op{.weight = w,
                     .grad = g,
                     .m = m,
                     .v = v,
                     .lr = 2e-2,
                     .beta1 = 0.9,
                     .beta2 = 0.95,
                     .eps = 1e-8,
                     .weight_decay = 0.1,
                     .gradient_scale = 0.25};
            for (op.step = 1; op.step <= 10; ++op.step) {
                for (int64_t i = 0; i < n; ++i) test::set(g, i, random.normal());
                for (int64_t i = 0; i < n; ++i) reference_step(expected[static_cast<size_t>(i)], get(g, i), op);
                backend->adamw(op);
                EXPECT_EQ(test::dot(g, g), 0) << "the gradient is set to zero";
            }
            // Ten steps of at most 0.02 each with some roundings of 6e-8; weights are of order one.
            const double tolerance = dtype == f32 ? 2e-6 : 1e-13;
            for (int64_t i = 0; i < n; ++i) {
                const State& s = expected[static_cast<size_t>(i)];
                ASSERT_NEAR(get(w, i), s.w, tolerance * (1 + std::abs(s.w)));
                ASSERT_NEAR(get(m, i), s.m, tolerance);
                ASSERT_NEAR(get(v, i), s.v, tolerance);
            }
        }
}

TEST_F(AdamWTest, AZeroGradientOnAFreshStateOnlyDecays) {
    const Tensor w = backend->allocate({20}, f32), g = backend->zeros({20}, f32), m = backend->zeros({20}, f32),
                 v = backend->zeros({20}, f32);
    backend->fill({.y = w, .value = 2});
    backend->adamw({.weight = w, .grad = g, .m = m, .v = v, .lr = 0.1, .weight_decay = 0.5, .step = 1});
    for (int64_t i = 0; i < 20; ++i) EXPECT_FLOAT_EQ(static_cast<float>(get(w, i)), 1.9f);
}

TEST_F(AdamWTest, RefusesOperandsThatDoNotFit) {
    const Tensor a = backend->zeros({4}, f32), b = backend->zeros({5}, f32), wide = backend->zeros({3, 5}, f32);
    EXPECT_THROW(backend->adamw({.weight = a, .grad = b, .m = a, .v = a}), Error);
    const Tensor gaps = wide.columns(0, 4);
    EXPECT_THROW(backend->adamw({.weight = gaps, .grad = gaps, .m = gaps, .v = gaps}), Error);
    EXPECT_THROW(backend->adamw({.weight = a, .grad = a, .m = a, .v = a, .step = 0}), Error);
}

TEST_F(AdamWTest, SumOfSquares) {
    const auto alone = make_backend("cpu", 1);
    for (const DType dtype : {f32, f64})
        for (const Shape& shape : {Shape{1}, Shape{15}, Shape{17}, Shape{3, 33}, Shape{1000, 131}, Shape{0, 3}}) {
            SCOPED_TRACE(shape.text());
            const Tensor x = test::random_tensor(*backend, shape, dtype, random),
                         gaps = test::random_strided(*backend, shape, dtype, random);
            for (const Tensor& t : {x, gaps}) {
                const double wanted = test::dot(t, t), sum = backend->sum_of_squares(t);
                EXPECT_NEAR(sum, wanted, 1e-12 * wanted);
                EXPECT_EQ(sum, alone->sum_of_squares(t)) << "depends on the number of threads";
            }
        }
    // float32 would have stopped counting at 2^24.
    const Tensor ones = backend->allocate({1 << 25}, f32);
    backend->fill({.y = ones, .value = 1});
    EXPECT_EQ(backend->sum_of_squares(ones), 1 << 25);
}

}  // namespace
}  // namespace nigiri
