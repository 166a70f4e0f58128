// Small things every CUDA kernel uses.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cpu/common.h"  // require
#include "kernels/cuda/check.h"
#include "kernels/tensor.h"

namespace nigiri::cuda {

using bf16 = __nv_bfloat16;  // the same bits as BFloat16
using cpu::require;

// Calls f(T{}) with T = float or bf16, the type of the activations.
template <class F>
void dispatch(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            f(float{});
            return;
        case DType::bf16:
            f(bf16{});
            return;
        default:
            throw Error(std::string("no CUDA operation on elements of type ") + name_of(dtype));
    }
}

// A view's memory as T; the caller has dispatched on the view's type.
template <class T>
T* pointer(const View& v) {
    return static_cast<T*>(v.data);
}

template <class T>
__device__ inline float load(const T* p) {
    return static_cast<float>(*p);
}
template <class T>
__device__ inline void store(T* p, float x) {
    *p = static_cast<T>(x);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

}  // namespace nigiri::cuda
