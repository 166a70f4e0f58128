#include "kernels/implicit_filter.h"

#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaImplicitFilter : public CudaPairs {};

TEST_F(CudaImplicitFilter, Features) {
    for (const int64_t rows : {1, 5, 300})
        for (const int64_t bands : {1, 2, 16})
            for (const int64_t first : {0, 70'001}) {
                Pair y = room({rows, 1 + 2 * bands}, f32, 2);
                cuda->filter_features({.first = first, .unit = 250, .y = y.device});
                cpu->filter_features({.first = first, .unit = 250, .y = y.host});
                expect_close(y, std::to_string(rows) + " from " + std::to_string(first));
            }
}

TEST_F(CudaImplicitFilter, Sines) {
    for (const int64_t rows : {1, 3, 255, 256, 257, 3000})
        for (const int64_t columns : {1, 7, 64, 300})
            for (const int64_t gap : {0, 3}) {
                const std::string what = std::to_string(rows) + " x " + std::to_string(columns);
                const Pair x = values({rows, columns}, f32, gap), frequency = values({columns}, f32),
                           dy = values({rows, columns}, f32);
                Pair y = room({rows, columns}, f32), dx = room({rows, columns}, f32, gap), sum = values({columns}, f32);
                cuda->filter_sine_forward({.x = x.device, .frequency = frequency.device, .y = y.device});
                cpu->filter_sine_forward({.x = x.host, .frequency = frequency.host, .y = y.host});
                expect_close(y, what + " forward");
                cuda->filter_sine_backward({.x = x.device,
                                            .frequency = frequency.device,
                                            .dy = dy.device,
                                            .dx = dx.device,
                                            .dfrequency = sum.device});
                cpu->filter_sine_backward(
                    {.x = x.host, .frequency = frequency.host, .dy = dy.host, .dx = dx.host, .dfrequency = sum.host});
                expect_close(dx, what + " dx");
                expect_close(sum, what + " dfrequency", 3e-6, size_of_sums(columns, rows));
            }
}

TEST_F(CudaImplicitFilter, Window) {
    for (const int64_t length : {1, 9, 300})
        for (const int64_t channels : {1, 5, 64})
            for (const bool from : {false, true})
                for (const bool to : {false, true}) {
                    const Pair x = from ? values({channels, length}, f32, 3) : values({length, channels}, f32, 3);
                    Pair y = to ? room({channels, length}, f32) : room({length, channels}, f32);
                    cuda->filter_window(
                        {.first = 11, .unit = 50, .x = x.device, .y = y.device, .from_kernel = from, .to_kernel = to});
                    cpu->filter_window(
                        {.first = 11, .unit = 50, .x = x.host, .y = y.host, .from_kernel = from, .to_kernel = to});
                    expect_close(y, std::to_string(length) + " x " + std::to_string(channels));
                }
}

}  // namespace
}  // namespace nigiri
