// Matrix products through cuBLASLt: row-major operands of any stride, algorithms looked up once a shape.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <vector>

#include "kernels/tensor.h"

namespace nigiri::cuda {

// A matrix in device memory: element (i, j) at i * stride + j, or, where `transposed`, at j * stride + i. In
// a batch, the next matrix is `batch_stride` elements on.
struct Matrix {
    void* data = nullptr;
    DType dtype = DType::f32;
    int64_t stride = 0;
    bool transposed = false;
    int64_t batch_stride = 0;

    Matrix() = default;
    explicit Matrix(const View& v, bool is_transposed = false)
        : data(v.data), dtype(v.dtype), stride(std::max(v.row_stride, v.columns())), transposed(is_transposed) {}
};

// d (m, n) = a (m, k) b (k, n) [+ c] [+ bias]. a and b are of one type; c, d and bias (n) of one type.
struct MatrixProduct {
    int64_t m = 0, n = 0, k = 0, batch = 1;
    Matrix a, b, d;
    Matrix c;                    // optional; may be d
    const void* bias = nullptr;  // optional
};

class MatrixProducts {
  public:
    MatrixProducts();
    ~MatrixProducts();
    MatrixProducts(const MatrixProducts&) = delete;
    MatrixProducts& operator=(const MatrixProducts&) = delete;

    // float32 is multiplied in full, bfloat16 is accumulated in float32. The same product gives the same bits
    // every time. False, with nothing done, where the library has no algorithm for such operands.
    bool run(const MatrixProduct& product, cudaStream_t stream);
    // The same of any operands: where the library has no algorithm, by plain_product.
    void multiply(const MatrixProduct& product, cudaStream_t stream);

  private:
    struct Plan;
    using Key = std::vector<int64_t>;

    Plan make_plan(const MatrixProduct& product) const;

    void* handle_ = nullptr;
    void* workspace_ = nullptr;
    std::map<Key, std::unique_ptr<Plan>> plans_;
};

// A product of any shape, type and stride; slow. Sums run over k in order.
void plain_product(const MatrixProduct& product, cudaStream_t stream);

}  // namespace nigiri::cuda
