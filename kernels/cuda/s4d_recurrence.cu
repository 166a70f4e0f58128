// Lanes are channels, so that every operand of the planar layout is read whole lines at a time; the 8 warps
// of a block share the modes of 32 channels and add their sums up in shared memory. One sample of many
// streams moves the state twice and the factors once (16 and 16 bytes a mode and channel) and is bound by
// that; in a sequence the states stay in the cache, 8 samples at a time. Every sample is the same chain of
// operations whatever the length, so that a sequence given in pieces yields the same bits.
#include <algorithm>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/s4d_modes.cuh"

namespace nigiri {

namespace cuda {
namespace {

constexpr int lanes = 32, warps = 8;

template <class T>
struct Recurrence {
    Rows abar, cbar;
    const float* skip;
    const T* u;
    T* y;
    int64_t u_stride, y_stride;
    Rows state;
    int64_t batch, length, channels, modes;
};

template <class T, bool IsComplex, int Steps>
__device__ void advance(const Recurrence<T>& r, int64_t b, int64_t d, int64_t t, float (*sums)[warps][lanes]) {
    constexpr int parts = IsComplex ? 2 : 1;
    const int lane = threadIdx.x % lanes, warp = threadIdx.x / lanes;
    const bool used = d < r.channels;
    float u[Steps], y[Steps];
#pragma unroll
    for (int k = 0; k < Steps; ++k) {
        u[k] = used ? load(r.u + (b * r.length + t + k) * r.u_stride + d) : 0.0f;
        y[k] = 0;
    }
    if (used)
#pragma unroll 4
        for (int64_t n = warp; n < r.modes; n += warps) {
            float* re = r.state.row(b * parts) + n * r.channels + d;
            const float are = r.abar.row(n)[d], cre = r.cbar.row(n)[d];
            float hre = *re;
            if constexpr (IsComplex) {
                float* im = r.state.row(b * parts + 1) + n * r.channels + d;
                const float aim = r.abar.row(r.modes + n)[d], cim = r.cbar.row(r.modes + n)[d];
                float him = *im;
#pragma unroll
                for (int k = 0; k < Steps; ++k) {
                    const float next = fmaf(-aim, him, fmaf(are, hre, u[k]));
                    him = fmaf(aim, hre, are * him);
                    hre = next;
                    y[k] = fmaf(cre, hre, fmaf(-cim, him, y[k]));
                }
                *im = him;
            } else {
#pragma unroll
                for (int k = 0; k < Steps; ++k) {
                    hre = fmaf(are, hre, u[k]);
                    y[k] = fmaf(cre, hre, y[k]);
                }
            }
            *re = hre;
        }
#pragma unroll
    for (int k = 0; k < Steps; ++k) sums[k][warp][lane] = y[k];
    __syncthreads();  // after it every warp has read its u, so y may be u
    for (int k = warp; k < Steps; k += warps) {
        const T* in = r.u + (b * r.length + t + k) * r.u_stride + d;
        float total = used && r.skip ? __fmul_rn(r.skip[d], load(in)) : 0.0f;
#pragma unroll
        for (int w = 0; w < warps; ++w) total += sums[k][w][lane];
        if (used) store(r.y + (b * r.length + t + k) * r.y_stride + d, total);
    }
    __syncthreads();
}

template <class T, bool IsComplex>
__global__ void __launch_bounds__(lanes* warps) recurrence(Recurrence<T> r) {
    constexpr int steps = 8;
    __shared__ float sums[steps][warps][lanes];
    const int64_t d = static_cast<int64_t>(blockIdx.x) * lanes + threadIdx.x % lanes;
    for (int64_t b = blockIdx.y; b < r.batch; b += gridDim.y) {
        int64_t t = 0;
        for (; t + steps <= r.length; t += steps) advance<T, IsComplex, steps>(r, b, d, t, sums);
        for (; t < r.length; ++t) advance<T, IsComplex, 1>(r, b, d, t, sums);
    }
}

}  // namespace
}  // namespace cuda

void CudaBackend::s4d_recurrence(const S4dRecurrence& op) {
    using namespace cuda;
    const char* name = "s4d_recurrence";
    const int64_t parts = op.is_complex ? 2 : 1;
    require(op.u.shape.rank() == 3 && op.y.shape == op.u.shape && op.y.dtype == op.u.dtype, name, "u and y (B, L, D)");
    const int64_t batch = op.u[0], channels = op.u[2];
    require(
        op.abar.shape.rank() == 3 && op.abar[0] == parts && op.abar[2] == channels && op.cbar.shape == op.abar.shape,
        name, "abar and cbar (2, N, D), or (1, N, D) where real");
    const int64_t modes = op.abar[1];
    require(op.state.shape == (Shape{batch, parts, modes * channels}), name, "state (B, 2, N * D), or (B, 1, N * D)");
    require(!op.skip || op.skip.size() == channels, name, "skip (D)");
    for (const View* v : {&op.abar, &op.cbar, &op.state, op.skip ? &op.skip : &op.state})
        require(v->dtype == DType::f32, name, "float32 factors, skip and state");
    if (op.u.size() == 0) return;
    dispatch(op.u.dtype, [&]<class T>(T) {
        const Recurrence<T> r = {op.abar,          op.cbar,          op.skip.as<float>(),
                                 pointer<T>(op.u), pointer<T>(op.y), op.u.row_stride,
                                 op.y.row_stride,  op.state,         batch,
                                 op.u[1],          channels,         modes};
        const dim3 grid(static_cast<unsigned>(ceil_div(channels, lanes)),
                        static_cast<unsigned>(std::min<int64_t>(batch, 65535)));
        if (op.is_complex)
            recurrence<T, true><<<grid, lanes * warps, 0, stream_>>>(r);
        else
            recurrence<T, false><<<grid, lanes * warps, 0, stream_>>>(r);
    });
    check_launch(name);
}

}  // namespace nigiri
