#include "kernels/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::get;

class RotaryPositions : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};

    Tensor turned(const Tensor& x, int64_t heads, int64_t first, bool inverse = false) {
        const Tensor y = backend->allocate(x.shape(), x.dtype());
        backend->rotary({.heads = heads, .x = x, .y = y, .first = first, .inverse = inverse});
        return y;
    }
};

TEST_F(RotaryPositions, FollowTheFormula) {
    const int64_t batch = 2, length = 7, heads = 2, channels = 5, width = heads * channels, first = 3;
    const Tensor x = test::random_strided(*backend, {batch, length, width}, DType::f64, random);
    const Tensor y = turned(x, heads, first);
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t l = 0; l < length; ++l)
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t at = (b * length + l) * width + h * channels;
                for (int64_t i = 0; i < 2; ++i) {
                    const double angle = static_cast<double>(first + l) * std::pow(10000.0, -2.0 * i / 4.0);
                    const double u = get(x, at + 2 * i), v = get(x, at + 2 * i + 1);
                    EXPECT_NEAR(get(y, at + 2 * i), u * std::cos(angle) - v * std::sin(angle), 1e-12);
                    EXPECT_NEAR(get(y, at + 2 * i + 1), u * std::sin(angle) + v * std::cos(angle), 1e-12);
                }
                EXPECT_EQ(get(y, at + 4), get(x, at + 4)) << "the odd channel";
            }
}

// What attention needs: products depend on the distance, also a million samples on, where float32 angles would be off.
TEST_F(RotaryPositions, KeepDistances) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        const Tensor q = test::random_tensor(*backend, {1, 1, 16}, dtype, random),
                     k = test::random_tensor(*backend, {1, 1, 16}, dtype, random);
        const double near = test::dot(turned(q, 1, 9), turned(k, 1, 4)),
                     far = test::dot(turned(q, 1, 1'000'009), turned(k, 1, 1'000'004)),
                     other = test::dot(turned(q, 1, 9), turned(k, 1, 5));
        EXPECT_NEAR(near, far, dtype == DType::f32 ? 1e-5 : 1e-8);  // angles of a million, in float64
        EXPECT_GT(std::abs(near - other), 1e-3);
    }
}

TEST_F(RotaryPositions, TheGradientIsTheInverseTurn) {
    const Tensor x = test::random_tensor(*backend, {2, 40, 12}, DType::f64, random);
    EXPECT_LE(test::relative_error(turned(turned(x, 3, 100), 3, 100, true), x), 1e-14);
    const Tensor dy = test::random_tensor(*backend, x.shape(), DType::f64, random);
    test::expect_gradients([&] { return test::dot(turned(x, 3, 7), dy); }, {{"x", x, turned(dy, 3, 7, true)}}, random);
}

TEST_F(RotaryPositions, WorkInPlaceAndInFloat32) {
    for (const int64_t length : {1, 17, 1000}) {
        const Tensor x = test::random_strided(*backend, {2, length, 20}, DType::f32, random);
        const Tensor right = turned(test::converted(*backend, x, DType::f64), 4, 12345);
        backend->rotary({.heads = 4, .x = x, .y = x, .first = 12345});
        EXPECT_LE(test::relative_error(x, right), 1e-6);
    }
    const Tensor x = backend->zeros({1, 2, 9}, DType::f32);
    EXPECT_THROW(backend->rotary({.heads = 2, .x = x, .y = x}), Error);
}

}  // namespace
}  // namespace nigiri
