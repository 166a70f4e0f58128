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

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies kBytes to shared memory while the program goes on; zeros where the source does not exist.
template <int kBytes>
__device__ inline void copy_ahead(uint32_t shared, const void* from, bool exists) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(kBytes),
                 "r"(exists ? kBytes : 0)
                 : "memory");
}
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Mailboxes in shared memory, also in that of another block of the cluster. A box is one 64-bit word, so what
// is read is either all old or all new and needs no fence. compute-sanitizer's racecheck knows barriers only and names
// these loads and stores (LDS.64, STS.64), as it should name no others.
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
__device__ inline void write_box(uint32_t shared, uint64_t word) {
    asm volatile("st.relaxed.cluster.shared::cta.b64 [%0], %1;" ::"r"(shared), "l"(word) : "memory");
}
__device__ inline void write_box_of_cluster(uint32_t cluster, uint64_t word) {
    asm volatile("st.relaxed.cluster.shared::cluster.b64 [%0], %1;" ::"r"(cluster), "l"(word) : "memory");
}
// Two neighbouring boxes at once; writing, those of this block if `near`, of the cluster if `far`.
__device__ inline void read_boxes(uint32_t shared, uint64_t& first, uint64_t& second) {
    asm volatile("ld.relaxed.cluster.shared::cta.v2.b64 {%0, %1}, [%2];"
                 : "=l"(first), "=l"(second)
                 : "r"(shared)
                 : "memory");
}
__device__ inline void write_boxes_if(bool near, bool far, uint32_t address, uint64_t first, uint64_t second) {
    asm volatile(
        "{\n\t.reg .pred p, q;\n\t"
        "setp.ne.u32 p, %0, 0;\n\tsetp.ne.u32 q, %1, 0;\n\t"
        "@p st.relaxed.cluster.shared::cta.v2.b64 [%2], {%3, %4};\n\t"
        "@q st.relaxed.cluster.shared::cluster.v2.b64 [%2], {%3, %4};\n\t}" ::"r"(static_cast<uint32_t>(near)),
        "r"(static_cast<uint32_t>(far)), "r"(address), "l"(first), "l"(second)
        : "memory");
}
__device__ inline void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

// A barrier among `warps` warps that name the same `id` (1 to 15).
__device__ inline void warps_barrier(int id, int warps) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(32 * warps) : "memory");
}

// One step of a scan over lanes: with (e, d) of the lane `kDistance` before (after, if kReverse), where there
// is one, end becomes decay e + end and decay becomes decay d.
template <bool kReverse, int kDistance>
__device__ inline void join_lanes(float& end, float& decay) {
    if constexpr (kReverse) {
        asm volatile(
            "{\n\t.reg .f32 e, d;\n\t.reg .pred p;\n\t"
            "shfl.sync.down.b32 e|p, %0, %2, 31, -1;\n\t"
            "shfl.sync.down.b32 d, %1, %2, 31, -1;\n\t"
            "@p fma.rn.f32 %0, %1, e, %0;\n\t"
            "@p mul.rn.f32 %1, %1, d;\n\t}"
            : "+f"(end), "+f"(decay)
            : "n"(kDistance));
    } else {
        asm volatile(
            "{\n\t.reg .f32 e, d;\n\t.reg .pred p;\n\t"
            "shfl.sync.up.b32 e|p, %0, %2, 0, -1;\n\t"
            "shfl.sync.up.b32 d, %1, %2, 0, -1;\n\t"
            "@p fma.rn.f32 %0, %1, e, %0;\n\t"
            "@p mul.rn.f32 %1, %1, d;\n\t}"
            : "+f"(end), "+f"(decay)
            : "n"(kDistance));
    }
}
template <bool kReverse, int kDistance>
__device__ inline void join_lanes(float& end_re, float& end_im, float& decay_re, float& decay_im) {
    float e_re, e_im, d_re, d_im;
    int exists;
    if constexpr (kReverse) {
        asm volatile(
            "{\n\t.reg .pred p;\n\t"
            "shfl.sync.down.b32 %0|p, %5, %9, 31, -1;\n\t"
            "shfl.sync.down.b32 %1, %6, %9, 31, -1;\n\t"
            "shfl.sync.down.b32 %2, %7, %9, 31, -1;\n\t"
            "shfl.sync.down.b32 %3, %8, %9, 31, -1;\n\t"
            "selp.b32 %4, 1, 0, p;\n\t}"
            : "=f"(e_re), "=f"(e_im), "=f"(d_re), "=f"(d_im), "=r"(exists)
            : "f"(end_re), "f"(end_im), "f"(decay_re), "f"(decay_im), "n"(kDistance));
    } else {
        asm volatile(
            "{\n\t.reg .pred p;\n\t"
            "shfl.sync.up.b32 %0|p, %5, %9, 0, -1;\n\t"
            "shfl.sync.up.b32 %1, %6, %9, 0, -1;\n\t"
            "shfl.sync.up.b32 %2, %7, %9, 0, -1;\n\t"
            "shfl.sync.up.b32 %3, %8, %9, 0, -1;\n\t"
            "selp.b32 %4, 1, 0, p;\n\t}"
            : "=f"(e_re), "=f"(e_im), "=f"(d_re), "=f"(d_im), "=r"(exists)
            : "f"(end_re), "f"(end_im), "f"(decay_re), "f"(decay_im), "n"(kDistance));
    }
    if (exists) {
        end_re = fmaf(-decay_im, e_im, fmaf(decay_re, e_re, end_re));
        end_im = fmaf(decay_im, e_re, fmaf(decay_re, e_im, end_im));
        const float re = fmaf(-decay_im, d_im, decay_re * d_re);
        decay_im = fmaf(decay_im, d_re, decay_re * d_im);
        decay_re = re;
    }
}

// d += a b, (16, 8) times (8, 8), in the layout of mma.m16n8k8. Operands are tf32: their last 13 bits are
// left out.
__device__ inline void mma_tf32(float (&d)[4], const float (&a)[4], float b0, float b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

}  // namespace nigiri::cuda::scan
