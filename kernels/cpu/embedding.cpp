#include "kernels/embedding.h"

#include <cstring>
#include <string>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace nigiri {

using namespace cpu;

namespace {

void check_tokens(const View& tokens, int64_t vocabulary) {
    const Elements<const int32_t> token(tokens);
    for (int64_t i = 0; i < tokens.size(); ++i)
        if (token[i] < 0 || token[i] >= vocabulary)
            throw Error("token " + std::to_string(token[i]) + " at position " + std::to_string(i) +
                            " is outside the vocabulary of " + std::to_string(vocabulary),
                        "quantise the input with the levels the model was trained with");
}

template <class T>
void add_rows(const EmbeddingBackward& op, int64_t begin, int64_t end) {
    const Elements<const int32_t> token(op.tokens);
    for (int64_t i = 0; i < op.tokens.size(); ++i) {
        const T* from = op.dy.row<T>(i);
        T* to = op.dtable.row<T>(token[i]);
        for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
}

}  // namespace

void CpuBackend::embedding_forward(const EmbeddingForward& op) {
    const int64_t columns = op.table.columns();
    require(op.y.columns() == columns && op.y.rows() == op.tokens.size() && op.y.dtype == op.table.dtype,
            "embedding_forward", "tokens (B, L), table (V, D), y (B, L, D)");
    check_tokens(op.tokens, op.table.rows());
    const Elements<const int32_t> token(op.tokens);
    dispatch(op.y.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_ranges(threads(), op.y.rows(), 1, op.y.size(), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                std::memcpy(op.y.row<T>(i), op.table.row<T>(token[i]), static_cast<size_t>(columns) * sizeof(T));
        });
    });
}

void CpuBackend::embedding_backward(const EmbeddingBackward& op) {
    require(
        op.dy.columns() == op.dtable.columns() && op.dy.rows() == op.tokens.size() && op.dy.dtype == op.dtable.dtype,
        "embedding_backward", "tokens (B, L), dy (B, L, D), dtable (V, D)");
    check_tokens(op.tokens, op.dtable.rows());
    // Threads own columns (whole cache lines of them), so every sum runs over the positions in order. Tokens
    // would be shared out badly: most samples of audio lie near the middle of the scale.
    dispatch(op.dy.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_ranges(threads(), op.dtable.columns(), 16, op.dy.size(),
                        [&](int64_t begin, int64_t end) { add_rows<T>(op, begin, end); });
    });
}

}  // namespace nigiri
