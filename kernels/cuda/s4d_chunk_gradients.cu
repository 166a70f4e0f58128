// What the gradients of an S4D layer's parameters need of u and dy. All of it follows, mode by mode, from
//   sum = sum_l dK_l A^l    and    moment = sum_l l dK_l A^(l - 1)
// over the lags l of all pairs dy_t, u_(t - l). Pairs within a chunk are 32 lags, summed over all chunks by
// the tensor cores as dy's columns times u's. The others go through the state: with q_c = sum_i A^i dy_i over
// chunk c, h_c the state before it, and ' for A d/dA,
//   sum += A x,   moment += x + y,   x = sum_c q_c h_c,   y = sum_c (q'_c h_c + q_c h'_c).
// A block sums its segments as though each began at zero, and leaves for every segment h, h' at its end and
// q, q' of it as a whole, from which a small kernel finds what the states between the segments add
// (s4d_conv.cu).
//
// A block has 8 channels of 16 columns. A chunk of 32 samples is 4 x 2N / 8 x 2 products for the four sums of
// powers (times the pieces), 6 for the lags, and 32 multiply-adds a mode and column, which bound it together;
// the activations are read once. Two blocks' warps would hide more of each other's waits, but the four sums a
// mode and column leave registers for one.
#include "kernels/cuda/s4d_chunks.cuh"

namespace nigiri::cuda {

namespace {

template <class T>
constexpr int stages = sizeof(T) == 2 ? 4 : 2;
// Two sets of slabs save a barrier a step where shared memory has room for them.
template <class T>
constexpr int sets = sizeof(T) == 2 ? 2 : 1;

constexpr int block_channels = 8, block_columns = 16, threads = 32 * block_channels;
constexpr int slice_modes = 32;  // more modes are work for another block

template <class T, int Modes>
struct Layout {
    static constexpr int plain_pieces = ChunkPieces<T>::state_powers, weighted_pieces = ChunkPieces<T>::weighted_powers;
    using BlockSlab = Slab<T, block_channels, block_columns>;
    using BlockCarrier = Carrier<T, block_channels, block_columns, threads>;
    static constexpr int piece = chunk_piece_bytes(Modes);
    static constexpr int weighted = block_channels * plain_pieces * piece;
    static constexpr int slabs = weighted + block_channels * weighted_pieces * piece;  // of u, of dy; sets of them
    static constexpr int slots = slabs + 2 * sets<T> * BlockSlab::bytes;
    static constexpr int bytes = slots + 2 * stages<T> * BlockCarrier::stage_bytes;
    static_assert(2 * BlockCarrier::stage_bytes >= block_channels * 512 * 4);  // the lags' sums, at the end
    static_assert(bytes <= 227 * 1024);
};

__device__ inline float2 times(float2 a, float2 b) { return {fmaf(a.x, b.x, -a.y * b.y), fmaf(a.x, b.y, a.y * b.x)}; }
__device__ inline float2 times_add(float2 a, float2 b, float2 c) {
    return {fmaf(a.x, b.x, fmaf(-a.y, b.y, c.x)), fmaf(a.x, b.y, fmaf(a.y, b.x, c.y))};
}
// a + s b
__device__ inline float2 add_scaled(float2 a, float s, float2 b) { return {fmaf(s, b.x, a.x), fmaf(s, b.y, a.y)}; }
__device__ inline float2 shuffled(float2 a, int from) {
    return {__shfl_sync(0xffffffffu, a.x, from), __shfl_sync(0xffffffffu, a.y, from)};
}

template <class T, int Modes>
struct Warp {
    using L = Layout<T, Modes>;
    using BlockSlab = typename L::BlockSlab;
    static constexpr int activation = ChunkPieces<T>::activation, products = Modes / 4;

    // Of modes 4 n + lane % 4 and columns lane / 4 + 8 half.
    float2 h[products][2], m[products][2], q[products][2], dq[products][2];
    float2 x[products], y[products];  // both columns together
    float lags[4][4];                 // lag 16 + 8 r + row + column - 31
    float2 decay, power;              // of mode `lane`: A^32, and A^32 to the number of chunks so far
    uint32_t slab_operand, u_lags, dy_lags, powers, weighted_powers;

    __device__ void find_places(int channel) {
        const int lane = threadIdx.x % 32;
        slab_operand = BlockSlab::operand(channel);
        u_lags = BlockSlab::row(channel, lane % 16) ^ static_cast<uint32_t>(16 * (lane / 16));
        dy_lags = BlockSlab::row(channel, lane % 8 + lane / 16 * 8) ^ static_cast<uint32_t>(16 * (lane / 8 % 2));
        const auto row = static_cast<uint32_t>(chunk_image_offset(Modes, 0, lane, 0));
        powers = static_cast<uint32_t>(channel * L::plain_pieces * L::piece) + row;
        weighted_powers = static_cast<uint32_t>(L::weighted + channel * L::weighted_pieces * L::piece) + row;
    }

    __device__ void step(uint32_t u_slab, uint32_t dy_slab, float behind) {
        const int lane = threadIdx.x % 32;
        uint32_t u[activation][2][4], dy[activation][2][4];
#pragma unroll
        for (int p = 0; p < activation; ++p)
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                load_matrices(u[p][k], (u_slab + slab_operand) ^ BlockSlab::operand_part(p, k));
                load_matrices(dy[p][k], (dy_slab + slab_operand) ^ BlockSlab::operand_part(p, k));
            }
#pragma unroll
        for (int n = 0; n < products; ++n) {
            float e[4] = {}, de[4] = {}, f[4] = {}, df[4] = {};
#pragma unroll
            for (int p = 0; p < L::plain_pieces; ++p) {
                uint32_t part[4];
                load_transposed(part, (powers ^ static_cast<uint32_t>(16 * n)) + p * L::piece);
                accumulate(f, dy, part, p == 0);
                accumulate(e, u, part, p == 0);
            }
#pragma unroll
            for (int p = 0; p < L::weighted_pieces; ++p) {
                uint32_t part[4];
                load_transposed(part, (weighted_powers ^ static_cast<uint32_t>(16 * n)) + p * L::piece);
                accumulate(df, dy, part, p == 0);
                accumulate(de, u, part, p == 0);
            }
            const float2 a = shuffled(decay, 4 * n + lane % 4), r = shuffled(power, 4 * n + lane % 4);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float2 &state = h[n][half], &derived = m[n][half];
                const float2 now = {f[2 * half], f[2 * half + 1]}, dnow = {df[2 * half], df[2 * half + 1]};
                x[n] = times_add(now, state, x[n]);
                y[n] = times_add(dnow, state, times_add(now, derived, y[n]));
                q[n][half] = times_add(r, now, q[n][half]);
                dq[n][half] = times_add(r, add_scaled(dnow, behind, now), dq[n][half]);
                derived = times_add(a, add_scaled(derived, static_cast<float>(chunk_samples), state),
                                    {de[2 * half], de[2 * half + 1]});
                state = times_add(a, state, {e[2 * half], e[2 * half + 1]});
            }
        }
        power = times(power, decay);
        add_lags(u_slab, dy_slab);
    }

    __device__ static void accumulate(float (&c)[4], const uint32_t (&a)[activation][2][4], const uint32_t (&b)[4],
                                      bool first_piece) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            multiply_add(c, a[0][k], b[2 * k], b[2 * k + 1]);
            if (activation == 2 && first_piece) multiply_add(c, a[activation - 1][k], b[2 * k], b[2 * k + 1]);
        }
    }

    // dy_i u_j over the columns; u's samples come in reverse order, so that the lag is i + j' - 31, and
    // products of tiles with the same i + j' share their sums.
    __device__ void add_lags(uint32_t u_slab, uint32_t dy_slab) {
#pragma unroll
        for (int p = 0; p < activation; ++p)
#pragma unroll
            for (int o = 0; o < (p == 0 ? activation : 1); ++o)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    uint32_t a[4];
                    load_transposed(a, (dy_slab + dy_lags) ^ static_cast<uint32_t>(64 * p + 32 * i));
#pragma unroll
                    for (int n = 0; n < 4; n += 2) {
                        const int r = 2 * i + n - 2;
                        if (r < 0) continue;  // lags below zero
                        uint32_t b[4];
                        load_transposed(b, (u_slab + u_lags) ^ static_cast<uint32_t>(64 * o + 16 * n));
                        multiply_add(lags[r < 0 ? 0 : r], a, b[0], b[1]);
                        multiply_add(lags[r < 0 ? 0 : r + 1], a, b[2], b[3]);
                    }
                }
    }

    // Leaves the sums in `room`, 512 floats of the channel's own.
    __device__ void leave_lags(uint32_t room) const {
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                shared_at<float>(room + 4 * (r * 128 + (g + i / 2 * 8) * 8 + 2 * t + i % 2)) = lags[r][i];
    }
    // Of lag `lane`.
    __device__ static float sum_of_lags(uint32_t room) {
        const int lane = threadIdx.x % 32;
        float sum = 0;
        for (int r = 0; r < 4; ++r)
            for (int row = 0; row < 16; ++row) {
                const int column = lane + 31 - 16 - 8 * r - row;
                if (column >= 0 && column < 8) sum += shared_at<float>(room + 4 * (r * 128 + row * 8 + column));
            }
        return sum;
    }
};

template <class T, int Modes>
__global__ void __launch_bounds__(threads, 1) chunk_gradients(ChunkGradients<T> p) {
    using L = Layout<T, Modes>;
    using BlockCarrier = typename L::BlockCarrier;
    const int64_t width = p.segments.channels, first_channel = static_cast<int64_t>(blockIdx.x) * block_channels;
    const int64_t first_column = static_cast<int64_t>(blockIdx.y) * block_columns;
    const int slice = static_cast<int>(blockIdx.z), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t channel = first_channel + warp, images = slice * width + first_channel;
    load_images<Modes, L::plain_pieces, block_channels, threads>(p.tables.powers, images, 0);
    load_images<Modes, L::weighted_pieces, block_channels, threads>(p.tables.weighted, images, L::weighted);
    const auto carrier_of = [&](const T* in, int64_t stride, int slots, bool backwards) {
        return BlockCarrier(p.segments, in, nullptr, stride, 0, first_column, p.segments.columns(), first_channel,
                            static_cast<uint32_t>(slots), backwards);
    };
    const BlockCarrier u = carrier_of(p.u, p.u_stride, L::slots, true);
    const BlockCarrier dy = carrier_of(p.dy, p.dy_stride, L::slots + stages<T> * BlockCarrier::stage_bytes, false);
    Warp<T, Modes> sums = {};
    sums.find_places(warp);
    const int first_mode = slice * slice_modes, modes = static_cast<int>(gridDim.z) * Modes;
    if (lane < Modes) {
        const float4 pole = p.tables.poles[channel * modes + first_mode + lane];
        sums.decay = {pole.x, pole.y};
    }
    sums.power = {1, 0};
    // With two sets of slabs chunk s is worked on between barriers s and s + 1 and chunk s + 1 turned in, as
    // in the outputs' pass: by half of the warps before their own work, by half after it.
    const int steps = p.segments.steps(), late = sets<T> == 2 ? warp / 4 % 2 : 1;
    int stage = 0;  // of the chunk that is turned in next
    const auto fetch = [&](int step) {
        if (step < steps) u.fetch(stage, step), dy.fetch(stage, step);
        commit_copies();
    };
    const auto slab_of = [](int step) {
        return static_cast<uint32_t>(L::slabs + step % sets<T> * 2 * L::BlockSlab::bytes);
    };
    const auto turn = [&](int step) {
        wait_copies<stages<T> - 1>();
        u.turn(stage, slab_of(step));
        dy.turn(stage, slab_of(step) + L::BlockSlab::bytes);
        fetch(step + stages<T>);
        stage = stage == stages<T> - 1 ? 0 : stage + 1;
    };
    for (; stage < stages<T>; ++stage) fetch(stage);
    stage = 0;
    turn(0);
    if (!late) __syncthreads();
    for (int s = 0; s < steps; ++s) {
        const int next = s + 1 - late;
        if (sets<T> == 1) __syncthreads();  // every warp is done with the slabs
        if (next > 0 && next < steps) turn(next);
        if (late) __syncthreads();
        sums.step(slab_of(s), slab_of(s) + L::BlockSlab::bytes, static_cast<float>(s * chunk_samples));
        if (!late) __syncthreads();
    }

    if (late) __syncthreads();  // the slots are free
    const auto room = static_cast<uint32_t>(L::slots + 4 * 512 * warp);
    sums.leave_lags(room);
    __syncwarp();
    if (slice == 0) p.taps[(blockIdx.y * width + channel) * chunk_samples + lane] = Warp<T, Modes>::sum_of_lags(room);
#pragma unroll
    for (int n = 0; n < Warp<T, Modes>::products; ++n) {
        const int64_t mode = first_mode + 4 * n + lane % 4;
        float4 total = {sums.x[n].x, sums.x[n].y, sums.y[n].x, sums.y[n].y};
#pragma unroll
        for (int offset = 4; offset < 32; offset *= 2) {
            total.x += __shfl_xor_sync(0xffffffffu, total.x, offset);
            total.y += __shfl_xor_sync(0xffffffffu, total.y, offset);
            total.z += __shfl_xor_sync(0xffffffffu, total.z, offset);
            total.w += __shfl_xor_sync(0xffffffffu, total.w, offset);
        }
        if (lane < 4) {
            const int64_t i = (blockIdx.y * width + channel) * modes + mode;
            p.x[i] = {total.x, total.y}, p.y[i] = {total.z, total.w};
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int64_t column = first_column + lane / 4 + 8 * half;
            if (column < p.segments.columns())
                p.sums[(column * width + channel) * modes + mode] = {sums.h[n][half], sums.m[n][half], sums.q[n][half],
                                                                     sums.dq[n][half]};
        }
    }
}

template <class T, int Modes>
void launch(cudaStream_t stream, const ChunkGradients<T>& p, int modes) {
    using L = Layout<T, Modes>;
    static const bool asked = [] {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(chunk_gradients<T, Modes>),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, L::bytes),
              "asking for shared memory");
        return true;
    }();
    static_cast<void>(asked);
    const dim3 grid(static_cast<unsigned>(p.segments.channels / block_channels),
                    static_cast<unsigned>(ceil_div(p.segments.columns(), block_columns)),
                    static_cast<unsigned>(modes / Modes));
    chunk_gradients<T, Modes><<<grid, threads, L::bytes, stream>>>(p);
    check_launch("s4d_conv_backward");
}

}  // namespace

template <class T>
void launch_chunk_gradients(cudaStream_t stream, const ChunkGradients<T>& p, int modes) {
    if (modes == 16)
        launch<T, 16>(stream, p, modes);
    else
        launch<T, slice_modes>(stream, p, modes);
}

template void launch_chunk_gradients(cudaStream_t, const ChunkGradients<float>&, int);
template void launch_chunk_gradients(cudaStream_t, const ChunkGradients<bf16>&, int);

}  // namespace nigiri::cuda
