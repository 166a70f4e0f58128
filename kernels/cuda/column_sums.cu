#include "kernels/cuda/column_sums.cuh"

namespace nigiri::cuda {

namespace {

constexpr int lanes = 32, groups = 16;

// A block takes 32 columns; its 16 warps share out the rows. The partial rows have just been written and are
// still in the second-level cache, so what counts is that many loads are under way at once.
__global__ void __launch_bounds__(lanes* groups)
    sum_kernel(const float* partial, int64_t rows, int64_t columns, Target first, Target second) {
    __shared__ float sums[groups][lanes];
    const int64_t column = static_cast<int64_t>(blockIdx.x) * lanes + threadIdx.x;
    float sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (int64_t row = threadIdx.y; row < rows; row += groups) sum += partial[row * columns + column];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns) return;
    sum = 0;
#pragma unroll
    for (int g = 0; g < groups; ++g) sum += sums[g][threadIdx.x];
    if (column < first.size) {
        if (first.data != nullptr) first.at(column) += sum;
    } else if (second.data != nullptr) {
        second.at(column - first.size) += sum;
    }
}

}  // namespace

void add_column_sums(cudaStream_t stream, const View& partial, const Target& first, const Target& second) {
    const int64_t columns = partial.columns();
    if (columns == 0) return;
    const auto blocks = static_cast<unsigned>(ceil_div(columns, lanes));
    sum_kernel<<<blocks, dim3(lanes, groups), 0, stream>>>(static_cast<const float*>(partial.data), partial.rows(),
                                                           columns, first, second);
    check_launch("adding partial sums");
}

}  // namespace nigiri::cuda
