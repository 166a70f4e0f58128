#include "kernels/history_conv.h"

#include <gtest/gtest.h>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::get;

class HistoryConvolution : public ::testing::Test {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};
};

// Against long_conv, which is given the same kernel turned, and of which the last rows are compared.
TEST_F(HistoryConvolution, GivesTheLastRowsOfTheLongConvolution) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const int64_t channels : {1, 3, 15, 16, 17, 40})
            for (const auto& [past, count] :
                 std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 5}, {1, 1}, {31, 3}, {200, 1}}) {
                SCOPED_TRACE(std::string(name_of(dtype)) + ", " + std::to_string(channels) + " channels, " +
                             std::to_string(count) + " after " + std::to_string(past));
                const int64_t batch = 2, now = past + count, room = now + 3;
                const Tensor u = test::random_strided(*backend, {batch, room, channels}, dtype, random),
                             kernel = test::random_tensor(*backend, {room, channels}, dtype, random),
                             skip = test::random_tensor(*backend, {channels}, dtype, random),
                             y = backend->allocate({batch, count, channels}, dtype);
                backend->history_conv({.u = u, .kernel = kernel, .skip = skip, .past = past, .y = y});
                const Tensor turned = backend->allocate({channels, now}, DType::f64),
                             whole = backend->allocate({batch, now, channels}, DType::f64),
                             right = backend->allocate(whole.shape(), DType::f64);
                for (int64_t d = 0; d < channels; ++d)
                    for (int64_t j = 0; j < now; ++j) test::set(turned, d * now + j, get(kernel, j * channels + d));
                for (int64_t i = 0; i < whole.size(); ++i)
                    test::set(whole, i, get(u, i / (now * channels) * room * channels + i % (now * channels)));
                backend->long_conv_forward(
                    {.u = whole, .kernel = turned, .skip = test::converted(*backend, skip, DType::f64), .y = right});
                // float32 sums of up to 200 products of order one.
                const double tolerance = dtype == DType::f32 ? 1e-4 : 1e-12;
                for (int64_t i = 0; i < y.size(); ++i)
                    ASSERT_NEAR(get(y, i),
                                get(right, (i / (count * channels) * now + past) * channels + i % (count * channels)),
                                tolerance);
            }
}

TEST_F(HistoryConvolution, RefusesWhatIsTooShort) {
    const Tensor u = backend->zeros({1, 8, 4}, DType::f32), kernel = backend->zeros({8, 4}, DType::f32),
                 skip = backend->zeros({4}, DType::f32), y = backend->zeros({1, 1, 4}, DType::f32);
    EXPECT_THROW(backend->history_conv({.u = u, .kernel = kernel, .skip = skip, .past = 8, .y = y}), Error);
    EXPECT_THROW(backend->history_conv({.u = u, .kernel = kernel.columns(0, 3), .skip = skip, .past = 0, .y = y}),
                 Error);
}

}  // namespace
}  // namespace nigiri
