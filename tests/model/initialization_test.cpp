#include "model/initialization.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "model/safetensors.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using std::numbers::pi;
using Complex = std::complex<double>;

// The published code's own numbers (tests/golden): 8 pairs, five equal copies.
SafeTensorsFile published(const std::string& name) {
    return SafeTensorsFile::read(std::string(NIGIRI_SOURCE_DIR) + "/tests/golden/s4_layer_" + name + ".safetensors");
}

void expect_near(const std::vector<double>& ours, const std::vector<double>& theirs, double tolerance) {
    ASSERT_LE(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i)
        EXPECT_NEAR(ours[i], theirs[i], tolerance * std::max(1.0, std::abs(theirs[i]))) << i;
}

// An eigenvector's sign is free; P and B of a state must turn together.
void expect_near_up_to_sign(const std::vector<Complex>& ours, const std::vector<double>& theirs, double tolerance,
                            std::vector<double>& signs) {
    ASSERT_LE(2 * ours.size(), theirs.size());
    for (size_t n = 0; n < ours.size(); ++n) {
        const Complex their(theirs[2 * n], theirs[2 * n + 1]);
        if (signs.size() <= n) signs.push_back(std::abs(ours[n] - their) < std::abs(ours[n] + their) ? 1 : -1);
        EXPECT_LE(std::abs(signs[n] * ours[n] - their), tolerance * std::max(1.0, std::abs(their))) << n;
    }
}

TEST(StateInit, LinAndInvAreThePublishedOnes) {
    for (const auto& [init, name] :
         {std::pair{StateInit::s4d_lin, "diag-lin_zoh"}, {StateInit::s4d_inv, "diag-inv_zoh"}}) {
        const StateMatrices s = initial_state(init, 8);
        const SafeTensorsFile file = published(name);
        expect_near(s.a_real, file.values("param.layer.kernel.A_real"), 1e-15);
        expect_near(s.a_imag, file.values("param.layer.kernel.A_imag"), 1e-15);
        for (const Complex& b : s.b) EXPECT_EQ(b, Complex(1, 0));
        EXPECT_TRUE(s.p.empty());
    }
}

TEST(StateInit, LegsIsThePublishedOne) {
    // Theirs went through float32: 1e-7 for the eigenvalues, and the error of float32 eigenvectors. The real parts come
    // out 2e-7 off -1/2.
    for (const auto& [init, name] : {std::pair{StateInit::s4d_legs, "diag-legs_zoh"}, {StateInit::legs, "legs_zoh"}}) {
        const StateMatrices s = initial_state(init, 8);
        const SafeTensorsFile file = published(name);
        std::vector<double> signs;
        expect_near(s.a_real, file.values("param.layer.kernel.A_real"), 1e-6);
        expect_near(s.a_imag, file.values("param.layer.kernel.A_imag"), 1e-6);
        if (init == StateInit::legs)
            expect_near_up_to_sign(s.p, file.values("param.layer.kernel.P"), 1e-5, signs);
        else
            EXPECT_TRUE(s.p.empty());
        expect_near_up_to_sign(s.b, file.values("param.layer.kernel.B"), 1e-5, signs);
    }
}

// Diagonal plus low rank is HiPPO-LegS in another basis: P^T (z - A)^-1 P, a triangular solve with A_nk = -2 P_n P_k
// below the diagonal and -(n + 1) on it, must be p^H (z - Lambda + p p^H)^-1 p = S / (1 + S).
TEST(StateInit, LegsIsHippoInAnotherBasis) {
    for (const int64_t states : {1, 2, 8, 32, 128}) {
        const StateMatrices s = initial_state(StateInit::legs, states);
        ASSERT_EQ(static_cast<int64_t>(s.p.size()), states);
        for (const Complex z : {Complex(1, 0), Complex(0.1, 7), Complex(30, -200)}) {
            std::vector<Complex> x;
            Complex hippo = 0, below = 0;
            for (int64_t n = 0; n < 2 * states; ++n) {
                const double p = std::sqrt(static_cast<double>(n) + 0.5);
                x.push_back((p - 2 * p * below) / (z + static_cast<double>(n + 1)));
                below += p * x.back();
                hippo += p * x.back();
            }
            Complex sum = 0;
            for (size_t n = 0; n < s.p.size(); ++n) {
                const Complex lambda(-std::exp(s.a_real[n]), -s.a_imag[n]);
                sum += std::norm(s.p[n]) * (1.0 / (z - lambda) + 1.0 / (z - std::conj(lambda)));
            }
            // The triangular recursion loses a few digits at 256 states.
            EXPECT_LE(std::abs(sum / (1.0 + sum) - hippo), 1e-10) << states << " pairs at " << z;
        }
    }
}

TEST(StateInit, LegsFrequenciesAreDistinctAndDescend) {
    const StateMatrices s = initial_state(StateInit::s4d_legs, 128);
    for (size_t n = 0; n < 128; ++n) {
        EXPECT_GT(s.a_imag[n], n + 1 < 128 ? s.a_imag[n + 1] : 0);
        EXPECT_LE(std::abs(s.b[n].real()), 2);
        EXPECT_LE(std::abs(s.b[n].imag()), 2);
    }
}

TEST(StateInit, RealIsTheNegativeIntegers) {
    const StateMatrices s = initial_state(StateInit::s4d_real, 5);
    ASSERT_EQ(s.a_real.size(), 5u);
    for (size_t n = 0; n < 5; ++n) EXPECT_NEAR(-std::exp(s.a_real[n]), -static_cast<double>(n + 1), 1e-14);
    EXPECT_TRUE(s.a_imag.empty());
    EXPECT_THROW(initial_state(StateInit::s4d_real, 0), Error);
}

TEST(StateInit, RandomPolesFillTheRangesOfLinAndReal) {
    Random random(7);
    constexpr int64_t states = 16, copies = 256;
    const StateMatrices s = random_state(random, states, copies, true);
    ASSERT_EQ(s.a_real.size(), static_cast<size_t>(states * copies));
    ASSERT_EQ(s.a_imag.size(), s.a_real.size());
    double mean_real = 0, mean_imag = 0;
    for (size_t i = 0; i < s.a_real.size(); ++i) {
        const double re = std::exp(s.a_real[i]), im = s.a_imag[i];
        EXPECT_GE(re, 1e-4 * (1 - 1e-12));
        EXPECT_LE(re, 1);
        EXPECT_GE(im, 0);
        EXPECT_LE(im, std::numbers::pi * states);
        EXPECT_EQ(s.b[i], std::complex<double>(1));
        mean_real += re / static_cast<double>(s.a_real.size());
        mean_imag += im / static_cast<double>(s.a_real.size());
    }
    // The mean of 4096 uniform numbers: its deviation is 0.29 / 64 of the range; five of those.
    EXPECT_NEAR(mean_real, 0.5, 0.023);
    EXPECT_NEAR(mean_imag / (std::numbers::pi * states), 0.5, 0.023);
    EXPECT_NE(s.a_imag[0], s.a_imag[states]) << "each copy has its own";

    const StateMatrices real = random_state(random, states, copies, false);
    EXPECT_TRUE(real.a_imag.empty());
    double most = 0;
    for (const double a : real.a_real) most = std::max(most, std::exp(a));
    EXPECT_LE(most, states);
    EXPECT_GT(most, 0.99 * states) << "of 4096 uniform numbers one is there with a probability of 1 - 1e-18";
    EXPECT_THROW(random_state(random, 0, 1, true), Error);
}

TEST(StateInit, COfALegsLayerIsTiedAndUntied) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const StateMatrices s = initial_state(StateInit::legs, 8);
    const std::vector<double> steps = log_uniform_steps(random, 3);
    const std::vector<Complex> c = complex_normal(random, 24);
    const std::vector<Complex> back = untied_output(s, steps, 64, tied_output(s, steps, 64, c));
    // I - Abar^64 has singular values down to 64 dt / 2 = 0.03.
    for (size_t i = 0; i < c.size(); ++i) EXPECT_LE(std::abs(back[i] - c[i]), 1e-11);
    EXPECT_THROW(tied_output(initial_state(StateInit::s4d_legs, 8), steps, 64, c), Error);
    EXPECT_THROW(tied_output(s, steps, 64, std::vector<Complex>(23)), Error);
}

// What a new layer does: a random C, tied to the length it trains at. The kernel must be C Abar^l Bbar of that C.
TEST(StateInit, ALegsLayersKernelIsItsRecurrencesImpulseResponse) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const auto backend = make_backend("cpu", 2);
    const int64_t width = 3, states = 32, length = 3000;
    const StateMatrices s = initial_state(StateInit::legs, states);
    const std::vector<double> steps = log_uniform_steps(random, width);
    const std::vector<Complex> c = complex_normal(random, width * states), tied = tied_output(s, steps, length, c);
    const auto real = [&](const Shape& shape, const std::vector<double>& values) {
        Tensor t = backend->allocate(shape, DType::f64);
        std::copy(values.begin(), values.end(), t.span<double>().begin());
        return t;
    };
    const auto pairs = [&](const Shape& shape, const std::vector<Complex>& values) {
        std::vector<double> flat;
        for (const Complex& x : values) flat.push_back(x.real()), flat.push_back(x.imag());
        return real(shape, flat);
    };
    const Tensor inv_dt = real({width}, steps), a_real = real({1, states}, s.a_real),
                 a_imag = real({1, states}, s.a_imag);
    const Tensor p = pairs({1, states, 2}, s.p), b = pairs({1, states, 2}, s.b),
                 output = pairs({width, states, 2}, tied);
    const S4Parameters parameters{1.0, length, inv_dt, a_real, a_imag, p, b, output};
    const Tensor kernel = backend->allocate({width, length}, DType::f64);
    backend->s4_kernel_forward({parameters, kernel});
    const Tensor factors = backend->allocate({width, 6 * states, 2}, DType::f64);
    backend->s4_discretize({parameters, factors});
    const Tensor impulse = real({1, length, width}, std::vector<double>(static_cast<size_t>(length * width)));
    for (int64_t d = 0; d < width; ++d) test::set(impulse, d, 1);
    const Tensor state = real({1, width, states, 2}, std::vector<double>(static_cast<size_t>(2 * width * states)));
    backend->s4_recurrence({.factors = factors, .u = impulse, .y = impulse, .state = state});
    for (int64_t d = 0; d < width; ++d) {
        double size = 0, worst = 0;
        for (int64_t l = 0; l < length; ++l) {
            size = std::max(size, std::abs(test::get(kernel, d * length + l)));
            worst = std::max(worst, std::abs(test::get(kernel, d * length + l) - test::get(impulse, l * width + d)));
        }
        EXPECT_LE(worst, 1e-10 * size) << "channel " << d;
    }
    const std::vector<Complex> back = untied_output(s, steps, length, tied);
    for (size_t i = 0; i < c.size(); ++i) EXPECT_LE(std::abs(back[i] - c[i]), 1e-10);
}

TEST(StepInit, IsLogUniformWithinItsBounds) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const int64_t count = 20000;
    double sum = 0;
    for (const double x : log_uniform_steps(random, count)) {
        EXPECT_GE(x, std::log(0.001));
        EXPECT_LE(x, std::log(0.1));
        sum += x;
    }
    const double width = std::log(100.0);
    EXPECT_NEAR(sum / count, std::log(0.01), 5 * width / std::sqrt(12.0 * count));  // five standard errors
    EXPECT_THROW(log_uniform_steps(random, 1, 0, 0.1), Error);
    EXPECT_THROW(log_uniform_steps(random, 1, 0.2, 0.1), Error);
}

TEST(StepInit, SoftplusOfTheBiasIsTheStep) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed()), same(test::seed());
    const std::vector<double> bias = softplus_steps(random, 100, 1e-5, 0.1),
                              log_dt = log_uniform_steps(same, 100, 1e-5, 0.1);
    for (size_t i = 0; i < 100; ++i)
        EXPECT_NEAR(std::log1p(std::exp(bias[i])), std::max(std::exp(log_dt[i]), 1e-4), 1e-14) << i;
}

TEST(ParameterInit, HasTheBoundsAndMomentsOfItsDistributions) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const int64_t count = 20000;
    double square = 0;
    for (const double x : fan_in_uniform(random, count, 16)) {
        EXPECT_LE(std::abs(x), 0.25);
        square += x * x;
    }
    // Five standard errors of each mean square: var(x^2) is 4/45 bound^4 for a uniform, 2 sigma^4 for a normal number.
    EXPECT_NEAR(square / count, 0.0625 / 3, 5 * 0.0625 * std::sqrt(4.0 / 45 / count));
    square = 0;
    for (const double x : normal(random, count, 3)) square += x * x;
    EXPECT_NEAR(square / count, 9, 5 * 9 * std::sqrt(2.0 / count));
    double re = 0, im = 0;
    for (const Complex& x : complex_normal(random, count)) re += x.real() * x.real(), im += x.imag() * x.imag();
    EXPECT_NEAR(re / count, 0.5, 5 * 0.5 * std::sqrt(2.0 / count));
    EXPECT_NEAR(im / count, 0.5, 5 * 0.5 * std::sqrt(2.0 / count));
    EXPECT_EQ(s6_a_log(2, 3), (std::vector<double>{0, std::log(2.0), std::log(3.0), 0, std::log(2.0), std::log(3.0)}));
    EXPECT_THROW(fan_in_uniform(random, 1, 0), Error);
}

}  // namespace
}  // namespace nigiri
