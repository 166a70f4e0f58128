#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class CausalConv1d : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};

    struct Case {
        Tensor x, weight, bias, y, dy, dx, dweight, dbias;
    };
    Case make(int64_t batch, int64_t length, int64_t width, int64_t taps, DType dtype, bool gaps = false) {
        const auto operand = [&](const Shape& s) {
            return gaps ? test::random_strided(*backend, s, dtype, random)
                        : test::random_tensor(*backend, s, dtype, random);
        };
        const Shape shape{batch, length, width};
        return {operand(shape),
                operand({width, taps}),
                test::random_tensor(*backend, {width}, dtype, random),
                operand(shape),
                operand(shape),
                operand(shape),
                operand({width, taps}),
                test::random_tensor(*backend, {width}, dtype, random)};
    }
    Case in_double(const Case& c) {
        const auto d = [&](const Tensor& t) { return test::converted(*backend, t, f64); };
        return {d(c.x), d(c.weight), d(c.bias), d(c.y), d(c.dy), d(c.dx), d(c.dweight), d(c.dbias)};
    }
    void forward(Backend& on, const Case& c, bool silu, const View& state = {}) {
        on.causal_conv1d_forward(
            {.x = c.x, .weight = c.weight, .bias = c.bias, .y = c.y, .state = state, .silu = silu});
    }
    void backward(Backend& on, const Case& c, bool silu) {
        on.causal_conv1d_backward({.x = c.x,
                                   .weight = c.weight,
                                   .bias = c.bias,
                                   .dy = c.dy,
                                   .dx = c.dx,
                                   .dweight = c.dweight,
                                   .dbias = c.dbias,
                                   .silu = silu});
    }
};

TEST_F(CausalConv1d, Float64FollowsTheFormula) {
    for (const bool silu : {false, true}) {
        const int64_t batch = 2, length = 6, width = 3, taps = 4;
        const Case c = make(batch, length, width, taps, f64, true);
        forward(*backend, c, silu);
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t l = 0; l < length; ++l)
                for (int64_t d = 0; d < width; ++d) {
                    double p = get(c.bias, d);
                    for (int64_t k = 0; k < taps; ++k)
                        if (l - (taps - 1) + k >= 0)
                            p += get(c.weight, d * taps + k) * get(c.x, (b * length + l - (taps - 1) + k) * width + d);
                    EXPECT_NEAR(get(c.y, (b * length + l) * width + d), silu ? p / (1 + std::exp(-p)) : p, 1e-13);
                }
    }
}

TEST_F(CausalConv1d, GradientsAreThoseOfFiniteDifferences) {
    for (const bool silu : {false, true})
        for (const int64_t taps : {1, 2, 4, 8}) {
            SCOPED_TRACE(std::to_string(taps) + " taps, silu " + std::to_string(silu));
            const Case c = make(2, 5, 2, taps, f64);
            backend->fill({.y = c.dweight, .value = 0});
            backend->fill({.y = c.dbias, .value = 0});
            backward(*backend, c, silu);
            const auto loss = [&] {
                forward(*backend, c, silu);
                return test::dot(c.y, c.dy);
            };
            test::expect_gradients(loss, {{"x", c.x, c.dx}, {"weight", c.weight, c.dweight}, {"bias", c.bias, c.dbias}},
                                   random);
        }
}

TEST_F(CausalConv1d, Float32AgreesWithFloat64) {
    const auto check = [&](int64_t batch, int64_t length, int64_t width, int64_t taps, bool silu, bool gaps) {
        SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(length) + " x " + std::to_string(width) + ", " +
                     std::to_string(taps) + " taps, silu " + std::to_string(silu) + ", gaps " + std::to_string(gaps));
        const Case c = make(batch, length, width, taps, f32, gaps), d = in_double(c);
        forward(*backend, c, silu);
        forward(*backend, d, silu);
        EXPECT_LE(test::relative_error(c.y, d.y), 1e-6);
        backward(*backend, c, silu);
        backward(*backend, d, silu);
        EXPECT_LE(test::relative_error(c.dx, d.dx), 1e-6);
        // Sums over up to 2000 rows of both signs.
        EXPECT_LE(test::relative_error(c.dweight, d.dweight), 3e-6);
        EXPECT_LE(test::relative_error(c.dbias, d.dbias), 3e-6);
    };
    for (const int64_t length : test::odd_lengths) check(2, length, 33, 4, true, length % 2 == 0);
    for (const int64_t width : {1, 3, 5, 16, 17, 64, 513, 600}) check(2, 21, width, 4, true, width % 2 == 0);
    for (const int64_t taps : {1, 2, 3, 5, 6, 7, 8})
        for (const int64_t length : {1, 2, 9, 300}) check(3, length, 17, taps, length != 9, true);
    check(2, 600, 48, 4, false, false);
}

TEST_F(CausalConv1d, WorksWithoutBias) {
    for (const DType dtype : {f32, f64}) {
        Case c = make(1, 20, 18, 4, dtype);
        backend->fill({.y = c.bias, .value = 0});
        forward(*backend, c, true);
        backward(*backend, c, true);
        Case n = c;
        n.bias = {}, n.dbias = {};
        n.y = backend->allocate(c.y.shape(), dtype), n.dx = backend->allocate(c.x.shape(), dtype);
        n.dweight = backend->zeros(c.weight.shape(), dtype);
        const Tensor dweight = backend->zeros(c.weight.shape(), dtype);
        forward(*backend, n, true);
        backward(*backend, n, true);
        c.dweight = dweight;
        backward(*backend, c, true);
        EXPECT_EQ(test::max_difference(n.y, c.y), 0);
        EXPECT_EQ(test::max_difference(n.dx, c.dx), 0);
        EXPECT_EQ(test::max_difference(n.dweight, c.dweight), 0);
    }
}

// Pieces of a sequence, each one call with the state of the last, give what one call gives.
TEST_F(CausalConv1d, PiecesWithStateEqualTheWhole) {
    for (const DType dtype : {f32, f64})
        for (const int64_t taps : {1, 3, 4, 8})
            for (const std::vector<int64_t>& pieces :
                 {std::vector<int64_t>{1, 1, 1, 1, 1, 1}, {2, 1, 5, 3}, {40, 1, 60}}) {
                SCOPED_TRACE(std::string(name_of(dtype)) + ", " + std::to_string(taps) + " taps");
                int64_t length = 0;
                for (const int64_t n : pieces) length += n;
                const int64_t batch = 2, width = 19;
                const Case whole = make(batch, length, width, taps, dtype);
                forward(*backend, whole, true);
                const Tensor state = taps > 1 ? backend->zeros({batch, taps - 1, width}, dtype) : Tensor();
                int64_t begin = 0;
                for (const int64_t n : pieces) {
                    Case piece = whole;
                    piece.x = backend->allocate({batch, n, width}, dtype),
                    piece.y = backend->allocate({batch, n, width}, dtype);
                    const auto at = [&](int64_t i) {
                        return (i / (n * width) * length + begin) * width + i % (n * width);
                    };
                    for (int64_t i = 0; i < piece.x.size(); ++i) test::set(piece.x, i, get(whole.x, at(i)));
                    forward(*backend, piece, true, state);
                    for (int64_t i = 0; i < piece.y.size(); ++i)
                        ASSERT_EQ(get(piece.y, i), get(whole.y, at(i))) << "row " << begin;
                    begin += n;
                }
                for (int64_t b = 0; b < batch; ++b)
                    for (int64_t j = 0; j < taps - 1; ++j)
                        for (int64_t d = 0; d < width; ++d) {
                            const int64_t l = length - (taps - 1) + j;
                            EXPECT_EQ(get(state, (b * (taps - 1) + j) * width + d),
                                      l >= 0 ? get(whole.x, (b * length + l) * width + d) : 0);
                        }
            }
}

TEST_F(CausalConv1d, DoesNotDependOnTheNumberOfThreads) {
    const auto alone = make_backend("cpu", 1), many = make_backend("cpu", 3);
    const Case a = make(3, 1000, 64, 4, f32);
    Case b = a;
    b.y = backend->allocate(a.y.shape(), f32), b.dx = backend->allocate(a.y.shape(), f32);
    b.dweight = test::converted(*backend, a.dweight, f32), b.dbias = test::converted(*backend, a.dbias, f32);
    forward(*alone, a, true);
    forward(*many, b, true);
    backward(*alone, a, true);
    backward(*many, b, true);
    EXPECT_EQ(test::max_difference(a.y, b.y), 0);
    EXPECT_EQ(test::max_difference(a.dx, b.dx), 0);
    EXPECT_EQ(test::max_difference(a.dweight, b.dweight), 0);
    EXPECT_EQ(test::max_difference(a.dbias, b.dbias), 0);
}

TEST_F(CausalConv1d, RefusesShapesThatDoNotFit) {
    const Case c = make(1, 5, 3, 4, f32);
    Case wrong = c;
    wrong.weight = backend->zeros({3, 9}, f32);
    EXPECT_THROW(forward(*backend, wrong, true), Error);
    wrong = c, wrong.bias = backend->zeros({4}, f32);
    EXPECT_THROW(forward(*backend, wrong, true), Error);
    EXPECT_THROW(forward(*backend, c, true, backend->zeros({1, 4, 3}, f32)), Error);
    wrong = c, wrong.y = c.x;
    EXPECT_THROW(forward(*backend, wrong, true), Error);
    wrong = c, wrong.dx = c.dy;
    EXPECT_THROW(backward(*backend, wrong, true), Error);
}

}  // namespace
}  // namespace nigiri
