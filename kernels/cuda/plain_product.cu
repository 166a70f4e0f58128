// Products of any shape, type and stride: what is left where the library declines.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/matrix_product.h"

namespace nigiri::cuda {

namespace {

constexpr int tile = 16;

template <class A>
__device__ inline float element(const Matrix& x, int64_t i, int64_t j, int64_t rows, int64_t columns, int64_t batch) {
    if (i >= rows || j >= columns) return 0;
    return load(static_cast<const A*>(x.data) + batch * x.batch_stride +
                (x.transposed ? j * x.stride + i : i * x.stride + j));
}

template <class A, class D>
__global__ void __launch_bounds__(tile* tile) plain_product_kernel(const MatrixProduct p) {
    __shared__ float a[tile][tile + 1], b[tile][tile + 1];
    const int tx = threadIdx.x % tile, ty = threadIdx.x / tile;
    const int64_t i = static_cast<int64_t>(blockIdx.x) * tile + ty, j = static_cast<int64_t>(blockIdx.y) * tile + tx,
                  batch = blockIdx.z;
    float sum = 0;
    for (int64_t k = 0; k < p.k; k += tile) {
        a[ty][tx] = element<A>(p.a, i, k + tx, p.m, p.k, batch);
        b[ty][tx] = element<A>(p.b, k + ty, j, p.k, p.n, batch);
        __syncthreads();
#pragma unroll
        for (int t = 0; t < tile; ++t) sum = fmaf(a[ty][t], b[t][tx], sum);
        __syncthreads();
    }
    if (i >= p.m || j >= p.n) return;
    if (p.c.data != nullptr) sum += element<D>(p.c, i, j, p.m, p.n, batch);
    if (p.bias != nullptr) sum += load(static_cast<const D*>(p.bias) + j);
    store(static_cast<D*>(p.d.data) + batch * p.d.batch_stride + i * p.d.stride + j, sum);
}

}  // namespace

void plain_product(const MatrixProduct& p, cudaStream_t stream) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.m, tile)), static_cast<unsigned>(ceil_div(p.n, tile)),
                    static_cast<unsigned>(p.batch));
    dispatch(p.a.dtype, [&](auto a) {
        dispatch(p.d.dtype,
                 [&](auto d) { plain_product_kernel<decltype(a), decltype(d)><<<grid, tile * tile, 0, stream>>>(p); });
    });
    check_launch("multiplying matrices");
}

}  // namespace nigiri::cuda
