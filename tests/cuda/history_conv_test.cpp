#include "kernels/history_conv.h"

#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaHistoryConv : public CudaPairs {};

TEST_F(CudaHistoryConv, AgreesWithFloat64) {
    for (const auto& [past, count] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 5}, {1, 1}, {31, 3}, {200, 1}, {3000, 2}})
        for (const int64_t channels : {1, 3, 31, 32, 33, 100}) {
            const int64_t room_for = past + count + 5;
            const Pair u = values({2, room_for, channels}, f32, 3), kernel = values({room_for, channels}, f32),
                       skip = values({channels}, f32);
            Pair y = room({2, count, channels}, f32, 2);
            cuda->history_conv(
                {.u = u.device, .kernel = kernel.device, .skip = skip.device, .past = past, .y = y.device});
            cpu->history_conv({.u = u.host, .kernel = kernel.host, .skip = skip.host, .past = past, .y = y.host});
            expect_close(y, std::to_string(count) + " after " + std::to_string(past) + ", " + std::to_string(channels) +
                                " channels");
        }
}

}  // namespace
}  // namespace nigiri
