// The warp-wide instructions that the chunked state spaces are made of: bf16 products with float32 sums, the
// loads that bring matrices of shared memory into their operands' layout, and asynchronous copies.
//
// Layouts, with g = lane / 4 and t = lane % 4; a register holds two bf16, the lower half first:
//   A (16 x 16): a0 (row g, columns 2t, 2t + 1), a1 (g + 8, same), a2 (g, 2t + 8, 2t + 9), a3 (g + 8, same)
//   B (16 x 8):  b0 (rows 2t, 2t + 1, column g), b1 (rows 2t + 8, 2t + 9, column g)
//   C (16 x 8):  c0, c1 (row g, columns 2t, 2t + 1), c2, c3 (row g + 8, same)
#pragma once

#include <cstdint>

namespace nigiri::cuda {

// The block's dynamic shared memory. Everything in it is addressed from here by integer offsets, so that the
// compiler knows the address space.
__device__ inline unsigned char* shared_memory() {
    extern __shared__ __align__(128) unsigned char memory[];
    return memory;
}

__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline uint32_t shared_address(uint32_t offset) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared_memory())) + offset;
}

// Four 8 x 8 matrices of 16-byte rows; lane l gives the offset of row l % 8 of matrix l / 8. Lane 4 g + t
// receives columns 2t, 2t + 1 of row g of each; of `load_transposed`, rows 2t, 2t + 1 of column g.
__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void load_transposed(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes, both addresses multiples of them; zeros where there is nothing to copy (`from` must still be a
// valid address).
__device__ inline void copy_async(uint32_t to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

// 16 bytes at once; left to itself the compiler writes four words one by one.
__device__ inline void store_vector(void* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

// Copies come in groups: `commit` ends one, `wait<n>` returns when all but the last n groups of this thread
// are there.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
__device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

__device__ inline float lower(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float upper(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

}  // namespace nigiri::cuda
