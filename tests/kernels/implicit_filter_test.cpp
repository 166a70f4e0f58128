#include "kernels/implicit_filter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

class ImplicitFilter : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};
};

TEST_F(ImplicitFilter, FeaturesFollowTheFormulaFromAnyDistance) {
    for (const DType dtype : {f32, f64})
        for (const int64_t bands : {1, 2, 5}) {
            const int64_t rows = 9, columns = 1 + 2 * bands, first = 100;
            const Tensor y = backend->allocate({rows, columns}, dtype);
            backend->filter_features({.first = first, .unit = 64, .y = y});
            for (int64_t l = 0; l < rows; ++l) {
                const double t = static_cast<double>(first + l) / 64;
                EXPECT_NEAR(get(y, l * columns), t, 1e-6);
                for (int64_t k = 0; k < bands; ++k) {
                    const double f = bands == 1
                                       ? 1e-4
                                       : 1e-4 + static_cast<double>(k) * (static_cast<double>(bands - 1) - 1e-4) /
                                                    static_cast<double>(bands - 1);
                    const double angle = 2 * std::numbers::pi * f * t, tolerance = dtype == f32 ? 1e-6 : 1e-12;
                    EXPECT_NEAR(get(y, l * columns + 1 + k), std::cos(angle), tolerance);
                    EXPECT_NEAR(get(y, l * columns + 1 + bands + k), -std::sin(angle), tolerance);
                }
            }
        }
}

TEST_F(ImplicitFilter, SinesHaveTheGradientsOfFiniteDifferences) {
    const Shape shape{7, 5};
    const Tensor x = test::random_tensor(*backend, shape, f64, random),
                 frequency = test::random_tensor(*backend, {5}, f64, random, 1, 2), y = backend->allocate(shape, f64),
                 dy = test::random_tensor(*backend, shape, f64, random), dx = backend->allocate(shape, f64),
                 dfrequency = backend->zeros({5}, f64);
    backend->filter_sine_backward({.x = x, .frequency = frequency, .dy = dy, .dx = dx, .dfrequency = dfrequency});
    const auto loss = [&] {
        backend->filter_sine_forward({.x = x, .frequency = frequency, .y = y});
        return test::dot(y, dy);
    };
    test::expect_gradients(loss, {{"x", x, dx}, {"frequency", frequency, dfrequency}}, random);
}

TEST_F(ImplicitFilter, SinesInFloat32AgreeWithFloat64) {
    for (const int64_t rows : {1, 17, 1000}) {
        const Shape shape{rows, 13};
        const auto operand = [&] { return test::random_tensor(*backend, shape, f32, random); };
        const Tensor x = operand(), y = operand(), dy = operand(), dx = operand(),
                     frequency = test::random_tensor(*backend, {13}, f32, random),
                     sum = test::random_tensor(*backend, {13}, f32, random);
        const auto d = [&](const Tensor& t) { return test::converted(*backend, t, f64); };
        const Tensor y64 = d(y), dx64 = d(dx), sum64 = d(sum);
        backend->filter_sine_forward({.x = x, .frequency = frequency, .y = y});
        backend->filter_sine_forward({.x = d(x), .frequency = d(frequency), .y = y64});
        EXPECT_LE(test::relative_error(y, y64), 1e-6);
        backend->filter_sine_backward({.x = x, .frequency = frequency, .dy = dy, .dx = dx, .dfrequency = sum});
        backend->filter_sine_backward(
            {.x = d(x), .frequency = d(frequency), .dy = d(dy), .dx = dx64, .dfrequency = sum64});
        EXPECT_LE(test::relative_error(dx, dx64), 1e-6);
        EXPECT_LE(test::relative_error(sum, sum64), 3e-6);  // sums of up to 1000 terms of both signs
    }
}

TEST_F(ImplicitFilter, TheWindowDecaysAndTurns) {
    const int64_t length = 12, channels = 4;
    const double unit = 8;
    for (const DType dtype : {f32, f64}) {
        const Tensor x = test::random_tensor(*backend, {length, channels}, dtype, random),
                     rows = backend->allocate({length, channels}, dtype),
                     kernel = backend->allocate({channels, length}, dtype), back = backend->allocate(x.shape(), dtype);
        backend->filter_window({.first = 5, .unit = unit, .x = x, .y = rows});
        backend->filter_window({.first = 5, .unit = unit, .x = x, .y = kernel, .to_kernel = true});
        backend->filter_window({.first = 5, .unit = unit, .x = kernel, .y = back, .from_kernel = true});
        for (int64_t l = 0; l < length; ++l)
            for (int64_t d = 0; d < channels; ++d) {
                // One per cent is left after 1.5 units in the first channel, after 0.3 in the last.
                const double slow = std::log(100.0) / 1.5, fast = std::log(100.0) / 0.3;
                const double rate = slow + (fast - slow) * static_cast<double>(d) / 3;
                const double window = std::exp(-rate * static_cast<double>(5 + l) / unit);
                const double right = get(x, l * channels + d) * window;
                EXPECT_NEAR(get(rows, l * channels + d), right, 1e-6);
                EXPECT_EQ(get(kernel, d * length + l), get(rows, l * channels + d));
                EXPECT_NEAR(get(back, l * channels + d), right * window, 1e-6) << "its own gradient";
            }
    }
    const Tensor x = backend->zeros({3, 4}, f32);
    EXPECT_THROW(backend->filter_window({.x = x, .y = x, .to_kernel = true}), Error);
}

}  // namespace
}  // namespace nigiri
