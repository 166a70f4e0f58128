// Neighbouring elements of a row, moved in accesses of up to 16 bytes and computed in float32.
#pragma once

#include <algorithm>

#include "kernels/cuda/common.cuh"

namespace nigiri::cuda {

// The rows of a view, as a kernel needs them.
template <class T>
struct Rows {
    T* data = nullptr;
    int64_t stride = 0;

    Rows() = default;
    explicit Rows(const View& v) : data(static_cast<T*>(v.data)), stride(v.row_stride) {}
    __device__ T* at(int64_t row, int64_t column) const { return data + row * stride + column; }
};

// A view of integers of any row stride, in order.
struct Integers {
    const int32_t* data;
    int64_t columns, stride;

    explicit Integers(const View& v)
        : data(v.as<int32_t>()), columns(std::max<int64_t>(v.columns(), 1)), stride(v.row_stride) {
        if (v.contiguous()) columns = INT64_MAX;  // one row
    }
    __device__ int32_t operator[](int64_t i) const {
        return columns > i ? data[i] : data[i / columns * stride + i % columns];
    }
};

template <int n>
__device__ inline void load_vector(const float* p, float (&v)[n]) {
    if constexpr (n % 4 == 0) {
#pragma unroll
        for (int i = 0; i < n / 4; ++i) {
            const float4 q = reinterpret_cast<const float4*>(p)[i];
            v[4 * i] = q.x, v[4 * i + 1] = q.y, v[4 * i + 2] = q.z, v[4 * i + 3] = q.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < n; ++i) v[i] = p[i];
    }
}

// bfloat16 is the upper half of a float32.
__device__ inline float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_half(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

template <int n>
__device__ inline void load_vector(const bf16* p, float (&v)[n]) {
    if constexpr (n == 8) {
        const uint4 q = *reinterpret_cast<const uint4*>(p);
        v[0] = low_half(q.x), v[1] = high_half(q.x), v[2] = low_half(q.y), v[3] = high_half(q.y);
        v[4] = low_half(q.z), v[5] = high_half(q.z), v[6] = low_half(q.w), v[7] = high_half(q.w);
    } else if constexpr (n == 4) {
        const uint2 q = *reinterpret_cast<const uint2*>(p);
        v[0] = low_half(q.x), v[1] = high_half(q.x), v[2] = low_half(q.y), v[3] = high_half(q.y);
    } else {
#pragma unroll
        for (int i = 0; i < n; ++i) v[i] = __bfloat162float(p[i]);
    }
}

template <int n>
__device__ inline void store_vector(float* p, const float (&v)[n]) {
    if constexpr (n % 4 == 0) {
#pragma unroll
        for (int i = 0; i < n / 4; ++i)
            reinterpret_cast<float4*>(p)[i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    } else {
#pragma unroll
        for (int i = 0; i < n; ++i) p[i] = v[i];
    }
}

__device__ inline uint32_t pair_of(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
}

template <int n>
__device__ inline void store_vector(bf16* p, const float (&v)[n]) {
    if constexpr (n == 8) {
        *reinterpret_cast<uint4*>(p) =
            make_uint4(pair_of(v[0], v[1]), pair_of(v[2], v[3]), pair_of(v[4], v[5]), pair_of(v[6], v[7]));
    } else if constexpr (n == 4) {
        *reinterpret_cast<uint2*>(p) = make_uint2(pair_of(v[0], v[1]), pair_of(v[2], v[3]));
    } else {
#pragma unroll
        for (int i = 0; i < n; ++i) p[i] = __float2bfloat16_rn(v[i]);
    }
}

// Whether every row of every view can be walked in vectors of n elements: starts and strides are aligned, and
// rows are whole vectors long. A vector wider than 16 bytes is several accesses of 16. Absent views do not
// object.
template <class... Views>
bool whole_vectors(int n, const Views&... views) {
    const auto fits = [n](const View& v) {
        if (v.empty()) return true;
        const size_t unit = std::min<size_t>(16, static_cast<size_t>(n) * size_of(v.dtype));
        return reinterpret_cast<uintptr_t>(v.data) % unit == 0 && v.columns() % n == 0 &&
               (v.rows() <= 1 ||
                v.row_stride * static_cast<int64_t>(size_of(v.dtype)) % static_cast<int64_t>(unit) == 0);
    };
    return (fits(views) && ...);
}

// The same, but kept as they are in memory until they are needed: four bfloat16 take two registers instead of
// four.
template <class T, int n>
struct Packed;
template <>
struct Packed<float, 4> {
    float4 q;
    __device__ void unpack(float (&v)[4]) const { v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w; }
};
template <>
struct Packed<bf16, 4> {
    uint2 q;
    __device__ void unpack(float (&v)[4]) const {
        v[0] = low_half(q.x), v[1] = high_half(q.x), v[2] = low_half(q.y), v[3] = high_half(q.y);
    }
};
template <class T>
struct Packed<T, 1> {
    T q;
    __device__ void unpack(float (&v)[1]) const { v[0] = load(&q); }
};
template <class T, int n>
__device__ inline Packed<T, n> load_packed(const T* p) {
    return *reinterpret_cast<const Packed<T, n>*>(p);
}

// The hardware's own exponential and reciprocal, without the range checks around them: off by some 1e-7
// relative, far below what a sum of float32 loses. Where the exponential overflows, the reciprocal is the
// right limit 0.
__device__ inline float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ inline float reciprocal_approximate(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ inline float sigmoid(float x) { return reciprocal_approximate(1.0f + exp2_approximate(-1.44269504f * x)); }
__device__ inline float silu(float x) { return x * sigmoid(x); }
// d silu / dx, given s = sigmoid(x).
__device__ inline float silu_slope(float x, float s) { return s * fmaf(x, 1.0f - s, 1.0f); }

}  // namespace nigiri::cuda
