#include "model/tape.h"

#include <gtest/gtest.h>

#include "model/functions.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

// A leaf that keeps the gradient it receives.
struct Leaf {
    Tensor gradient;
    Var on(Tape& tape, const Tensor& value) {
        return tape.record(value, [this, &tape](const Tensor& dy) {
            gradient = tape.backend().allocate(dy.shape(), dy.dtype());
            tape.backend().copy({.x = dy, .y = gradient});
        });
    }
};

TEST(Tape, AddsUpTheGradientsOfAValueUsedSeveralTimes) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const Tensor x = test::random_tensor(*backend, {3, 4}, DType::f64, random);
    const Tensor dy = test::random_tensor(*backend, {3, 4}, DType::f64, random);
    Tape tape(*backend, true);
    Leaf leaf;
    const Var v = leaf.on(tape, x);
    // y = (x + gelu(x)) + (x + gelu(x)): every path shares gradients with another one.
    Var a = functions::add(tape, v, functions::gelu(tape, v));
    Var b = functions::add(tape, v, functions::gelu(tape, v));
    const Var y = functions::add(tape, a, std::move(b));
    const auto copy = backend->allocate({3, 4}, DType::f64);
    backend->copy({.x = dy, .y = copy});
    tape.backward(y, dy);
    const Tensor expected = backend->allocate({3, 4}, DType::f64), one = backend->allocate({3, 4}, DType::f64);
    backend->gelu_backward({.x = x, .dy = copy, .dx = one});
    for (int64_t i = 0; i < x.size(); ++i) test::set(expected, i, 2 * (test::get(copy, i) + test::get(one, i)));
    EXPECT_LE(test::max_difference(leaf.gradient, expected), 1e-14);  // four additions of order one
}

TEST(Tape, WritesTheGradientsOfPartsIntoTheirColumns) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const Tensor x = test::random_tensor(*backend, {2, 6}, DType::f64, random);
    for (const bool use_last : {true, false}) {
        Tape tape(*backend, true);
        Leaf leaf;
        const auto parts = tape.split(leaf.on(tape, x), {2, 2, 2});
        // The first part is used twice, the last not at all in the second round: its columns must be zero.
        Var sum = functions::add(tape, parts[0], functions::gelu(tape, parts[0]));
        sum = functions::add(tape, parts[1], std::move(sum));
        if (use_last) sum = functions::add(tape, parts[2], std::move(sum));
        const Tensor ones = backend->allocate({2, 2}, DType::f64);
        backend->fill({.y = ones, .value = 1});
        tape.backward(sum, ones);
        const Tensor slope = backend->allocate({2, 2}, DType::f64);
        backend->fill({.y = ones, .value = 1});
        backend->gelu_backward({.x = x.columns(0, 2), .dy = ones, .dx = slope});
        for (int64_t row = 0; row < 2; ++row)
            for (int64_t c = 0; c < 2; ++c) {
                EXPECT_NEAR(test::get(leaf.gradient, row * 6 + c), 1 + test::get(slope, row * 2 + c), 1e-14);
                EXPECT_EQ(test::get(leaf.gradient, row * 6 + 2 + c), 1);
                EXPECT_EQ(test::get(leaf.gradient, row * 6 + 4 + c), use_last ? 1 : 0);
            }
    }
    Tape tape(*backend, true);
    EXPECT_THROW(tape.split(Var{x, -1}, {2, 3}), Error);
}

TEST(Tape, KeepsNothingWhenItDoesNotRecord) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const Tensor x = test::random_tensor(*backend, {100, 8}, DType::f32, random);
    const size_t before = backend->bytes_in_use();
    Tape tape(*backend, false);
    {
        const Var y = functions::gelu(tape, functions::gelu(tape, Var{x, -1}));
        EXPECT_EQ(y.node, -1);
        EXPECT_THROW(tape.backward(y, y.value), Error);
    }
    EXPECT_EQ(backend->bytes_in_use(), before);
}

TEST(Tape, ReleasesActivationsAsItGoesBack) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const Tensor x = test::random_tensor(*backend, {100, 8}, DType::f32, random);
    const size_t before = backend->bytes_in_use();
    Tape tape(*backend, true);
    {
        Var y = functions::gelu(tape, tape.record(x, nullptr));
        for (int i = 0; i < 5; ++i) y = functions::gelu(tape, y);
        Tensor dy = test::random_tensor(*backend, {100, 8}, DType::f32, random);
        tape.backward(y, std::move(dy));
    }
    EXPECT_EQ(backend->bytes_in_use(), before);
}

}  // namespace
}  // namespace nigiri
