// The recurrence against the definition, against the convolution with the layer's kernel (S4's identity), and
// against itself in pieces.
#include <gtest/gtest.h>

#include "kernels/long_conv.h"
#include "kernels/s4d_kernel.h"
#include "tests/support/check.h"
#include "tests/support/s4d.h"

namespace nigiri {
namespace {

using test::Complex;
using test::filled;
using test::get;
using test::random_s4d;
using test::S4dSetup;
using test::same_bits;
using test::set;

struct Discrete {
    Tensor abar, cbar;
};

Discrete discretized(Backend& backend, const S4dParameters& p) {
    const Shape shape = {p.is_complex ? 2 : 1, p.a_real[1], p.inv_dt.size()};
    const Discrete r = {backend.allocate(shape, p.inv_dt.dtype), backend.allocate(shape, p.inv_dt.dtype)};
    S4dDiscretize op;
    static_cast<S4dParameters&>(op) = p;
    op.abar = r.abar, op.cbar = r.cbar;
    backend.s4d_discretize(op);
    return r;
}

Shape state_shape(const S4dParameters& p, int64_t batch) {
    return {batch, p.is_complex ? 2 : 1, p.a_real[1] * p.inv_dt.size()};
}

const std::vector<S4dSetup> recurrence_setups = {
    {.channels = 1, .copies = 1, .modes = 1},
    {.channels = 3, .copies = 1, .modes = 4, .discretization = Discretization::bilinear},
    {.channels = 17, .copies = 17, .modes = 5},
    {.channels = 33, .copies = 1, .modes = 3, .rate = 0.5},
    {.channels = 80, .copies = 2, .modes = 8},
    {.is_complex = false, .channels = 5, .copies = 1, .modes = 1},
    {.is_complex = false, .channels = 16, .copies = 4, .modes = 7, .discretization = Discretization::bilinear},
};

TEST(S4dRecurrence, DiscretizesAsDefined) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const S4dSetup& setup : recurrence_setups)
        for (const DType dtype : {DType::f32, DType::f64}) {
            SCOPED_TRACE(testing::Message() << setup << ", seed " << test::seed());
            const auto layer = random_s4d(*backend, setup, dtype, random);
            const Discrete r = discretized(*backend, layer.parameters);
            const int64_t plane = setup.modes * setup.channels;
            const double tolerance = dtype == DType::f64 ? 1e-13 : 1e-6;  // rounding of the results, of order one
            for (int64_t n = 0; n < setup.modes; ++n)
                for (int64_t d = 0; d < setup.channels; ++d) {
                    const auto [dt, a, b, c] = test::unpack(layer.parameters, d, n);
                    const bool zoh = setup.discretization == Discretization::zoh;
                    const Complex abar = zoh ? std::exp(dt * a) : (1.0 + dt * a / 2.0) / (1.0 - dt * a / 2.0);
                    const Complex bbar = zoh ? (abar - 1.0) / a * b : dt / (1.0 - dt * a / 2.0) * b;
                    const Complex cbar = (setup.is_complex ? 2.0 : 1.0) * c * bbar;
                    const int64_t i = n * setup.channels + d;
                    EXPECT_NEAR(get(r.abar, i), abar.real(), tolerance);
                    EXPECT_NEAR(get(r.cbar, i), cbar.real(), tolerance);
                    if (!setup.is_complex) continue;
                    EXPECT_NEAR(get(r.abar, plane + i), abar.imag(), tolerance);
                    EXPECT_NEAR(get(r.cbar, plane + i), cbar.imag(), tolerance);
                }
        }
}

// h = abar h + u, y = Re cbar h + skip u, in complex double arithmetic.
void reference_recurrence(const S4dRecurrence& op, const View& y, const View& state) {
    const int64_t batch = op.u[0], length = op.u[1], channels = op.u[2], modes = op.abar[1], plane = modes * channels;
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t d = 0; d < channels; ++d) {
            const auto at = [&](const View& v, int64_t first, int64_t n) {
                const int64_t i = first + n * channels + d;
                return Complex(get(v, i), op.is_complex ? get(v, i + plane) : 0);
            };
            const int64_t base = b * (op.is_complex ? 2 : 1) * plane;
            std::vector<Complex> h;
            for (int64_t n = 0; n < modes; ++n) h.push_back(at(op.state, base, n));
            for (int64_t t = 0; t < length; ++t) {
                const int64_t i = (b * length + t) * channels + d;
                double sum = op.skip ? get(op.skip, d) * get(op.u, i) : 0;
                for (int64_t n = 0; n < modes; ++n) {
                    Complex& x = h[static_cast<size_t>(n)];
                    x = at(op.abar, 0, n) * x + get(op.u, i);
                    sum += (at(op.cbar, 0, n) * x).real();
                }
                set(y, i, sum);
            }
            for (int64_t n = 0; n < modes; ++n) {
                set(state, base + n * channels + d, h[static_cast<size_t>(n)].real());
                if (op.is_complex) set(state, base + plane + n * channels + d, h[static_cast<size_t>(n)].imag());
            }
        }
}

TEST(S4dRecurrence, IsTheDefinitionFromAnyState) {
    Random random(test::seed());
    for (const int threads : {1, 2, 5}) {
        const auto backend = make_backend("cpu", threads);
        for (const S4dSetup& setup : recurrence_setups)
            for (const DType dtype : {DType::f32, DType::f64})
                for (const int64_t length : {1, 2, 7, 8, 9, 31, 200})
                    for (const bool skip : {false, true}) {
                        SCOPED_TRACE(testing::Message() << setup << " L " << length << " " << name_of(dtype)
                                                        << " threads " << threads << ", seed " << test::seed());
                        const int64_t batch = length == 200 ? 3 : 2;
                        const auto layer = random_s4d(*backend, setup, dtype, random);
                        const Discrete r = discretized(*backend, layer.parameters);
                        S4dRecurrence op;
                        op.is_complex = setup.is_complex;
                        op.abar = r.abar, op.cbar = r.cbar;
                        const Tensor skips = test::random_tensor(*backend, {setup.channels}, dtype, random);
                        if (skip) op.skip = skips;
                        const Tensor u = test::random_strided(*backend, {batch, length, setup.channels}, dtype, random);
                        const Tensor state =
                            test::random_strided(*backend, state_shape(layer.parameters, batch), dtype, random);
                        const Tensor y = test::random_strided(*backend, u.shape(), dtype, random);
                        op.u = u, op.y = y, op.state = state;
                        const Tensor y64 = filled(*backend, u.shape(), DType::f64, 0);
                        const Tensor state64 = filled(*backend, state.shape(), DType::f64, 0);
                        reference_recurrence(op, y64, state64);
                        backend->s4d_recurrence(op);
                        // A state remembers its roundings for as long as it remembers its input: some tens of 6e-8.
                        const double tolerance = dtype == DType::f64 ? 1e-13 : 3e-6;
                        EXPECT_LT(test::relative_error(y, y64), tolerance);
                        EXPECT_LT(test::relative_error(state, state64), tolerance);
                    }
    }
}

// S4's identity: from a zero state the recurrence is the convolution with the kernel.
TEST(S4dRecurrence, EqualsTheConvolutionWithTheKernel) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const S4dSetup& setup : recurrence_setups)
        for (const DType dtype : {DType::f32, DType::f64})
            for (const int64_t length : {1, 5, 64, 129, 700}) {
                SCOPED_TRACE(testing::Message()
                             << setup << " L " << length << " " << name_of(dtype) << ", seed " << test::seed());
                const auto layer = random_s4d(*backend, setup, dtype, random);
                const Discrete r = discretized(*backend, layer.parameters);
                const Tensor u = test::random_tensor(*backend, {2, length, setup.channels}, dtype, random);
                const Tensor skip = test::random_tensor(*backend, {setup.channels}, dtype, random);
                const Tensor step = backend->allocate(u.shape(), dtype), conv = backend->allocate(u.shape(), dtype);
                const Tensor state = filled(*backend, state_shape(layer.parameters, 2), dtype, 0);
                S4dRecurrence op;
                op.is_complex = setup.is_complex;
                op.abar = r.abar, op.cbar = r.cbar, op.skip = skip, op.u = u, op.y = step, op.state = state;
                backend->s4d_recurrence(op);
                S4dKernelForward generate;
                static_cast<S4dParameters&>(generate) = layer.parameters;
                const Tensor kernel = backend->allocate({setup.channels, length}, dtype);
                generate.kernel = kernel;
                backend->s4d_kernel_forward(generate);
                backend->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = conv});
                EXPECT_LT(test::relative_error(step, conv), dtype == DType::f64 ? 1e-12 : 5e-6);
            }
}

// One call, two calls, or a call a sample: the same bits, so that generation may be resumed anywhere. In place, too.
TEST(S4dRecurrence, PiecesEqualTheWholeBitForBit) {
    Random random(test::seed());
    const auto backend = make_backend("cpu", 2), one = make_backend("cpu", 1);
    for (const S4dSetup& setup : recurrence_setups)
        for (const DType dtype : {DType::f32, DType::f64}) {
            const int64_t length = 41;
            const auto layer = random_s4d(*backend, setup, dtype, random);
            const Discrete r = discretized(*backend, layer.parameters);
            const Tensor u = test::random_tensor(*backend, {1, length, setup.channels}, dtype, random);
            const Tensor skip = test::random_tensor(*backend, {setup.channels}, dtype, random);
            const Tensor start = test::random_tensor(*backend, state_shape(layer.parameters, 1), dtype, random);
            std::vector<Tensor> outputs, states;
            for (const std::vector<int64_t>& pieces :
                 {std::vector<int64_t>{41}, {1, 40}, {7, 34}, {8, 9, 24}, {23, 3, 15}, std::vector<int64_t>(41, 1)}) {
                const Tensor y = test::converted(*backend, u, dtype), state = test::converted(*backend, start, dtype);
                int64_t begin = 0;
                for (const int64_t piece : pieces) {
                    S4dRecurrence op;
                    op.is_complex = setup.is_complex;
                    op.abar = r.abar, op.cbar = r.cbar, op.skip = skip, op.state = state;
                    View part = y;
                    part.data =
                        static_cast<char*>(part.data) + static_cast<size_t>(begin * setup.channels) * size_of(dtype);
                    part.shape = {1, piece, setup.channels};
                    op.u = part, op.y = part;  // in place
                    (outputs.size() % 2 ? one : backend)->s4d_recurrence(op);
                    begin += piece;
                }
                outputs.push_back(y), states.push_back(state);
                EXPECT_TRUE(same_bits(outputs[0], y))
                    << setup << " " << pieces.size() << " pieces, seed " << test::seed();
                EXPECT_TRUE(same_bits(states[0], state))
                    << setup << " " << pieces.size() << " pieces, seed " << test::seed();
            }
        }
}

TEST(S4dRecurrence, RefusesOperandsThatDoNotFit) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    const auto layer = random_s4d(*backend, {.channels = 4, .copies = 1, .modes = 3}, DType::f32, random);
    const Discrete r = discretized(*backend, layer.parameters);
    const Tensor u = filled(*backend, {1, 2, 4}, DType::f32, 0), state = filled(*backend, {1, 2, 12}, DType::f32, 0);
    S4dRecurrence good;
    good.abar = r.abar, good.cbar = r.cbar, good.u = u, good.y = u, good.state = state;
    EXPECT_NO_THROW(backend->s4d_recurrence(good));
    S4dRecurrence bad = good;
    bad.is_complex = false;
    EXPECT_THROW(backend->s4d_recurrence(bad), Error);
    bad = good;
    bad.state.shape = {1, 2, 11};
    EXPECT_THROW(backend->s4d_recurrence(bad), Error);
    bad = good;
    bad.y.shape = {2, 1, 4};
    EXPECT_THROW(backend->s4d_recurrence(bad), Error);
}

}  // namespace
}  // namespace nigiri
