// Embedding. Forwards bound by the bytes of y; backwards by those of dy.
#include <algorithm>

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/map.cuh"
#include "kernels/embedding.h"

namespace nigiri {

using namespace cuda;

namespace {

template <class Y>
struct Lookup {
    Integers tokens;
    int64_t vocabulary;
    Rows<const float> table;
    Rows<Y> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        const int32_t token = tokens[row];
        float v[n];
#pragma unroll
        for (int i = 0; i < n; ++i) v[i] = __int_as_float(0x7fffffff);  // a code outside the vocabulary shows
        if (token >= 0 && token < vocabulary) load_vector<n>(table.at(token, column), v);
        store_vector<n>(y.at(row, column), v);
    }
};

constexpr int block_columns = 64, ahead = 32;

// A block takes a slab of rows and 64 columns; a thread owns a column, so that every sum runs over the rows
// in order without atomics. The sums of the slab, one row a code, stand in shared memory; `ahead` rows are
// loaded before the first of them is added. With `direct`, where the codes are too many for shared memory,
// one slab adds to dtable itself.
template <class T>
__global__ void __launch_bounds__(block_columns)
    backward_kernel(Integers tokens, int64_t rows, int64_t slab, int vocabulary, int64_t columns, Rows<const T> dy,
                    float* partial, Rows<float> direct) {
    extern __shared__ float shared[];
    const int64_t column = static_cast<int64_t>(blockIdx.y) * block_columns + threadIdx.x;
    const int64_t begin = blockIdx.x * slab, end = min(begin + slab, rows);
    const bool in_shared = direct.data == nullptr, exists = column < columns;
    if (in_shared)
        for (int v = 0; v < vocabulary; ++v) shared[v * block_columns + threadIdx.x] = 0;
    __shared__ int32_t codes[ahead];
    for (int64_t row = begin; row < end; row += ahead) {
        __syncthreads();
        if (threadIdx.x < ahead) codes[threadIdx.x] = row + threadIdx.x < end ? tokens[row + threadIdx.x] : -1;
        __syncthreads();
        float v[ahead];
#pragma unroll
        for (int i = 0; i < ahead; ++i) v[i] = exists && row + i < end ? load(dy.at(row + i, column)) : 0.0f;
#pragma unroll
        for (int i = 0; i < ahead; ++i) {
            const int32_t code = codes[i];
            if (code < 0 || code >= vocabulary) continue;
            if (in_shared)
                shared[code * block_columns + threadIdx.x] += v[i];
            else if (exists)
                *direct.at(code, column) += v[i];
        }
    }
    if (!in_shared || !exists) return;
    for (int v = 0; v < vocabulary; ++v)
        partial[(static_cast<int64_t>(blockIdx.x) * vocabulary + v) * columns + column] =
            shared[v * block_columns + threadIdx.x];
}

}  // namespace

void CudaBackend::embedding_forward(const EmbeddingForward& op) {
    constexpr const char* name = "embedding_forward";
    const int64_t columns = op.table.columns();
    require(op.y.columns() == columns && op.y.rows() == op.tokens.size() && op.table.dtype == DType::f32, name,
            "tokens (B, L), float32 table (V, D), y (B, L, D)");
    if (op.y.size() == 0) return;
    dispatch(op.y.dtype, [&](auto zero) {
        using Y = decltype(zero);
        const Lookup<Y> lookup{Integers(op.tokens), op.table.rows(), Rows<const float>(op.table), Rows<Y>(op.y)};
        if (whole_vectors(4, op.table, op.y))
            launch_map<4>(stream_, name, op.y.rows(), columns / 4, lookup);
        else
            launch_map<1>(stream_, name, op.y.rows(), columns, lookup);
    });
}

void CudaBackend::embedding_backward(const EmbeddingBackward& op) {
    constexpr const char* name = "embedding_backward";
    const int64_t rows = op.tokens.size(), columns = op.dtable.columns(), vocabulary = op.dtable.rows();
    require(op.dy.columns() == columns && op.dy.rows() == rows && op.dtable.dtype == DType::f32, name,
            "tokens (B, L), dy (B, L, D), float32 dtable (V, D)");
    if (op.dy.size() == 0) return;
    const int64_t bytes = vocabulary * block_columns * static_cast<int64_t>(sizeof(float));
    const bool in_shared = bytes <= 200 << 10;
    const int64_t resident =
        std::max<int64_t>(1, (220 << 10) / std::max<int64_t>(bytes, 16 << 10));  // blocks a multiprocessor
    // Slabs are long enough that their sums, written and read once more, are little beside the rows.
    const int64_t most = in_shared ? resident * multiprocessors_ : 1;
    const int64_t slab = ceil_div(rows, std::clamp<int64_t>(rows / std::max<int64_t>(4 * vocabulary, 64), 1, most));
    const int64_t slabs = ceil_div(rows, slab);
    const dim3 grid(static_cast<unsigned>(slabs), static_cast<unsigned>(ceil_div(columns, block_columns)));
    dispatch(op.dy.dtype, [&](auto zero) {
        using T = decltype(zero);
        const Rows<const T> dy(op.dy);
        if (in_shared) {
            const Tensor partial = allocate({slabs, vocabulary * columns}, DType::f32);
            check(cudaFuncSetAttribute(backward_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(bytes)),
                  name);
            backward_kernel<T><<<grid, block_columns, static_cast<size_t>(bytes), stream_>>>(
                Integers(op.tokens), rows, slab, static_cast<int>(vocabulary), columns, dy, partial.as<float>(),
                Rows<float>());
            check_launch(name);
            add_column_sums(stream_, partial, Target(op.dtable));
        } else {
            backward_kernel<T><<<grid, block_columns, 0, stream_>>>(Integers(op.tokens), rows, slab,
                                                                    static_cast<int>(vocabulary), columns, dy, nullptr,
                                                                    Rows<float>(op.dtable));
            check_launch(name);
        }
    });
}

}  // namespace nigiri
