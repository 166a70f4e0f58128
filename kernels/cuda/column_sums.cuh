// Sums over rows, for gradients of parameters: every block of an operation writes its own partial sums as one
// row of scratch memory, and these kernels add the rows up in an order that depends on their number only.
#pragma once

#include <algorithm>

#include "kernels/cuda/vector.cuh"

namespace nigiri::cuda {

// Where a range of columns is added to: a contiguous vector, or a matrix of any row stride.
struct Target {
    float* data = nullptr;
    int64_t size = 0;    // columns that go here
    int64_t width = 1;   // of a row of the target
    int64_t stride = 1;  // between its rows

    Target() = default;
    explicit Target(const View& v)
        : data(static_cast<float*>(v.data)),
          size(v.size()),
          width(std::max<int64_t>(v.columns(), 1)),
          stride(v.row_stride) {}
    __device__ float& at(int64_t column) const { return data[column / width * stride + column % width]; }
};

// targets += the sums over the rows of `partial` (rows, columns), float32. The first targets[0].size columns
// go to the first target, the next to the second. A target without data is skipped over.
void add_column_sums(cudaStream_t stream, const View& partial, const Target& first, const Target& second = {});

}  // namespace nigiri::cuda
