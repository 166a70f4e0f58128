// The layer as one operation: equal to kernel and convolution, with a state to the recurrence, and its
// gradients to finite differences.
#include "kernels/s4d_conv.h"

#include <gtest/gtest.h>

#include "tests/support/check.h"
#include "tests/support/s4d.h"

namespace nigiri {
namespace {

using test::filled;
using test::get;
using test::random_s4d;
using test::S4dLayer;
using test::S4dSetup;
using test::set;

const std::vector<S4dSetup> convolution_setups = {
    {.channels = 4, .copies = 2, .modes = 3},
    {.channels = 3, .copies = 3, .modes = 2, .discretization = Discretization::bilinear, .rate = 0.5},
    {.is_complex = false, .channels = 4, .copies = 1, .modes = 4},
};

struct Problem {
    std::shared_ptr<Backend> backend;
    S4dLayer layer;
    Tensor u, skip, state, dy;
    Tensor y, du, dskip, dstate, dinv_dt, da_real, da_imag, db, dc;

    Problem(const S4dSetup& setup, int64_t batch, int64_t length, DType dtype, bool with_state, Random& random)
        : backend(make_backend("cpu", 2)), layer(random_s4d(*backend, setup, dtype, random, true)) {
        const Shape shape = {batch, length, setup.channels};
        u = test::random_tensor(*backend, shape, dtype, random),
        dy = test::random_tensor(*backend, shape, dtype, random);
        skip = test::random_tensor(*backend, {setup.channels}, dtype, random);
        if (with_state)
            state = test::random_tensor(*backend, {batch, setup.is_complex ? 2 : 1, setup.modes * setup.channels},
                                        dtype, random);
        connect();
    }
    void connect() {
        const auto like = [&](const Tensor& t) { return t ? filled(*backend, t.shape(), t.dtype(), 0) : Tensor(); };
        y = like(u), du = like(u), dskip = like(skip), dstate = like(state);
        dinv_dt = like(layer.inv_dt), da_real = like(layer.a_real), da_imag = like(layer.a_imag);
        db = like(layer.b), dc = like(layer.c);
    }
    Problem converted(DType dtype) const {
        Problem other = *this;
        other.layer = layer.converted(*backend, dtype);
        for (Tensor* t : {&other.u, &other.skip, &other.state, &other.dy})
            if (*t) *t = test::converted(*backend, *t, dtype);
        other.connect();
        return other;
    }
    // The state that comes out; the one given is left as it is.
    Tensor forward() const {
        const Tensor h = state ? test::converted(*backend, state, state.dtype()) : Tensor();
        S4dConvForward op;
        static_cast<S4dParameters&>(op) = layer.parameters;
        op.skip = skip, op.u = u, op.y = y, op.state = h;
        backend->s4d_conv_forward(op);
        return h;
    }
    void backward() const {
        S4dConvBackward op;
        static_cast<S4dParameters&>(op) = layer.parameters;
        op.skip = skip, op.u = u, op.state = state, op.dy = dy, op.du = du, op.dskip = dskip, op.dstate = dstate;
        op.dinv_dt = dinv_dt, op.da_real = da_real, op.da_imag = da_imag, op.db = db, op.dc = dc;
        backend->s4d_conv_backward(op);
    }
};

TEST(S4dConv, AZeroStateIsNone) {
    Random random(test::seed());
    for (const S4dSetup& setup : convolution_setups)
        for (const DType dtype : {DType::f64, DType::f32}) {
            SCOPED_TRACE(testing::Message() << setup << ", seed " << test::seed());
            Problem with(setup, 2, 41, dtype, true, random);
            for (int64_t i = 0; i < with.state.size(); ++i) set(with.state, i, 0);
            Problem without = with;
            without.state = {};
            without.connect();
            const double tolerance = dtype == DType::f64 ? 1e-12 : 2e-6;
            with.forward(), without.forward();
            EXPECT_LT(test::relative_error(with.y, without.y), tolerance);
            with.backward(), without.backward();
            EXPECT_LT(test::relative_error(with.du, without.du), tolerance);
            EXPECT_LT(test::relative_error(with.da_real, without.da_real), tolerance);
            EXPECT_LT(test::relative_error(with.dc, without.dc), tolerance);
        }
}

TEST(S4dConv, GradientsAreThoseOfFiniteDifferences) {
    Random random(test::seed());
    for (const S4dSetup& setup : convolution_setups)
        for (const bool state : {false, true}) {
            SCOPED_TRACE(testing::Message() << setup << " state " << state << ", seed " << test::seed());
            const Problem p(setup, 2, 19, DType::f64, state, random);
            p.backward();
            const auto loss = [&] {
                p.forward();
                return test::dot(p.y, p.dy);
            };
            std::vector<test::GradientCheck> checks = {{"u", p.u, p.du},
                                                       {"skip", p.skip, p.dskip},
                                                       {"inv_dt", p.layer.inv_dt, p.dinv_dt},
                                                       {"a_real", p.layer.a_real, p.da_real},
                                                       {"b", p.layer.b, p.db},
                                                       {"c", p.layer.c, p.dc}};
            if (setup.is_complex) checks.push_back({"a_imag", p.layer.a_imag, p.da_imag});
            if (state) checks.push_back({"state", p.state, p.dstate});
            test::expect_gradients(loss, checks, random);
        }
}

TEST(S4dConv, Float32AgreesWithFloat64) {
    Random random(test::seed());
    for (const S4dSetup& setup : convolution_setups)
        for (const bool state : {false, true}) {
            SCOPED_TRACE(testing::Message() << setup << " state " << state << ", seed " << test::seed());
            const Problem single(setup, 2, 130, DType::f32, state, random), wide = single.converted(DType::f64);
            const Tensor a = single.forward(), b = wide.forward();
            single.backward(), wide.backward();
            EXPECT_LT(test::relative_error(single.y, wide.y), 3e-6);
            if (state) {
                EXPECT_LT(test::relative_error(a, b), 3e-6);
                EXPECT_LT(test::relative_error(single.dstate, wide.dstate), 3e-6);
            }
            for (auto member :
                 {&Problem::du, &Problem::dinv_dt, &Problem::da_real, &Problem::db, &Problem::dc, &Problem::dskip})
                EXPECT_LT(test::relative_error(single.*member, wide.*member), 1e-5);
        }
}

TEST(S4dConv, ResultsAreOptional) {
    Random random(test::seed());
    const Problem p(convolution_setups[0], 2, 30, DType::f32, true, random);
    Problem only = p;
    p.backward();
    only.connect();
    only.du = only.dskip = only.dstate = only.dinv_dt = only.da_real = only.db = only.dc = {};
    only.backward();
    EXPECT_EQ(test::max_difference(only.da_imag, p.da_imag), 0);
}

TEST(S4dConv, RefusesOperandsThatDoNotFit) {
    Random random(test::seed());
    Problem p(convolution_setups[0], 2, 30, DType::f32, true, random);
    p.state = filled(*p.backend, {2, 2, 11}, DType::f32, 0);
    EXPECT_THROW(p.forward(), Error);
}

}  // namespace
}  // namespace nigiri
