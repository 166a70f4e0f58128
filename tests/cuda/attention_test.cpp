#include "kernels/attention.h"

#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaAttention : public CudaPairs {
  protected:
    std::vector<Tensor> check(const Shape& shape, int64_t heads, DType dtype, int64_t gap) {
        SCOPED_TRACE(shape.text() + " heads " + std::to_string(heads) + " " + name_of(dtype) + " gap " +
                     std::to_string(gap));
        const auto given = [&] { return values(shape, dtype, gap); };
        const Pair q = given(), k = given(), v = given(), dy = given();
        Pair y = room(shape, dtype), sums = room({shape[0], shape[1], heads}, f32), dq = room(shape, dtype, gap),
             dk = room(shape, dtype, gap), dv = room(shape, dtype);
        cuda->attention_forward(
            {.heads = heads, .q = q.device, .k = k.device, .v = v.device, .y = y.device, .log_sums = sums.device});
        cpu->attention_forward(
            {.heads = heads, .q = q.host, .k = k.host, .v = v.host, .y = y.host, .log_sums = sums.host});
        // Weights are rounded to bfloat16 as well as the result: twice 2^-8, averaged over the keys.
        expect_close(y, "y", 5e-6);
        expect_close(sums, "sums", 5e-6);
        // What the backward pass is given is what the forward pass of the device gave, or the judge's own.
        cuda->attention_backward({.heads = heads,
                                  .q = q.device,
                                  .k = k.device,
                                  .v = v.device,
                                  .y = y.device,
                                  .log_sums = sums.device,
                                  .dy = dy.device,
                                  .dq = dq.device,
                                  .dk = dk.device,
                                  .dv = dv.device});
        cpu->attention_backward({.heads = heads,
                                 .q = q.host,
                                 .k = k.host,
                                 .v = v.host,
                                 .y = y.host,
                                 .log_sums = sums.host,
                                 .dy = dy.host,
                                 .dq = dq.host,
                                 .dk = dk.host,
                                 .dv = dv.host});
        // Slopes are differences: what is rounded away is measured by what they are differences of.
        const double size = size_of_sums(shape.size(), 1), narrow = dtype == bf16 ? 4 : 1;
        expect_close(dq, "dq", 1e-5, narrow * size);
        expect_close(dk, "dk", 1e-5, narrow * size);
        expect_close(dv, "dv", 1e-5, narrow * size);
        return {y.device, dq.device, dk.device, dv.device};
    }
};

TEST_F(CudaAttention, AgreesWithFloat64) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t length : {1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 129, 257})
            for (const auto& [width, heads] :
                 std::vector<std::pair<int64_t, int64_t>>{{6, 2}, {8, 1}, {64, 8}, {96, 3}})
                check({2, length, width}, heads, dtype, width == 64 ? 8 : width == 6 ? 3 : 0);
}

// Longer than what is computed at once: several blocks of rows, the last one shorter.
TEST_F(CudaAttention, OfLongSequencesInBlocks) {
    for (const DType dtype : {f32, bf16}) check({1, 2500, 32}, 16, dtype, 0);
}

TEST_F(CudaAttention, RepeatsItselfBitForBit) {
    for (const DType dtype : {f32, bf16}) {
        Random before = random;
        const auto one = check({3, 300, 64}, 8, dtype, 0);
        random = before;
        const auto two = check({3, 300, 64}, 8, dtype, 0);
        for (size_t i = 0; i < one.size(); ++i) expect_equal(one[i], two[i], "result " + std::to_string(i));
    }
}

// Queries behind others, keys with room behind them.
TEST_F(CudaAttention, ContinuesASequence) {
    for (const DType dtype : {f32, bf16})
        for (const auto& [past, count] :
             std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 1}, {5, 3}, {100, 1}, {300, 40}, {2000, 2}})
            for (const auto& [width, heads] : std::vector<std::pair<int64_t, int64_t>>{{6, 2}, {64, 8}, {80, 2}}) {
                SCOPED_TRACE(std::to_string(count) + " after " + std::to_string(past) + ", width " +
                             std::to_string(width) + " " + name_of(dtype));
                const Pair q = values({2, count, width}, dtype, 3), k = values({2, past + count + 7, width}, dtype),
                           v = values({2, past + count + 7, width}, dtype, 2);
                Pair y = room({2, count, width}, dtype);
                cuda->attention_forward({.heads = heads,
                                         .q = q.device,
                                         .k = k.device,
                                         .v = v.device,
                                         .past = past,
                                         .y = y.device,
                                         .log_sums = {}});
                cpu->attention_forward(
                    {.heads = heads, .q = q.host, .k = k.host, .v = v.host, .past = past, .y = y.host, .log_sums = {}});
                expect_close(y, "y", 5e-6);
            }
}

}  // namespace
}  // namespace nigiri
