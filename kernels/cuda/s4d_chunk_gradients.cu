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
// A warp takes one channel of 16 columns: 4 x 2N / 8 x 2 products a chunk of 32 samples for the four sums of
// powers, 6 for the lags, and 32 multiply-adds a mode and column, which bound it together; the activations
// are read once.
#include "kernels/cuda/s4d_chunks.cuh"

namespace nigiri::cuda {

namespace {

template <class T>
constexpr int stages = sizeof(T) == 2 ? 3 : 2;
// Two sets of slabs save a barrier a step where shared memory has room for them.
template <class T>
constexpr int sets = sizeof(T) == 2 ? 2 : 1;

constexpr int columns_of_block = 16, slice_modes = 32;  // more modes are work for another block

template <class T, int Blocks>
struct Layout {
    static constexpr int modes = 8 * Blocks;
    using BlockSlab = Slab<T, columns_of_block>;
    using BlockCarrier = Carrier<T, columns_of_block>;
    static constexpr int image = chunk_image_bytes(modes);
    static constexpr int weighted = chunk_channels * image;
    static constexpr int slabs = 2 * weighted;  // of u, of dy; sets of them
    static constexpr int slots = slabs + 2 * sets<T> * BlockSlab::bytes;
    static constexpr int list = slots + 2 * stages<T> * BlockCarrier::stage_bytes;
    static constexpr int bytes = list + columns_of_block * static_cast<int>(sizeof(Column));
    static_assert(2 * BlockCarrier::stage_bytes >= chunk_channels * 512 * 4);  // the lags' sums, at the end
};

__device__ inline float2 times(float2 a, float2 b) {
    return {fmaf(a.x, b.x, -a.y * b.y), fmaf(a.x, b.y, a.y * b.x)};
}
__device__ inline float2 times_add(float2 a, float2 b, float2 c) {
    return {fmaf(a.x, b.x, fmaf(-a.y, b.y, c.x)), fmaf(a.x, b.y, fmaf(a.y, b.x, c.y))};
}

template <class T, int Blocks>
struct Warp {
    static constexpr int pieces = pieces_of<T>, modes = 8 * Blocks, products = 2 * Blocks;
    using BlockSlab = Slab<T, columns_of_block>;

    // Of modes 4 n + lane % 4 and columns lane / 4 + 8 half.
    float2 h[products][2], m[products][2], q[products][2], dq[products][2];
    float2 x[products], y[products];  // both columns together
    float lags[4][4];                 // lag 16 + 8 r + row + column - 31
    float2 decay, power;              // of mode `lane`: A^32, and A^32 to the number of chunks so far

    __device__ void step(const BlockSlab& u_slab, const BlockSlab& dy_slab, int channel,
                         const unsigned char* powers, const unsigned char* weighted, float behind) {
        const int lane = threadIdx.x % 32;
        uint32_t u[pieces][2][4], dy[pieces][2][4];
#pragma unroll
        for (int p = 0; p < pieces; ++p)
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                u_slab.load(u[p][k], channel, 0, p, k);
                dy_slab.load(dy[p][k], channel, 0, p, k);
            }
#pragma unroll
        for (int n = 0; n < products; ++n) {
            float e[4] = {}, de[4] = {}, f[4] = {}, df[4] = {};
#pragma unroll
            for (int p = 0; p < 2; ++p) {
                uint32_t row[4];
                load_transposed(row, powers + chunk_image_offset(modes, p, lane, n));
                accumulate(e, u, row, p == 0);
                accumulate(f, dy, row, p == 0);
                load_transposed(row, weighted + chunk_image_offset(modes, p, lane, n));
                accumulate(de, u, row, p == 0);
                accumulate(df, dy, row, p == 0);
            }
            const int from = 4 * n + lane % 4;
            const float2 a = {__shfl_sync(0xffffffffu, decay.x, from),
                              __shfl_sync(0xffffffffu, decay.y, from)};
            const float2 r = {__shfl_sync(0xffffffffu, power.x, from),
                              __shfl_sync(0xffffffffu, power.y, from)};
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float2 &state = h[n][half], &derived = m[n][half];
                const float2 now = {f[2 * half], f[2 * half + 1]}, dnow = {df[2 * half], df[2 * half + 1]};
                x[n] = times_add(now, state, x[n]);
                y[n] = times_add(dnow, state, times_add(now, derived, y[n]));
                q[n][half] = times_add(r, now, q[n][half]);
                dq[n][half] =
                    times_add(r, {fmaf(behind, now.x, dnow.x), fmaf(behind, now.y, dnow.y)}, dq[n][half]);
                const float2 grown = {fmaf(static_cast<float>(chunk_samples), state.x, derived.x),
                                      fmaf(static_cast<float>(chunk_samples), state.y, derived.y)};
                derived = times_add(a, grown, {de[2 * half], de[2 * half + 1]});
                state = times_add(a, state, {e[2 * half], e[2 * half + 1]});
            }
        }
        power = times(power, decay);
        add_lags(u_slab, dy_slab, channel);
    }

    __device__ static void accumulate(float (&c)[4], const uint32_t (&a)[pieces][2][4],
                                      const uint32_t (&b)[4], bool first) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            multiply_add(c, a[0][k], b[2 * k], b[2 * k + 1]);
            if (pieces == 2 && first) multiply_add(c, a[pieces - 1][k], b[2 * k], b[2 * k + 1]);
        }
    }

    // dy_i u_j over the columns; u's samples come in reverse order, so that the lag is i + j' - 31, and
    // products with the same i - j' in tiles share their sums.
    __device__ void add_lags(const BlockSlab& u_slab, const BlockSlab& dy_slab, int channel) {
        const int lane = threadIdx.x % 32;
        uint32_t b[pieces][4][2];
#pragma unroll
        for (int p = 0; p < pieces; ++p)
#pragma unroll
            for (int n = 0; n < 4; n += 2) {
                uint32_t r[4];
                load_transposed(r, u_slab.unit(channel, lane % 16, 4 * p + n + lane / 16));
                b[p][n][0] = r[0], b[p][n][1] = r[1], b[p][n + 1][0] = r[2], b[p][n + 1][1] = r[3];
            }
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int p = 0; p < pieces; ++p) {
                uint32_t a[4];
                load_transposed(
                    a, dy_slab.unit(channel, lane % 8 + lane / 16 * 8, 4 * p + 2 * i + lane / 8 % 2));
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    const int r = 2 * i + n - 2;
                    if (r < 0) continue;
                    multiply_add(lags[r < 0 ? 0 : r], a, b[0][n][0], b[0][n][1]);
                    if (pieces == 2 && p == 0)
                        multiply_add(lags[r < 0 ? 0 : r], a, b[pieces - 1][n][0], b[pieces - 1][n][1]);
                }
            }
    }

    // The sum of each lag, of lag `lane` in every lane; `room` is 512 floats of the warp's own.
    __device__ float sum_lags(float* room) const {
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
            for (int i = 0; i < 4; ++i) room[r * 128 + (g + i / 2 * 8) * 8 + 2 * t + i % 2] = lags[r][i];
        __syncwarp();
        float sum = 0;
        for (int r = 0; r < 4; ++r)
            for (int row = 0; row < 16; ++row) {
                const int column = lane + 31 - 16 - 8 * r - row;
                if (column >= 0 && column < 8) sum += room[r * 128 + row * 8 + column];
            }
        return sum;
    }
};

template <class T, int Blocks>
__global__ void __launch_bounds__(chunk_threads, 1) chunk_gradients(ChunkGradients<T> p) {
    using L = Layout<T, Blocks>;
    extern __shared__ __align__(128) unsigned char shared[];
    const int64_t group = blockIdx.x, first_column = static_cast<int64_t>(blockIdx.y) * columns_of_block;
    const int slice = static_cast<int>(blockIdx.z), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t channel = group * chunk_channels + warp, width = p.segments.channels;
    Column* columns = reinterpret_cast<Column*>(shared + L::list);
    list_columns(p.segments, first_column, p.segments.columns(), columns_of_block, columns);
    const int64_t image_group = slice * static_cast<int64_t>(gridDim.x) + group;
    load_image(p.tables.powers, image_group, L::image, shared);
    load_image(p.tables.weighted, image_group, L::image, shared + L::weighted);
    const int64_t left = width - group * chunk_channels;
    const int channels = static_cast<int>(left < chunk_channels ? left : chunk_channels);
    const bool whole = channels == chunk_channels;
    using BlockCarrier = typename L::BlockCarrier;
    const BlockCarrier carriers[2] = {{p.u + group * chunk_channels, nullptr, p.u_stride, 0, columns,
                                       shared + L::slots, channels, p.u_vectors && whole, false, true},
                                      {p.dy + group * chunk_channels, nullptr, p.dy_stride, 0, columns,
                                       shared + L::slots + stages<T> * BlockCarrier::stage_bytes, channels,
                                       p.dy_vectors && whole, false, false}};
    const auto slab = [&](int set, int which) {
        return typename L::BlockSlab{shared + L::slabs + (2 * set + which) * L::BlockSlab::bytes};
    };

    Warp<T, Blocks> sums = {};
    const int padded = static_cast<int>(gridDim.z) * L::modes;
    if (lane < L::modes) {
        const float4 pole = p.tables.poles[channel * padded + slice * slice_modes + lane];
        sums.decay = {pole.x, pole.y};
    }
    sums.power = {1, 0};
    __syncthreads();
    const int steps = p.segments.steps();
#pragma unroll
    for (int s = 0; s < stages<T> - 1; ++s) {
        if (s < steps) carriers[0].fetch(s, s), carriers[1].fetch(s, s);
        commit_copies();
    }
    for (int s = 0; s < steps; ++s) {
        wait_copies<stages<T> - 2>();
        if (sets<T> == 1) __syncthreads();  // every warp is done with the slabs
        const int set = s % sets<T>;
        carriers[0].turn(s % stages<T>, slab(set, 0));
        carriers[1].turn(s % stages<T>, slab(set, 1));
        const int ahead = s + stages<T> - 1;
        if (ahead < steps)
            carriers[0].fetch(ahead % stages<T>, ahead), carriers[1].fetch(ahead % stages<T>, ahead);
        commit_copies();
        __syncthreads();
        sums.step(slab(set, 0), slab(set, 1), warp, shared + warp * L::image,
                  shared + L::weighted + warp * L::image, static_cast<float>(s * chunk_samples));
    }

    __syncthreads();  // the slots are free
    if (slice == 0) {
        const float sum = sums.sum_lags(reinterpret_cast<float*>(shared + L::slots) + 512 * warp);
        if (channel < width) p.taps[(blockIdx.y * width + channel) * chunk_samples + lane] = sum;
    }
#pragma unroll
    for (int n = 0; n < 2 * Blocks; ++n) {
        const int64_t mode = slice * slice_modes + 4 * n + lane % 4;
        const bool there = channel < width && mode < p.tables.modes;
#pragma unroll
        for (int offset = 4; offset < 32; offset *= 2) {
            sums.x[n].x += __shfl_xor_sync(0xffffffffu, sums.x[n].x, offset);
            sums.x[n].y += __shfl_xor_sync(0xffffffffu, sums.x[n].y, offset);
            sums.y[n].x += __shfl_xor_sync(0xffffffffu, sums.y[n].x, offset);
            sums.y[n].y += __shfl_xor_sync(0xffffffffu, sums.y[n].y, offset);
        }
        if (there && lane < 4) {
            const int64_t i = (blockIdx.y * width + channel) * p.tables.modes + mode;
            p.x[i] = sums.x[n], p.y[i] = sums.y[n];
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int64_t column = first_column + lane / 4 + 8 * half;
            if (there && column < p.segments.columns())
                p.sums[(column * width + channel) * p.tables.modes + mode] = {
                    sums.h[n][half], sums.m[n][half], sums.q[n][half], sums.dq[n][half]};
        }
    }
}

template <class T, int Blocks>
void launch(cudaStream_t stream, const ChunkGradients<T>& p) {
    using L = Layout<T, Blocks>;
    static const bool asked = [] {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(chunk_gradients<T, Blocks>),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, L::bytes),
              "asking for shared memory");
        return true;
    }();
    static_cast<void>(asked);
    const dim3 grid(static_cast<unsigned>(ceil_div(p.segments.channels, chunk_channels)),
                    static_cast<unsigned>(ceil_div(p.segments.columns(), columns_of_block)),
                    static_cast<unsigned>(ceil_div(padded_modes(p.tables.modes), slice_modes)));
    chunk_gradients<T, Blocks><<<grid, chunk_threads, L::bytes, stream>>>(p);
    check_launch("s4d_conv_backward");
}

}  // namespace

template <class T>
void launch_chunk_gradients(cudaStream_t stream, const ChunkGradients<T>& p) {
    if (padded_modes(p.tables.modes) == 16)
        launch<T, 2>(stream, p);
    else
        launch<T, 4>(stream, p);
}

template void launch_chunk_gradients(cudaStream_t, const ChunkGradients<float>&);
template void launch_chunk_gradients(cudaStream_t, const ChunkGradients<bf16>&);

}  // namespace nigiri::cuda
