#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

double distance(const View& a, const View& b) {
    double square = 0;
    for (int64_t i = 0; i < a.size(); ++i) square += (get(a, i) - get(b, i)) * (get(a, i) - get(b, i));
    return std::sqrt(square);
}

class Linear : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};

    Tensor values(const Shape& shape, DType dtype) { return test::random_tensor(*backend, shape, dtype, random); }
    Tensor strided(const Shape& shape, DType dtype) { return test::random_strided(*backend, shape, dtype, random); }
    Tensor in_double(const View& x) { return x ? test::converted(*backend, x, f64) : Tensor(); }

    // The product in the test's own loops.
    Tensor expected(const View& x, const View& weight, const View& bias, const View& before) {
        const int64_t m = x.rows(), n = weight[0], k = x.columns();
        const Tensor y = backend->zeros({m, n}, f64);
        for (int64_t r = 0; r < m; ++r)
            for (int64_t c = 0; c < n; ++c) {
                double sum = (bias ? get(bias, c) : 0) + (before ? get(before, r * n + c) : 0);
                for (int64_t i = 0; i < k; ++i) sum += get(x, r * k + i) * get(weight, c * k + i);
                test::set(y, r * n + c, sum);
            }
        return y;
    }

    void check_forward(int64_t m, int64_t n, int64_t k, DType dtype, bool gaps) {
        SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + " " + name_of(dtype));
        const auto operand = [&](const Shape& s) { return gaps ? strided(s, dtype) : values(s, dtype); };
        const Tensor x = operand({m, k}), weight = operand({n, k}), bias = values({n}, dtype);
        // Sums of k products of order one, each rounded (6e-8 in float32): 1e-6 of the size such sums have. A
        // single sum may come out near zero, so the tolerance is absolute.
        const double tolerance = (dtype == f32 ? 1e-6 : 1e-14) * std::sqrt(static_cast<double>(m * n * (k + 2)));
        for (const bool with_bias : {false, true})
            for (const bool accumulate : {false, true}) {
                const Tensor y = operand({m, n}), before = accumulate ? in_double(y) : Tensor();
                const Tensor b = with_bias ? bias : Tensor();
                const Tensor wanted = expected(x, weight, b, before);
                backend->linear_forward({.x = x, .weight = weight, .bias = b, .y = y, .accumulate = accumulate});
                EXPECT_LE(distance(y, wanted), tolerance) << "bias " << with_bias << ", accumulate " << accumulate;
            }
    }
};

TEST_F(Linear, ForwardIsTheProduct) {
    for (const DType dtype : {f32, f64})
        for (const bool gaps : {false, true})
            for (const int64_t m : {1, 2, 3, 4, 5, 16, 17})
                for (const int64_t n : {1, 3, 4, 5, 33, 64})
                    for (const int64_t k : {1, 3, 16, 17, 33, 64}) check_forward(m, n, k, dtype, gaps);
}

TEST_F(Linear, ForwardOfSizesThatAreSharedBetweenThreads) {
    for (const bool gaps : {false, true}) {
        check_forward(1000, 64, 33, f32, gaps);  // blocks of rows
        check_forward(257, 37, 129, f32, gaps);
        check_forward(1, 1030, 301, f32, gaps);  // one row, weights beyond a megabyte
        check_forward(3, 1030, 301, f32, gaps);
    }
}

TEST_F(Linear, TakesThreeAxesAndNoRows) {
    const Tensor x = values({2, 3, 5}, f32), weight = values({4, 5}, f32), y = values({2, 3, 4}, f32);
    backend->linear_forward({.x = x, .weight = weight, .y = y});
    EXPECT_LE(test::relative_error(y, expected(x, weight, {}, {})), 1e-6);
    const Tensor none = backend->allocate({0, 5}, f32), empty = backend->allocate({0, 4}, f32);
    EXPECT_NO_THROW(backend->linear_forward({.x = none, .weight = weight, .y = empty}));
    const Tensor dweight = backend->zeros({4, 5}, f32), dbias = backend->zeros({4}, f32);
    EXPECT_NO_THROW(backend->linear_backward(
        {.x = none, .weight = weight, .dy = empty, .dx = none, .dweight = dweight, .dbias = dbias}));
    EXPECT_EQ(test::dot(dweight, dweight), 0);
}

TEST_F(Linear, GradientsAreThoseOfFiniteDifferences) {
    const Tensor x = values({5, 7}, f64), weight = values({3, 7}, f64), bias = values({3}, f64),
                 dy = values({5, 3}, f64), y = values({5, 3}, f64);
    const Tensor dx = values({5, 7}, f64), dweight = backend->zeros({3, 7}, f64), dbias = backend->zeros({3}, f64);
    backend->linear_backward({.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight, .dbias = dbias});
    const auto loss = [&] {
        backend->linear_forward({.x = x, .weight = weight, .bias = bias, .y = y});
        return test::dot(y, dy);
    };
    test::expect_gradients(loss, {{"x", x, dx}, {"weight", weight, dweight}, {"bias", bias, dbias}}, random);
}

TEST_F(Linear, BackwardInFloat32AgreesWithFloat64) {
    struct Size {
        int64_t m, n, k;
    };
    for (const auto& [m, n, k] :
         {Size{1, 1, 1}, Size{1, 33, 17}, Size{4, 5, 64}, Size{17, 16, 3}, Size{257, 33, 65}, Size{1000, 64, 37}})
        for (const bool gaps : {false, true}) {
            SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + ", gaps " +
                         std::to_string(gaps));
            const auto operand = [&](const Shape& s) { return gaps ? strided(s, f32) : values(s, f32); };
            const Tensor x = operand({m, k}), weight = operand({n, k}), dy = operand({m, n});
            const Tensor dx = operand({m, k}), dweight = operand({n, k}), dbias = values({n}, f32);
            const Tensor dx64 = in_double(dx), dweight64 = in_double(dweight), dbias64 = in_double(dbias);
            backend->linear_backward({.x = in_double(x),
                                      .weight = in_double(weight),
                                      .dy = in_double(dy),
                                      .dx = dx64,
                                      .dweight = dweight64,
                                      .dbias = dbias64});
            const Tensor dweight_again = in_double(dweight), dbias_again = in_double(dbias);
            backend->linear_backward(
                {.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight, .dbias = dbias});
            // Sums of up to 1000 terms: the error grows with the root of their number.
            EXPECT_LE(test::relative_error(dx, dx64), 2e-6);
            EXPECT_LE(test::relative_error(dweight, dweight64), 2e-6);
            EXPECT_LE(test::relative_error(dbias, dbias64), 2e-6);
        }
}

TEST_F(Linear, BackwardWithoutSomeOfTheGradients) {
    for (const DType dtype : {f32, f64}) {
        const Tensor x = values({6, 5}, dtype), weight = values({4, 5}, dtype), dy = values({6, 4}, dtype);
        const Tensor dx = values({6, 5}, dtype), dweight = backend->zeros({4, 5}, dtype),
                     dbias = backend->zeros({4}, dtype);
        backend->linear_backward({.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight, .dbias = dbias});
        const Tensor dx1 = values({6, 5}, dtype), dweight1 = backend->zeros({4, 5}, dtype),
                     dbias1 = backend->zeros({4}, dtype);
        backend->linear_backward({.weight = weight, .dy = dy, .dx = dx1});
        backend->linear_backward({.x = x, .dy = dy, .dweight = dweight1});
        backend->linear_backward({.dy = dy, .dbias = dbias1});
        EXPECT_EQ(test::max_difference(dx1, dx), 0);
        EXPECT_EQ(test::max_difference(dweight1, dweight), 0);
        EXPECT_EQ(test::max_difference(dbias1, dbias), 0);
    }
}

TEST_F(Linear, IsDeterministic) {
    const Tensor x = values({2000, 64}, f32), weight = values({96, 64}, f32), bias = values({96}, f32),
                 dy = values({2000, 96}, f32);
    std::vector<Tensor> first;
    for (int run = 0; run < 3; ++run) {
        const Tensor y = values({2000, 96}, f32), dx = values({2000, 64}, f32), dweight = backend->zeros({96, 64}, f32),
                     dbias = backend->zeros({96}, f32);
        backend->linear_forward({.x = x, .weight = weight, .bias = bias, .y = y});
        backend->linear_backward({.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight, .dbias = dbias});
        if (run == 0) first = {y, dx, dweight, dbias};
        const std::vector<Tensor> now = {y, dx, dweight, dbias};
        for (size_t i = 0; i < 4; ++i)
            EXPECT_EQ(test::max_difference(now[i], first[i]), 0) << "result " << i << ", run " << run;
    }
}

TEST_F(Linear, RefusesShapesThatDoNotFit) {
    const Tensor x = values({2, 5}, f32), weight = values({4, 5}, f32), y = values({2, 4}, f32),
                 wrong = values({3, 4}, f32);
    EXPECT_THROW(backend->linear_forward({.x = x, .weight = weight, .y = wrong}), Error);
    EXPECT_THROW(backend->linear_forward({.x = x, .weight = y, .y = y}), Error);
    EXPECT_THROW(backend->linear_forward({.x = x, .weight = weight, .bias = values({5}, f32), .y = y}), Error);
    EXPECT_THROW(backend->linear_forward({.x = x, .weight = values({4, 5}, f64), .y = y}), Error);
    EXPECT_THROW(backend->linear_backward({.x = x, .dy = wrong, .dweight = weight}), Error);
    EXPECT_THROW(backend->linear_backward({.weight = weight, .dy = y, .dx = y}), Error);
}

}  // namespace
}  // namespace nigiri
