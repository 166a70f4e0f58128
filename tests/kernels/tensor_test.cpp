#include "kernels/tensor.h"

#include <gtest/gtest.h>

#include "kernels/backend.h"

namespace nigiri {
namespace {

TEST(Tensor, ColumnsAreAViewOfTheSameMemory) {
    const auto backend = make_backend("cpu");
    const Tensor t = backend->allocate({2, 3, 4}, DType::f32);
    for (size_t i = 0; i < 24; ++i) t.span<float>()[i] = static_cast<float>(i);
    const Tensor c = t.columns(1, 2);
    EXPECT_EQ(c.shape(), (Shape{2, 3, 2}));
    EXPECT_EQ(c.view().row<float>(5)[1], 22);
    EXPECT_EQ(c.reshaped({6, 2}).view().row<float>(4)[0], 17);
    EXPECT_THROW(c.reshaped({12}), Error);
    EXPECT_THROW(t.columns(3, 2), Error);
    EXPECT_THROW(t.as<double>(), Error);
}

TEST(Backend, ReusesTheMemoryOfReleasedTensors) {
    const auto backend = make_backend("cpu");
    void* first = nullptr;
    {
        const Tensor t = backend->allocate({100}, DType::f32);
        first = t.as<float>();
        EXPECT_TRUE(t.unique());
        const Tensor shared = t;
        EXPECT_FALSE(t.unique());
        EXPECT_GE(backend->bytes_in_use(), 400u);
    }
    EXPECT_EQ(backend->bytes_in_use(), 0u);
    EXPECT_EQ(backend->allocate({100}, DType::f32).as<float>(), first);
    EXPECT_GE(backend->peak_bytes(), 400u);
}

TEST(Backend, RefusesADeviceThatIsNotThere) { EXPECT_THROW(make_backend("abacus"), Error); }

}  // namespace
}  // namespace nigiri
