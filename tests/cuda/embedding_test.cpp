#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaEmbedding : public CudaPairs {
  protected:
    Tensor check(int64_t batch, int64_t length, int64_t vocabulary, int64_t columns, DType dtype, int64_t gap) {
        SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(length) + ", " + std::to_string(vocabulary) +
                     " codes of " + std::to_string(columns) + " " + name_of(dtype) + " gap " + std::to_string(gap));
        const Pair tokens = integers({batch, length}, vocabulary, gap), table = values({vocabulary, columns}, f32);
        const Shape shape{batch, length, columns};
        Pair y = room(shape, dtype, gap), dtable = values({vocabulary, columns}, f32);
        const Pair dy = values(shape, dtype, gap);
        cuda->embedding_forward({.tokens = tokens.device, .table = table.device, .y = y.device});
        cpu->embedding_forward({.tokens = tokens.host, .table = table.host, .y = y.host});
        expect_close(y, "y", 0);
        cuda->embedding_backward({.tokens = tokens.device, .dy = dy.device, .dtable = dtable.device});
        cpu->embedding_backward({.tokens = tokens.host, .dy = dy.host, .dtable = dtable.host});
        expect_close(dtable, "dtable");
        return dtable.device;
    }
};

TEST_F(CudaEmbedding, AgreesWithFloat64) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t gap : {0, 3})
            for (const int64_t columns : {1, 6, 64, 65, 130})
                for (const int64_t length : {1, 3, 31, 32, 33, 500})
                    check(2, length, length % 2 ? 11 : 256, columns, dtype, gap);
    check(1, 3000, 5000, 20, f32, 0);  // more codes than shared memory holds sums of
}

TEST_F(CudaEmbedding, RepeatsItself) {
    random = Random(5);
    const Tensor a = check(4, 20000, 256, 64, f32, 0);
    random = Random(5);
    expect_equal(a, check(4, 20000, 256, 64, f32, 0), "dtable");
}

TEST_F(CudaEmbedding, ShowsACodeOutsideTheVocabulary) {
    const Pair table = values({4, 8}, f32), tokens = integers({1, 3}, 4), y = room({1, 3, 8}, f32);
    const int32_t codes[] = {1, 4, -2};
    cuda->upload(codes, tokens.device);
    cuda->embedding_forward({.tokens = tokens.device, .table = table.device, .y = y.device});
    const Tensor host = test::to_host(*cpu, *cuda, y.device);
    EXPECT_FALSE(std::isnan(test::get(host, 0)));
    EXPECT_TRUE(std::isnan(test::get(host, 8)));
    EXPECT_TRUE(std::isnan(test::get(host, 16)));
    const Pair dtable = values({4, 8}, f32);
    cuda->embedding_backward(
        {.tokens = tokens.device, .dy = y.device, .dtable = dtable.device});  // stays within its memory
    cuda->synchronize();
}

}  // namespace
}  // namespace nigiri
