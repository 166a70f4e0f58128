// The gradients of a normalisation. Those of weight and bias are kept in registers from row to row and leave
// each block as one partial sum.
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/norm.cuh"

namespace nigiri {

using namespace cuda;
using namespace cuda::norms;

namespace {

// `partial` (blocks, 2 D), for scalar norms (blocks, 2).
template <class T, class Y, int U, bool whole>
__global__ void __launch_bounds__(threads, U == 2  ? 3
                                           : whole ? 2
                                                   : 1)
    backward_kernel(const Problem<T> p, int lanes, const float* mean, const float* rstd, Rows<const Y> dy, Rows<T> dx,
                    bool accumulate, float* partial) {
    const Place<U, whole> place{static_cast<int>(threadIdx.x) % lanes, lanes, p.columns};
    const int step = static_cast<int>(gridDim.x) * (threads / lanes);
    const bool scalar = p.kind == NormKind::scalar, rms = p.kind == NormKind::rms;
    float weight[U][4], dweight[U][4], dbias[U][4];
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            weight[u][i] = Column(p, min(place.at(u) + i, p.columns - 1)).weight;
            dweight[u][i] = dbias[u][i] = 0;
        }
    const float scale = 1.0f / static_cast<float>(p.columns), offset = scalar ? p.bias[0] : 0.0f;
    const int first = static_cast<int>(blockIdx.x * (threads / lanes) + threadIdx.x / 32 * (32 / lanes));
    for (int base = first; base < p.rows; base += step) {
        const int row = base + static_cast<int>(threadIdx.x) % 32 / lanes;
        const bool exists = row < p.rows;
        float v[U][4], g[U][4], old[U][4];
        if (exists) {
            place.load(p.x.at(row, 0), v);
            place.load(dy.at(row, 0), g);
            if (accumulate) place.load(dx.at(row, 0), old);
        }
        const float r = exists ? rstd[row] : 0.0f, m = exists && !rms ? mean[row] : 0.0f;
        const float c = offset * r;
        float sum_g = 0, sum_gn = 0;
        if (exists) {
            const float b = scalar ? weight[0][0] * r : 1.0f;
#pragma unroll
            for (int u = 0; u < U; ++u)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float n = (v[u][i] - m) * r, t = g[u][i];  // t is zero beyond the end
                    dweight[u][i] = fmaf(t, n + c, dweight[u][i]);
                    dbias[u][i] = fmaf(t, b, dbias[u][i]);
                    v[u][i] = n;
                    g[u][i] = t * weight[u][i];
                    sum_g += g[u][i];
                    sum_gn = fmaf(g[u][i], n + c, sum_gn);
                }
        }
        sum_g = rms ? 0.0f : group_sum(sum_g, lanes) * scale;
        sum_gn = group_sum(sum_gn, lanes) * scale;
        if (!exists) continue;
#pragma unroll
        for (int u = 0; u < U; ++u)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float slope = r * (g[u][i] - sum_g - v[u][i] * sum_gn);
                g[u][i] = accumulate ? old[u][i] + slope : slope;
            }
        place.store(dx.at(row, 0), g);
    }

    // First the groups of a warp, then the warps, always in the same order.
    __shared__ float sums[warps][2][widest];
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            for (int o = lanes; o < 32; o *= 2) {
                dweight[u][i] += __shfl_xor_sync(0xffffffffu, dweight[u][i], o);
                dbias[u][i] += __shfl_xor_sync(0xffffffffu, dbias[u][i], o);
            }
            const int column = place.at(u) + i;
            if (threadIdx.x % 32 < lanes && column < p.columns)
                sums[warp][0][column] = dweight[u][i], sums[warp][1][column] = dbias[u][i];
        }
    __syncthreads();
    float total[2] = {0, 0};
    for (int column = threadIdx.x; column < p.columns; column += threads)
        for (int k = 0; k < 2; ++k) {
            float sum = 0;
            for (int w = 0; w < warps; ++w) sum += sums[w][k][column];
            if (scalar)
                total[k] += sum;
            else
                partial[(static_cast<int64_t>(blockIdx.x) * 2 + k) * p.columns + column] = sum;
        }
    if (!scalar) return;
    __syncthreads();
    for (int k = 0; k < 2; ++k) {
        const float sum = warp_sum(total[k]);
        if (threadIdx.x % 32 == 0) sums[warp][k][0] = sum;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        float sum = 0;
        for (int w = 0; w < warps; ++w) sum += sums[w][threadIdx.x][0];
        partial[static_cast<int64_t>(blockIdx.x) * 2 + threadIdx.x] = sum;
    }
}

template <class T, class Y>
__global__ void __launch_bounds__(threads)
    wide_backward_kernel(const Problem<T> p, const float* mean, const float* rstd, Rows<const Y> dy, Rows<T> dx,
                         bool accumulate) {
    const int lane = threadIdx.x % 32;
    const int row = static_cast<int>(blockIdx.x * warps + threadIdx.x / 32);
    if (row >= p.rows) return;
    const float scale = 1.0f / static_cast<float>(p.columns), r = rstd[row],
                m = p.kind == NormKind::rms ? 0.0f : mean[row];
    const float c = p.kind == NormKind::scalar ? p.bias[0] * r : 0.0f;
    float sum_g = 0, sum_gn = 0;
    for (int i = lane; i < p.columns; i += 32) {
        const float n = (load(p.x.at(row, i)) - m) * r, g = load(dy.at(row, i)) * Column(p, i).weight;
        sum_g += g;
        sum_gn = fmaf(g, n + c, sum_gn);
    }
    sum_g = p.kind == NormKind::rms ? 0.0f : warp_sum(sum_g) * scale;
    sum_gn = warp_sum(sum_gn) * scale;
    for (int i = lane; i < p.columns; i += 32) {
        const float n = (load(p.x.at(row, i)) - m) * r, g = load(dy.at(row, i)) * Column(p, i).weight;
        const float slope = r * (g - sum_g - n * sum_gn);
        store(dx.at(row, i), accumulate ? load(dx.at(row, i)) + slope : slope);
    }
}

// One thread a column and slab of rows; scalar norms sum their columns up in a second block of partial sums.
template <class T, class Y>
__global__ void __launch_bounds__(threads)
    wide_parameters_kernel(const Problem<T> p, const float* mean, const float* rstd, Rows<const Y> dy, float* partial) {
    const int column = static_cast<int>(blockIdx.x * threads + threadIdx.x);
    if (column >= p.columns) return;
    const bool scalar = p.kind == NormKind::scalar;
    float dweight = 0, dbias = 0;
    for (int row = static_cast<int>(blockIdx.y); row < p.rows; row += static_cast<int>(gridDim.y)) {
        const float r = rstd[row], m = p.kind == NormKind::rms ? 0.0f : mean[row], t = load(dy.at(row, column));
        const float n = (load(p.x.at(row, column)) - m) * r;
        dweight = fmaf(t, n + (scalar ? p.bias[0] * r : 0.0f), dweight);
        dbias = fmaf(t, scalar ? p.weight[0] * r : 1.0f, dbias);
    }
    // Scalar norms: every column is a row of (2) partial sums.
    float* to = scalar ? partial + (static_cast<int64_t>(blockIdx.y) * p.columns + column) * 2
                       : partial + static_cast<int64_t>(blockIdx.y) * 2 * p.columns + column;
    to[0] = dweight;
    to[scalar ? 1 : p.columns] = dbias;
}

}  // namespace

void CudaBackend::norm_backward(const NormBackward& op) {
    constexpr const char* name = "norm_backward";
    require(op.dx.shape == op.x.shape && op.dx.dtype == op.x.dtype && op.dy.shape == op.x.shape, name,
            "x, dy and dx of equal shape, dx of x's type");
    check_parameters(name, op.kind, op.x, op.weight, op.bias);
    check_parameters(name, op.kind, op.x, op.dweight, op.dbias);
    if (op.kind != NormKind::rms) check_statistics(name, op.x, op.mean);
    check_statistics(name, op.x, op.rstd);
    const int64_t rows = op.x.rows(), columns = op.x.columns();
    require(rows <= INT32_MAX / 2 && columns <= INT32_MAX / 2, name, "fewer than a billion rows");
    if (rows == 0) return;
    const bool scalar = op.kind == NormKind::scalar;
    const float *mean = op.mean.as<float>(), *rstd = op.rstd.as<float>();
    dispatch_pair(op.x.dtype, op.dy.dtype, name, [&](auto a, auto b) {
        using T = decltype(a);
        using Y = decltype(b);
        const Problem<T> p{op.kind,
                           static_cast<int>(rows),
                           static_cast<int>(columns),
                           0.0f,
                           op.weight.as<float>(),
                           op.bias.as<float>(),
                           Rows<const T>(op.x)};
        const Rows<const Y> dy(op.dy);
        Tensor partial;
        if (columns > widest) {
            const auto slabs = static_cast<unsigned>(std::clamp<int64_t>(rows / 64, 1, 128));
            partial = allocate(scalar ? Shape{slabs * columns, 2} : Shape{slabs, 2 * columns}, DType::f32);
            const dim3 grid(static_cast<unsigned>(ceil_div(columns, threads)), slabs);
            wide_parameters_kernel<<<grid, threads, 0, stream_>>>(p, mean, rstd, dy, partial.as<float>());
            wide_backward_kernel<<<static_cast<unsigned>(ceil_div(rows, warps)), threads, 0, stream_>>>(
                p, mean, rstd, dy, Rows<T>(op.dx), op.accumulate);
        } else {
            const Group group(columns);
            const int64_t blocks = group.blocks(rows, (group.units == 2 ? 3 : 2) * multiprocessors_);
            partial = allocate({blocks, scalar ? 2 : 2 * columns}, DType::f32);
            dispatch_group(group, whole_vectors(4, op.x, op.dy, op.dx), [&](auto units, auto whole) {
                backward_kernel<T, Y, units(), whole()><<<static_cast<unsigned>(blocks), threads, 0, stream_>>>(
                    p, group.lanes, mean, rstd, dy, Rows<T>(op.dx), op.accumulate, partial.as<float>());
            });
        }
        check_launch(name);
        add_column_sums(stream_, partial, Target(op.dweight), Target(op.dbias));
    });
}

}  // namespace nigiri
