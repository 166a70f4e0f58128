#include "tests/cuda/support.h"

namespace nigiri {
namespace {

using test::Cuda;

TEST_F(Cuda, UploadsAndDownloadsEveryType) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i32}) {
        const Tensor host = cpu->allocate({3, 5}, DType::f64);
        for (int64_t i = 0; i < host.size(); ++i) test::set(host, i, static_cast<double>(i) - 7);
        const Tensor there = test::to_device(*cuda, host, dtype);
        EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, there), host), 0) << name_of(dtype);
    }
}

TEST_F(Cuda, ReusesBlocksAndCountsThem) {
    const size_t before = cuda->bytes_in_use();
    const void* first = nullptr;
    {
        const Tensor t = cuda->allocate({1000}, DType::f32);
        first = t.view().data;
        EXPECT_GE(cuda->bytes_in_use(), before + 4000);
    }
    EXPECT_EQ(cuda->bytes_in_use(), before);
    EXPECT_EQ(cuda->allocate({1000}, DType::f32).view().data, first);
}

TEST_F(Cuda, DeclinesFloat64) { EXPECT_FALSE(cuda->supports(DType::f64)); }

}  // namespace
}  // namespace nigiri
