#include "kernels/s4_kernel.h"

#include "tests/cuda/support.h"

namespace nigiri {
namespace {

using test::to_device;
using test::to_host;

// The same layer twice: float64 for the judge, float32 on the device.
struct Layers {
    int64_t length;
    double rate = 1;
    std::array<Tensor, 6> judge, device;  // inv_dt, a_real, a_imag, p, b, c

    template <class Op>
    static Op with(const std::array<Tensor, 6>& t, int64_t length, double rate) {
        Op op;
        op.length = length, op.rate = rate;
        op.inv_dt = t[0], op.a_real = t[1], op.a_imag = t[2], op.p = t[3], op.b = t[4], op.c = t[5];
        return op;
    }
};

const char* const parameter_names[] = {"inv_dt", "a_real", "a_imag", "p", "b", "c"};

class CudaS4 : public test::Cuda {
  protected:
    Layers layers(int64_t width, int64_t copies, int64_t count, int64_t length, int64_t gap = 0) {
        Layers l{.length = length};
        // Steps near 0.05 and real parts near -0.5: about as fast a decay as within 64 to 1000 samples.
        const Shape shapes[] = {
            {width}, {copies, count}, {copies, count}, {copies, count, 2}, {copies, count, 2}, {width, count, 2}};
        const double scales[] = {0.5, 0.2, 8, 1, 1, 1}, offsets[] = {-3, -0.7, 10, 0, 0, 0};
        for (size_t i = 0; i < 6; ++i) {
            l.judge[i] = test::rounded(
                *cpu, test::random_tensor(*cpu, shapes[i], DType::f64, random, scales[i], offsets[i]), DType::f32);
            l.device[i] = to_device(*cuda, l.judge[i], DType::f32, i == 0 ? 0 : gap);
        }
        return l;
    }
    Tensor kernel(Backend& backend, const std::array<Tensor, 6>& t, const Layers& l, const Tensor& out) {
        auto op = Layers::with<S4KernelForward>(t, l.length, l.rate);
        op.kernel = out;
        backend.s4_kernel_forward(op);
        return out;
    }
    static void backward(Backend& backend, const std::array<Tensor, 6>& t, const Layers& l, const View& dkernel,
                         const std::array<Tensor, 6>& g) {
        auto op = Layers::with<S4KernelBackward>(t, l.length, l.rate);
        op.dkernel = dkernel;
        op.dinv_dt = g[0], op.da_real = g[1], op.da_imag = g[2], op.dp = g[3], op.db = g[4], op.dc = g[5];
        backend.s4_kernel_backward(op);
    }
    // Arithmetic is float64 on both sides; only results are rounded, gradients once more when they are added.
    void expect_close(const Layers& l, int64_t taps, int64_t gap) {
        const int64_t width = l.judge[0].size();
        SCOPED_TRACE(testing::Message() << "D " << width << " N " << l.judge[5][1] << " length " << l.length << " taps "
                                        << taps << " rate " << l.rate << " gap " << gap << ", seed " << test::seed());
        const Tensor judge = kernel(*cpu, l.judge, l, cpu->allocate({width, taps}, DType::f64));
        const Tensor device =
            kernel(*cuda, l.device, l, test::filled_device(*cpu, *cuda, {width, taps}, DType::f32, -7, gap));
        EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, device), judge), 1e-7);
        const Tensor dkernel =
            test::rounded(*cpu, test::random_tensor(*cpu, {width, taps}, DType::f64, random), DType::f32);
        std::array<Tensor, 6> g, g_device;
        for (size_t i = 0; i < 6; ++i) {
            g[i] = cpu->allocate(l.judge[i].shape(), DType::f64);
            for (int64_t k = 0; k < g[i].size(); ++k) test::set(g[i], k, 0.5);
            g_device[i] = test::filled_device(*cpu, *cuda, l.judge[i].shape(), DType::f32, 0.5, i == 0 ? 0 : gap);
        }
        backward(*cpu, l.judge, l, dkernel, g);
        backward(*cuda, l.device, l, to_device(*cuda, dkernel, DType::f32, gap), g_device);
        for (size_t i = 0; i < 6; ++i)
            EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, g_device[i]), g[i]), 3e-7) << parameter_names[i];
    }
};

TEST_F(CudaS4, KernelAndGradientsAgreeAtOddLengths) {
    for (const int64_t length : test::odd_lengths)
        expect_close(layers(4, length % 2 ? 2 : 4, 5, length, length % 3), length, length % 3);
    expect_close(layers(3, 1, 33, 640), 500, 0);
    expect_close(layers(2, 1, 3, 20000), 20000, 0);  // more tiles of nodes than blocks' first ones
    Layers slow = layers(2, 2, 4, 40);
    slow.rate = 0.5;
    expect_close(slow, 80, 0);
}

TEST_F(CudaS4, GradientsAreOptionalAndRepeat) {
    const Layers l = layers(4, 2, 6, 300);
    const Tensor dkernel = to_device(*cuda, test::random_tensor(*cpu, {4, 300}, DType::f64, random), DType::f32);
    const auto zeros = [&] {
        std::array<Tensor, 6> g;
        for (size_t i = 0; i < 6; ++i) g[i] = test::filled_device(*cpu, *cuda, l.judge[i].shape(), DType::f32, 0);
        return g;
    };
    const auto first = zeros(), again = zeros();
    backward(*cuda, l.device, l, dkernel, first);
    backward(*cuda, l.device, l, dkernel, again);
    for (size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(test::max_difference(to_host(*cpu, *cuda, first[i]), to_host(*cpu, *cuda, again[i])), 0);
        std::array<Tensor, 6> only;
        only[i] = zeros()[i];
        backward(*cuda, l.device, l, dkernel, only);
        EXPECT_EQ(test::max_difference(to_host(*cpu, *cuda, first[i]), to_host(*cpu, *cuda, only[i])), 0)
            << parameter_names[i];
    }
}

// The device keeps factors and states in float32, where the judge keeps float64: every step rounds the state
// at 6e-8, and factors are off by as much, over a memory of some hundred samples.
TEST_F(CudaS4, RecurrenceAgreesWithTheJudge) {
    for (const int64_t count : {1, 3, 8, 17, 32, 40})
        for (const DType dtype : {DType::f32, DType::bf16})
            for (const int64_t total : {1, 2, 150}) {
                SCOPED_TRACE(testing::Message()
                             << "N " << count << " L " << total << " " << name_of(dtype) << ", seed " << test::seed());
                const int64_t width = 5, batch = 2;
                const Layers l = layers(width, 1, count, 200, 1);
                const auto factors = [&](Backend& backend, const std::array<Tensor, 6>& t, DType type) {
                    const Tensor f = backend.allocate({width, 6 * count, 2}, type);
                    auto op = Layers::with<S4Discretize>(t, l.length, l.rate);
                    op.factors = f;
                    backend.s4_discretize(op);
                    return f;
                };
                const auto make = [&](const Shape& shape, DType type) {
                    return test::rounded(*cpu, test::random_tensor(*cpu, shape, DType::f64, random), type);
                };
                const Tensor u = make({batch, total, width}, dtype), skip = make({width}, DType::f32);
                const Tensor state = make({batch, width, count, 2}, DType::f32),
                             y = cpu->allocate(u.shape(), DType::f64);
                const Tensor state_there = to_device(*cuda, state, DType::f32);
                const Tensor y_there = test::filled_device(*cpu, *cuda, u.shape(), dtype, -7, 2);
                cuda->s4_recurrence({.factors = factors(*cuda, l.device, DType::f32),
                                     .skip = to_device(*cuda, skip, DType::f32),
                                     .u = to_device(*cuda, u, dtype, 1),
                                     .y = y_there,
                                     .state = state_there});
                cpu->s4_recurrence(
                    {.factors = factors(*cpu, l.judge, DType::f64), .skip = skip, .u = u, .y = y, .state = state});
                EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, y_there), y), dtype == DType::f32 ? 2e-5 : 4e-3);
                EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, state_there), state), 2e-5);
            }
}

TEST_F(CudaS4, RecurrenceMayBeSplitAndDoneInPlace) {
    const int64_t width = 7, batch = 3, count = 11, total = 20;
    const Layers l = layers(width, 1, count, 64);
    const Tensor factors = cuda->allocate({width, 6 * count, 2}, DType::f32);
    auto op = Layers::with<S4Discretize>(l.device, l.length, l.rate);
    op.factors = factors;
    cuda->s4_discretize(op);
    const Tensor u = test::random_tensor(*cpu, {batch, total, width}, DType::f32, random);
    const Tensor whole = to_device(*cuda, u, DType::f32),
                 state = test::filled_device(*cpu, *cuda, {batch, width, count, 2}, DType::f32, 0.1);
    const Tensor pieces = test::filled_device(*cpu, *cuda, {batch, width, count, 2}, DType::f32, 0.1);
    cuda->s4_recurrence({.factors = factors, .u = whole, .y = whole, .state = state});
    const Tensor y = to_host(*cpu, *cuda, whole);
    for (int64_t t = 0; t < total; ++t) {
        const Tensor part = cpu->allocate({batch, 1, width}, DType::f64);
        for (int64_t i = 0; i < part.size(); ++i)
            test::set(part, i, test::get(u, (i / width * total + t) * width + i % width));
        const Tensor there = to_device(*cuda, part, DType::f32);
        cuda->s4_recurrence({.factors = factors, .u = there, .y = there, .state = pieces});
        const Tensor out = to_host(*cpu, *cuda, there);
        for (int64_t i = 0; i < part.size(); ++i)
            ASSERT_EQ(test::get(out, i), test::get(y, (i / width * total + t) * width + i % width));
    }
    EXPECT_EQ(test::max_difference(to_host(*cpu, *cuda, pieces), to_host(*cpu, *cuda, state)), 0);
}

}  // namespace
}  // namespace nigiri
