// Normalisation over the last axis: what both passes share. A group of up to 32 threads holds one row in
// registers, four neighbouring columns a thread at a time, so every element of x, dy and dx crosses the memory
// bus once; bound by those bytes.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cuda/vector.cuh"
#include "kernels/norm.h"

namespace nigiri::cuda::norms {

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

inline void check_parameters(const char* name, NormKind kind, const View& x, const View& weight, const View& bias) {
    const int64_t wanted = kind == NormKind::scalar ? 1 : x.columns();
    const auto fits = [&](const View& v) { return v.size() == wanted && v.contiguous() && v.dtype == DType::f32; };
    require(fits(weight), name, "float32 weight (D), or (1) for scalar norms");
    require(kind == NormKind::rms ? bias.empty() : fits(bias), name,
            "float32 bias (D), or (1) for scalar norms, none for rms norms");
}

inline void check_statistics(const char* name, const View& x, const View& statistic) {
    require(statistic.size() == x.rows() && statistic.contiguous() && statistic.dtype == DType::f32, name,
            "float32 mean and rstd with one element for each row");
}

}  // namespace nigiri::cuda::norms
