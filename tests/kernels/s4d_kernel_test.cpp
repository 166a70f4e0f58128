#include "kernels/s4d_kernel.h"

#include <gtest/gtest.h>

#include "tests/support/check.h"
#include "tests/support/s4d.h"

namespace nigiri {
namespace {

using test::Complex;
using test::get;
using test::random_s4d;
using test::S4dGradients;
using test::S4dSetup;
using test::same_bits;
using test::set;
using test::unpack;

const std::vector<S4dSetup> kernel_setups = {
    {.channels = 1, .copies = 1, .modes = 1},
    {.channels = 5, .copies = 5, .modes = 3},
    {.channels = 6, .copies = 2, .modes = 8, .discretization = Discretization::bilinear},
    {.channels = 4, .copies = 1, .modes = 17, .rate = 2.0},
    {.is_complex = false, .channels = 3, .copies = 1, .modes = 5},
    {.is_complex = false,
     .channels = 4,
     .copies = 2,
     .modes = 16,
     .discretization = Discretization::bilinear,
     .rate = 0.5},
};

// K[d, l] from the definition in the header, with std::exp for every power: zoh only knows l dt A, and bilinear goes
// through the logarithm.
double kernel_at(const S4dParameters& p, int64_t d, int64_t l) {
    const int64_t modes = p.a_real[1];
    Complex sum = 0;
    for (int64_t n = 0; n < modes; ++n) {
        const auto [dt, a, b, c] = unpack(p, d, n);
        const double steps = static_cast<double>(l);
        if (p.discretization == Discretization::zoh) {
            sum += c * b * (std::exp(dt * a) - 1.0) / a * std::exp(steps * dt * a);
        } else {
            const Complex pole = (1.0 + dt * a / 2.0) / (1.0 - dt * a / 2.0);
            sum += c * b * dt / (1.0 - dt * a / 2.0) * std::exp(steps * std::log(pole));
        }
    }
    return (p.is_complex ? 2 : 1) * sum.real();
}

Tensor kernel_of(Backend& backend, const S4dParameters& p, int64_t length) {
    Tensor kernel = backend.allocate({p.inv_dt.size(), length}, p.inv_dt.dtype);
    for (int64_t i = 0; i < kernel.size(); ++i) set(kernel, i, -7);
    S4dKernelForward op;
    static_cast<S4dParameters&>(op) = p;
    op.kernel = kernel;
    backend.s4d_kernel_forward(op);
    return kernel;
}

S4dGradients gradients_of(Backend& backend, const S4dParameters& p, const View& dkernel, double before = 0) {
    const auto like = [&](const View& v) {
        if (!v) return Tensor();
        Tensor t = backend.allocate(v.shape, v.dtype);
        for (int64_t i = 0; i < t.size(); ++i) set(t, i, before);
        return t;
    };
    const S4dGradients g = {like(p.inv_dt), like(p.a_real), like(p.a_imag), like(p.b), like(p.c)};
    S4dKernelBackward op;
    static_cast<S4dParameters&>(op) = p;
    op.dkernel = dkernel;
    g.connect(op);
    backend.s4d_kernel_backward(op);
    return g;
}

TEST(S4dKernel, Float64IsTheDefinition) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const S4dSetup& setup : kernel_setups)
        for (const int64_t length : {1, 2, 57}) {
            SCOPED_TRACE(testing::Message() << setup << " L " << length << ", seed " << test::seed());
            const auto p = random_s4d(*backend, setup, DType::f64, random);
            const Tensor kernel = kernel_of(*backend, p.parameters, length);
            for (int64_t i = 0; i < kernel.size(); ++i)
                ASSERT_NEAR(get(kernel, i), kernel_at(p.parameters, i / length, i % length), 1e-12) << i;
        }
}

TEST(S4dKernel, Float64GradientsAreThoseOfFiniteDifferences) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const S4dSetup& setup : kernel_setups) {
        SCOPED_TRACE(testing::Message() << setup << ", seed " << test::seed());
        const auto p = random_s4d(*backend, setup, DType::f64, random);
        const Tensor dkernel = test::random_tensor(*backend, {setup.channels, 23}, DType::f64, random);
        const S4dGradients g = gradients_of(*backend, p.parameters, dkernel);
        const auto loss = [&] { return test::dot(kernel_of(*backend, p.parameters, 23), dkernel); };
        std::vector<test::GradientCheck> checks = {
            {"inv_dt", p.inv_dt, g.inv_dt}, {"a_real", p.a_real, g.a_real}, {"b", p.b, g.b}, {"c", p.c, g.c}};
        if (setup.is_complex) checks.push_back({"a_imag", p.a_imag, g.a_imag});
        test::expect_gradients(loss, checks, random);
    }
}

// The discretisation's own quotients, (e^z - 1) / z and its derivative, cancel near z = 0: steps from 1e-9 up.
TEST(S4dKernel, TinyStepsLoseNothing) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    for (const double inv_dt : {-20.0, -12.0, -7.0, -5.5, -4.5, -3.0}) {
        SCOPED_TRACE(testing::Message() << "inv_dt " << inv_dt << ", seed " << test::seed());
        const auto p = random_s4d(*backend, {.channels = 2, .copies = 1, .modes = 4}, DType::f64, random);
        for (int64_t d = 0; d < 2; ++d) set(p.inv_dt, d, inv_dt);
        const Tensor dkernel = test::random_tensor(*backend, {2, 9}, DType::f64, random);
        const S4dGradients g = gradients_of(*backend, p.parameters, dkernel);
        // Relative to the largest, which shrinks with the step: scale the loss up by 1 / dt.
        const double scale = std::exp(-inv_dt);
        for (const Tensor& t : {g.inv_dt, g.a_real, g.a_imag})
            for (int64_t i = 0; i < t.size(); ++i) set(t, i, scale * get(t, i));
        const auto loss = [&] { return scale * test::dot(kernel_of(*backend, p.parameters, 9), dkernel); };
        test::expect_gradients(
            loss, {{"inv_dt", p.inv_dt, g.inv_dt}, {"a_real", p.a_real, g.a_real}, {"a_imag", p.a_imag, g.a_imag}},
            random);
    }
}

// float32 against float64 with the same (rounded) parameters. The powers are exact to float32 and a product sums at
// most 512 terms; the gradients' weights l make the sums no worse relative to their norm.
void expect_float32(const S4dSetup& setup, int64_t length, int threads) {
    SCOPED_TRACE(testing::Message() << setup << " L " << length << " threads " << threads << ", seed " << test::seed());
    const auto backend = make_backend("cpu", threads);
    Random random(test::seed());
    const auto single = random_s4d(*backend, setup, DType::f32, random), wide = single.converted(*backend, DType::f64);
    EXPECT_LT(test::relative_error(kernel_of(*backend, single.parameters, length),
                                   kernel_of(*backend, wide.parameters, length)),
              1e-6);
    const Tensor dkernel = test::random_strided(*backend, {setup.channels, length}, DType::f32, random);
    const auto a = gradients_of(*backend, single.parameters, dkernel, 0.25).all();
    const auto b = gradients_of(*backend, wide.parameters, test::converted(*backend, dkernel, DType::f64), 0.25).all();
    for (size_t i = 0; i < a.size(); ++i) {
        if (a[i].second) {
            EXPECT_LT(test::relative_error(a[i].second, b[i].second), 3e-6) << a[i].first;
        }
    }
}

TEST(S4dKernel, Float32AgreesAtOddLengths) {
    for (const S4dSetup& setup : kernel_setups)
        for (const int64_t length : test::odd_lengths) expect_float32(setup, length, 1);
}

TEST(S4dKernel, Float32AgreesOverManyRowsOfTheProduct) {
    for (const S4dSetup& setup : kernel_setups)
        expect_float32(setup, 64 * 256 + 300, 2);  // more than one chunk, and a rest
}

TEST(S4dKernel, ReadsStridedParameters) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    for (const S4dSetup& setup : kernel_setups)
        for (const DType dtype : {DType::f32, DType::f64}) {
            const auto p = random_s4d(*backend, setup, dtype, random, true);
            const auto plain = p.converted(*backend, dtype);
            EXPECT_TRUE(same_bits(kernel_of(*backend, p.parameters, 40), kernel_of(*backend, plain.parameters, 40)));
        }
}

// One million samples and modes that hardly decay: float32 powers or angles would be off by whole turns.
TEST(S4dKernel, Float32IsExactAtOneMillionSamples) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    const int64_t length = 1'000'003;
    for (const Discretization discretization : {Discretization::zoh, Discretization::bilinear}) {
        const S4dSetup setup = {.channels = 2, .copies = 1, .modes = 4, .discretization = discretization};
        const auto single = random_s4d(*backend, setup, DType::f32, random);
        for (int64_t n = 0; n < 4; ++n) {
            set(single.a_real, n, std::log(1e-6 * static_cast<double>(1 + n)));  // dt Re A of 1e-8 to 1e-7 a sample
            set(single.a_imag, n, 3.14159 * static_cast<double>(n));
        }
        for (int64_t d = 0; d < 2; ++d) set(single.inv_dt, d, std::log(0.05));
        const Tensor kernel = kernel_of(*backend, single.parameters, length);
        double worst = 0, largest = 0;
        for (int64_t i = 0; i < 20000; ++i) {  // samples of both channels, the end included
            const int64_t l =
                i < 10000 ? length - 1 - i : static_cast<int64_t>(random.below(static_cast<uint64_t>(length)));
            const double expected = kernel_at(single.parameters, i % 2, l);
            largest = std::max(largest, std::abs(expected));
            worst = std::max(worst, std::abs(get(kernel, i % 2 * length + l) - expected));
        }
        EXPECT_LT(worst, 1e-6 * largest) << "seed " << test::seed();
        const Tensor dkernel = test::random_tensor(*backend, {2, length}, DType::f32, random);
        const auto wide = single.converted(*backend, DType::f64);
        const auto a = gradients_of(*backend, single.parameters, dkernel).all();
        const auto b = gradients_of(*backend, wide.parameters, test::converted(*backend, dkernel, DType::f64)).all();
        for (size_t i = 0; i < a.size(); ++i)
            EXPECT_LT(test::relative_error(a[i].second, b[i].second), 1e-5) << a[i].first << ", seed " << test::seed();
    }
}

// dt A = -2 makes the bilinear pole zero: K = (C Bbar, 0, 0, ...), and only dK_1 reaches the pole.
TEST(S4dKernel, AZeroPoleIsNoQuotient) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    const S4dSetup setup = {
        .is_complex = false, .channels = 1, .copies = 1, .modes = 1, .discretization = Discretization::bilinear};
    S4dGradients g[2];
    for (const DType dtype : {DType::f32, DType::f64}) {
        const auto p = random_s4d(*backend, setup, dtype, random);
        set(p.inv_dt, 0, 0);
        set(p.a_real, 0, std::log(2.0));
        p.set_unit_b_c();
        // log 2 is not a number of either type: bring the pole to zero exactly through the rate.
        S4dParameters q = p.parameters;
        q.rate = 2 / std::exp(get(p.a_real, 0));
        const Tensor dkernel = backend->allocate({1, 5}, dtype);
        for (int64_t i = 0; i < 5; ++i) set(dkernel, i, static_cast<double>(i + 1));
        const Tensor kernel = kernel_of(*backend, q, 5);
        EXPECT_NEAR(get(kernel, 0), 0.5 * q.rate, 1e-6);
        for (int64_t i = 1; i < 5; ++i) EXPECT_NEAR(get(kernel, i), 0, 1e-9);
        g[dtype == DType::f64] = gradients_of(*backend, q, dkernel);
        EXPECT_TRUE(std::isfinite(get(g[dtype == DType::f64].a_real, 0)));
    }
    EXPECT_NEAR(get(g[0].a_real, 0), get(g[1].a_real, 0), 1e-5);
    EXPECT_NEAR(get(g[0].inv_dt, 0), get(g[1].inv_dt, 0), 1e-5);
}

TEST(S4dKernel, FastDecayLeavesNoDenormalNumbers) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    const auto p = random_s4d(*backend, {.channels = 2, .copies = 2, .modes = 6}, DType::f32, random);
    for (int64_t i = 0; i < 12; ++i) set(p.a_real, i, 1.0 + 0.3 * static_cast<double>(i));
    for (int64_t d = 0; d < 2; ++d) set(p.inv_dt, d, -1);
    const Tensor kernel = kernel_of(*backend, p.parameters, 20000);
    for (int64_t i = 0; i < kernel.size(); ++i) {
        const float k = kernel.as<float>()[i];
        ASSERT_TRUE(k == 0 || std::isnormal(k)) << i << " " << k;
    }
    EXPECT_NE(get(kernel, 0), 0);
    EXPECT_EQ(get(kernel, 19999), 0);
}

TEST(S4dKernel, GradientsAreOptionalAndDeterministic) {
    const auto one = make_backend("cpu", 1), two = make_backend("cpu", 2);
    Random random(test::seed());
    const auto p = random_s4d(*one, {.channels = 6, .copies = 2, .modes = 5}, DType::f32, random);
    const Tensor dkernel = test::random_tensor(*one, {6, 3000}, DType::f32, random);
    const auto a = gradients_of(*one, p.parameters, dkernel).all(), b = gradients_of(*two, p.parameters, dkernel).all();
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(same_bits(a[i].second, b[i].second)) << a[i].first;
    EXPECT_TRUE(same_bits(kernel_of(*one, p.parameters, 3000), kernel_of(*two, p.parameters, 3000)));
    Tensor dc = one->allocate(p.c.shape(), DType::f32);
    for (int64_t i = 0; i < dc.size(); ++i) set(dc, i, 0);
    S4dKernelBackward op;
    static_cast<S4dParameters&>(op) = p.parameters;
    op.dkernel = dkernel;
    op.dc = dc;
    one->s4d_kernel_backward(op);
    EXPECT_TRUE(same_bits(dc, a[4].second));
}

TEST(S4dKernel, RefusesParametersThatDoNotFit) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    const auto p = random_s4d(*backend, {.channels = 4, .copies = 2, .modes = 3}, DType::f32, random);
    const auto expect_refusal = [&](const auto& change) {
        S4dParameters q = p.parameters;
        change(q);
        EXPECT_THROW(kernel_of(*backend, q, 8), Error);
    };
    expect_refusal([](S4dParameters& q) { q.a_imag = {}; });
    expect_refusal([](S4dParameters& q) { q.is_complex = false; });
    expect_refusal([](S4dParameters& q) { q.discretization = Discretization::euler; });
    expect_refusal([&](S4dParameters& q) { q.b = q.c; });
    expect_refusal([&](S4dParameters& q) { q.inv_dt.shape = {3}; });
    const auto wide = p.converted(*backend, DType::f64);
    expect_refusal([&](S4dParameters& q) { q.c = wide.c; });
}

}  // namespace
}  // namespace nigiri
