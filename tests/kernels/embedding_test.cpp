#include <gtest/gtest.h>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::get;

class Embedding : public ::testing::TestWithParam<DType> {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};

    // A window of longer rows, as a batch is cut out of a recording.
    Tensor tokens(int64_t batch, int64_t length, int64_t vocabulary) {
        const Tensor t = backend->allocate({batch, length + 3}, DType::i32);
        for (int64_t i = 0; i < t.size(); ++i)
            test::set(t, i, static_cast<double>(random.below(static_cast<uint64_t>(vocabulary))));
        return t.columns(1, length);
    }
};

TEST_P(Embedding, LooksUpRowsAndSumsTheirGradients) {
    for (const int64_t width : {1, 3, 16, 33, 64, 130})
        for (const int64_t length : {1, 7, 700}) {
            SCOPED_TRACE(std::to_string(width) + " wide, length " + std::to_string(length));
            const int64_t vocabulary = 11;
            const Tensor t = tokens(2, length, vocabulary),
                         table = test::random_strided(*backend, {vocabulary, width}, GetParam(), random);
            const Tensor y = test::random_strided(*backend, {2, length, width}, GetParam(), random);
            const Tensor dtable = test::random_strided(*backend, {vocabulary, width}, GetParam(), random);
            Tensor expected = test::converted(*backend, dtable, DType::f64);
            backend->embedding_forward({.tokens = t, .table = table, .y = y});
            backend->embedding_backward({.tokens = t, .dy = y, .dtable = dtable});
            for (int64_t i = 0; i < t.size(); ++i)
                for (int64_t c = 0; c < width; ++c) {
                    const auto token = static_cast<int64_t>(get(t, i));
                    ASSERT_EQ(get(y, i * width + c), get(table, token * width + c));
                    expected.view().row<double>(token)[c] += get(y, i * width + c);
                }
            // float32 adds up some 130 terms, of which a single sum may nearly cancel.
            EXPECT_LE(test::relative_error(dtable, expected), GetParam() == DType::f32 ? 4e-6 : 1e-13);
        }
}

TEST_P(Embedding, SumsDoNotDependOnTheNumberOfThreads) {
    const auto alone = make_backend("cpu", 1), many = make_backend("cpu", 3);
    const Tensor t = tokens(4, 900, 256), dy = test::random_tensor(*backend, {4, 900, 64}, GetParam(), random);
    const Tensor a = backend->zeros({256, 64}, GetParam()), b = backend->zeros({256, 64}, GetParam());
    alone->embedding_backward({.tokens = t, .dy = dy, .dtable = a});
    many->embedding_backward({.tokens = t, .dy = dy, .dtable = b});
    EXPECT_EQ(test::max_difference(a, b), 0);
}

TEST_P(Embedding, RefusesTokensOutsideTheTable) {
    const Tensor table = backend->zeros({5, 4}, GetParam()), y = backend->zeros({1, 3, 4}, GetParam());
    const Tensor t = backend->zeros({1, 3}, DType::i32);
    for (const int bad : {-1, 5, 2147483647}) {
        test::set(t, 1, bad);
        EXPECT_THROW(backend->embedding_forward({.tokens = t, .table = table, .y = y}), Error);
        EXPECT_THROW(backend->embedding_backward({.tokens = t, .dy = y, .dtable = table}), Error);
    }
    test::set(t, 1, 4);
    EXPECT_NO_THROW(backend->embedding_forward({.tokens = t, .table = table, .y = y}));
    EXPECT_THROW(backend->embedding_forward({.tokens = table, .table = table, .y = y}), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, Embedding, ::testing::Values(DType::f32, DType::f64),
                         [](const auto& type) { return name_of(type.param); });

}  // namespace
}  // namespace nigiri
