// A RecurrentProgram as the engine's blocks read it: descriptors of plain numbers, and offsets into three arrays:
// weights (16-byte pieces in the order of tensor-core fragments), constants (floats) and the state of a group of
// streams (floats). Written by pack.cpp, read by the phases; the same on the host and on the device.
#pragma once

#include <cstdint>

#include "kernels/norm.h"
#include "kernels/recurrent_program.h"

namespace nigiri::cuda::engine {

inline constexpr int warp_lanes = 32;
inline constexpr int tile_rows = 16;       // rows of a matrix that one product of the tensor cores takes
inline constexpr int channel_tile = 8;     // channels of a layer that a warp answers for at a time
inline constexpr int granule_inputs = 64;  // inputs that the four pieces of a granule multiply, for 16 rows
inline constexpr int granule_pieces = 4;
inline constexpr int block_samples = 16;  // samples that an S4D layer's inputs wait before they enter its state
inline constexpr int block_mask = block_samples - 1;
inline constexpr int most_taps = 8;           // of a short convolution
inline constexpr int most_drawn_codes = 256;  // that a warp draws from

// A block of few streams has a multiprocessor to itself, and all of its warps share one phase's work: the shortest way
// from sample to sample. With more streams two blocks of half as many warps take turns on a multiprocessor, so that one
// works while the other waits.
constexpr int block_warps(int streams) { return streams <= 2 ? 16 : 8; }
constexpr int resident_blocks(int streams) { return streams <= 2 ? 1 : 2; }

// Eight bfloat16 of lane 4 g + q, two in a word: W[g][k], W[g + 8][k], W[g][k + 2], W[g + 8][k + 2] with
// k = 32 block + 8 q + 4 half. The values of a stream lie so that a lane reads its eight inputs of a block at once.
struct alignas(16) Piece {
    uint32_t word[4];
};

// Rows in tiles of 16 and inputs in blocks of 64, zeros where there are none. With several planes a weight is the sum
// of its bfloat16 planes: three hold a float32.
struct alignas(16) Matrix {
    int32_t tiles = 0;         // 0: there is no such matrix
    int32_t granules = 0;      // of a tile: blocks of inputs times planes
    int32_t planes = 1;        // of one block of inputs, one after the other
    int32_t rows = 0;          // that exist
    int32_t wide = 0;          // goes through the window of eight pieces, else of four
    int32_t weights = 0;       // first piece; [tile][granule][4][lane]
    int32_t constants = 0;     // {sum of the row's weights, bias} a row of the tiles
    int32_t ahead = 0;         // first piece of the matrix that uses the window next
    int32_t ahead_tiles = 0;   // its tiles and
    int32_t ahead_stride = 0;  // pieces from one tile to the next
};

inline constexpr int held_parts = 4;  // of a row's statistics, that stay in registers

struct alignas(16) Norm {
    NormKind kind = NormKind::layer;
    int32_t parts = 0;              // of the rows, that there are statistics of
    float part = 0, last_part = 0;  // rows of a part and of the last one
    float each = 0;                 // 1 / width
    float eps = 0, bias = 0;        // bias: of a scalar norm
    int32_t unused = 0;
    float count[held_parts] = {};  // rows of the first parts
};

// What happens to new values of the residual stream before they are written.
struct alignas(16) Settle {
    int32_t add_x = 0;  // the stream itself
    int32_t add = -1;   // then the values saved here (offset in the group's state)
    int32_t push = 0;   // then: keep them for the stage below, add what it gave
    int32_t save = -1;  // then: save them here
    int32_t width = 0;  // and the stage's `down` and `up`
    int32_t down = 0, up = 0;
    int32_t unused = 0;
};

// What a lane needs of its channel lies together, so that one address serves it all.
// Constants of a channel: conv bias, skip (S4D: with the first tap), norm weight and bias; the convolution's taps by
// delay; of a Mamba block {sum of weights, bias} of the rows that give x and z.
struct ChannelConstants {
    static constexpr int parts = 0, taps = 4, rows = taps + most_taps, size = rows + 4;
};

struct alignas(16) S4dPart {
    int32_t modes = 0;                              // of a channel, a multiple of 32
    int32_t kernel = 0;                             // constants: [tile][16][8], the kernel's first values
    int32_t abar = 0, cbar = 0;                     // constants: (channel, modes, 2)
    int32_t h = 0, inputs = 0, pre = 0, begin = 0;  // state: see s4d_phase.h
};

struct alignas(16) S6Part {
    int32_t is_complex = 0, selective_b = 0, selective_c = 0;
    Discretization discretization = Discretization::euler;
    int32_t lane_bits = 0;              // a channel has 1, 2, 4 or 8 lanes
    int32_t rounds = 1;                 // groups of four states a lane has
    int32_t numbers = 0;                // states of a channel, 4 lanes rounds
    int32_t rank = 0;                   // of delta, a multiple of 4
    int32_t b_row = 0, c_row = 0;       // of the projection; complex: imaginary parts `numbers` rows later
    int32_t projected = 0;              // rows of the projection, a multiple of 4
    int32_t delta = 0, delta_bias = 0;  // constants: (channel, rank), (channel)
    int32_t poles = 0;                  // constants: planes (channel, numbers): re log2 e, then im / pi; and A itself
    int32_t b = 0, c = 0;               // constants where they are not selective: planes (channel, numbers)
    int32_t h = 0;                      // state: planes (stream, channel, numbers)
};

struct alignas(16) S4Part {
    int32_t modes = 0;    // a multiple of 32
    int32_t factors = 0;  // constants: (channel, 5, modes, 2): a, f, g, b, c
    int32_t h = 0;        // state: (channel, stream, modes, 2)
};

enum class SsmPart : int32_t { none, s4d, s6, s4 };

struct alignas(16) LayerHead {
    BlockStepKind kind = BlockStepKind::mamba;
    SsmPart ssm = SsmPart::none;
    int32_t channels = 0, channel_tiles = 0;
    int32_t taps = 0;       // of the convolution
    int32_t constants = 0;  // ChannelConstants of the first channel
    int32_t conv = 0;       // state: (channel, stream, delay - 1), the convolution's last most_taps inputs
    int32_t unused = 0;
};

struct Layer : LayerHead {
    S4dPart s4d;
    S6Part s6;
    S4Part s4;
};

// What the block does between two barriers. A product's rows are the comment's.
enum class PhaseKind : int32_t {
    embed,    // no product: the code's row -> x
    gather,   // no product: what the stage above pushed -> operand_y
    normed,   // no product: norm(x) of an s4 block -> its S4D and GELU -> operand_y, or u (and operand_y)
    scan,     // no product: S6
    s4,       // no product: S4
    mamba,    // x and z of a channel in the rows g and g + 8 -> convolution -> S4D and gate -> operand_y, or u, z
    gelu,     // GELU -> operand_y
    project,  // -> what S6 reads off its input
    settle,   // -> x
    glu,      // a and b of a row in the rows g and g + 8, a sigmoid(b) -> x
    pool_up,  // -> the stage above
    head,     // -> logits
};

constexpr uint32_t kind_bit(PhaseKind kind) { return 1u << static_cast<int>(kind); }

struct PhaseHead {
    uint32_t kind = 0;   // kind_bit(): a bit is asked for faster than a jump through a table
    int32_t pushes = 0;  // settle.push != 0
};

struct Phase : PhaseHead {
    // Meanwhile the layer's S4D completes its blocks, beside the product's so many tiles.
    int32_t completes_blocks = 0;
    // Meanwhile what the next phase reads of the layer's state is loaded. S4D: the next phase's completes_blocks.
    int32_t prepares = 0;
    Layer layer;  // where the phase belongs to one
    Norm norm;
    Matrix matrix;
    Settle settle;
};

struct alignas(16) Stage {
    int32_t width = 0;
    int32_t first_phase = 0, phases = 0;
    int32_t factor = 0;        // of the pool below; 0 in the last stage
    int32_t down = 0, up = 0;  // state: (factor width, stream), of the pool below
    // What the windows hold when the stage begins.
    int32_t narrow_ahead = 0, wide_ahead = 0;
    int32_t narrow_tiles = 0, narrow_stride = 0, wide_tiles = 0, wide_stride = 0;
};

// Offsets in bytes into a block's shared memory.
struct SharedLayout {
    uint32_t stages = 0, phases = 0;
    uint32_t x = 0;                         // [row][stream]: the residual stream
    uint32_t operand_x = 0, operand_y = 0;  // inputs of products (columns.h)
    uint32_t u = 0, z = 0;                  // [channel][stream]
    uint32_t projected = 0;                 // [stream][row]
    uint32_t stats = 0;                     // [part of x][stream]{mean, variance}
    uint32_t logits = 0;                    // [stream][code]
    uint32_t codes = 0;                     // [stream]
    uint32_t size = 0;
};

// Bytes of an operand of blocks of 64 inputs (columns.h): eight columns of two bytes a product.
inline int64_t operand_bytes(int streams, int parts, int64_t blocks) {
    const int64_t products = streams == 8 ? parts : (parts + 1) / 2;
    return blocks * granule_inputs * products * 8 * 2;
}

struct Program {
    int32_t vocabulary = 0, vocabulary_padded = 0;
    int32_t streams = 1;  // of a group: 1, 2, 4 or 8
    int32_t parts = 2;    // of an activation in the products (columns.h): 2 with bfloat16 weights, 3 with float32
    int32_t stages = 0, phases = 0;
    int32_t embedding = 0;    // constants: (code, width)
    uint32_t state_size = 0;  // floats a group
    uint32_t wrap = 0;        // positions are counted modulo this: 16 periods
    SharedLayout shared;
};

}  // namespace nigiri::cuda::engine
