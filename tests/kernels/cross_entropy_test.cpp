#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class CrossEntropyTest : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};

    // One in five positions is ignored.
    Tensor targets(int64_t rows, int64_t classes) {
        const Tensor t = backend->allocate({rows}, DType::i32);
        for (int64_t i = 0; i < rows; ++i)
            test::set(t, i,
                      random.below(5) == 0 ? -1 : static_cast<double>(random.below(static_cast<uint64_t>(classes))));
        return t;
    }
};

TEST_F(CrossEntropyTest, Float64FollowsTheFormula) {
    const Tensor logits = test::random_strided(*backend, {6, 11}, f64, random, 3), t = targets(6, 11),
                 losses = backend->allocate({6}, f64);
    backend->cross_entropy({.logits = logits, .targets = t, .losses = losses});
    for (int64_t r = 0; r < 6; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < 11; ++c) sum += std::exp(get(logits, r * 11 + c));
        const auto target = static_cast<int64_t>(get(t, r));
        EXPECT_NEAR(get(losses, r), target < 0 ? 0 : std::log(sum) - get(logits, r * 11 + target), 1e-13);
    }
}

TEST_F(CrossEntropyTest, GradientIsThatOfFiniteDifferences) {
    const Tensor logits = test::random_tensor(*backend, {5, 7}, f64, random), t = targets(5, 7),
                 losses = backend->allocate({5}, f64);
    const Tensor gradient = backend->allocate({5, 7}, f64);
    backend->cross_entropy({.logits = logits, .targets = t, .losses = losses, .dlogits = gradient, .scale = 0.3});
    const auto loss = [&] {
        backend->cross_entropy({.logits = logits, .targets = t, .losses = losses});
        double sum = 0;
        for (int64_t i = 0; i < 5; ++i) sum += 0.3 * get(losses, i);
        return sum;
    };
    test::expect_gradients(loss, {{"logits", logits, gradient}}, random);
}

TEST_F(CrossEntropyTest, Float32AgreesWithFloat64) {
    for (const int64_t classes : {1, 2, 3, 15, 16, 17, 33, 256, 1000})
        for (const int64_t rows : {1, 5, 372}) {
            SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(classes));
            const Tensor logits = test::random_strided(*backend, {rows, classes}, f32, random, 3),
                         t = targets(rows, classes);
            const Tensor losses = backend->allocate({rows}, f32),
                         gradient = test::random_strided(*backend, {rows, classes}, f32, random);
            const Tensor losses64 = backend->allocate({rows}, f64), again = backend->allocate({rows}, f32),
                         gradient64 = backend->allocate({rows, classes}, f64);
            const double scale = 1.0 / static_cast<double>(rows);
            backend->cross_entropy(
                {.logits = logits, .targets = t, .losses = losses, .dlogits = gradient, .scale = scale});
            backend->cross_entropy({.logits = test::converted(*backend, logits, f64),
                                    .targets = t,
                                    .losses = losses64,
                                    .dlogits = gradient64,
                                    .scale = scale});
            // A loss is a difference of numbers near 10: absolute errors of some 1e-6. Gradients are at most
            // `scale`.
            EXPECT_LE(test::max_difference(losses, losses64), 4e-6);
            EXPECT_LE(test::max_difference(gradient, gradient64), 1e-6 * scale);
            backend->cross_entropy(
                {.logits = logits, .targets = t, .losses = again, .dlogits = logits, .scale = scale});
            EXPECT_EQ(test::max_difference(logits, gradient), 0) << "in place";
            EXPECT_EQ(test::max_difference(again, losses), 0) << "in place";
        }
}

TEST_F(CrossEntropyTest, ReadsItsScaleFromMemory) {
    for (const DType dtype : {f32, f64}) {
        const Tensor logits = test::random_tensor(*backend, {5, 7}, dtype, random), t = targets(5, 7),
                     losses = backend->allocate({5}, dtype), scale = backend->allocate({1}, dtype);
        const Tensor given = backend->allocate({5, 7}, dtype), read = backend->allocate({5, 7}, dtype);
        test::set(scale, 0, 0.3);
        backend->cross_entropy({.logits = logits, .targets = t, .losses = losses, .dlogits = given, .scale = 0.3});
        backend->cross_entropy(
            {.logits = logits, .targets = t, .losses = losses, .dlogits = read, .scale = 7, .scale_at = scale});
        EXPECT_EQ(test::max_difference(read, given), 0) << name_of(dtype);
        const Tensor two = backend->zeros({2}, dtype);
        EXPECT_THROW(backend->cross_entropy(
                         {.logits = logits, .targets = t, .losses = losses, .dlogits = read, .scale_at = two}),
                     Error);
    }
}

TEST_F(CrossEntropyTest, LargeLogitsDoNotOverflow) {
    const Tensor logits = backend->zeros({2, 20}, f32), t = backend->zeros({2}, DType::i32),
                 losses = backend->allocate({2}, f32);
    const Tensor gradient = backend->allocate({2, 20}, f32);
    for (int64_t c = 0; c < 20; ++c) test::set(logits, c, c == 0 ? 1e4 : -1e4), test::set(logits, 20 + c, -1e5);
    backend->cross_entropy({.logits = logits, .targets = t, .losses = losses, .dlogits = gradient});
    EXPECT_EQ(get(losses, 0), 0);
    EXPECT_NEAR(get(losses, 1), std::log(20.0), 1e-6);
    EXPECT_EQ(get(gradient, 0), 0);
    EXPECT_EQ(get(gradient, 1), 0);
    EXPECT_NEAR(get(gradient, 20), 0.05 - 1, 1e-7);
    EXPECT_NEAR(get(gradient, 39), 0.05, 1e-8);
}

TEST_F(CrossEntropyTest, ANaNIsSeen) {
    for (const int64_t at : {0, 3, 18}) {
        const Tensor logits = backend->zeros({1, 19}, f32), t = backend->zeros({1}, DType::i32),
                     losses = backend->allocate({1}, f32);
        test::set(logits, at, std::nan(""));
        backend->cross_entropy({.logits = logits, .targets = t, .losses = losses});
        EXPECT_TRUE(std::isnan(get(losses, 0))) << "at " << at;
    }
}

TEST_F(CrossEntropyTest, RefusesTargetsThatAreNoClass) {
    const Tensor logits = backend->zeros({2, 4}, f32), t = backend->zeros({2}, DType::i32),
                 losses = backend->allocate({2}, f32);
    for (const int bad : {-2, 4, -2147483647}) {
        test::set(t, 1, bad);
        EXPECT_THROW(backend->cross_entropy({.logits = logits, .targets = t, .losses = losses}), Error);
    }
    test::set(t, 1, 3);
    EXPECT_NO_THROW(backend->cross_entropy({.logits = logits, .targets = t, .losses = losses}));
    EXPECT_THROW(
        backend->cross_entropy({.logits = logits, .targets = backend->zeros({3}, DType::i32), .losses = losses}),
        Error);
}

}  // namespace
}  // namespace nigiri
