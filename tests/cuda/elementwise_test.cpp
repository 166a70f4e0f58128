// Moving, adding and the element-wise non-linearities.
#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

// Rows and columns around vectors of 4 and 8, blocks of 256, and one long row.
const std::vector<Shape> elementwise_shapes = {
    {1, 1},   {3, 1},    {2, 3},    {5, 7},    {4, 8},  {3, 16},   {7, 17},    {2, 63},     {9, 64},    {3, 65},
    {2, 129}, {33, 257}, {1, 1000}, {1000, 1}, {65, 8}, {300, 40}, {2, 5, 24}, {2, 3, 100}, {1, 100003}};
constexpr int64_t elementwise_gaps[] = {0, 3, 8};

class CudaElementwise : public CudaPairs {
  protected:
    // Calls f(shape, dtype, gap).
    template <class F>
    void everywhere(F&& f) {
        for (const Shape& shape : elementwise_shapes)
            for (const DType dtype : {f32, bf16})
                for (const int64_t gap : elementwise_gaps) {
                    SCOPED_TRACE(shape.text() + " " + name_of(dtype) + " gap " + std::to_string(gap));
                    f(shape, dtype, gap);
                }
    }
};

TEST_F(CudaElementwise, FillsEveryType) {
    for (const Shape& shape : elementwise_shapes)
        for (const DType dtype : {f32, bf16, DType::i32})
            for (const int64_t gap : elementwise_gaps)
                for (const double value : {0.0, 3.0}) {
                    Pair y = room(shape, dtype, gap);
                    cuda->fill({.y = y.device, .value = value});
                    for (int64_t i = 0; i < y.host.size(); ++i) test::set(y.host, i, value);
                    EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, y.device), y.host), 0) << shape.text();
                }
}

TEST_F(CudaElementwise, CopiesAndConverts) {
    for (const Shape& shape : elementwise_shapes)
        for (const DType from : {f32, bf16})
            for (const DType to : {f32, bf16})
                for (const int64_t gap : elementwise_gaps) {
                    const Pair x = values(shape, from, gap), y = room(shape, to, gap == 3 ? 0 : gap);
                    cuda->copy({.x = x.device, .y = y.device});
                    const Tensor expected = test::converted(*cpu, x.host, to);
                    EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, y.device), expected), 0)
                        << shape.text() << " " << name_of(from) << " to " << name_of(to) << " gap " << gap;
                }
    const Pair x = integers({7, 13}, 1 << 30, 2), y = integers({7, 13}, 5);
    cuda->copy({.x = x.device, .y = y.device});
    expect_equal(x.device, y.device, "integers");
}

TEST_F(CudaElementwise, LeavesTheGapsAlone) {
    const Tensor wide = test::to_device(*cuda, test::random_tensor(*cpu, {5, 30}, DType::f64, random), f32);
    const Tensor before = test::to_host(*cpu, *cuda, wide);
    cuda->fill({.y = wide.columns(10, 9), .value = 1});
    const Tensor after = test::to_host(*cpu, *cuda, wide);
    for (int64_t i = 0; i < wide.size(); ++i)
        EXPECT_EQ(test::get(after, i), i % 30 >= 10 && i % 30 < 19 ? 1.0 : test::get(before, i)) << i;
}

TEST_F(CudaElementwise, AddsAnyMixture) {
    for (const Shape& shape : elementwise_shapes)
        for (const DType a : {f32, bf16})
            for (const DType b : {f32, bf16})
                for (const DType c : {f32, bf16})
                    for (const int64_t gap : elementwise_gaps) {
                        const Pair x1 = values(shape, a, gap), x2 = values(shape, b);
                        Pair y = room(shape, c, gap);
                        cuda->add({.x1 = x1.device, .x2 = x2.device, .y = y.device});
                        cpu->add({.x1 = x1.host, .x2 = x2.host, .y = y.host});
                        expect_close(y, shape.text() + " " + name_of(a) + " + " + name_of(b) + " = " + name_of(c),
                                     1e-7);
                    }
    const Pair x = values({3, 50}, f32);
    Pair y = values({3, 50}, f32);
    cuda->add({.x1 = y.device, .x2 = x.device, .y = y.device});
    cpu->add({.x1 = y.host, .x2 = x.host, .y = y.host});
    expect_close(y, "in place", 1e-7);
}

TEST_F(CudaElementwise, Shifts) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t gap : elementwise_gaps)
            for (const Shape& shape :
                 {Shape{1, 1, 1}, Shape{2, 3, 5}, Shape{3, 17, 8}, Shape{2, 100, 64}, Shape{1, 1, 24}}) {
                const Pair x = values(shape, dtype, gap), y = room(shape, dtype), back = room(shape, dtype, gap);
                cuda->shift_forward({.x = x.device, .y = y.device});
                cpu->shift_forward({.x = x.host, .y = y.host});
                EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, y.device), y.host), 0) << shape.text();
                cuda->shift_backward({.dy = x.device, .dx = back.device});
                cpu->shift_backward({.dy = x.host, .dx = back.host});
                EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, back.device), back.host), 0) << shape.text();
            }
}

TEST_F(CudaElementwise, Gelu) {
    everywhere([&](const Shape& shape, DType dtype, int64_t gap) {
        // From far in one tail to far in the other.
        const Pair x = values(shape, dtype, gap, 3), dy = values(shape, dtype, gap);
        Pair y = room(shape, dtype, gap), dx = room(shape, dtype);
        cuda->gelu_forward({.x = x.device, .y = y.device});
        cpu->gelu_forward({.x = x.host, .y = y.host});
        // The error function's polynomial is within 1.5e-7 of values that are small in one tail.
        if (test::dot(y.host, y.host) > 1e-3) expect_close(y, "forward");
        cuda->gelu_backward({.x = x.device, .dy = dy.device, .dx = dx.device});
        cpu->gelu_backward({.x = x.host, .dy = dy.host, .dx = dx.host});
        if (test::dot(dx.host, dx.host) > 1e-3) expect_close(dx, "backward");
    });
    const Pair far = values({1, 64}, f32, 0, 1, -40);
    const Pair y = room({1, 64}, f32);
    cuda->gelu_forward({.x = far.device, .y = y.device});
    EXPECT_LE(test::max_difference(test::to_host(*cpu, *cuda, y.device), cpu->zeros({1, 64}, DType::f64)), 1e-20);
}

TEST_F(CudaElementwise, Glu) {
    everywhere([&](const Shape& shape, DType dtype, int64_t gap) {
        std::vector<int64_t> twice;
        for (int i = 0; i < shape.rank(); ++i) twice.push_back(shape[i]);
        twice.back() *= 2;
        const Pair x = values(Shape(twice), dtype, gap), dy = values(shape, dtype, gap);
        Pair y = room(shape, dtype, gap), dx = room(Shape(twice), dtype, gap);
        cuda->glu_forward({.x = x.device, .y = y.device});
        cpu->glu_forward({.x = x.host, .y = y.host});
        expect_close(y, "forward");
        cuda->glu_backward({.x = x.device, .dy = dy.device, .dx = dx.device});
        cpu->glu_backward({.x = x.host, .dy = dy.host, .dx = dx.host});
        expect_close(dx, "backward");
        const Pair wide = values(shape, f32);
        cuda->glu_backward({.x = x.device, .dy = wide.device, .dx = dx.device});
        cpu->glu_backward({.x = x.host, .dy = wide.host, .dx = dx.host});
        expect_close(dx, "backward from float32");
    });
}

TEST_F(CudaElementwise, Gate) {
    everywhere([&](const Shape& shape, DType dtype, int64_t gap) {
        const Pair x = values(shape, dtype, gap), z = values(shape, dtype, gap, 4), dy = values(shape, dtype);
        Pair y = room(shape, dtype, gap), dx = room(shape, dtype, gap), dz = room(shape, dtype);
        cuda->gate_forward({.x = x.device, .z = z.device, .y = y.device});
        cpu->gate_forward({.x = x.host, .z = z.host, .y = y.host});
        expect_close(y, "forward");
        cuda->gate_backward({.x = x.device, .z = z.device, .dy = dy.device, .dx = dx.device, .dz = dz.device});
        cpu->gate_backward({.x = x.host, .z = z.host, .dy = dy.host, .dx = dx.host, .dz = dz.host});
        expect_close(dx, "dx");
        expect_close(dz, "dz");
    });
    // In place, and where the exponential overflows.
    Pair x = values({4, 40}, f32), z = values({4, 40}, f32, 0, 1, -200), dy = values({4, 40}, f32),
         dz = room({4, 40}, f32);
    cuda->gate_backward({.x = x.device, .z = z.device, .dy = dy.device, .dx = dy.device, .dz = dz.device});
    for (const Tensor& t : {dy.device, dz.device})
        EXPECT_LE(test::max_difference(test::to_host(*cpu, *cuda, t), cpu->zeros({4, 40}, DType::f64)), 1e-20);
}

TEST_F(CudaElementwise, Product) {
    everywhere([&](const Shape& shape, DType dtype, int64_t gap) {
        const Pair x1 = values(shape, dtype, gap), x2 = values(shape, dtype), dy = values(shape, dtype, gap);
        Pair y = room(shape, dtype, gap), dx1 = room(shape, dtype), dx2 = room(shape, dtype, gap);
        cuda->product_forward({.x1 = x1.device, .x2 = x2.device, .y = y.device});
        cpu->product_forward({.x1 = x1.host, .x2 = x2.host, .y = y.host});
        expect_close(y, "forward");
        cuda->product_backward(
            {.x1 = x1.device, .x2 = x2.device, .dy = dy.device, .dx1 = dx1.device, .dx2 = dx2.device});
        cpu->product_backward({.x1 = x1.host, .x2 = x2.host, .dy = dy.host, .dx1 = dx1.host, .dx2 = dx2.host});
        expect_close(dx1, "dx1");
        expect_close(dx2, "dx2");
    });
}

TEST_F(CudaElementwise, NegativeExp) {
    for (const Shape& shape : elementwise_shapes)
        for (const int64_t gap : elementwise_gaps) {
            const Pair x = values(shape, f32, gap), dy = values(shape, f32);
            Pair y = room(shape, f32, gap), dx = values(shape, f32, gap);
            cuda->negative_exp_forward({.x = x.device, .y = y.device});
            cpu->negative_exp_forward({.x = x.host, .y = y.host});
            expect_close(y, "forward");
            cuda->negative_exp_backward({.y = y.device, .dy = dy.device, .dx = dx.device});
            cpu->negative_exp_backward({.y = y.host, .dy = dy.host, .dx = dx.host});
            expect_close(dx, "backward");
        }
}

}  // namespace
}  // namespace nigiri
