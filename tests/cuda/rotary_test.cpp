#include "kernels/rotary.h"

#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::CudaPairs;
using test::Pair;

class CudaRotary : public CudaPairs {};

TEST_F(CudaRotary, AgreesWithFloat64) {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const int64_t length : {1, 7, 257})
            for (const auto& [width, heads] :
                 std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {6, 2}, {15, 3}, {64, 8}, {128, 1}})
                for (const int64_t first : {0, 3, 1'000'003})
                    for (const bool inverse : {false, true}) {
                        const Pair x = values({2, length, width}, dtype, width == 64 ? 5 : 0);
                        Pair y = room({2, length, width}, dtype, 2);
                        cuda->rotary(
                            {.heads = heads, .x = x.device, .y = y.device, .first = first, .inverse = inverse});
                        cpu->rotary({.heads = heads, .x = x.host, .y = y.host, .first = first, .inverse = inverse});
                        expect_close(y, "width " + std::to_string(width) + " from " + std::to_string(first));
                        cuda->rotary(
                            {.heads = heads, .x = x.device, .y = x.device, .first = first, .inverse = inverse});
                        expect_equal(x.device, y.device, "in place");
                    }
}

}  // namespace
}  // namespace nigiri
