#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::f32;
using test::f64;
using test::get;

const std::vector<Shape> activation_shapes = {{1}, {3}, {5}, {16}, {17}, {7, 33}, {2, 3, 64}, {151, 372}};

class Activation : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};

    Tensor values(const Shape& shape, DType dtype = f64) {
        return test::random_tensor(*backend, shape, dtype, random, 2);
    }
    Tensor strided(const Shape& shape) { return test::random_strided(*backend, shape, f32, random, 2); }
    Tensor in_double(const Tensor& x) { return test::converted(*backend, x, f64); }
    Tensor room(const Shape& shape, DType dtype = f64) { return backend->allocate(shape, dtype); }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

TEST_F(Activation, Float64FollowsTheFormulas) {
    const Tensor x = values({40}), z = values({40}), wide = values({3, 40}), y = room({40}), half = room({3, 20});
    backend->gelu_forward({.x = x, .y = y});
    for (int64_t i = 0; i < 40; ++i)
        EXPECT_NEAR(get(y, i), get(x, i) * 0.5 * (1 + std::erf(get(x, i) / std::sqrt(2.0))), 1e-14);
    backend->gate_forward({.x = x, .z = z, .y = y});
    for (int64_t i = 0; i < 40; ++i) EXPECT_NEAR(get(y, i), get(x, i) * silu(get(z, i)), 1e-14);
    backend->negative_exp_forward({.x = x, .y = y});
    for (int64_t i = 0; i < 40; ++i) EXPECT_DOUBLE_EQ(get(y, i), -std::exp(get(x, i)));
    backend->glu_forward({.x = wide, .y = half});
    for (int64_t r = 0; r < 3; ++r)
        for (int64_t c = 0; c < 20; ++c)
            EXPECT_NEAR(get(half, r * 20 + c), get(wide, r * 40 + c) / (1 + std::exp(-get(wide, r * 40 + 20 + c))),
                        1e-14);
}

TEST_F(Activation, GradientsAreThoseOfFiniteDifferences) {
    const Shape shape{3, 6};
    const Tensor x = values(shape), z = values(shape), dy = values(shape), y = room(shape);
    const Tensor dx = room(shape), dz = room(shape);

    backend->gelu_backward({.x = x, .dy = dy, .dx = dx});
    test::expect_gradients([&] { return backend->gelu_forward({.x = x, .y = y}), test::dot(y, dy); },
                           {{"gelu dx", x, dx}}, random);

    backend->gate_backward({.x = x, .z = z, .dy = dy, .dx = dx, .dz = dz});
    test::expect_gradients([&] { return backend->gate_forward({.x = x, .z = z, .y = y}), test::dot(y, dy); },
                           {{"gate dx", x, dx}, {"gate dz", z, dz}}, random);

    const Tensor narrow = room({3, 3}), dnarrow = values({3, 3});
    backend->glu_backward({.x = x, .dy = dnarrow, .dx = dx});
    test::expect_gradients([&] { return backend->glu_forward({.x = x, .y = narrow}), test::dot(narrow, dnarrow); },
                           {{"glu dx", x, dx}}, random);

    backend->product_backward({.x1 = x, .x2 = z, .dy = dy, .dx1 = dx, .dx2 = dz});
    test::expect_gradients([&] { return backend->product_forward({.x1 = x, .x2 = z, .y = y}), test::dot(y, dy); },
                           {{"product dx1", x, dx}, {"product dx2", z, dz}}, random);

    backend->negative_exp_forward({.x = x, .y = y});
    backend->fill({.y = dx, .value = 0});
    backend->negative_exp_backward({.y = y, .dy = dy, .dx = dx});
    test::expect_gradients([&] { return backend->negative_exp_forward({.x = x, .y = y}), test::dot(y, dy); },
                           {{"negative_exp dx", x, dx}}, random);
}

// The vector functions err by some 2 ulp (1.2e-7 each); 1e-6 of the tensor's norm leaves room for the
// products.
constexpr double activation_tolerance = 1e-6;

TEST_F(Activation, Float32AgreesWithFloat64) {
    for (const Shape& shape : activation_shapes) {
        SCOPED_TRACE(shape.text());
        // With gaps and without: two different ways through the same loop.
        for (const bool gaps : {false, true}) {
            const auto operand = [&] { return gaps ? strided(shape) : values(shape, f32); };
            const Tensor x = operand(), z = operand(), dy = operand(), y = operand(), dx = operand(), dz = operand();
            const Tensor x64 = in_double(x), z64 = in_double(z), dy64 = in_double(dy), y64 = room(shape),
                         dx64 = room(shape), dz64 = room(shape);

            backend->gelu_forward({.x = x, .y = y});
            backend->gelu_forward({.x = x64, .y = y64});
            EXPECT_LE(test::relative_error(y, y64), activation_tolerance) << "gelu";
            backend->gelu_backward({.x = x, .dy = dy, .dx = dx});
            backend->gelu_backward({.x = x64, .dy = dy64, .dx = dx64});
            EXPECT_LE(test::relative_error(dx, dx64), activation_tolerance) << "gelu dx";

            backend->gate_forward({.x = x, .z = z, .y = y});
            backend->gate_forward({.x = x64, .z = z64, .y = y64});
            EXPECT_LE(test::relative_error(y, y64), activation_tolerance) << "gate";
            backend->gate_backward({.x = x, .z = z, .dy = dy, .dx = dx, .dz = dz});
            backend->gate_backward({.x = x64, .z = z64, .dy = dy64, .dx = dx64, .dz = dz64});
            EXPECT_LE(test::relative_error(dx, dx64), activation_tolerance) << "gate dx";
            EXPECT_LE(test::relative_error(dz, dz64), activation_tolerance) << "gate dz";

            backend->product_forward({.x1 = x, .x2 = z, .y = y});
            backend->product_forward({.x1 = x64, .x2 = z64, .y = y64});
            EXPECT_LE(test::relative_error(y, y64), activation_tolerance) << "product";
            backend->product_backward({.x1 = x, .x2 = z, .dy = dy, .dx1 = dx, .dx2 = dz});
            backend->product_backward({.x1 = x64, .x2 = z64, .dy = dy64, .dx1 = dx64, .dx2 = dz64});
            EXPECT_LE(test::relative_error(dx, dx64), activation_tolerance) << "product dx1";
            EXPECT_LE(test::relative_error(dz, dz64), activation_tolerance) << "product dx2";

            backend->negative_exp_forward({.x = x, .y = y});
            backend->negative_exp_forward({.x = x64, .y = y64});
            EXPECT_LE(test::relative_error(y, y64), activation_tolerance) << "negative_exp";
            const Tensor sum = in_double(dx);
            backend->negative_exp_backward({.y = y, .dy = dy, .dx = dx});  // adds to what dx holds
            backend->negative_exp_backward({.y = y64, .dy = dy64, .dx = sum});
            EXPECT_LE(test::relative_error(dx, sum), activation_tolerance) << "negative_exp dx";
        }
    }
}

TEST_F(Activation, GluInFloat32AgreesWithFloat64) {
    for (const int64_t h : {1, 3, 16, 17, 33, 64}) {
        for (const int64_t rows : {1, 7, 1000}) {
            SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(h));
            const Tensor x = strided({rows, 2 * h}), y = room({rows, h}, f32), dy = values({rows, h}, f32),
                         dx = strided({rows, 2 * h});
            const Tensor y64 = room({rows, h}), dx64 = room({rows, 2 * h});
            backend->glu_forward({.x = x, .y = y});
            backend->glu_forward({.x = in_double(x), .y = y64});
            EXPECT_LE(test::relative_error(y, y64), activation_tolerance);
            backend->glu_backward({.x = x, .dy = dy, .dx = dx});
            backend->glu_backward({.x = in_double(x), .dy = in_double(dy), .dx = dx64});
            EXPECT_LE(test::relative_error(dx, dx64), activation_tolerance);
        }
    }
}

TEST_F(Activation, ResultsMayReplaceOperands) {
    for (const DType dtype : {f32, f64}) {
        const Shape shape{3, 37};
        const Tensor x = values(shape, dtype), z = values(shape, dtype), dy = values(shape, dtype);
        const Tensor apart = room(shape, dtype), dz = room(shape, dtype), place = room(shape, dtype),
                     dz2 = room(shape, dtype);
        const auto expect_same = [&](const char* what) { EXPECT_EQ(test::max_difference(place, apart), 0) << what; };

        backend->gelu_forward({.x = x, .y = apart});
        backend->copy({.x = x, .y = place});
        backend->gelu_forward({.x = place, .y = place});
        expect_same("gelu");
        backend->gelu_backward({.x = x, .dy = dy, .dx = apart});
        backend->copy({.x = dy, .y = place});
        backend->gelu_backward({.x = x, .dy = place, .dx = place});
        expect_same("gelu dx");
        backend->gate_forward({.x = x, .z = z, .y = apart});
        backend->copy({.x = x, .y = place});
        backend->gate_forward({.x = place, .z = z, .y = place});
        expect_same("gate");
        backend->gate_backward({.x = x, .z = z, .dy = dy, .dx = apart, .dz = dz});
        backend->copy({.x = dy, .y = place});
        backend->gate_backward({.x = x, .z = z, .dy = place, .dx = place, .dz = dz2});
        expect_same("gate dx");
        EXPECT_EQ(test::max_difference(dz, dz2), 0);
    }
}

TEST_F(Activation, LargeArgumentsStayFinite) {
    const Tensor x = room({4}, f32), one = room({4}, f32), y = room({4}, f32), dx = room({4}, f32), dz = room({4}, f32);
    const double at[4] = {-1e4, -100, 100, 1e4};
    for (int64_t i = 0; i < 4; ++i) test::set(x, i, at[i]), test::set(one, i, 1);
    const auto expect = [&](const Tensor& t, double low, double high100, double high) {
        EXPECT_EQ(get(t, 0), low);
        EXPECT_EQ(get(t, 1), low);
        EXPECT_EQ(get(t, 2), high100);
        EXPECT_EQ(get(t, 3), high);
    };
    backend->gelu_forward({.x = x, .y = y});
    expect(y, 0, 100, 1e4);
    backend->gelu_backward({.x = x, .dy = one, .dx = dx});
    expect(dx, 0, 1, 1);
    backend->gate_forward({.x = one, .z = x, .y = y});
    expect(y, 0, 100, 1e4);
    backend->gate_backward({.x = one, .z = x, .dy = one, .dx = dx, .dz = dz});
    expect(dx, 0, 100, 1e4);
    expect(dz, 0, 1, 1);
}

TEST_F(Activation, RefusesUnequalShapes) {
    const Tensor a = room({3}), b = room({4}), c = room({3}, f32);
    EXPECT_THROW(backend->gelu_forward({.x = a, .y = b}), Error);
    EXPECT_THROW(backend->gelu_forward({.x = a, .y = c}), Error);
    EXPECT_THROW(backend->glu_forward({.x = a, .y = a}), Error);
    EXPECT_THROW(backend->gate_forward({.x = a, .z = b, .y = a}), Error);
}

}  // namespace
}  // namespace nigiri
