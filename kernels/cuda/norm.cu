// Normalisation over the last axis. A group of up to 32 threads holds one row in registers, four neighbouring
// columns a thread at a time, so every element of x, dy and dx crosses the memory bus once; bound by those
// bytes. The gradients of weight and bias are kept in registers from row to row and leave each block as one
// partial sum.
#include <algorithm>
#include <bit>

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/norm.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256, warps = threads / 32;
constexpr int64_t widest = 512;  // columns that a group holds in registers; wider rows are read again from the caches

template <class T>
struct Problem {
    NormKind kind;
    int rows, columns;  // offsets are computed in 64 bits
    float eps;
    const float *weight, *bias;
    Rows<const T> x;
};

// What the three kinds come to for one column and one row:
//   y = w n + shift,  n = (x - mean) rstd;   backward, with c = bias rstd for scalar norms and 0 else:
//   g = w dy, dweight += dy (n + c), dbias += dy (scalar: w rstd dy), dx = rstd (g - mean(g) - n mean(g (n +
//   c))).
struct Column {
    float weight, bias;
    template <class T>
    __device__ Column(const Problem<T>& p, int column) {
        const int at = p.kind == NormKind::scalar ? 0 : column;
        weight = p.weight[at];
        bias = p.bias != nullptr ? p.bias[at] : 0.0f;
    }
    __device__ float shift(NormKind kind, float rstd) const {
        return kind == NormKind::scalar ? weight * bias * rstd : bias;
    }
};

// The columns of one thread of a group of `lanes`: U units of four, unit j at 4 (lane + lanes j), so that
// every access of a group is one contiguous piece.
template <int U, bool whole>
struct Place {
    int lane, lanes, columns;

    __device__ int at(int unit) const { return 4 * (lane + lanes * unit); }
    __device__ bool inside(int unit, int i) const { return at(unit) + (whole ? 0 : i) < columns; }

    // Columns beyond the end read as zeros.
    template <class T>
    __device__ void load(const T* row, float (&v)[U][4]) const {
#pragma unroll
        for (int u = 0; u < U; ++u) {
#pragma unroll
            for (int i = 0; i < 4; ++i) v[u][i] = 0;
            if constexpr (whole) {
                if (inside(u, 0)) load_vector<4>(row + at(u), v[u]);
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (inside(u, i)) v[u][i] = cuda::load(row + at(u) + i);
            }
        }
    }
    template <class T>
    __device__ void store(T* row, const float (&v)[U][4]) const {
#pragma unroll
        for (int u = 0; u < U; ++u) {
            if constexpr (whole) {
                if (inside(u, 0)) store_vector<4>(row + at(u), v[u]);
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (inside(u, i)) cuda::store(row + at(u) + i, v[u][i]);
            }
        }
    }
};

__device__ inline float group_sum(float x, int lanes) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

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

// Threads that share a row of D columns, U units of four each.
struct Group {
    int lanes, units;
    explicit Group(int64_t columns) {
        lanes = static_cast<int>(std::min<int64_t>(32, std::bit_ceil(static_cast<uint64_t>(ceil_div(columns, 8)))));
        units = lanes * 8 >= columns ? 2 : 4;
    }
    // Blocks walk over the rows together; more than are resident at a time would only wait.
    int64_t blocks(int64_t rows, int64_t resident) const { return std::min(ceil_div(rows, threads / lanes), resident); }
};

// Calls f(x's type, y's type): y may be narrower than x, as behind a float32 residual stream.
template <class F>
void dispatch_pair(DType x, DType y, const char* name, F&& f) {
    dispatch(x, [&](auto a) {
        dispatch(y, [&](auto b) {
            if constexpr (sizeof(a) >= sizeof(b))
                f(a, b);
            else
                throw Error(std::string(name) + ": y is wider than x");
        });
    });
}

template <class F>
void dispatch_group(const Group& group, bool whole, F&& f) {
    using std::integral_constant;
    if (group.units == 2 && whole)
        f(integral_constant<int, 2>{}, std::true_type{});
    else if (group.units == 2)
        f(integral_constant<int, 2>{}, std::false_type{});
    else if (whole)
        f(integral_constant<int, 4>{}, std::true_type{});
    else
        f(integral_constant<int, 4>{}, std::false_type{});
}

void check_parameters(const char* name, NormKind kind, const View& x, const View& weight, const View& bias) {
    const int64_t wanted = kind == NormKind::scalar ? 1 : x.columns();
    const auto fits = [&](const View& v) { return v.size() == wanted && v.contiguous() && v.dtype == DType::f32; };
    require(fits(weight), name, "float32 weight (D), or (1) for scalar norms");
    require(kind == NormKind::rms ? bias.empty() : fits(bias), name,
            "float32 bias (D), or (1) for scalar norms, none for rms norms");
}

void check_statistics(const char* name, const View& x, const View& statistic) {
    require(statistic.size() == x.rows() && statistic.contiguous() && statistic.dtype == DType::f32, name,
            "float32 mean and rstd with one element for each row");
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
