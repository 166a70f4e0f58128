// The chunked form of a diagonal time-invariant layer: what its passes share.
//
// With chunks of T = 32 samples, h_c the state before chunk c and a mode's pole A (weight W = r C Bbar), the
// chunk's samples are
//   y_i = sum_{j <= i} K_{i - j} u_j + Re sum_n A^i (W A h_c)          K_l = Re sum_n W A^l
//   h_{c + 1} = A^T h_c + sum_k A^k u_{T - 1 - k}
// so that per channel everything is one (T x 2N) matrix of powers, P[k] = (Re A^k, Im A^k), and a triangular
// matrix of 32 taps, for every chunk of every sequence. Samples turned round, the same formulas give du from
// dy.
//
// A block has 8 channels, a warp each. A column is a segment of one sequence; a warp takes 16 columns (a row
// of the tensor cores' A operand each) through their chunks together, the states in registers. Segments make
// columns enough for the whole device; what flows from one into the next is found by a pass of its own (see
// s4d_conv.cu).
//
// Products are bf16 with float32 sums. Every matrix is the sum of two bf16 numbers, 2^-17 of it being left
// out, and so are states and float32 activations; of a product of two such sums the smallest of the four
// terms is left out.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/mma.cuh"

namespace nigiri::cuda {

constexpr int chunk_samples = 32;
constexpr int chunk_channels = 8;
constexpr int chunk_threads = 32 * chunk_channels;

// How (B, L, D) is cut: column s * batch + b is segment s of sequence b.
struct Segments {
    int64_t batch = 0, length = 0, channels = 0;
    int64_t samples = 0;  // of a segment, a multiple of 32; the last one may be shorter
    int64_t count = 0;    // segments of a sequence

    __host__ __device__ int64_t columns() const { return batch * count; }
    __host__ __device__ int steps() const { return static_cast<int>(samples / chunk_samples); }
};

// A layer's tables; channels are padded to whole blocks, modes to 8, 16, 32 or 64, both with zeros. `powers`
// and `weighted` hold one image a channel, P[k] and k P[k]: upper and lower bf16 pieces of 32 rows of 2N
// numbers each, in the order in which shared memory keeps them.
struct ChunkTables {
    const unsigned char *powers, *weighted;
    const float4* poles;  // (D, N): A^32 and W A
    const float* taps;    // (D, 32), the skip on top of the first
    int64_t modes;        // as many as the layer has
};

constexpr int chunk_image_bytes(int padded_modes) {
    return 2 * chunk_samples * 4 * padded_modes;
}

// Where a 16-byte unit of an image lies: units of eight neighbouring rows are kept in different banks.
__host__ __device__ constexpr int chunk_image_offset(int padded_modes, int piece, int row, int unit) {
    const int turned = padded_modes == 8    ? unit ^ (row >> 2 & 1)
                       : padded_modes == 16 ? unit ^ (row >> 1 & 3)
                                            : unit ^ (row & 7);
    return (piece * chunk_samples + row) * 4 * padded_modes + 16 * turned;
}

template <class T>
constexpr int pieces_of = sizeof(T) == 4 ? 2 : 1;

__device__ inline uint32_t pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// Two numbers as their bf16 roundings and the roundings of what is left.
__device__ inline void split(float low, float high, uint32_t& first, uint32_t& second) {
    first = pack(low, high);
    second = pack(low - lower(first), high - upper(first));
}

// A chunk of 8 channels and some columns in shared memory, samples along the rows: what the tensor cores
// read, and where the results are left. A row has 16 words of two samples (float32: 32 words, two pieces or
// 32 results); the 16-byte units of neighbouring rows lie in different banks.
template <class T, int Columns>
struct Slab {
    static constexpr int row_bytes = 64 * pieces_of<T>, channel_bytes = Columns * row_bytes;
    static constexpr int bytes = chunk_channels * channel_bytes;
    unsigned char* data;

    __device__ unsigned char* unit(int channel, int column, int unit) const {
        const int turned = pieces_of<T> == 2 ? unit ^ (column & 7) : unit ^ (column >> 1 & 3);
        return data + channel * channel_bytes + column * row_bytes + 16 * turned;
    }
    __device__ uint32_t& word(int channel, int column, int word) const {
        return reinterpret_cast<uint32_t*>(unit(channel, column, word / 4))[word % 4];
    }
    // The A operand of columns 16 m .. 16 m + 15 and samples 16 k .. 16 k + 15.
    __device__ void load(uint32_t (&a)[4], int channel, int m, int piece, int k) const {
        const int lane = threadIdx.x % 32;
        load_matrices(a, unit(channel, 16 * m + lane % 16, 4 * piece + 2 * k + lane / 16));
    }
};

struct Column {
    int64_t row;  // of the first sample
    int length;   // in samples
};

// Brings 8 channels of an activation (B, L, D) in, a chunk at a time and some chunks ahead, and takes results
// out. Every thread turns round what it has copied itself: word w of the rows of its columns.
template <class T, int Columns>
struct Carrier {
    static constexpr int units = 8 * sizeof(T) / 16;  // of a sample's 8 channels
    static constexpr int per_thread = Columns / 16;   // columns
    static constexpr int stage_bytes = per_thread * 2 * units * chunk_threads * 16;

    const T* data;
    T* out;
    int64_t stride, out_stride;
    const Column* columns;
    unsigned char* slots;
    int channels;  // of the block, at most 8
    bool vectors;  // 16 bytes at a time
    bool out_vectors;
    bool backwards;  // words hold samples in reverse order

    __device__ int column(int i) const { return static_cast<int>(threadIdx.x) / 16 + 16 * i; }
    __device__ static int own_word() { return static_cast<int>(threadIdx.x) % 16; }
    __device__ uint4* slot(int stage, int i, int sample, int unit) const {
        return reinterpret_cast<uint4*>(slots + stage * stage_bytes) +
               ((i * 2 + sample) * units + unit) * chunk_threads + threadIdx.x;
    }
    // The samples of the word, in memory's order: 2 pair and 2 pair + 1.
    __device__ int pair() const { return backwards ? 15 - own_word() : own_word(); }

    __device__ void fetch(int stage, int chunk) const {
        for (int i = 0; i < per_thread; ++i) {
            const Column c = columns[column(i)];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int sample = chunk * chunk_samples + 2 * pair() + j;
                const bool there = sample < c.length;
                const T* from = data + (there ? (c.row + sample) * stride : 0);
                if (vectors) {
#pragma unroll
                    for (int v = 0; v < units; ++v)
                        copy_async(slot(stage, i, j, v), from + v * (8 / units), there);
                    continue;
                }
                T* to = nullptr;
                for (int k = 0; k < 8; ++k) {
                    if (k % (8 / units) == 0) to = reinterpret_cast<T*>(slot(stage, i, j, k / (8 / units)));
                    to[k % (8 / units)] = there && k < channels ? from[k] : static_cast<T>(0.0f);
                }
            }
        }
    }

    __device__ void turn(int stage, const Slab<T, Columns>& slab) const {
        for (int i = 0; i < per_thread; ++i) {
            const int w = own_word(), c = column(i),
                      j = backwards ? 1 : 0;  // the first of the two in the word's order
            if constexpr (sizeof(T) == 2) {
                const uint4 x = *slot(stage, i, j, 0), y = *slot(stage, i, 1 - j, 0);
                const uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
                for (int k = 0; k < 8; ++k)
                    slab.word(k, c, w) = __byte_perm(xs[k / 2], ys[k / 2], k % 2 ? 0x7632 : 0x5410);
            } else {
#pragma unroll
                for (int v = 0; v < units; ++v) {
                    const float4 x = *reinterpret_cast<const float4*>(slot(stage, i, j, v));
                    const float4 y = *reinterpret_cast<const float4*>(slot(stage, i, 1 - j, v));
                    const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
                    for (int k = 0; k < 4; ++k)
                        split(xs[k], ys[k], slab.word(4 * v + k, c, w), slab.word(4 * v + k, c, 16 + w));
                }
            }
        }
    }

    // Takes the results of a chunk from where the inputs were. In the results' order, which is the other way
    // round than the inputs', a bf16 word holds two neighbours; float32 results i stand in words i, of which
    // a thread owns two.
    __device__ void store(const Slab<T, Columns>& slab, int chunk) const {
        const int w = own_word();
        for (int i = 0; i < per_thread; ++i) {
            const Column c = columns[column(i)];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                // Result number r is sample r, or 31 - r where the inputs are in memory's order.
                const int result = sizeof(T) == 2 ? 2 * w + j : w + 16 * j;
                const int sample = chunk * chunk_samples + (backwards ? result : chunk_samples - 1 - result);
                if (sample >= c.length) continue;
                T* to = out + (c.row + sample) * out_stride;
                uint32_t words[8];
#pragma unroll
                for (int k = 0; k < 8; ++k)
                    words[k] = slab.word(k, column(i), sizeof(T) == 2 ? w : w + 16 * j);
                if constexpr (sizeof(T) == 2) {
                    const uint32_t order = j ? 0x7632 : 0x5410;
                    if (out_vectors) {
                        *reinterpret_cast<uint4*>(to) = {
                            __byte_perm(words[0], words[1], order), __byte_perm(words[2], words[3], order),
                            __byte_perm(words[4], words[5], order), __byte_perm(words[6], words[7], order)};
                        continue;
                    }
                    for (int k = 0; k < channels; ++k)
                        store_one(to + k, __uint_as_float(j ? words[k] & 0xffff0000u : words[k] << 16));
                } else {
                    if (out_vectors) {
                        reinterpret_cast<uint4*>(to)[0] = {words[0], words[1], words[2], words[3]};
                        reinterpret_cast<uint4*>(to)[1] = {words[4], words[5], words[6], words[7]};
                        continue;
                    }
                    for (int k = 0; k < channels; ++k) store_one(to + k, __uint_as_float(words[k]));
                }
            }
        }
    }
    __device__ static void store_one(T* to, float x) {
        *to = static_cast<T>(x);
    }
};

// The columns of a block, into shared memory.
__device__ inline void list_columns(const Segments& s, int64_t first, int64_t limit, int count,
                                    Column* columns) {
    for (int i = threadIdx.x; i < count; i += chunk_threads) {
        const int64_t column = first + i;
        Column c = {0, 0};
        if (column < limit) {
            const int64_t begin = column / s.batch * s.samples, rest = s.length - begin;
            c.row = column % s.batch * s.length + begin;
            c.length = static_cast<int>(rest < s.samples ? rest : s.samples);
        }
        columns[i] = c;
    }
}

// A block's images, one after the other, into shared memory.
__device__ inline void load_image(const unsigned char* images, int64_t group, int bytes, unsigned char* to) {
    const uint4* from = reinterpret_cast<const uint4*>(images + group * chunk_channels * bytes);
    for (int i = threadIdx.x; i < chunk_channels * bytes / 16; i += chunk_threads)
        reinterpret_cast<uint4*>(to)[i] = from[i];
}

// One activation that is read and one, or none, that is written.
template <class T>
struct ChunkPass {
    Segments segments;
    ChunkTables tables;
    const T* in;
    T* out;
    int64_t in_stride, out_stride;
    bool in_vectors, out_vectors;
    bool reversed;         // the recurrence runs from the end to the beginning
    int64_t columns;       // only the first so many
    const float2* starts;  // (columns, D, N): the states that the segments begin with; null: zero
    float2* ends;  // (columns, D, N): the states after whole segments, where nothing is written; else of the
                   // last segments, (B, D, N), after their last whole chunk; or null
};

// With outputs, or the ends of segments alone.
template <class T>
void launch_chunk_outputs(cudaStream_t stream, const ChunkPass<T>& pass);
template <class T>
void launch_chunk_ends(cudaStream_t stream, const ChunkPass<T>& pass);

// The sums over one segment from which all gradients follow; see s4d_chunk_gradients.cu.
struct SegmentSums {
    float2 h, m, q, dq;
};

template <class T>
struct ChunkGradients {
    Segments segments;
    ChunkTables tables;
    const T *u, *dy;
    int64_t u_stride, dy_stride;
    bool u_vectors, dy_vectors;
    SegmentSums* sums;  // (columns, D, N)
    float2 *x, *y;      // (groups of 16 columns, D, N)
    float* taps;        // (groups of 16 columns, D, 32)
};

template <class T>
void launch_chunk_gradients(cudaStream_t stream, const ChunkGradients<T>& gradients);

inline int padded_modes(int64_t modes) {
    return modes <= 16 ? 16 : modes <= 32 ? 32 : 64;
}
constexpr int64_t most_chunk_modes = 64;

}  // namespace nigiri::cuda
