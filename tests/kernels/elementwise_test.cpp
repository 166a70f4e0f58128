#include <gtest/gtest.h>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::get;

class Elementwise : public ::testing::TestWithParam<DType> {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
};

// Shapes that leave parts of vectors, one that is shared between threads, one without rows.
const std::vector<Shape> elementwise_shapes = {{1}, {3}, {16}, {33}, {2, 5, 17}, {3, 1, 64}, {301, 129}, {0, 4}};

TEST_P(Elementwise, FillsViewsWithGapsAndNothingBeside) {
    for (const Shape& shape : elementwise_shapes) {
        SCOPED_TRACE(shape.text());
        for (const double value : {0.0, 2.0}) {
            std::vector<int64_t> extents;
            for (int i = 0; i < shape.rank(); ++i) extents.push_back(shape[i]);
            extents.back() += 5;
            const Tensor wide = backend->allocate(Shape(extents), GetParam());
            backend->fill({.y = wide, .value = 7});
            backend->fill({.y = wide.columns(3, shape.columns()), .value = value});
            for (int64_t i = 0; i < wide.size(); ++i) {
                const int64_t c = i % wide.columns();
                ASSERT_EQ(get(wide, i), c >= 3 && c < 3 + shape.columns() ? value : 7);
            }
        }
    }
}

TEST_P(Elementwise, Copies) {
    for (const Shape& shape : elementwise_shapes) {
        SCOPED_TRACE(shape.text());
        const Tensor x = test::random_strided(*backend, shape, GetParam(), random, 100);
        const Tensor y = backend->zeros(shape, GetParam()),
                     z = test::random_strided(*backend, shape, GetParam(), random);
        backend->copy({.x = x, .y = y});
        backend->copy({.x = y, .y = z});
        EXPECT_EQ(test::max_difference(z, x), 0);
    }
    const Tensor x = backend->zeros({3}, GetParam()), y = backend->zeros({4}, GetParam());
    EXPECT_THROW(backend->copy({.x = x, .y = y}), Error);
}

TEST_P(Elementwise, AddsAlsoInPlace) {
    if (GetParam() == DType::i32) {
        const Tensor x = backend->zeros({3}, DType::i32);
        EXPECT_THROW(backend->add({.x1 = x, .x2 = x, .y = x}), Error);
        return;
    }
    for (const Shape& shape : elementwise_shapes) {
        SCOPED_TRACE(shape.text());
        const Tensor a = test::random_strided(*backend, shape, GetParam(), random);
        const Tensor b = test::random_tensor(*backend, shape, GetParam(), random);
        const Tensor y = backend->allocate(shape, GetParam());
        backend->add({.x1 = a, .x2 = b, .y = y});
        for (int64_t i = 0; i < y.size(); ++i) {
            const double sum = get(a, i) + get(b, i);
            ASSERT_EQ(get(y, i), GetParam() == DType::f32 ? static_cast<float>(sum) : sum);
        }
        backend->add({.x1 = a, .x2 = b, .y = a});
        EXPECT_EQ(test::max_difference(a, y), 0);
    }
}

TEST_P(Elementwise, ShiftMovesEverySequenceByOneStep) {
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 1, 5}, Shape{2, 7, 3}, Shape{3, 500, 33}}) {
        SCOPED_TRACE(shape.text());
        const int64_t length = shape[1], columns = shape[2];
        const Tensor x = test::random_strided(*backend, shape, GetParam(), random, 100);
        const Tensor y = test::random_strided(*backend, shape, GetParam(), random),
                     dx = backend->zeros(shape, GetParam());
        backend->shift_forward({.x = x, .y = y});
        backend->shift_backward({.dy = x, .dx = dx});
        for (int64_t i = 0; i < x.size(); ++i) {
            const int64_t l = i / columns % length;
            ASSERT_EQ(get(y, i), l == 0 ? 0 : get(x, i - columns));
            ASSERT_EQ(get(dx, i), l == length - 1 ? 0 : get(x, i + columns));
        }
    }
    const Tensor x = backend->zeros({2, 3, 4}, GetParam());
    EXPECT_THROW(backend->shift_forward({.x = x, .y = x}), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, Elementwise, ::testing::Values(DType::f32, DType::f64, DType::i32),
                         [](const auto& type) { return name_of(type.param); });

}  // namespace
}  // namespace nigiri
