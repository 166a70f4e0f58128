#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class Norm : public ::testing::TestWithParam<NormKind> {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    NormKind kind = GetParam();

    // Everything one norm needs. The mean is as large as the deviation; and no row's values happen to lie
    // together, for a nearly constant row magnifies every rounding.
    struct Case {
        Tensor x, weight, bias, y, mean, rstd, dy, dx, dweight, dbias;
    };
    Case make(const Shape& shape, DType dtype, bool gaps = false) {
        const Shape parameters{kind == NormKind::scalar ? 1 : shape.columns()};
        const auto operand = [&] {
            return gaps ? test::random_strided(*backend, shape, dtype, random)
                        : test::random_tensor(*backend, shape, dtype, random);
        };
        Case c;
        c.x = operand(), c.y = operand(), c.dy = operand(), c.dx = operand();
        for (int64_t i = 0; i < c.x.size(); ++i)
            test::set(c.x, i, 2 + (i % shape.columns() % 2 == 0 ? 1 : -1) * random.uniform(1, 3));
        c.weight = test::random_tensor(*backend, parameters, dtype, random);
        c.dweight = test::random_tensor(*backend, parameters, dtype, random);
        if (kind != NormKind::rms) {
            c.bias = test::random_tensor(*backend, parameters, dtype, random);
            c.dbias = test::random_tensor(*backend, parameters, dtype, random);
        }
        c.mean = backend->allocate({shape.rows()}, dtype), c.rstd = backend->allocate({shape.rows()}, dtype);
        return c;
    }
    Case in_double(const Case& c) {
        const auto d = [&](const Tensor& t) { return t ? test::converted(*backend, t, f64) : Tensor(); };
        return {d(c.x),    d(c.weight), d(c.bias), d(c.y),       d(c.mean),
                d(c.rstd), d(c.dy),     d(c.dx),   d(c.dweight), d(c.dbias)};
    }
    void forward(Backend& on, const Case& c) {
        on.norm_forward({.kind = kind,
                         .eps = 1e-5,
                         .x = c.x,
                         .weight = c.weight,
                         .bias = c.bias,
                         .y = c.y,
                         .mean = c.mean,
                         .rstd = c.rstd});
    }
    void backward(Backend& on, const Case& c, bool accumulate = false) {
        on.norm_backward({.kind = kind,
                          .x = c.x,
                          .weight = c.weight,
                          .bias = c.bias,
                          .mean = c.mean,
                          .rstd = c.rstd,
                          .dy = c.dy,
                          .dx = c.dx,
                          .dweight = c.dweight,
                          .dbias = c.dbias,
                          .accumulate = accumulate});
    }
};

TEST_P(Norm, Float64FollowsTheFormula) {
    const Case c = make({4, 9}, f64, true);
    forward(*backend, c);
    for (int64_t r = 0; r < 4; ++r) {
        double mean = 0, moment = 0, square = 0;
        for (int64_t i = 0; i < 9; ++i) mean += get(c.x, r * 9 + i) / 9;
        for (int64_t i = 0; i < 9; ++i)
            moment += std::pow(get(c.x, r * 9 + i) - mean, 2) / 9, square += std::pow(get(c.x, r * 9 + i), 2) / 9;
        for (int64_t i = 0; i < 9; ++i) {
            const double x = get(c.x, r * 9 + i), deviation = std::sqrt(moment + 1e-5);
            double wanted = 0;
            if (kind == NormKind::layer) wanted = get(c.weight, i) * (x - mean) / deviation + get(c.bias, i);
            if (kind == NormKind::rms) wanted = get(c.weight, i) * x / std::sqrt(square + 1e-5);
            if (kind == NormKind::scalar) wanted = get(c.weight, 0) / deviation * (x - mean + get(c.bias, 0));
            EXPECT_NEAR(get(c.y, r * 9 + i), wanted, 1e-13);
        }
    }
}

TEST_P(Norm, GradientsAreThoseOfFiniteDifferences) {
    const Case c = make({5, 6}, f64);
    forward(*backend, c);
    for (const Tensor* t : {&c.dweight, &c.dbias})
        if (*t) backend->fill({.y = *t, .value = 0});
    backward(*backend, c);
    const auto loss = [&] {
        forward(*backend, c);
        return test::dot(c.y, c.dy);
    };
    std::vector<test::GradientCheck> checks = {{"x", c.x, c.dx}, {"weight", c.weight, c.dweight}};
    if (c.bias) checks.push_back({"bias", c.bias, c.dbias});
    test::expect_gradients(loss, checks, random);
}

TEST_P(Norm, Float32AgreesWithFloat64) {
    for (const int64_t width : {1, 3, 5, 16, 17, 33, 64, 257})
        for (const int64_t rows : {1, 2, 63, 1000})
            for (const bool gaps : {false, true}) {
                SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width) + ", gaps " + std::to_string(gaps));
                const Case c = make({rows, width}, f32, gaps), d = in_double(c);
                forward(*backend, c);
                forward(*backend, d);
                // Values are of order one, so errors are some roundings (6e-8) times rstd, which is 316 for a
                // single element. Results may be near zero by cancellation: the tolerance is absolute, for
                // the root of the sum of squares.
                const double magnified =
                    std::max(1.0, std::sqrt(test::dot(d.rstd, d.rstd) / static_cast<double>(rows)));
                const double size = std::sqrt(static_cast<double>(rows * width));
                const auto close = [&](const Tensor& a, const Tensor& b, const char* what) {
                    if (!a) return;
                    const double norm = std::sqrt(test::dot(b, b));
                    EXPECT_LE(test::relative_error(a, b) * (norm > 0 ? norm : 1), 2e-6 * magnified * (norm + size))
                        << what;
                };
                close(c.y, d.y, "y");
                close(c.rstd, d.rstd, "rstd");
                if (kind != NormKind::rms) close(c.mean, d.mean, "mean");
                backward(*backend, c);
                backward(*backend, d);
                close(c.dx, d.dx, "dx");
                close(c.dweight, d.dweight, "dweight");
                close(c.dbias, d.dbias, "dbias");
                const Tensor before = test::converted(*backend, c.dx, f64);
                backward(*backend, c, true);
                backward(*backend, d, false);
                backend->add({.x1 = before, .x2 = d.dx, .y = before});
                close(c.dx, before, "dx added to");
            }
}

TEST_P(Norm, WorksInPlaceAndWithoutStatistics) {
    for (const DType dtype : {f32, f64}) {
        const Case c = make({7, 33}, dtype);
        forward(*backend, c);
        backend->norm_forward({.kind = kind, .eps = 1e-5, .x = c.x, .weight = c.weight, .bias = c.bias, .y = c.x});
        EXPECT_EQ(test::max_difference(c.x, c.y), 0);
    }
}

TEST_P(Norm, DoesNotDependOnTheNumberOfThreads) {
    const auto alone = make_backend("cpu", 1), many = make_backend("cpu", 3);
    const Case a = make({3000, 64}, f32);
    forward(*alone, a);
    Case b = a;
    b.y = backend->allocate(a.y.shape(), f32), b.dx = backend->allocate(a.y.shape(), f32);
    b.dweight = test::converted(*backend, a.dweight, f32);
    if (a.dbias) b.dbias = test::converted(*backend, a.dbias, f32);
    forward(*many, b);
    backward(*alone, a);
    backward(*many, b);
    EXPECT_EQ(test::max_difference(a.y, b.y), 0);
    EXPECT_EQ(test::max_difference(a.dx, b.dx), 0);
    EXPECT_EQ(test::max_difference(a.dweight, b.dweight), 0);
    if (a.dbias) {
        EXPECT_EQ(test::max_difference(a.dbias, b.dbias), 0);
    }
}

TEST_P(Norm, ALargeMeanDoesNotCostAccuracy) {
    if (kind == NormKind::rms) return;
    const Case c = make({3, 64}, f32);
    for (int64_t i = 0; i < c.x.size(); ++i) test::set(c.x, i, 1000 + get(c.x, i));
    const Case d = in_double(c);
    forward(*backend, c);
    forward(*backend, d);
    // The mean itself is rounded to 3e-5, of a deviation of one; sum(x^2) - mean^2 would be off by 6 %.
    EXPECT_LE(test::relative_error(c.y, d.y), 1e-4);
}

TEST_P(Norm, RefusesWrongParameters) {
    const Case c = make({3, 8}, f32);
    const Tensor odd = backend->zeros({5}, f32);
    EXPECT_THROW(backend->norm_forward({.kind = kind, .x = c.x, .weight = odd, .bias = c.bias, .y = c.y}), Error);
    EXPECT_THROW(backend->norm_forward({.kind = kind, .x = c.x, .weight = c.weight, .bias = odd, .y = c.y}), Error);
    EXPECT_THROW(
        backend->norm_forward({.kind = kind, .x = c.x, .weight = c.weight, .bias = c.bias, .y = c.y, .rstd = odd}),
        Error);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Norm, ::testing::Values(NormKind::layer, NormKind::rms, NormKind::scalar), [](const auto& type) {
        return std::string(type.param == NormKind::layer ? "layer" : type.param == NormKind::rms ? "rms" : "scalar");
    });

}  // namespace
}  // namespace nigiri
