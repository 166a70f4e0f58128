#include "kernels/long_conv.h"

#include "tests/cuda/support.h"

namespace nigiri {
namespace {

using test::to_device;
using test::to_host;

struct LongConvCase {
    int64_t batch, length, channels, taps;
    bool skip = true;
    DType dtype = DType::f32;
    int64_t gap = 0;
};

std::ostream& operator<<(std::ostream& out, const LongConvCase& c) {
    return out << "B " << c.batch << " L " << c.length << " D " << c.channels << " Lk " << c.taps << " skip " << c.skip
               << " " << name_of(c.dtype) << " gap " << c.gap;
}

struct LongConvResults {
    Tensor y, du, dkernel, dskip;
};

class CudaLongConv : public test::Cuda {
  protected:
    struct Operands {
        Tensor u, kernel, skip, dy;
    };
    Operands operands(const LongConvCase& c) {
        const auto make = [&](const Shape& shape, DType dtype) {
            return test::rounded(*cpu, test::random_tensor(*cpu, shape, DType::f64, random), dtype);
        };
        const Shape shape = {c.batch, c.length, c.channels};
        return {make(shape, c.dtype), make({c.channels, c.taps}, DType::f32),
                c.skip ? make({c.channels}, DType::f32) : Tensor(), make(shape, c.dtype)};
    }
    static void run(Backend& backend, const Operands& o, const LongConvResults& r) {
        backend.long_conv_forward({.u = o.u, .kernel = o.kernel, .skip = o.skip, .y = r.y});
        backend.long_conv_backward({.u = o.u,
                                    .kernel = o.kernel,
                                    .skip = o.skip,
                                    .dy = o.dy,
                                    .du = r.du,
                                    .dkernel = r.dkernel,
                                    .dskip = r.dskip});
    }
    LongConvResults judged(const Operands& o) {
        const auto like = [&](const Tensor& t, double value) {
            const Tensor r = cpu->allocate(t.shape(), DType::f64);
            for (int64_t i = 0; i < r.size(); ++i) test::set(r, i, value);
            return r;
        };
        const LongConvResults r = {like(o.u, 0), like(o.u, 0), like(o.kernel, 0), o.skip ? like(o.skip, 3) : Tensor()};
        run(*cpu, o, r);
        return r;
    }
    LongConvResults on_device(const Operands& o, const LongConvCase& c) {
        const Operands there = {to_device(*cuda, o.u, c.dtype, c.gap), to_device(*cuda, o.kernel, DType::f32, c.gap),
                                o.skip ? to_device(*cuda, o.skip, DType::f32) : Tensor(),
                                to_device(*cuda, o.dy, c.dtype, 2 * c.gap)};
        const auto make = [&](const Shape& shape, DType dtype, double value, int64_t gap) {
            return test::filled_device(*cpu, *cuda, shape, dtype, value, gap);
        };
        const LongConvResults r = {make(o.u.shape(), c.dtype, -7, 3 * c.gap), make(o.u.shape(), c.dtype, -7, c.gap),
                                   make(o.kernel.shape(), DType::f32, -7, c.gap),
                                   o.skip ? make(o.skip.shape(), DType::f32, 3, 0) : Tensor()};
        run(*cuda, there, r);
        return {to_host(*cpu, *cuda, r.y), to_host(*cpu, *cuda, r.du), to_host(*cpu, *cuda, r.dkernel),
                o.skip ? to_host(*cpu, *cuda, r.dskip) : Tensor()};
    }
    // Transforms round at 6e-8 a level, some twenty levels there and back. bf16 inputs are exact, so that
    // only the rounding of y and du, 2^-9 at most, is added.
    void expect_close(const LongConvCase& c) {
        SCOPED_TRACE(testing::Message() << c << ", seed " << test::seed());
        const Operands o = operands(c);
        const LongConvResults judge = judged(o), device = on_device(o, c);
        const double activations = c.dtype == DType::f32 ? 2e-6 : 4e-3;
        EXPECT_LT(test::relative_error(device.y, judge.y), activations);
        EXPECT_LT(test::relative_error(device.du, judge.du), activations);
        EXPECT_LT(test::relative_error(device.dkernel, judge.dkernel), 2e-6);
        // One lag of the correlation, which may be nearly zero: judged by the size of what is summed.
        if (c.skip) {
            EXPECT_LT(test::max_difference(device.dskip, judge.dskip),
                      2e-6 * std::sqrt(static_cast<double>(c.batch * c.length)) + 1e-6);
        }
    }
};

TEST_F(CudaLongConv, AgreesAtOddLengths) {
    for (const int64_t length : test::odd_lengths)
        for (const DType dtype : {DType::f32, DType::bf16})
            expect_close({2, length, 5, length, length % 2 == 0, dtype, length % 3});
}

TEST_F(CudaLongConv, AgreesAtOddWidths) {
    for (const int64_t channels : {1, 2, 3, 8, 9, 17, 33, 65})  // pairs of channels
        expect_close({1, 60, channels, 60, true, channels % 2 ? DType::bf16 : DType::f32, channels % 3});
    for (const int64_t channels : {1, 2, 3, 8, 9, 16, 17, 31, 33, 65})
        expect_close({3, 60, channels, 60, true, channels % 2 ? DType::f32 : DType::bf16, channels % 4});
}

TEST_F(CudaLongConv, KernelsMayBeShorterOrLongerThanTheSequence) {
    for (const int64_t taps : {1, 2, 63, 64, 65, 128, 500})
        for (const int64_t length : {1, 64, 130}) expect_close({2, length, 6, taps});
}

// Rows of 8 MiB: groups of eight channels and one batch row. The sequence is an echo of few impulses, which
// the judge would take hours over; here the sums are written out.
TEST_F(CudaLongConv, LongSequencesOfImpulses) {
    for (const int64_t length : {int64_t{70000}, int64_t{1 << 20}}) {
        SCOPED_TRACE(testing::Message() << "L " << length << ", seed " << test::seed());
        const int64_t width = 9;
        const std::vector<int64_t> times = {0, length / 3, length / 2 + 1, length - 1};
        Tensor u = cpu->zeros({1, length, width}, DType::f64);
        for (int64_t d = 0; d < width; ++d)
            for (const int64_t t : times) test::set(u, t * width + d, std::round(8 * random.normal()) / 8);
        const Tensor kernel =
            test::rounded(*cpu, test::random_tensor(*cpu, {width, length}, DType::f64, random), DType::f32);
        const Tensor expected = cpu->zeros(u.shape(), DType::f64);
        for (int64_t d = 0; d < width; ++d)
            for (const int64_t t : times)
                for (int64_t j = 0; t + j < length; ++j) {
                    const int64_t i = (t + j) * width + d;
                    test::set(expected, i,
                              test::get(expected, i) + test::get(kernel, d * length + j) * test::get(u, t * width + d));
                }
        const Tensor u_there = to_device(*cuda, u, DType::f32), kernel_there = to_device(*cuda, kernel, DType::f32);
        const Tensor y = cuda->allocate(u.shape(), DType::f32), du = cuda->allocate(u.shape(), DType::f32);
        const Tensor dkernel = cuda->allocate(kernel.shape(), DType::f32);
        cuda->long_conv_forward({.u = u_there, .kernel = kernel_there, .skip = {}, .y = y});
        EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, y), expected), 2e-6);
        // With u as the gradient: dkernel is the impulses' correlation with themselves, du the adjoint <u, K
        // v> = <du, v>.
        cuda->long_conv_backward(
            {.u = u_there, .kernel = kernel_there, .skip = {}, .dy = y, .du = du, .dkernel = dkernel, .dskip = {}});
        const Tensor y_host = to_host(*cpu, *cuda, y), du_host = to_host(*cpu, *cuda, du);
        const double norm = test::dot(y_host, y_host);
        EXPECT_NEAR(test::dot(du_host, u), norm, 1e-5 * norm);
        EXPECT_NEAR(test::dot(to_host(*cpu, *cuda, dkernel), kernel), norm, 1e-5 * norm);
    }
}

TEST_F(CudaLongConv, Repeats) {
    const LongConvCase c = {4, 500, 19, 500};
    const Operands o = operands(c);
    const LongConvResults a = on_device(o, c), b = on_device(o, c);
    EXPECT_EQ(test::max_difference(a.y, b.y), 0);
    EXPECT_EQ(test::max_difference(a.du, b.du), 0);
    EXPECT_EQ(test::max_difference(a.dkernel, b.dkernel), 0);
    EXPECT_EQ(test::max_difference(a.dskip, b.dskip), 0);
}

TEST_F(CudaLongConv, RefusesOperandsThatDoNotFit) {
    const Tensor u = test::filled_device(*cpu, *cuda, {1, 8, 3}, DType::f32, 0);
    const Tensor narrow = test::filled_device(*cpu, *cuda, {2, 8}, DType::f32, 0);
    EXPECT_THROW(cuda->long_conv_forward({.u = u, .kernel = narrow, .skip = {}, .y = u}), Error);
}

}  // namespace
}  // namespace nigiri
