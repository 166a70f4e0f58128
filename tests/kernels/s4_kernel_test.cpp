#include "kernels/s4_kernel.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <numbers>

#include "kernels/fft64.h"
#include "tests/kernels/s4_problem.h"

namespace nigiri {
namespace {

using test::Complex;
using test::S4Layer;
using test::zero_state;

TEST(Fft64, AgreesWithTheDirectSumAtAnyLength) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : test::odd_lengths) {
        const Fft64 fft(length);
        std::vector<Complex> x(static_cast<size_t>(fft.workspace())), in;
        for (int64_t l = 0; l < length; ++l) in.emplace_back(random.normal(), random.normal());
        std::copy(in.begin(), in.end(), x.begin());
        fft.forward(x.data());
        double worst = 0;
        for (int64_t k = 0; k < length; ++k) {
            Complex sum = 0;
            for (int64_t l = 0; l < length; ++l)
                sum += in[static_cast<size_t>(l)] *
                       std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k * l % length) /
                                           static_cast<double>(length));
            worst = std::max(worst, std::abs(sum - x[static_cast<size_t>(k)]));
        }
        // Values of size sqrt(length) <= 32, a few tens of roundings each.
        EXPECT_LE(worst, 1e-12) << "length " << length;
    }
}

TEST(S4Kernel, Float64AgreesWithTheDenseStateSpace) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : {1, 2, 3, 7, 16, 17, 64, 65, 151, 257, 600})
        for (const int64_t count : {1, 3, 8}) {
            const S4Layer layer(4, 2, count, length, DType::f64, random);
            // Rounding times the condition of I - Abar^length, which at one sample is about 1 / (dt |Re A|).
            EXPECT_LE(test::relative_error(layer.kernel(length), layer.dense(length)), 1e-10)
                << "length " << length << ", N " << count;
        }
}

TEST(S4Kernel, IsTruncatedWhereFewerTapsAreAskedFor) {
    Random random(test::seed());
    const S4Layer layer(3, 3, 4, 33, DType::f64, random);
    const Tensor whole = layer.kernel(33), part = layer.kernel(20);
    for (int64_t d = 0; d < 3; ++d)
        for (int64_t l = 0; l < 20; ++l) EXPECT_EQ(test::get(part, d * 20 + l), test::get(whole, d * 33 + l));
}

TEST(S4Kernel, Float32AgreesWithFloat64) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : test::odd_lengths) {
        const S4Layer single(5, 1, 17, length, DType::f32, random, true), both = single.as(DType::f64);
        // The arithmetic is the same; only the result is rounded.
        EXPECT_LE(test::relative_error(single.kernel(length), both.kernel(length)), 1e-7) << "length " << length;
    }
}

struct S4Gradients {
    Tensor inv_dt, a_real, a_imag, p, b, c;
};

S4Gradients backward(const S4Layer& layer, const View& dkernel, double start) {
    Backend& backend = *layer.backend;
    const auto like = [&](const Tensor& t) {
        Tensor g = backend.allocate(t.shape(), t.dtype());
        for (int64_t i = 0; i < g.size(); ++i) test::set(g, i, start);
        return g;
    };
    const S4Gradients g{like(layer.inv_dt), like(layer.a_real), like(layer.a_imag),
                        like(layer.p),      like(layer.b),      like(layer.c)};
    S4KernelBackward op = layer.with<S4KernelBackward>();
    op.dkernel = dkernel;
    op.dinv_dt = g.inv_dt, op.da_real = g.a_real, op.da_imag = g.a_imag, op.dp = g.p, op.db = g.b, op.dc = g.c;
    backend.s4_kernel_backward(op);
    return g;
}

TEST(S4Kernel, GradientsAgreeWithFiniteDifferences) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    // Odd and even lengths, shared and separate copies, a block of nodes and more, a shortened kernel.
    struct Case {
        int64_t width, copies, count, length, taps;
    };
    for (const Case& c : {Case{1, 1, 1, 1, 1}, Case{2, 2, 3, 2, 2}, Case{4, 2, 3, 33, 33}, Case{3, 1, 5, 64, 50},
                          Case{2, 2, 4, 601, 601}}) {
        const S4Layer layer(c.width, c.copies, c.count, c.length, DType::f64, random);
        const Tensor dkernel = test::random_tensor(*layer.backend, {c.width, c.taps}, DType::f64, random);
        const S4Gradients g = backward(layer, dkernel, 0);
        SCOPED_TRACE(testing::Message() << "length " << c.length << ", N " << c.count);
        test::expect_gradients([&] { return test::dot(layer.kernel(c.taps), dkernel); },
                               {{"inv_dt", layer.inv_dt, g.inv_dt},
                                {"a_real", layer.a_real, g.a_real},
                                {"a_imag", layer.a_imag, g.a_imag},
                                {"p", layer.p, g.p},
                                {"b", layer.b, g.b},
                                {"c", layer.c, g.c}},
                               random);
    }
}

TEST(S4Kernel, GradientsAreAddedAndMayBeAbsent) {
    Random random(test::seed());
    const S4Layer layer(4, 2, 3, 21, DType::f64, random);
    const Tensor dkernel = test::random_tensor(*layer.backend, {4, 21}, DType::f64, random);
    const S4Gradients zero = backward(layer, dkernel, 0), two = backward(layer, dkernel, 2);
    const auto expect_added = [&](const Tensor& a, const Tensor& b, const char* name) {
        // One rounding of a sum of order one to a hundred.
        for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(test::get(b, i), test::get(a, i) + 2, 1e-12) << name;
    };
    expect_added(zero.inv_dt, two.inv_dt, "inv_dt");
    expect_added(zero.a_real, two.a_real, "a_real");
    expect_added(zero.a_imag, two.a_imag, "a_imag");
    expect_added(zero.p, two.p, "p");
    expect_added(zero.b, two.b, "b");
    expect_added(zero.c, two.c, "c");
    const Tensor only = layer.backend->allocate(layer.c.shape(), DType::f64);
    for (int64_t i = 0; i < only.size(); ++i) test::set(only, i, 0);
    S4KernelBackward op = layer.with<S4KernelBackward>();
    op.dkernel = dkernel;
    op.dc = only;
    layer.backend->s4_kernel_backward(op);
    EXPECT_EQ(test::max_difference(only, zero.c), 0);
}

TEST(S4Kernel, Float32GradientsAgreeWithFloat64AndRepeat) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : {1, 17, 129, 1000}) {
        const S4Layer single(5, 5, 9, length, DType::f32, random, true), both = single.as(DType::f64);
        const Tensor dkernel = test::random_strided(*single.backend, {5, length}, DType::f32, random);
        const S4Gradients a = backward(single, dkernel, 0), again = backward(single, dkernel, 0);
        const S4Gradients b = backward(both, test::converted(*single.backend, dkernel, DType::f64), 0);
        for (auto member : {&S4Gradients::inv_dt, &S4Gradients::a_real, &S4Gradients::a_imag, &S4Gradients::p,
                            &S4Gradients::b, &S4Gradients::c}) {
            EXPECT_LE(test::relative_error(a.*member, b.*member), 1e-7) << "length " << length;
            EXPECT_EQ(test::max_difference(a.*member, again.*member), 0) << "length " << length;
        }
    }
}

TEST(S4Kernel, DoesNotDependOnTheNumberOfThreads) {
    Random random(test::seed());
    S4Layer one(7, 1, 16, 500, DType::f32, random), three = one;
    one.backend = make_backend("cpu", 1);
    three.backend = make_backend("cpu", 3);
    EXPECT_EQ(test::max_difference(one.kernel(500), three.kernel(500)), 0);
    const Tensor dkernel = test::random_tensor(*one.backend, {7, 500}, DType::f32, random);
    const S4Gradients a = backward(one, dkernel, 0), b = backward(three, dkernel, 0);
    for (auto member : {&S4Gradients::inv_dt, &S4Gradients::a_real, &S4Gradients::a_imag, &S4Gradients::p,
                        &S4Gradients::b, &S4Gradients::c})
        EXPECT_EQ(test::max_difference(a.*member, b.*member), 0);
}

// Leaves the processor only the given instruction set until it goes out of scope.
struct OnlyTarget {
    explicit OnlyTarget(int64_t target) { set(target); }
    ~OnlyTarget() { set(0); }
    static void set(int64_t target) {
        hwy::SetSupportedTargetsForTest(target);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }
};

TEST(S4Kernel, AgreesOnEveryInstructionSet) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const S4Layer layer(3, 1, 7, 300, DType::f64, random);
    Backend& backend = *layer.backend;
    const Tensor dkernel = test::random_tensor(backend, {3, 300}, DType::f64, random);
    const Tensor u = test::random_tensor(backend, {2, 30, 3}, DType::f64, random);
    const Tensor kernel = layer.kernel(300);
    const S4Gradients gradients = backward(layer, dkernel, 0);
    const auto recurrence = [&] {
        const Tensor y = backend.allocate(u.shape(), DType::f64);
        backend.s4_recurrence({.factors = layer.factors(), .u = u, .y = y, .state = zero_state(backend, 2, 3, 7)});
        return y;
    };
    const Tensor y = recurrence();
    for (const int64_t target : {HWY_SCALAR, HWY_AVX2, HWY_AVX3}) {
        if (target != HWY_SCALAR && !(hwy::SupportedTargets() & target)) continue;
        const OnlyTarget only(target);
        SCOPED_TRACE(hwy::TargetName(target));
        // Sums in another order, in double.
        EXPECT_LE(test::relative_error(layer.kernel(300), kernel), 1e-12);
        EXPECT_LE(test::relative_error(recurrence(), y), 1e-12);
        const S4Gradients g = backward(layer, dkernel, 0);
        for (auto member : {&S4Gradients::inv_dt, &S4Gradients::a_real, &S4Gradients::a_imag, &S4Gradients::p,
                            &S4Gradients::b, &S4Gradients::c})
            EXPECT_LE(test::relative_error(g.*member, gradients.*member), 1e-12);
    }
}

TEST(S4Kernel, AHalvedRateIsTheLayerTiedToTwiceTheLength) {
    Random random(test::seed());
    const S4Layer layer(2, 1, 4, 40, DType::f64, random);
    S4Layer slow = layer;
    slow.length = 80;
    slow.inv_dt = test::converted(*layer.backend, layer.inv_dt, DType::f64);
    for (int64_t d = 0; d < 2; ++d) test::set(slow.inv_dt, d, test::get(layer.inv_dt, d) - std::log(2.0));
    const Tensor k = layer.backend->allocate({2, 80}, DType::f64);
    S4KernelForward op = layer.with<S4KernelForward>();
    op.rate = 0.5;
    op.kernel = k;
    layer.backend->s4_kernel_forward(op);
    EXPECT_LE(test::relative_error(k, slow.kernel(80)), 1e-12);
}

TEST(S4Kernel, RefusesWrongOperands) {
    Random random(test::seed());
    const S4Layer layer(2, 1, 4, 40, DType::f64, random);
    EXPECT_THROW(layer.kernel(41), Error);
    S4Layer wrong = layer;
    wrong.length = 0;
    EXPECT_THROW(wrong.kernel(1), Error);
    wrong = layer;
    wrong.p = layer.b.reshaped({1, 2, 4});
    EXPECT_THROW(wrong.kernel(40), Error);
    wrong = layer;
    wrong.inv_dt = test::converted(*layer.backend, layer.inv_dt, DType::f32);
    EXPECT_THROW(wrong.kernel(40), Error);
}

}  // namespace
}  // namespace nigiri
