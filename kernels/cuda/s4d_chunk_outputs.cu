// The passes that carry states along: outputs (y from u; du from dy, reversed), and the states at the ends of
// segments.
//
// A warp takes one channel of 16 or 32 columns through the segments' chunks. A step of 32 samples is 6
// products of the tensor cores for the taps and 4N / 8 + 4N / 8 for the states (N = 32: 38, times the
// pieces), 2N complex decays and as many weights a column; the outputs' pass moves the activations once in
// and once out, which is what should bound it.
#include "kernels/cuda/s4d_chunks.cuh"

namespace nigiri::cuda {

namespace {

template <class T>
constexpr int stages = sizeof(T) == 2 ? 3 : 2;

// Columns of a block: 16 a tile. Many modes leave registers for one tile only.
constexpr int tiles_for(int blocks) {
    return blocks > 4 ? 1 : 2;
}

// Shared memory, in this order.
template <class T, int Blocks>
struct Layout {
    static constexpr int modes = 8 * Blocks, columns = 16 * tiles_for(Blocks);
    using BlockSlab = Slab<T, columns>;
    using BlockCarrier = Carrier<T, columns>;
    static constexpr int image = chunk_image_bytes(modes);
    static constexpr int poles = chunk_channels * image;
    static constexpr int slabs = poles + chunk_channels * modes * 16;
    static constexpr int slots = slabs + 2 * BlockSlab::bytes;
    static constexpr int list = slots + stages<T> * BlockCarrier::stage_bytes;
    static constexpr int bytes = list + columns * static_cast<int>(sizeof(Column));
};

// The warp's state: h of 8 Blocks modes and 16 Tiles columns, as the C operands of 2 Blocks x Tiles products.
template <class T, int Blocks, bool Outputs>
struct Warp {
    static constexpr int tiles = tiles_for(Blocks), pieces = pieces_of<T>, modes = 8 * Blocks;
    float h[tiles][2 * Blocks][4];
    uint32_t taps[2][4];  // two pieces of the triangular matrix' four different registers

    // K[b + g + 2t - 31], K[b + g + 2t - 30] for b = 24, 32, 40, 48; tap numbers below zero are zeros.
    __device__ void load_taps(const float* from) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int i = 8 * r + lane / 4 + 2 * (lane % 4) - 7;
            split(i >= 0 ? from[i] : 0.0f, i >= -1 ? from[i + 1] : 0.0f, taps[0][r], taps[1][r]);
        }
    }

    // Mode of the C operand's columns 2t, 2t + 1 in product n; row half 0 is column g, half 1 column g + 8.
    __device__ static int mode(int n) {
        return 4 * n + static_cast<int>(threadIdx.x) % 4;
    }
    __device__ static int column(int m, int half) {
        return 16 * m + 8 * half + static_cast<int>(threadIdx.x) % 32 / 4;
    }

    __device__ void step(const Slab<T, 16 * tiles>& slab, int channel, const unsigned char* image,
                         const float4* poles) {
        const int lane = threadIdx.x % 32;
        uint32_t u[pieces][tiles][2][4];
#pragma unroll
        for (int p = 0; p < pieces; ++p)
#pragma unroll
            for (int m = 0; m < tiles; ++m)
#pragma unroll
                for (int k = 0; k < 2; ++k) slab.load(u[p][m][k], channel, m, p, k);
        float y[tiles][4][4] = {};
        if constexpr (Outputs) {
#pragma unroll
            for (int k = 0; k < 2; ++k)
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    const int first = n + 2 * k - 3;  // of the two registers; below zero there are no taps
                    if (first < -1) continue;
#pragma unroll
                    for (int m = 0; m < tiles; ++m) {
                        multiply_add(y[m][n], u[0][m][k], first < 0 ? 0 : taps[0][first < 0 ? 0 : first],
                                     taps[0][first + 1]);
                        multiply_add(y[m][n], u[0][m][k], first < 0 ? 0 : taps[1][first < 0 ? 0 : first],
                                     taps[1][first + 1]);
                        if constexpr (pieces == 2)
                            multiply_add(y[m][n], u[1][m][k], first < 0 ? 0 : taps[0][first < 0 ? 0 : first],
                                         taps[0][first + 1]);
                    }
                }
        }
#pragma unroll
        for (int b = 0; b < Blocks; ++b) {
            if constexpr (Outputs) add_states(b, image, poles, y);
#pragma unroll
            for (int n = 2 * b; n < 2 * b + 2; ++n) {
                const float4 pole = poles[mode(n)];
                float s[tiles][4] = {};
#pragma unroll
                for (int p = 0; p < 2; ++p) {
                    uint32_t powers[4];  // rows 0 .. 31 of states 8 n .. 8 n + 7
                    load_transposed(powers, image + chunk_image_offset(modes, p, lane, n));
#pragma unroll
                    for (int m = 0; m < tiles; ++m)
#pragma unroll
                        for (int k = 0; k < 2; ++k) {
                            multiply_add(s[m], u[0][m][k], powers[2 * k], powers[2 * k + 1]);
                            if (pieces == 2 && p == 0)
                                multiply_add(s[m], u[pieces - 1][m][k], powers[2 * k], powers[2 * k + 1]);
                        }
                }
#pragma unroll
                for (int m = 0; m < tiles; ++m)
#pragma unroll
                    for (int i = 0; i < 4; i += 2) {
                        float& re = h[m][n][i];
                        float& im = h[m][n][i + 1];
                        const float next = fmaf(pole.x, re, fmaf(-pole.y, im, s[m][i]));
                        im = fmaf(pole.x, im, fmaf(pole.y, re, s[m][i + 1]));
                        re = next;
                    }
            }
        }
        if constexpr (Outputs) {
            __syncwarp();  // every lane has read its part of the slab
            leave(slab, channel, y);
        }
    }

    // y += Re sum A^i (W A h) over block b of 8 modes, 16 numbers.
    __device__ void add_states(int b, const unsigned char* image, const float4* poles,
                               float (&y)[tiles][4][4]) const {
        const int lane = threadIdx.x % 32;
        uint32_t w[2][tiles][4];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const float4 pole = poles[mode(2 * b + n)];
#pragma unroll
            for (int m = 0; m < tiles; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float re = h[m][2 * b + n][2 * half], im = h[m][2 * b + n][2 * half + 1];
                    split(fmaf(pole.z, re, -pole.w * im), -fmaf(pole.z, im, pole.w * re),
                          w[0][m][2 * n + half], w[1][m][2 * n + half]);
                }
        }
#pragma unroll
        for (int p = 0; p < 2; ++p)
#pragma unroll
            for (int n = 0; n < 4; n += 2) {
                // Rows 8 n .. 8 n + 15 of the block's two units.
                uint32_t powers[4];
                load_matrices(powers, image + chunk_image_offset(modes, p, 8 * n + lane % 8 + lane / 16 * 8,
                                                                 2 * b + lane / 8 % 2));
#pragma unroll
                for (int m = 0; m < tiles; ++m)
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        multiply_add(y[m][n + i], w[0][m], powers[2 * i], powers[2 * i + 1]);
                        if (p == 0) multiply_add(y[m][n + i], w[1][m], powers[2 * i], powers[2 * i + 1]);
                    }
            }
    }

    __device__ static void leave(const Slab<T, 16 * tiles>& slab, int channel,
                                 const float (&y)[tiles][4][4]) {
        const int t = threadIdx.x % 4;
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
            for (int n = 0; n < 4; ++n)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float a = y[m][n][2 * half], b = y[m][n][2 * half + 1];
                    if constexpr (sizeof(T) == 2) {
                        slab.word(channel, column(m, half), 4 * n + t) = pack(a, b);
                    } else {
                        uint32_t* to = &slab.word(channel, column(m, half), 8 * n + 2 * t);
                        *reinterpret_cast<float2*>(to) = {a, b};
                    }
                }
    }

    // The warp's states from and to (columns, D, N).
    template <class F>
    __device__ void visit_states(const ChunkPass<T>& p, int64_t first_column, int64_t channel, F&& f) {
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
            for (int n = 0; n < 2 * Blocks; ++n)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int64_t c = first_column + column(m, half);
                    const bool there =
                        c < p.columns && channel < p.segments.channels && mode(n) < p.tables.modes;
                    f(there, c, (c * p.segments.channels + channel) * p.tables.modes + mode(n),
                      h[m][n][2 * half], h[m][n][2 * half + 1]);
                }
    }
};

template <class T, int Blocks, bool Outputs>
__global__ void __launch_bounds__(chunk_threads, 1) chunk_pass(ChunkPass<T> p) {
    using L = Layout<T, Blocks>;
    extern __shared__ __align__(128) unsigned char shared[];
    const int64_t group = blockIdx.x, first_column = static_cast<int64_t>(blockIdx.y) * L::columns;
    const int warp = threadIdx.x / 32;
    const int64_t channel = group * chunk_channels + warp;
    Column* columns = reinterpret_cast<Column*>(shared + L::list);
    list_columns(p.segments, first_column, p.columns, L::columns, columns);
    load_image(p.tables.powers, group, L::image, shared);
    float4* poles = reinterpret_cast<float4*>(shared + L::poles);
    for (int i = threadIdx.x; i < chunk_channels * L::modes; i += chunk_threads)
        poles[i] = p.tables.poles[group * chunk_channels * L::modes + i];
    const int64_t left = p.segments.channels - group * chunk_channels;
    const int channels = static_cast<int>(left < chunk_channels ? left : chunk_channels);
    const bool whole = channels == chunk_channels;
    const typename L::BlockCarrier carrier = {p.in + group * chunk_channels,
                                              Outputs ? p.out + group * chunk_channels : nullptr,
                                              p.in_stride,
                                              p.out_stride,
                                              columns,
                                              shared + L::slots,
                                              channels,
                                              p.in_vectors && whole,
                                              p.out_vectors && whole,
                                              !p.reversed};
    const typename L::BlockSlab slabs[2] = {{shared + L::slabs}, {shared + L::slabs + L::BlockSlab::bytes}};

    Warp<T, Blocks, Outputs> state;
    if constexpr (Outputs) state.load_taps(p.tables.taps + channel * chunk_samples);
    state.visit_states(p, first_column, channel, [&](bool there, int64_t, int64_t i, float& re, float& im) {
        const float2 h = there && p.starts ? p.starts[i] : float2{0, 0};
        re = h.x, im = h.y;
    });
    // Of the last segments, asked for with the outputs: the state after as many whole chunks as there are
    // samples for.
    const int64_t last = p.segments.length - (p.segments.count - 1) * p.segments.samples;
    const int whole_chunks = static_cast<int>(last / chunk_samples);
    const auto save_last = [&] {
        if (!Outputs || p.ends == nullptr) return;
        const int64_t before = (p.segments.count - 1) * p.segments.batch;
        state.visit_states(p, first_column, channel,
                           [&](bool there, int64_t c, int64_t i, float re, float im) {
                               if (there && c >= before)
                                   p.ends[i - before * p.segments.channels * p.tables.modes] = {re, im};
                           });
    };

    __syncthreads();
    const int steps = p.segments.steps();
    const auto chunk_of = [&](int step) { return p.reversed ? steps - 1 - step : step; };
#pragma unroll
    for (int s = 0; s < stages<T> - 1; ++s) {
        if (s < steps) carrier.fetch(s, chunk_of(s));
        commit_copies();
    }
    for (int s = 0; s < steps; ++s) {
        wait_copies<stages<T> - 2>();
        carrier.turn(s % stages<T>, slabs[s % 2]);
        const int ahead = s + stages<T> - 1;
        if (ahead < steps) carrier.fetch(ahead % stages<T>, chunk_of(ahead));
        commit_copies();
        __syncthreads();  // chunk s is there for every warp, and every warp has left its results of chunk s -
                          // 1
        if constexpr (Outputs)
            if (s > 0) carrier.store(slabs[(s - 1) % 2], chunk_of(s - 1));
        if (s == whole_chunks) save_last();
        state.step(slabs[s % 2], warp, shared + warp * L::image, poles + warp * L::modes);
    }
    if (steps == whole_chunks) save_last();
    if constexpr (Outputs) {
        __syncthreads();
        carrier.store(slabs[(steps - 1) % 2], chunk_of(steps - 1));
    } else {
        state.visit_states(p, first_column, channel, [&](bool there, int64_t, int64_t i, float re, float im) {
            if (there) p.ends[i] = {re, im};
        });
    }
}

template <class T, int Blocks, bool Outputs>
void launch(cudaStream_t stream, const ChunkPass<T>& p) {
    using L = Layout<T, Blocks>;
    static const bool asked = [] {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(chunk_pass<T, Blocks, Outputs>),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, L::bytes),
              "asking for shared memory");
        return true;
    }();
    static_cast<void>(asked);
    const dim3 grid(static_cast<unsigned>(ceil_div(p.segments.channels, chunk_channels)),
                    static_cast<unsigned>(ceil_div(p.columns, L::columns)));
    chunk_pass<T, Blocks, Outputs><<<grid, chunk_threads, L::bytes, stream>>>(p);
    check_launch("s4d_conv");
}

template <class T, bool Outputs>
void launch_for(cudaStream_t stream, const ChunkPass<T>& p) {
    switch (padded_modes(p.tables.modes)) {
        case 16:
            return launch<T, 2, Outputs>(stream, p);
        case 32:
            return launch<T, 4, Outputs>(stream, p);
        default:
            return launch<T, 8, Outputs>(stream, p);
    }
}

}  // namespace

template <class T>
void launch_chunk_outputs(cudaStream_t stream, const ChunkPass<T>& pass) {
    launch_for<T, true>(stream, pass);
}
template <class T>
void launch_chunk_ends(cudaStream_t stream, const ChunkPass<T>& pass) {
    launch_for<T, false>(stream, pass);
}

template void launch_chunk_outputs(cudaStream_t, const ChunkPass<float>&);
template void launch_chunk_outputs(cudaStream_t, const ChunkPass<bf16>&);
template void launch_chunk_ends(cudaStream_t, const ChunkPass<float>&);
template void launch_chunk_ends(cudaStream_t, const ChunkPass<bf16>&);

}  // namespace nigiri::cuda
