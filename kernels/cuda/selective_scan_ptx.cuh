// The instructions that the selective scan uses and CUDA C++ has no (or no short) words for.
#pragma once

#include <cstdint>

namespace nigiri::cuda::scan {

// 2^x and 1 / x as the special function unit gives them, within 2 units in the last place; tiny results are
// zero.
__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ inline float inverse_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Mailboxes in shared memory, also in that of another block of the cluster. A box is one 64-bit word, so what
// is read is either all old or all new and needs no fence.
__device__ inline uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline uint32_t cluster_address(uint32_t shared, uint32_t rank) {
    uint32_t address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
    return address;
}
__device__ inline uint64_t read_box(uint32_t shared) {
    uint64_t word;
    asm volatile("ld.relaxed.cluster.shared::cta.b64 %0, [%1];" : "=l"(word) : "r"(shared) : "memory");
    return word;
}
__device__ inline void write_box(uint32_t cluster, uint64_t word) {
    asm volatile("st.relaxed.cluster.shared::cluster.b64 [%0], %1;" ::"r"(cluster), "l"(word) : "memory");
}
__device__ inline void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

// A barrier among `warps` warps that name the same `id` (1 to 15).
__device__ inline void warps_barrier(int id, int warps) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(32 * warps) : "memory");
}

// d += a b, (16, 8) times (8, 8), in the layout of mma.m16n8k8 with tf32 operands.
__device__ inline void mma_tf32(float (&d)[4], float a0, float a1, float a2, float a3, float b0, float b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)),
          "r"(__float_as_uint(a3)), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

}  // namespace nigiri::cuda::scan
