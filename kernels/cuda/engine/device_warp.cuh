// A warp on the device: every value is the lane's own (host_lanes.h is the same interface on the host).
#pragma once

#include <cstdint>

#include "kernels/cuda/engine/packed.h"

#define NIGIRI_LANES __device__ __forceinline__
#define NIGIRI_PRAGMA(x) _Pragma(#x)
#define NIGIRI_UNROLL NIGIRI_PRAGMA(unroll)
#define NIGIRI_UNROLL_BY(n) NIGIRI_PRAGMA(unroll n)

// A value of the launch's constants, read where it is used: the compiler may not keep it.
#define NIGIRI_REMADE(x) remade(x)

namespace nigiri::cuda::engine {

__device__ __forceinline__ uint32_t remade(uint32_t x) {
    uint32_t r;
    asm volatile("mov.u32 %0, %1;" : "=r"(r) : "r"(x));
    return r;
}

// kParts: columns.h.
template <int kParts>
class DeviceWarp {
  public:
    static constexpr int parts = kParts;
    using Float = float;
    using Int = int;
    using Word = uint32_t;
    using Mask = bool;
    using Float2 = float2;
    using Float4 = float4;
    using Word4 = uint4;

    __device__ __forceinline__ DeviceWarp() : index_(static_cast<int>(threadIdx.x / warp_lanes)) {}

    __device__ __forceinline__ int index() const { return index_; }
    __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x % warp_lanes); }

    template <class T>
    __device__ __forceinline__ static T load(const T* p, int index) {
        return p[index];
    }
    template <class T>
    __device__ __forceinline__ static T load_if(bool mask, const T* p, int index, T other) {
        return mask ? p[index] : other;
    }
    // Into the second-level cache.
    __device__ __forceinline__ static void prefetch_if(bool mask, const float* p, int index) {
        if (mask) asm volatile("prefetch.global.L2 [%0];" ::"l"(p + index));
    }
    // What another block may have written: from the second-level cache.
    __device__ __forceinline__ static float load_if_fresh(bool mask, const float* p, int index) {
        float r = 0.0f;
        if (mask) asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(r) : "l"(p + index) : "memory");
        return r;
    }
    template <class T, class V>
    __device__ __forceinline__ static void store(T* p, int index, V value) {
        p[index] = static_cast<T>(value);
    }
    template <class T, class V>
    __device__ __forceinline__ static void store_if(bool mask, T* p, int index, V value) {
        if (mask) p[index] = static_cast<T>(value);
    }
    __device__ __forceinline__ static float2 load2(const float* p, int index) {
        return *reinterpret_cast<const float2*>(p + index);
    }
    __device__ __forceinline__ static void store2(float* p, int index, float2 value) {
        *reinterpret_cast<float2*>(p + index) = value;
    }
    __device__ __forceinline__ static void store2_if(bool m, float* p, int index, float2 value) {
        if (m) *reinterpret_cast<float2*>(p + index) = value;
    }
    __device__ __forceinline__ static float4 load4(const float* p, int index) {
        return *reinterpret_cast<const float4*>(p + index);
    }
    __device__ __forceinline__ static float4 load4_if(bool m, const float* p, int index) {
        return m ? load4(p, index) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __device__ __forceinline__ static void store4_if(bool m, float* p, int index, float4 value) {
        if (m) *reinterpret_cast<float4*>(p + index) = value;
    }
    __device__ __forceinline__ static float fetch(const float* p, int index) { return __ldg(p + index); }
    __device__ __forceinline__ static float fetch_if(bool m, const float* p, int index) {
        return m ? __ldg(p + index) : 0.0f;
    }
    __device__ __forceinline__ static float2 fetch2(const float* p, int index) {
        return __ldg(reinterpret_cast<const float2*>(p + index));
    }
    __device__ __forceinline__ static float4 fetch4(const float* p, int index) {
        return __ldg(reinterpret_cast<const float4*>(p + index));
    }
    __device__ __forceinline__ static float4 fetch4_if(bool m, const float* p, int index) {
        return m ? fetch4(p, index) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __device__ __forceinline__ static uint4 load_words(const Piece* p, int index) {
        return *reinterpret_cast<const uint4*>(p + index);
    }
    // Weights pass by the first-level cache, which is left to what is used again. Volatile, so that the loads stay
    // where they are written: far ahead of their use.
    template <size_t kCount>
    __device__ __forceinline__ static void fetch_pieces(const Piece* weights, int from, uint4 (&to)[kCount]) {
        const Piece* own = weights + (from + lane());
#pragma unroll
        for (size_t j = 0; j < kCount; ++j)
            asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(to[j].x), "=r"(to[j].y), "=r"(to[j].z), "=r"(to[j].w)
                         : "l"(own + j * warp_lanes));
    }
    // What all lanes need of a descriptor: a few wide loads that nothing depends on.
    template <class T>
    __device__ __forceinline__ static T record(const T& from) {
        static_assert(alignof(T) == sizeof(uint4));
        uint4 words[sizeof(T) / sizeof(uint4)];
#pragma unroll
        for (size_t i = 0; i < sizeof(T) / sizeof(uint4); ++i) words[i] = reinterpret_cast<const uint4*>(&from)[i];
        T r;
        memcpy(&r, words, sizeof(T));
        return r;
    }
    // What is used too seldom to take room in the first-level cache.
    __device__ __forceinline__ static float2 load2_once(const float* p, int index) {
        float2 r;
        asm volatile("ld.global.L1::no_allocate.v2.f32 {%0, %1}, [%2];"
                     : "=f"(r.x), "=f"(r.y)
                     : "l"(p + index)
                     : "memory");
        return r;
    }
    __device__ __forceinline__ static float2 fetch2_once(const float* p, int index) {
        float2 r;
        asm("ld.global.nc.L1::no_allocate.v2.f32 {%0, %1}, [%2];" : "=f"(r.x), "=f"(r.y) : "l"(p + index));
        return r;
    }

    __device__ __forceinline__ static void sync() { __syncwarp(); }
    template <class T>
    __device__ __forceinline__ static T shuffle_xor(T x, int mask) {
        return __shfl_xor_sync(0xffffffffu, x, mask);
    }
    template <class T>
    __device__ __forceinline__ static T from_lane(T x, int source) {
        return __shfl_sync(0xffffffffu, x, source);
    }
    __device__ __forceinline__ static float from_below(float x, int distance) {
        const float r = __shfl_up_sync(0xffffffffu, x, static_cast<unsigned>(distance));
        return lane() < distance ? 0.0f : r;
    }
    __device__ __forceinline__ static uint32_t ballot(bool m) { return __ballot_sync(0xffffffffu, m); }
    __device__ __forceinline__ static int lowest_bit(uint32_t x) { return __ffs(static_cast<int>(x)) - 1; }
    __device__ __forceinline__ static int highest_bit(uint32_t x) { return 31 - __clz(static_cast<int>(x)); }
    __device__ __forceinline__ static int sum(int x) { return __reduce_add_sync(0xffffffffu, x); }
    __device__ __forceinline__ static uint32_t largest(uint32_t x) { return __reduce_max_sync(0xffffffffu, x); }
    template <class T>
    __device__ __forceinline__ static T first(T x) {
        return __shfl_sync(0xffffffffu, x, 0);
    }

    template <class T>
    __device__ __forceinline__ static T select(bool m, T a, T b) {
        return m ? a : b;
    }
    __device__ __forceinline__ static float fma(float a, float b, float c) { return fmaf(a, b, c); }
    // The special function unit's: within 2 units in the last place, tiny results are zero.
    __device__ __forceinline__ static float exp2(float x) {
        float y;
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
        return y;
    }
    __device__ __forceinline__ static float log2(float x) { return log2f(x); }
    // These are improved by a step of Newton's method: x must be a normal number.
    __device__ __forceinline__ static float reciprocal(float x) {
        float y;
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
        return fmaf(y, fmaf(-x, y, 1.0f), y);
    }
    __device__ __forceinline__ static float rsqrt(float x) {
        float y;
        asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
        return fmaf(y * 0.5f, fmaf(-x * y, y, 1.0f), y);
    }
    __device__ __forceinline__ static float erf(float x) { return erff(x); }
    __device__ __forceinline__ static float expm1(float x) { return expm1f(x); }
    __device__ __forceinline__ static float sinpi(float x) { return sinpif(x); }
    __device__ __forceinline__ static float cospi(float x) { return cospif(x); }
    __device__ __forceinline__ static float maximum(float a, float b) { return fmaxf(a, b); }
    __device__ __forceinline__ static float magnitude(float x) { return fabsf(x); }
    __device__ __forceinline__ static uint32_t bits(float x) { return __float_as_uint(x); }
    __device__ __forceinline__ static float from_bits(uint32_t x) { return __uint_as_float(x); }
    // The instruction that packs two is the fast one.
    __device__ __forceinline__ static uint32_t to_bf16(float x) {
        uint32_t r;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(0.0f), "f"(x));
        return r;
    }
    __device__ __forceinline__ static void mma(float (&s)[4], const uint4& a, uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
    }

  private:
    int index_;
};

}  // namespace nigiri::cuda::engine
