// Normalisation over the last axis: one reading of x, one writing of y.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/norm.cuh"

namespace nigiri {

using namespace cuda;
using namespace cuda::norms;

namespace {

template <class T, class Y, int U, bool whole>
__global__ void __launch_bounds__(threads, U == 2 ? 4 : 2)
    forward_kernel(const Problem<T> p, int lanes, Rows<Y> y, float* mean, float* rstd) {
    const Place<U, whole> place{static_cast<int>(threadIdx.x) % lanes, lanes, p.columns};
    const int step = static_cast<int>(gridDim.x) * (threads / lanes);
    float weight[U][4], bias[U][4];
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const Column column(p, min(place.at(u) + i, p.columns - 1));
            weight[u][i] = column.weight, bias[u][i] = column.bias;
        }
    const float scale = 1.0f / static_cast<float>(p.columns);
    // Groups of one warp go on together, so that all of it takes part in the sums.
    const int first = static_cast<int>(blockIdx.x * (threads / lanes) + threadIdx.x / 32 * (32 / lanes));
    for (int base = first; base < p.rows; base += step) {
        const int row = base + static_cast<int>(threadIdx.x) % 32 / lanes;
        const bool exists = row < p.rows;
        float v[U][4];
        place.load(p.x.at(exists ? row : base, 0), v);
        float m = 0, square = 0;
        if (p.kind != NormKind::rms) {
#pragma unroll
            for (int u = 0; u < U; ++u) m += (v[u][0] + v[u][1]) + (v[u][2] + v[u][3]);
            m = group_sum(m, lanes) * scale;
        }
#pragma unroll
        for (int u = 0; u < U; ++u)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (place.inside(u, i)) v[u][i] -= m, square = fmaf(v[u][i], v[u][i], square);
        const float r = rsqrtf(fmaf(group_sum(square, lanes), scale, p.eps));
        if (!exists) continue;
#pragma unroll
        for (int u = 0; u < U; ++u)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float shift = p.kind == NormKind::scalar ? weight[u][i] * bias[u][i] * r : bias[u][i];
                v[u][i] = fmaf(v[u][i] * r, weight[u][i], shift);
            }
        place.store(y.at(row, 0), v);
        if (place.lane == 0) {
            if (mean != nullptr) mean[row] = m;
            if (rstd != nullptr) rstd[row] = r;
        }
    }
}

// Rows of any width: a warp walks along its row three times.
template <class T, class Y>
__global__ void __launch_bounds__(threads)
    wide_forward_kernel(const Problem<T> p, Rows<Y> y, float* mean, float* rstd) {
    const int lane = threadIdx.x % 32;
    const int row = static_cast<int>(blockIdx.x * warps + threadIdx.x / 32);
    if (row >= p.rows) return;
    const T* x = p.x.at(row, 0);
    const float scale = 1.0f / static_cast<float>(p.columns);
    float m = 0, square = 0;
    if (p.kind != NormKind::rms) {
        for (int c = lane; c < p.columns; c += 32) m += load(x + c);
        m = warp_sum(m) * scale;
    }
    for (int c = lane; c < p.columns; c += 32) {
        const float v = load(x + c) - m;
        square = fmaf(v, v, square);
    }
    const float r = rsqrtf(fmaf(warp_sum(square), scale, p.eps));
    for (int c = lane; c < p.columns; c += 32) {
        const Column column(p, c);
        store(y.at(row, c), fmaf((load(x + c) - m) * r, column.weight, column.shift(p.kind, r)));
    }
    if (lane == 0) {
        if (mean != nullptr) mean[row] = m;
        if (rstd != nullptr) rstd[row] = r;
    }
}

}  // namespace

void CudaBackend::norm_forward(const NormForward& op) {
    constexpr const char* name = "norm_forward";
    require(op.y.shape == op.x.shape, name, "x and y of equal shape");
    check_parameters(name, op.kind, op.x, op.weight, op.bias);
    if (op.mean) check_statistics(name, op.x, op.mean);
    if (op.rstd) check_statistics(name, op.x, op.rstd);
    const int64_t rows = op.x.rows(), columns = op.x.columns();
    require(rows <= INT32_MAX / 2 && columns <= INT32_MAX / 2, name, "fewer than a billion rows");
    if (rows == 0) return;
    float *mean = op.mean.as<float>(), *rstd = op.rstd.as<float>();
    dispatch_pair(op.x.dtype, op.y.dtype, name, [&](auto a, auto b) {
        using T = decltype(a);
        using Y = decltype(b);
        const Problem<T> p{op.kind,
                           static_cast<int>(rows),
                           static_cast<int>(columns),
                           static_cast<float>(op.eps),
                           op.weight.as<float>(),
                           op.bias.as<float>(),
                           Rows<const T>(op.x)};
        if (columns > widest) {
            wide_forward_kernel<<<static_cast<unsigned>(ceil_div(rows, warps)), threads, 0, stream_>>>(p, Rows<Y>(op.y),
                                                                                                       mean, rstd);
        } else {
            const Group group(columns);
            const auto blocks =
                static_cast<unsigned>(group.blocks(rows, (group.units == 2 ? 4 : 2) * multiprocessors_));
            dispatch_group(group, whole_vectors(4, op.x, op.y), [&](auto units, auto whole) {
                forward_kernel<T, Y, units(), whole()>
                    <<<blocks, threads, 0, stream_>>>(p, group.lanes, Rows<Y>(op.y), mean, rstd);
            });
        }
        check_launch(name);
    });
}

}  // namespace nigiri
