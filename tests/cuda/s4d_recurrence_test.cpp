#include "kernels/s4d_kernel.h"
#include "tests/cuda/s4d_layers.h"

namespace nigiri {
namespace {

using test::on_device;
using test::random_s4d;
using test::S4dLayer;
using test::S4dSetup;
using test::to_device;
using test::to_host;

class CudaS4dRecurrence : public test::Cuda {
  protected:
    struct Discrete {
        Tensor abar, cbar;
    };
    Discrete discretized(Backend& backend, const S4dLayer& layer, DType dtype) {
        const S4dParameters& p = layer.parameters;
        const Shape shape = {p.is_complex ? 2 : 1, p.a_real[1], p.inv_dt.size()};
        const Discrete r = {backend.allocate(shape, dtype), backend.allocate(shape, dtype)};
        S4dDiscretize op;
        static_cast<S4dParameters&>(op) = p;
        op.abar = r.abar, op.cbar = r.cbar;
        backend.s4d_discretize(op);
        return r;
    }
};

TEST_F(CudaS4dRecurrence, DiscretizesLikeTheCpu) {
    for (const S4dSetup& setup : test::s4d_setups()) {
        SCOPED_TRACE(testing::Message() << setup << ", seed " << test::seed());
        const S4dLayer single = random_s4d(*cpu, setup, DType::f32, random);
        const Discrete judge = discretized(*cpu, single.converted(*cpu, DType::f64), DType::f64);
        const Discrete device = discretized(*cuda, on_device(*cuda, single, 2), DType::f32);
        // Rounding of the results, which are of order one.
        EXPECT_LT(test::max_difference(to_host(*cpu, *cuda, device.abar), judge.abar), 1e-6);
        EXPECT_LT(test::max_difference(to_host(*cpu, *cuda, device.cbar), judge.cbar), 1e-6);
    }
}

// The device and the judge start from the same factors, so that what is compared is the recurrence. A state
// is a sum of at most some hundred samples, each step rounding at 6e-8; bf16 adds its rounding of y, 2^-9 at
// most.
TEST_F(CudaS4dRecurrence, IsTheDefinitionFromAnyState) {
    for (const S4dSetup& setup : test::s4d_setups())
        for (const DType dtype : {DType::f32, DType::bf16})
            for (const int64_t length : {1, 2, 7, 8, 9, 31, 200})
                for (const bool skip : {false, true}) {
                    SCOPED_TRACE(testing::Message() << setup << " L " << length << " " << name_of(dtype) << " skip "
                                                    << skip << ", seed " << test::seed());
                    const int64_t batch = 2, parts = setup.is_complex ? 2 : 1, width = setup.channels;
                    const S4dLayer single = random_s4d(*cpu, setup, DType::f32, random);
                    const Discrete device = discretized(*cuda, on_device(*cuda, single), DType::f32);
                    const Tensor abar = to_host(*cpu, *cuda, device.abar), cbar = to_host(*cpu, *cuda, device.cbar);
                    const auto make = [&](const Shape& shape, DType type) {
                        return test::rounded(*cpu, test::random_tensor(*cpu, shape, DType::f64, random), type);
                    };
                    const Tensor u = make({batch, length, width}, dtype), weights = make({width}, DType::f32);
                    const Tensor state = make({batch, parts, setup.modes * width}, DType::f32);
                    const Tensor u_there = to_device(*cuda, u, dtype, 3),
                                 state_there = to_device(*cuda, state, DType::f32);
                    const Tensor weights_there = to_device(*cuda, weights, DType::f32);
                    const Tensor y_there = test::filled_device(*cpu, *cuda, u.shape(), dtype, -7, length % 2);
                    const Tensor y = cpu->allocate(u.shape(), DType::f64);
                    const auto run = [&](Backend& backend, const Tensor& a, const Tensor& c, const Tensor& w,
                                         const Tensor& in, const Tensor& out, const Tensor& h) {
                        S4dRecurrence op;
                        op.is_complex = setup.is_complex, op.abar = a, op.cbar = c, op.u = in, op.y = out, op.state = h;
                        if (skip) op.skip = w;
                        backend.s4d_recurrence(op);
                    };
                    run(*cpu, abar, cbar, weights, u, y, state);
                    run(*cuda, device.abar, device.cbar, weights_there, u_there, y_there, state_there);
                    EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, y_there), y),
                              dtype == DType::f32 ? 5e-6 : 4e-3);
                    EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, state_there), state), 5e-6);
                }
}

TEST_F(CudaS4dRecurrence, PiecesAndInPlaceYieldTheSameBits) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const int64_t batch = 3, width = 37, total = 45, modes = 19;
        const S4dLayer there =
            on_device(*cuda, random_s4d(*cpu, {.channels = width, .copies = 1, .modes = modes}, DType::f32, random));
        const Discrete d = discretized(*cuda, there, DType::f32);
        const Tensor u =
            test::rounded(*cpu, test::random_tensor(*cpu, {batch, total, width}, DType::f64, random), dtype);
        const Tensor state = test::filled_device(*cpu, *cuda, {batch, 2, modes * width}, DType::f32, 0.5);
        const Tensor pieces = test::filled_device(*cpu, *cuda, {batch, 2, modes * width}, DType::f32, 0.5);
        const Tensor skip = test::filled_device(*cpu, *cuda, {width}, DType::f32, 0.7);
        const auto run = [&](const Tensor& in, const Tensor& h) {
            S4dRecurrence op;
            op.abar = d.abar, op.cbar = d.cbar, op.skip = skip, op.u = in, op.y = in, op.state = h;
            cuda->s4d_recurrence(op);
            return to_host(*cpu, *cuda, in);
        };
        const Tensor y = run(to_device(*cuda, u, dtype), state);
        for (const auto& [begin, end] :
             std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 2}, {2, 30}, {30, total}}) {
            const Tensor part = cpu->allocate({batch, end - begin, width}, DType::f64);
            const auto at = [&, first = begin](int64_t b, int64_t i) { return (b * total + first) * width + i; };
            const int64_t size = (end - begin) * width;
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t i = 0; i < size; ++i) test::set(part, b * size + i, test::get(u, at(b, i)));
            const Tensor out = run(to_device(*cuda, part, dtype), pieces);
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t i = 0; i < size; ++i) ASSERT_EQ(test::get(out, b * size + i), test::get(y, at(b, i)));
        }
        EXPECT_EQ(test::max_difference(to_host(*cpu, *cuda, pieces), to_host(*cpu, *cuda, state)), 0);
    }
}

}  // namespace
}  // namespace nigiri
