#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class Attention : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};

    struct Case {
        int64_t heads;
        Tensor q, k, v, y, log_sums, dy, dq, dk, dv;
    };
    // Parts of wider tensors, as one map gives queries, keys and values.
    Case make(int64_t batch, int64_t length, int64_t width, int64_t heads, DType dtype) {
        const auto operand = [&] { return test::random_strided(*backend, {batch, length, width}, dtype, random); };
        return {heads,     operand(), operand(),
                operand(), operand(), test::random_tensor(*backend, {batch, length, heads}, dtype, random),
                operand(), operand(), operand(),
                operand()};
    }
    Case in_double(const Case& c) {
        const auto d = [&](const Tensor& t) { return test::converted(*backend, t, f64); };
        return {c.heads, d(c.q), d(c.k), d(c.v), d(c.y), d(c.log_sums), d(c.dy), d(c.dq), d(c.dk), d(c.dv)};
    }
    static void forward(Backend& on, const Case& c, int64_t past = 0) {
        on.attention_forward(
            {.heads = c.heads, .q = c.q, .k = c.k, .v = c.v, .past = past, .y = c.y, .log_sums = c.log_sums});
    }
    static void backward(Backend& on, const Case& c) {
        on.attention_backward({.heads = c.heads,
                               .q = c.q,
                               .k = c.k,
                               .v = c.v,
                               .y = c.y,
                               .log_sums = c.log_sums,
                               .dy = c.dy,
                               .dq = c.dq,
                               .dk = c.dk,
                               .dv = c.dv});
    }
};

TEST_F(Attention, Float64FollowsTheFormula) {
    const int64_t batch = 2, length = 5, width = 6, heads = 2, channels = width / heads;
    const Case c = make(batch, length, width, heads, f64);
    forward(*backend, c);
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t i = 0; i < length; ++i) {
                const auto at = [&](const Tensor& t, int64_t l, int64_t e) {
                    return get(t, (b * length + l) * width + h * channels + e);
                };
                std::vector<double> weights;
                double sum = 0;
                for (int64_t j = 0; j <= i; ++j) {
                    double s = 0;
                    for (int64_t e = 0; e < channels; ++e) s += at(c.q, i, e) * at(c.k, j, e);
                    weights.push_back(std::exp(s / std::sqrt(static_cast<double>(channels))));
                    sum += weights.back();
                }
                EXPECT_NEAR(get(c.log_sums, (b * length + i) * heads + h), std::log(sum), 1e-12);
                for (int64_t e = 0; e < channels; ++e) {
                    double y = 0;
                    for (int64_t j = 0; j <= i; ++j) y += weights[static_cast<size_t>(j)] / sum * at(c.v, j, e);
                    EXPECT_NEAR(at(c.y, i, e), y, 1e-12);
                }
            }
}

TEST_F(Attention, GradientsAreThoseOfFiniteDifferences) {
    for (const int64_t heads : {1, 2, 5}) {
        SCOPED_TRACE(std::to_string(heads) + " heads");
        const Case c = make(2, 6, 10, heads, f64);
        forward(*backend, c);
        backward(*backend, c);
        const Case moved = c;
        const auto loss = [&] {
            forward(*backend, moved);
            return test::dot(moved.y, moved.dy);
        };
        test::expect_gradients(loss, {{"q", c.q, c.dq}, {"k", c.k, c.dk}, {"v", c.v, c.dv}}, random);
    }
}

// Rows around the blocks of 32 and the few that are computed one by one, channels around the vector lanes.
TEST_F(Attention, Float32AgreesWithFloat64) {
    const auto check = [&](int64_t batch, int64_t length, int64_t width, int64_t heads) {
        SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(length) + " x " + std::to_string(width) + ", " +
                     std::to_string(heads) + " heads");
        const Case c = make(batch, length, width, heads, f32), d = in_double(c);
        forward(*backend, c);
        forward(*backend, d);
        // A softmax of up to 300 scores of order one: some 1e-7 each.
        EXPECT_LE(test::relative_error(c.y, d.y), 2e-6);
        EXPECT_LE(test::max_difference(c.log_sums, d.log_sums), 5e-6);
        backward(*backend, c);
        backward(*backend, d);
        // With one key the softmax is constant, and these gradients are differences of equal numbers.
        if (length > 1) {
            EXPECT_LE(test::relative_error(c.dq, d.dq), 1e-5);
            EXPECT_LE(test::relative_error(c.dk, d.dk), 1e-5);
        }
        EXPECT_LE(test::relative_error(c.dv, d.dv), 5e-6);
    };
    for (const int64_t length : {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 300}) check(2, length, 12, 2);
    for (const int64_t channels : {1, 2, 3, 5, 8, 15, 16, 17, 33, 64}) check(1, 40, 3 * channels, 3);
    check(3, 50, 64, 8);
}

// Queries that continue a sequence see the keys before them, and not what lies behind.
TEST_F(Attention, PiecesEqualTheWhole) {
    const int64_t batch = 2, length = 90, width = 20, heads = 4, room = 128;
    for (const DType dtype : {f32, f64}) {
        const Case whole = make(batch, length, width, heads, dtype);
        forward(*backend, whole);
        const Tensor k = test::random_tensor(*backend, {batch, room, width}, dtype, random, 100),
                     v = test::random_tensor(*backend, {batch, room, width}, dtype, random, 100);
        int64_t past = 0;
        for (const int64_t count : {1, 2, 33, 1, 7, 8, 38}) {
            const Tensor q = backend->allocate({batch, count, width}, dtype),
                         y = backend->allocate({batch, count, width}, dtype);
            const auto at = [&](int64_t i) {
                return (i / (count * width) * length + past) * width + i % (count * width);
            };
            for (int64_t i = 0; i < q.size(); ++i) test::set(q, i, get(whole.q, at(i)));
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t i = past * width; i < (past + count) * width; ++i) {
                    test::set(k, b * room * width + i, get(whole.k, b * length * width + i));
                    test::set(v, b * room * width + i, get(whole.v, b * length * width + i));
                }
            backend->attention_forward({.heads = heads, .q = q, .k = k, .v = v, .past = past, .y = y, .log_sums = {}});
            for (int64_t i = 0; i < y.size(); ++i)
                ASSERT_NEAR(get(y, i), get(whole.y, at(i)), dtype == f32 ? 1e-5 : 1e-13) << "row " << past;
            past += count;
        }
        EXPECT_EQ(past, length);
    }
}

TEST_F(Attention, KeepsItsSumsWhereScoresAreLarge) {
    for (const DType dtype : {f32, f64}) {
        const Case c = make(1, 40, 8, 1, dtype);
        for (int64_t i = 0; i < c.q.size(); ++i) test::set(c.q, i, 300 * get(c.q, i));
        forward(*backend, c);
        backward(*backend, c);
        for (const Tensor* t : {&c.y, &c.log_sums, &c.dq, &c.dk, &c.dv})
            EXPECT_TRUE(std::isfinite(test::norm(*t))) << name_of(dtype);
    }
}

TEST_F(Attention, DoesNotDependOnTheNumberOfThreads) {
    const auto alone = make_backend("cpu", 1), many = make_backend("cpu", 3);
    const Case a = make(3, 100, 24, 4, f32);
    Case b = a;
    for (Tensor* t : {&b.y, &b.dq, &b.dk, &b.dv}) *t = backend->allocate(a.y.shape(), f32);
    b.log_sums = backend->allocate(a.log_sums.shape(), f32);
    forward(*alone, a), backward(*alone, a);
    forward(*many, b), backward(*many, b);
    for (const auto& [x, y] : {std::pair{a.y, b.y}, {a.dq, b.dq}, {a.dk, b.dk}, {a.dv, b.dv}})
        EXPECT_EQ(test::max_difference(x, y), 0);
}

TEST_F(Attention, RefusesShapesThatDoNotFit) {
    const Case c = make(1, 5, 6, 2, f32);
    EXPECT_THROW(forward(*backend, c, 1), Error) << "fewer keys than are seen";
    Case wrong = c;
    wrong.heads = 4;
    EXPECT_THROW(forward(*backend, wrong), Error);
    EXPECT_THROW(backward(*backend, wrong), Error);
    wrong = c, wrong.v = backend->zeros({1, 5, 8}, f32);
    EXPECT_THROW(forward(*backend, wrong), Error);
    wrong = c, wrong.dk = backend->zeros({1, 6, 6}, f32);
    EXPECT_THROW(backward(*backend, wrong), Error);
    wrong = c, wrong.log_sums = backend->zeros({1, 5, 1}, f32);
    EXPECT_THROW(forward(*backend, wrong), Error);
}

}  // namespace
}  // namespace nigiri
