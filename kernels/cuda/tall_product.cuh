// What the tall products share: tiles of rows in shared memory, and the tensor cores' fragments of them.
//
// The instruction multiplies a (16 x 16) tile of A with a (16 x 8) tile of B. With lane = 4 g + t, a lane
// holds of A the pairs (g, 2 t), (g + 8, 2 t), (g, 2 t + 8), (g + 8, 2 t + 8); of B the pairs (2 t, g), (2 t
// + 8, g) down a column; of the (16 x 8) result (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
#pragma once

#include "kernels/cuda/vector.cuh"

namespace nigiri::cuda {

// A tile's rows stand an odd number of 16-byte pieces apart, so that eight rows at the same column fall into
// different banks.
constexpr int tile_pitch(int columns) { return (columns / 8 | 1) * 8; }  // in elements; columns: a multiple of 16

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies up to 16 bytes to shared memory behind the program's back; the rest of the 16 becomes zeros.
__device__ inline void copy_piece(bf16* to, const bf16* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four (8 x 8) matrices; the lanes 8 i .. 8 i + 7 give the addresses of the rows of matrix i. A lane receives
// the pair (g, 2 t) of each, or of its transpose.
__device__ inline void load_matrices(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_transposed(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Fragments of a tile in shared memory, [row][column].
// A of rows r .. r + 15, columns c .. c + 15.
__device__ inline void load_a(uint32_t (&a)[4], const bf16* tile, int pitch, int r, int c, int lane) {
    load_matrices(a, tile + (r + (lane & 15)) * pitch + c + (lane >> 4) * 8);
}
// A of the transposed tile: its rows are the tile's columns c .. c + 15, its columns the tile's rows r .. r
// + 15.
__device__ inline void load_a_transposed(uint32_t (&a)[4], const bf16* tile, int pitch, int r, int c, int lane) {
    load_transposed(a, tile + (r + (lane & 7) + (lane >> 4) * 8) * pitch + c + (lane >> 3 & 1) * 8);
}
// Two Bs side by side, b[0], b[1] and b[2], b[3]: rows r .. r + 15 of the tile, columns c .. c + 7 and c + 8
// .. c + 15.
__device__ inline void load_b(uint32_t (&b)[4], const bf16* tile, int pitch, int r, int c, int lane) {
    load_transposed(b, tile + (r + (lane & 15)) * pitch + c + (lane >> 4) * 8);
}
// The same of the transposed tile: rows c .. c + 15 are the tile's columns, columns r .. r + 7 and r + 8 .. r
// + 15 its rows.
__device__ inline void load_b_transposed(uint32_t (&b)[4], const bf16* tile, int pitch, int r, int c, int lane) {
    load_matrices(b, tile + (r + (lane & 7) + (lane >> 4) * 8) * pitch + c + (lane >> 3 & 1) * 8);
}

// Starts copying `rows` rows from `first` on of a view whose rows begin on 16 bytes; what lies outside of it
// becomes zeros.
template <int threads>
__device__ inline void copy_tile(bf16* tile, int pitch, int padded_columns, const Rows<const bf16>& from, int64_t first,
                                 int rows, int64_t all_rows, int columns) {
    const int pieces = padded_columns / 8;
    for (int i = static_cast<int>(threadIdx.x); i < rows * pieces; i += threads) {
        const int row = i / pieces, column = i % pieces * 8;
        const bool inside = first + row < all_rows && column < columns;
        const int bytes = inside ? 2 * min(8, columns - column) : 0;
        copy_piece(tile + row * pitch + column, inside ? from.at(first + row, column) : from.data, bytes);
    }
}

// The weight, of any alignment, with zeros around.
template <int threads>
__device__ inline void load_weight(bf16* tile, int pitch, int padded_rows, int padded_columns,
                                   const Rows<const bf16>& weight, int rows, int columns) {
    for (int i = static_cast<int>(threadIdx.x); i < padded_rows * padded_columns; i += threads) {
        const int row = i / padded_columns, column = i % padded_columns;
        tile[row * pitch + column] =
            row < rows && column < columns ? *weight.at(row, column) : __float2bfloat16_rn(0.0f);
    }
}

// Rows g and g + 8 of two neighbouring results, of columns c .. c + 15, as bf16. Lanes swap halves in pairs,
// so that each stores four columns of one row at a time and a row's 16 columns are a whole sector.
struct StoreBf16 {
    Rows<bf16> y;
    int64_t rows;
    int columns;
    bool whole;  // columns and addresses are multiples of four elements

    __device__ void operator()(int64_t row, int c, const float (&left)[4], const float (&right)[4], int lane) const {
        const bool even = lane % 2 == 0;
        const int column = c + (even ? 0 : 8) + lane % 4 / 2 * 4;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t l = pair_of(left[2 * half], left[2 * half + 1]),
                           r = pair_of(right[2 * half], right[2 * half + 1]);
            const uint32_t other = __shfl_xor_sync(0xffffffffu, even ? r : l, 1);
            const uint2 four = even ? make_uint2(l, other) : make_uint2(other, r);
            const int64_t to = row + lane / 4 + 8 * half;
            if (to >= rows || column >= columns) continue;
            bf16* p = y.at(to, column);
            if (whole) {
                *reinterpret_cast<uint2*>(p) = four;
            } else {
                const uint32_t words[2] = {four.x, four.y};
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (column + i < columns)
                        p[i] = __float2bfloat16_rn(i % 2 == 0 ? low_half(words[i / 2]) : high_half(words[i / 2]));
            }
        }
    }
};

}  // namespace nigiri::cuda
