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
// A warp has one channel, a block 8 or 16. A column is a segment of one sequence; a warp takes 16 columns (a
// row of the tensor cores' A operand each) through their chunks together, the states in registers. Segments
// make columns enough for the whole device; what flows from one into the next is found by a pass of its own
// (see s4d_conv.cu).
//
// Products are bf16 with float32 sums; where more precision is wanted a number is the sum of two bf16
// numbers, the rest of at most 2^-17 being left out, and of a product of two such sums the smallest of the
// four terms is left out.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/mma.cuh"

namespace nigiri::cuda {

constexpr int chunk_samples = 32;

// How many bf16 numbers stand for one: of activations (bf16 are exact), of the powers that make states, of
// the weighted states and the powers that make outputs, and of the powers times k that make gradients. With
// bf16 activations a second piece costs the outputs a twentieth of their time and leaves nothing but their
// own rounding; the gradients do without one for k A^k, at an error of a thousandth.
template <class T>
struct ChunkPieces {
    static constexpr int activation = 1, state_powers = 2, weighted_states = 2, output_powers = 2, weighted_powers = 1;
};
template <>
struct ChunkPieces<float> {
    static constexpr int activation = 2, state_powers = 2, weighted_states = 2, output_powers = 2, weighted_powers = 2;
};

// How (B, L, D) is cut: column s * batch + b is segment s of sequence b. Channels are padded to whole blocks.
struct Segments {
    int64_t batch = 0, length = 0, channels = 0;
    int64_t samples = 0;  // of a segment, a multiple of 32; the last one may be shorter
    int64_t count = 0;    // segments of a sequence

    __host__ __device__ int64_t columns() const { return batch * count; }
    __host__ __device__ int steps() const { return static_cast<int>(samples / chunk_samples); }
};

// A layer's tables; channels are padded to 16, modes to 16, 32 or 64, with zeros. `powers` and `weighted`
// hold one image a channel, P[k] and k P[k]: upper and lower bf16 pieces of 32 rows of 2N numbers each, in
// the order in which shared memory keeps them.
struct ChunkTables {
    const unsigned char *powers, *weighted;
    const float4* poles;  // (D, N): A^32 and W A
    const float* taps;    // (D, 32), the skip on top of the first
};

constexpr int chunk_piece_bytes(int modes) { return chunk_samples * 4 * modes; }
constexpr int chunk_image_bytes(int modes) { return 2 * chunk_piece_bytes(modes); }

// The turn of a row's 16-byte units that keeps eight neighbouring rows in different banks.
__host__ __device__ constexpr int chunk_row_turn(int modes, int row) { return modes == 16 ? row >> 1 & 3 : row & 7; }
__host__ __device__ constexpr int chunk_image_offset(int modes, int piece, int row, int unit) {
    return (piece * chunk_samples + row) * 4 * modes + 16 * (unit ^ chunk_row_turn(modes, row));
}

__device__ inline uint32_t pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// Two numbers as their bf16 roundings and the roundings of what is left.
__device__ inline void split(float low, float high, uint32_t& first, uint32_t& second) {
    first = pack(low, high);
    second = pack(low - lower(first), high - upper(first));
}

// Shared memory at an offset.
template <class U>
__device__ inline U& shared_at(uint32_t offset) {
    return *reinterpret_cast<U*>(shared_memory() + offset);
}

// A chunk of a block's channels and columns in shared memory, samples along the rows: what the tensor cores
// read, and where results are left. A row holds 16 words of two samples (float32: 32 words, two pieces, or 32
// results). Units of 16 bytes are turned so that neighbouring rows lie in different banks, and the upper half
// of the channels by 64 bytes more, so that both halves can be written at once. `at` is a multiple of 128;
// offsets of parts of a row combine by ^.
template <class T, int Channels, int Columns>
struct Slab {
    static constexpr int pieces = ChunkPieces<T>::activation;
    static constexpr int row_bytes = 64 * pieces, channel_bytes = Columns * row_bytes;
    static constexpr int bytes = Channels * channel_bytes;
    static constexpr bool two_halves = Channels * sizeof(T) > 16;

    __device__ static uint32_t row(int channel, int column) {
        const int turned = pieces == 2 ? column & 7 : column >> 1 & 3;
        const int half = two_halves && channel >= Channels / 2 ? 64 : 0;
        return static_cast<uint32_t>(channel * channel_bytes + column * row_bytes) ^
               static_cast<uint32_t>(16 * turned ^ half);
    }
    // What a lane adds to `at` for the A operand of a channel; then ^ operand_part(piece, k) for samples 16 k
    // .. 16 k + 15.
    __device__ static uint32_t operand(int channel) {
        const int lane = threadIdx.x % 32;
        return row(channel, lane % 16) ^ static_cast<uint32_t>(lane / 16 * 16);
    }
    __device__ static constexpr uint32_t operand_part(int piece, int k) {
        return static_cast<uint32_t>(64 * piece + 32 * k);
    }
};

// Brings a block's channels of an activation (B, L, D) in, a chunk at a time and some chunks ahead, and takes
// results out. Every thread turns round what it has copied itself, 16 bytes of channels of two samples: word
// w of the rows of its channels and columns. Threads are 32 a channel of the block.
template <class T, int Channels, int Columns, int Threads>
struct Carrier {
    using BlockSlab = Slab<T, Channels, Columns>;
    static constexpr int unit = 16 / sizeof(T);              // channels of 16 bytes
    static constexpr int units = Channels / unit;            // of a sample
    static constexpr int together = Threads / (16 * units);  // columns at a time
    static constexpr int turns = Columns / together;
    static constexpr int stage_bytes = turns * 2 * Threads * 16;
    static_assert(turns * together == Columns);

    const T* from[turns];  // of chunk 0, the first of the word's two samples in memory's order
    T* to[turns];          // of chunk 0, sample 0
    int stride, out_stride;
    int length[turns];  // of the column, less the word's first sample
    uint32_t slots, own;
    bool backwards;  // words hold samples in reverse order

    __device__ static int thread() { return static_cast<int>(threadIdx.x) % Threads; }
    __device__ static int word() { return thread() / units % 16; }
    __device__ static int channel() { return thread() % units * unit; }
    __device__ static int column(int i) { return thread() / (16 * units) + i * together; }
    // The first of the word's samples, in memory's order.
    __device__ int first() const { return 2 * (backwards ? 15 - word() : word()); }

    __device__ Carrier(const Segments& s, const T* in, T* out, int64_t in_stride, int64_t result_stride,
                       int64_t first_column, int64_t limit, int64_t first_channel, uint32_t slots_at,
                       bool reverse_words)
        : stride(static_cast<int>(in_stride)),
          out_stride(static_cast<int>(result_stride)),
          slots(slots_at + 16 * thread()),
          own(BlockSlab::row(channel(), column(0)) ^ static_cast<uint32_t>(16 * (word() / 4))),
          backwards(reverse_words) {
        own += 4 * (word() % 4);
#pragma unroll
        for (int i = 0; i < turns; ++i) {
            const int64_t c = first_column + column(i);
            const int64_t begin = c / s.batch * s.samples, rest = s.length - begin;
            const int64_t row = c % s.batch * s.length + begin;
            const int64_t samples = rest < s.samples ? rest : s.samples;
            length[i] = c < limit ? static_cast<int>(samples) : 0;
            // Columns that are not there read nothing, from an address that is.
            from[i] = in + first_channel + channel() + (c < limit ? row * in_stride : 0);
            to[i] = out ? out + first_channel + channel() + (c < limit ? row * result_stride : 0) : nullptr;
        }
    }

    __device__ uint32_t slot(int stage, int i, int sample) const {
        return slots + stage * stage_bytes + (2 * i + sample) * (Threads * 16);
    }
    __device__ void fetch(int stage, int chunk) const {
        const int sample = chunk * chunk_samples + first();
#pragma unroll
        for (int i = 0; i < turns; ++i) {
            const T* at = from[i] + (sample < length[i] ? static_cast<int64_t>(sample) * stride : 0);
            copy_async(slot(stage, i, 0), at, sample < length[i]);
            copy_async(slot(stage, i, 1), sample + 1 < length[i] ? at + stride : at, sample + 1 < length[i]);
        }
    }

    // Rows of later columns of the thread lie a multiple of 16 columns on, which leaves the turn of units as
    // it is.
    __device__ void turn(int stage, uint32_t slab) const {
        const int j = backwards ? 1 : 0;  // the first of the two in the word's order
#pragma unroll
        for (int i = 0; i < turns; ++i) {
            const uint4 x = shared_at<uint4>(slot(stage, i, j)), y = shared_at<uint4>(slot(stage, i, 1 - j));
            const uint32_t at = slab + own + i * together * BlockSlab::row_bytes;
            const uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int k = 0; k < unit; ++k) {
                if constexpr (sizeof(T) == 2) {
                    shared_at<uint32_t>(at + k * BlockSlab::channel_bytes) =
                        __byte_perm(xs[k / 2], ys[k / 2], k % 2 ? 0x7632 : 0x5410);
                } else {
                    uint32_t upper_piece, lower_piece;
                    split(__uint_as_float(xs[k]), __uint_as_float(ys[k]), upper_piece, lower_piece);
                    shared_at<uint32_t>(at + k * BlockSlab::channel_bytes) = upper_piece;
                    shared_at<uint32_t>((at + k * BlockSlab::channel_bytes) ^ 64) = lower_piece;
                }
            }
        }
    }

    // Takes the results of a chunk from where the inputs were. Their order is the other way round than the
    // inputs'. A bf16 word holds two neighbours; float32 result r stands in word r, so that a thread owns w
    // and w + 16.
    __device__ void store(uint32_t slab, int chunk) const {
#pragma unroll
        for (int i = 0; i < turns; ++i) {
            const uint32_t at = slab + own + i * together * BlockSlab::row_bytes;
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int result = sizeof(T) == 2 ? 2 * word() + j : word() + 16 * j;
                const int sample = chunk * chunk_samples + (backwards ? result : chunk_samples - 1 - result);
                uint32_t words[unit];
#pragma unroll
                for (int k = 0; k < unit; ++k)
                    words[k] = shared_at<uint32_t>((at + k * BlockSlab::channel_bytes) ^ (sizeof(T) == 2 ? 0 : 64 * j));
                if (sample >= length[i]) continue;
                T* const out = to[i] + static_cast<int64_t>(sample) * out_stride;
                if constexpr (sizeof(T) == 2) {
                    const uint32_t order = j ? 0x7632 : 0x5410;
                    store_vector(out, __byte_perm(words[0], words[1], order), __byte_perm(words[2], words[3], order),
                                 __byte_perm(words[4], words[5], order), __byte_perm(words[6], words[7], order));
                } else {
                    store_vector(out, words[0], words[1], words[2], words[3]);
                }
            }
        }
    }
};

// The first `pieces` pieces of the images of a block's channels, into shared memory.
template <int Modes, int Pieces, int Channels, int Threads>
__device__ inline void load_images(const unsigned char* images, int64_t first_channel, uint32_t to) {
    constexpr int words = Pieces * chunk_piece_bytes(Modes) / 16;
    for (int i = threadIdx.x; i < Channels * words; i += Threads)
        shared_at<uint4>(to + 16 * i) = *reinterpret_cast<const uint4*>(
            images + (first_channel + i / words) * chunk_image_bytes(Modes) + 16 * (i % words));
}

// One activation that is read and one, or none, that is written; both with 16-byte rows of whole blocks of
// channels.
template <class T>
struct ChunkPass {
    Segments segments;
    ChunkTables tables;
    const T* in;
    T* out;
    int64_t in_stride, out_stride;
    bool reversed;         // the recurrence runs from the end to the beginning
    int64_t columns;       // only the first so many
    const float2* starts;  // (columns, D, N): the states that the segments begin with; null: zero
    float2* ends;          // (columns, D, N): the states after whole segments, where nothing is written; else of the
                           // last segments, (B, D, N), after their last whole chunk; or null
};

// With outputs, or the ends of segments alone. `modes` is 16, 32 or 64, as in the tables and the states.
template <class T>
void launch_chunk_outputs(cudaStream_t stream, const ChunkPass<T>& pass, int modes);
template <class T>
void launch_chunk_ends(cudaStream_t stream, const ChunkPass<T>& pass, int modes);

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
    SegmentSums* sums;  // (columns, D, N)
    float2 *x, *y;      // (groups of 16 columns, D, N)
    float* taps;        // (groups of 16 columns, D, 32)
};

template <class T>
void launch_chunk_gradients(cudaStream_t stream, const ChunkGradients<T>& gradients, int modes);

inline int padded_modes(int64_t modes) { return modes <= 16 ? 16 : modes <= 32 ? 32 : 64; }
constexpr int64_t most_chunk_modes = 64;
constexpr int64_t padded_channels = 16;

// Columns of 8 channels (or of 16) that a block of the outputs' pass takes.
template <class T>
constexpr int output_channels(int modes) {
    return sizeof(T) == 2 && modes <= 32 ? 16 : 8;
}
template <class T>
constexpr int output_columns(int modes) {
    return sizeof(T) == 2 || modes > 32 ? 16 : 32;
}

}  // namespace nigiri::cuda
