#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaLinear : public CudaPairs {
  protected:
    // The judge multiplies what the device multiplies: bf16 products see the weight rounded.
    Pair weights(int64_t n, int64_t k, DType x) {
        const Pair w = values({n, k}, x);
        return {w.host, test::to_device(*cuda, w.host, f32)};
    }
    static double tolerance(int64_t terms) { return 1e-6 + 1e-7 * std::sqrt(static_cast<double>(terms)); }

    // x of type `in`; y and dy of type `out`.
    std::vector<Tensor> check(int64_t m, int64_t n, int64_t k, DType in, DType out, int64_t gap) {
        SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + " " + name_of(in) +
                     " to " + name_of(out) + " gap " + std::to_string(gap));
        const Pair x = values({m, k}, in, gap), weight = weights(n, k, in), bias = values({n}, in);
        const Pair float_bias{bias.host, test::to_device(*cuda, bias.host, f32)};
        const Pair residual = values({m, n}, out, gap);
        for (const bool with_bias : {false, true})
            for (const int mode : {0, 1, 2}) {  // plain, accumulate, residual
                Pair y = values({m, n}, out, gap);
                cuda->linear_forward({.x = x.device,
                                      .weight = weight.device,
                                      .bias = with_bias ? float_bias.device.view() : View{},
                                      .y = y.device,
                                      .accumulate = mode == 1,
                                      .residual = mode == 2 ? residual.device.view() : View{}});
                cpu->linear_forward({.x = x.host,
                                     .weight = weight.host,
                                     .bias = with_bias ? bias.host.view() : View{},
                                     .y = y.host,
                                     .accumulate = mode == 1,
                                     .residual = mode == 2 ? residual.host.view() : View{}});
                expect_close(y, "y, bias " + std::to_string(with_bias) + ", mode " + std::to_string(mode), tolerance(k),
                             size_of_sums(m * n, k + 2));
            }
        // The gradient is rounded on its way into bf16 products; here it is so already.
        const Pair narrow = values({m, n}, in, gap);
        const Pair dy{narrow.host, test::to_device(*cuda, narrow.host, out, gap)};
        Pair dx = room({m, k}, in, gap), dweight = values({n, k}, f32), dbias = values({n}, f32);
        cuda->linear_backward({.x = x.device,
                               .weight = weight.device,
                               .dy = dy.device,
                               .dx = dx.device,
                               .dweight = dweight.device,
                               .dbias = dbias.device});
        cpu->linear_backward({.x = x.host,
                              .weight = weight.host,
                              .dy = dy.host,
                              .dx = dx.host,
                              .dweight = dweight.host,
                              .dbias = dbias.host});
        expect_close(dx, "dx", tolerance(n), size_of_sums(m * k, n));
        expect_close(dweight, "dweight", tolerance(m), size_of_sums(n * k, m));
        expect_close(dbias, "dbias", tolerance(m), size_of_sums(n, m));
        Pair alone = values({n, k}, f32);
        cuda->linear_backward(
            {.x = x.device, .weight = weight.device, .dy = dy.device, .dx = {}, .dweight = alone.device, .dbias = {}});
        cpu->linear_backward(
            {.x = x.host, .weight = weight.host, .dy = dy.host, .dx = {}, .dweight = alone.host, .dbias = {}});
        expect_close(alone, "dweight alone", tolerance(m), size_of_sums(n * k, m));
        return {dx.device, dweight.device, dbias.device};
    }
};

const std::pair<DType, DType> linear_types[] = {{f32, f32}, {bf16, bf16}, {bf16, f32}};

TEST_F(CudaLinear, AgreesWithFloat64) {
    for (const auto& [in, out] : linear_types)
        for (const int64_t m : {1, 2, 3, 7, 17, 64, 129})
            for (const int64_t n : {1, 3, 8, 36, 65})
                for (const int64_t k : {1, 4, 7, 16, 64, 129}) check(m, n, k, in, out, m == 7 ? 3 : m == 64 ? 8 : 0);
}

TEST_F(CudaLinear, OfManyRows) {
    for (const auto& [in, out] : linear_types)
        for (const int64_t gap : {0, 8}) {
            check(20011, 36, 40, in, out, gap);  // slabs and a rest
            check(8192, 128, 64, in, out, gap);
            check(3000, 256, 257, in, out, gap);
        }
}

// The shapes of a network's stages, which have kernels of their own: input, delta, step and output maps of
// Mamba, and those of S4 and MLP. Rows beside whole tiles; operands that are columns of wider tensors,
// 16-byte aligned or not.
TEST_F(CudaLinear, OfTheShapesOfALayer) {
    for (const auto& [k, n] : std::vector<std::pair<int64_t, int64_t>>{
             {64, 256}, {128, 36}, {4, 128}, {128, 64}, {64, 128}, {256, 40}, {8, 256}, {16, 512}, {60, 100}, {30, 30}})
        for (const DType out : {bf16, f32})
            for (const int64_t m : {1024, 1151})
                for (const int64_t gap : {0, 3, 8}) check(m, n, k, bf16, out, m == 1024 ? 0 : gap);
}

TEST_F(CudaLinear, TakesRoundedWeights) {
    const Pair x = values({300, 64}, bf16), weight = values({36, 64}, bf16), bias = values({36}, bf16),
               dy = values({300, 36}, bf16);
    Pair y = room({300, 36}, bf16), dx = room({300, 64}, bf16), dweight = values({36, 64}, f32);
    cuda->linear_forward({.x = x.device, .weight = weight.device, .bias = bias.device, .y = y.device});
    cpu->linear_forward({.x = x.host, .weight = weight.host, .bias = bias.host, .y = y.host});
    expect_close(y, "y");
    cuda->linear_backward(
        {.x = x.device, .weight = weight.device, .dy = dy.device, .dx = dx.device, .dweight = dweight.device});
    cpu->linear_backward({.x = x.host, .weight = weight.host, .dy = dy.host, .dx = dx.host, .dweight = dweight.host});
    expect_close(dx, "dx");
    expect_close(dweight, "dweight");
}

TEST_F(CudaLinear, TakesThreeAxesAndNoRows) {
    const Pair x = values({2, 3, 5}, f32), weight = values({4, 5}, f32);
    Pair y = room({2, 3, 4}, f32);
    cuda->linear_forward({.x = x.device, .weight = weight.device, .y = y.device});
    cpu->linear_forward({.x = x.host, .weight = weight.host, .y = y.host});
    expect_close(y, "three axes");
    const Tensor none = cuda->allocate({0, 5}, f32), empty = cuda->allocate({0, 4}, f32);
    EXPECT_NO_THROW(cuda->linear_forward({.x = none, .weight = weight.device, .y = empty}));
    EXPECT_NO_THROW(
        cuda->linear_backward({.x = none, .weight = weight.device, .dy = empty, .dx = none, .dweight = weight.device}));
    expect_equal(weight.device, test::to_device(*cuda, weight.host, f32), "a gradient of no rows");
}

TEST_F(CudaLinear, RepeatsItself) {
    for (const auto& [in, out] : linear_types)
        for (const auto& [k, n] : {std::pair<int64_t, int64_t>{64, 256}, {128, 36}, {4, 128}, {256, 1024}}) {
            const int64_t m = 20000;
            const Pair x = values({m, k}, in), dy = values({m, n}, out), weight = weights(n, k, in);
            std::vector<Tensor> results[2];
            for (auto& r : results) {
                const Tensor y = cuda->allocate({m, n}, out), dx = cuda->allocate({m, k}, in);
                const Tensor dweight = cuda->zeros({n, k}, f32), dbias = cuda->zeros({n}, f32);
                cuda->linear_forward({.x = x.device, .weight = weight.device, .y = y});
                cuda->linear_backward({.x = x.device,
                                       .weight = weight.device,
                                       .dy = dy.device,
                                       .dx = dx,
                                       .dweight = dweight,
                                       .dbias = dbias});
                r = {y, dx, dweight, dbias};
            }
            for (size_t i = 0; i < results[0].size(); ++i)
                expect_equal(results[0][i], results[1][i], "result " + std::to_string(i));
        }
}

TEST_F(CudaLinear, RoundsAGradientOnItsWay) {
    const Pair x = values({300, 24}, bf16), weight = weights(12, 24, bf16), dy = values({300, 12}, f32);
    Pair dx = room({300, 24}, bf16), dweight = values({12, 24}, f32), dbias = values({12}, f32);
    cuda->linear_backward({.x = x.device,
                           .weight = weight.device,
                           .dy = dy.device,
                           .dx = dx.device,
                           .dweight = dweight.device,
                           .dbias = dbias.device});
    cpu->linear_backward({.x = x.host,
                          .weight = weight.host,
                          .dy = dy.host,
                          .dx = dx.host,
                          .dweight = dweight.host,
                          .dbias = dbias.host});
    expect_close(dx, "dx");
    expect_close(dweight, "dweight", 3e-3);  // of the rounded gradient
    expect_close(dbias, "dbias", 3e-3);
}

}  // namespace
}  // namespace nigiri
