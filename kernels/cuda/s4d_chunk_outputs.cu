// The passes that carry states along: outputs (y from u; du from dy, reversed), and the states at the ends of
// segments.
//
// A step of 32 samples of a warp's 16 columns is 6 products of the tensor cores for the taps and 2N / 8 x 2
// for each of states and outputs (N = 32: 38, times the pieces), N complex decays and as many weights a
// column. What bounds it is shared memory: 4 KB of powers a step, piece and use; then the activations, once
// in and once out.
#include "kernels/cuda/s4d_chunks.cuh"

namespace nigiri::cuda {

namespace {

template <class T>
constexpr int stages = sizeof(T) == 2 ? 3 : 2;

// Shared memory, in this order.
template <class T, int Modes>
struct Layout {
    static constexpr int channels = output_channels<T>(Modes), columns = output_columns<T>(Modes);
    static constexpr int threads = 32 * channels;
    using BlockSlab = Slab<T, channels, columns>;
    using BlockCarrier = Carrier<T, channels, columns, threads>;
    static constexpr int image = 2 * chunk_piece_bytes(Modes);
    static constexpr int poles = channels * image;
    static constexpr int slabs = poles + channels * Modes * 16;
    static constexpr int slots = slabs + 2 * BlockSlab::bytes;
    static constexpr int bytes = slots + stages<T> * BlockCarrier::stage_bytes;
    static_assert(bytes <= 227 * 1024);
};

// A warp's part of a pass: its states are h of Modes modes and `columns` columns, as the C operands of Modes
// / 4 products a tile of 16 columns.
template <class T, int Modes, bool Outputs>
struct Warp {
    using L = Layout<T, Modes>;
    using Pieces = ChunkPieces<T>;
    using BlockSlab = typename L::BlockSlab;
    static constexpr int tiles = L::columns / 16, products = Modes / 4;

    float h[tiles][products][4];
    uint32_t taps[2][4];  // two pieces of the triangular matrix' four different registers
    uint32_t slab_operand, slab_results, state_powers, output_powers, poles;

    // K[b + g + 2t - 31], K[b + g + 2t - 30] for b = 24, 32, 40, 48; tap numbers below zero are zeros.
    __device__ void load_taps(const float* from) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int i = 8 * r + lane / 4 + 2 * (lane % 4) - 7;
            split(i >= 0 ? from[i] : 0.0f, i >= -1 ? from[i + 1] : 0.0f, taps[0][r], taps[1][r]);
        }
    }

    // Where the lane's operands are; offsets of units and rows combine with them by ^ and +.
    __device__ void find_places(int channel) {
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        const auto image = static_cast<uint32_t>(channel * L::image);
        slab_operand = BlockSlab::operand(channel);
        slab_results = BlockSlab::row(channel, g) + (sizeof(T) == 2 ? 4 * t : 0);
        if constexpr (sizeof(T) == 4) slab_results = (slab_results ^ static_cast<uint32_t>(16 * (t / 2))) + 8 * (t % 2);
        state_powers = image + static_cast<uint32_t>(chunk_image_offset(Modes, 0, lane, 0));
        output_powers =
            image + static_cast<uint32_t>(chunk_image_offset(Modes, 0, lane % 8 + lane / 16 * 8, lane / 8 % 2));
        poles = static_cast<uint32_t>(L::poles + (channel * Modes + t) * 16);
    }

    // Mode of the C operand's columns 2t, 2t + 1 in product n; row half 0 is column g, half 1 column g + 8.
    __device__ static int mode(int n) { return 4 * n + static_cast<int>(threadIdx.x) % 4; }
    __device__ static int column(int m, int half) { return 16 * m + 8 * half + static_cast<int>(threadIdx.x) % 32 / 4; }

    __device__ void step(uint32_t slab) {
        uint32_t u[Pieces::activation][tiles][2][4];
#pragma unroll
        for (int p = 0; p < Pieces::activation; ++p)
#pragma unroll
            for (int m = 0; m < tiles; ++m)
#pragma unroll
                for (int k = 0; k < 2; ++k)
                    load_matrices(u[p][m][k], ((slab + slab_operand) ^ BlockSlab::operand_part(p, k)) +
                                                  m * 16 * BlockSlab::row_bytes);
        float y[tiles][4][4] = {};
        if constexpr (Outputs) add_taps(u, y);
#pragma unroll
        for (int b = 0; b < Modes / 8; ++b) {
            const float4 pole[2] = {shared_at<float4>(poles + 2 * b * 64), shared_at<float4>(poles + (2 * b + 1) * 64)};
            if constexpr (Outputs) add_states(b, pole, y);
#pragma unroll
            for (int n = 0; n < 2; ++n) carry(2 * b + n, pole[n], u);
        }
        if constexpr (Outputs) {
            __syncwarp();  // every lane has read its part of the slab
            leave(slab, y);
        }
    }

    __device__ void add_taps(const uint32_t (&u)[Pieces::activation][tiles][2][4], float (&y)[tiles][4][4]) const {
#pragma unroll
        for (int p = 0; p < 2; ++p)  // of the taps
#pragma unroll
            for (int a = 0; a < (p == 0 ? Pieces::activation : 1); ++a)
#pragma unroll
                for (int k = 0; k < 2; ++k)
#pragma unroll
                    for (int n = 0; n < 4; ++n) {
                        const int first = n + 2 * k - 3;  // of the two registers; below zero there are no taps
                        if (first < -1) continue;
#pragma unroll
                        for (int m = 0; m < tiles; ++m)
                            multiply_add(y[m][n], u[a][m][k], first < 0 ? 0 : taps[p][first < 0 ? 0 : first],
                                         taps[p][first + 1]);
                    }
    }

    // y += Re sum A^i (W A h) over block b of 8 modes, 16 numbers.
    __device__ void add_states(int b, const float4 (&pole)[2], float (&y)[tiles][4][4]) const {
        uint32_t w[2][tiles][4];
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
            for (int m = 0; m < tiles; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float re = h[m][2 * b + n][2 * half], im = h[m][2 * b + n][2 * half + 1];
                    const float x = fmaf(pole[n].z, re, -pole[n].w * im), z = -fmaf(pole[n].z, im, pole[n].w * re);
                    if constexpr (Pieces::weighted_states == 2)
                        split(x, z, w[0][m][2 * n + half], w[1][m][2 * n + half]);
                    else
                        w[0][m][2 * n + half] = pack(x, z);
                }
#pragma unroll
        for (int p = 0; p < Pieces::output_powers; ++p) {
            // Rows 8 n .. 8 n + 15 of the block's two units.
            uint32_t powers[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n)
                load_matrices(powers[n], (output_powers ^ static_cast<uint32_t>(32 * b)) +
                                             p * chunk_piece_bytes(Modes) + n * 16 * (4 * Modes));
#pragma unroll
            for (int a = 0; a < (p == 0 ? Pieces::weighted_states : 1); ++a)
#pragma unroll
                for (int n = 0; n < 4; ++n)
#pragma unroll
                    for (int m = 0; m < tiles; ++m)
                        multiply_add(y[m][n], w[a][m], powers[n / 2][2 * (n % 2)], powers[n / 2][2 * (n % 2) + 1]);
        }
    }

    // h = A^T h + sum A^k u, product n.
    __device__ void carry(int n, const float4& pole, const uint32_t (&u)[Pieces::activation][tiles][2][4]) {
        float s[tiles][4] = {};
#pragma unroll
        for (int p = 0; p < Pieces::state_powers; ++p) {
            uint32_t powers[4];  // rows 0 .. 31 of states 8 n .. 8 n + 7
            load_transposed(powers, (state_powers ^ static_cast<uint32_t>(16 * n)) + p * chunk_piece_bytes(Modes));
#pragma unroll
            for (int a = 0; a < (p == 0 ? Pieces::activation : 1); ++a)
#pragma unroll
                for (int k = 0; k < 2; ++k)
#pragma unroll
                    for (int m = 0; m < tiles; ++m) multiply_add(s[m], u[a][m][k], powers[2 * k], powers[2 * k + 1]);
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

    __device__ void leave(uint32_t slab, const float (&y)[tiles][4][4]) const {
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
            for (int n = 0; n < 4; ++n)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const uint32_t at =
                        ((slab + slab_results) ^ static_cast<uint32_t>((sizeof(T) == 2 ? 16 : 32) * n)) +
                        (16 * m + 8 * half) * BlockSlab::row_bytes;
                    const float a = y[m][n][2 * half], b = y[m][n][2 * half + 1];
                    if constexpr (sizeof(T) == 2)
                        shared_at<uint32_t>(at) = pack(a, b);
                    else
                        shared_at<float2>(at) = {a, b};
                }
    }

    // The warp's states and their places in (columns, D, N), from a column on.
    template <class F>
    __device__ void visit_states(int64_t first_column, int64_t channels, int64_t channel, F&& f) {
        const int64_t first = ((first_column + column(0, 0)) * channels + channel) * Modes + mode(0);
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int n = 0; n < products; ++n)
                    f(first_column + column(m, half), first + (16 * m + 8 * half) * channels * Modes + 4 * n,
                      h[m][n][2 * half], h[m][n][2 * half + 1]);
    }
};

template <class T, int Modes, bool Outputs>
__global__ void __launch_bounds__(Layout<T, Modes>::threads, 1) chunk_pass(ChunkPass<T> p) {
    using L = Layout<T, Modes>;
    const int64_t first_channel = static_cast<int64_t>(blockIdx.x) * L::channels;
    const int64_t first_column = static_cast<int64_t>(blockIdx.y) * L::columns, all_channels = p.segments.channels;
    const int warp = threadIdx.x / 32;
    load_images<Modes, 2, L::channels, L::threads>(p.tables.powers, first_channel, 0);
    for (int i = threadIdx.x; i < L::channels * Modes; i += L::threads)
        shared_at<float4>(L::poles + 16 * i) = p.tables.poles[first_channel * Modes + i];
    const typename L::BlockCarrier carrier(p.segments, p.in, p.out, p.in_stride, p.out_stride, first_column, p.columns,
                                           first_channel, L::slots, !p.reversed);
    Warp<T, Modes, Outputs> state;
    state.find_places(warp);
    if constexpr (Outputs) state.load_taps(p.tables.taps + (first_channel + warp) * chunk_samples);
    state.visit_states(first_column, all_channels, first_channel + warp,
                       [&](int64_t c, int64_t i, float& re, float& im) {
                           const float2 h = p.starts && c < p.columns ? p.starts[i] : float2{0, 0};
                           re = h.x, im = h.y;
                       });
    // Of the last segments, asked for with the outputs: the state after as many whole chunks as there are
    // samples for.
    const int64_t before_last = (p.segments.count - 1) * p.segments.batch;
    const auto whole_chunks =
        static_cast<int>((p.segments.length - (p.segments.count - 1) * p.segments.samples) / chunk_samples);
    const auto save_last = [&](int done) {
        if (!Outputs || p.ends == nullptr || done != whole_chunks) return;
        state.visit_states(first_column, all_channels, first_channel + warp,
                           [&](int64_t c, int64_t i, float re, float im) {
                               if (c >= before_last && c < p.columns)
                                   p.ends[i - before_last * all_channels * Modes] = {re, im};
                           });
    };

    // Between barriers s and s + 1, chunk s is worked on in one slab; in the other the results of chunk s - 1
    // are taken out and chunk s + 1 is turned in: by half of the warps before their own work and by half
    // after it, so that the one fills the other's waits. Both halves run through the same code, the late ones
    // a barrier behind.
    const int steps = p.segments.steps(), late = warp / 4 % 2;
    int stage = 0;  // of the chunk that is turned in next
    const auto fetch = [&](int step) {
        if (step < steps) carrier.fetch(stage, p.reversed ? steps - 1 - step : step);
        commit_copies();
    };
    const auto slab_of = [](int step) { return static_cast<uint32_t>(L::slabs + step % 2 * L::BlockSlab::bytes); };
    const auto turn = [&](int step) {
        wait_copies<stages<T> - 1>();
        carrier.turn(stage, slab_of(step));
        fetch(step + stages<T>);
        stage = stage == stages<T> - 1 ? 0 : stage + 1;
    };
    for (; stage < stages<T>; ++stage) fetch(stage);
    stage = 0;
    turn(0);
    if (!late) __syncthreads();
    for (int s = 0; s <= steps + late; ++s) {
        const int next = s + 1 - late;
        if constexpr (Outputs)
            if (next >= 2) carrier.store(slab_of(next), p.reversed ? steps + 1 - next : next - 2);
        if (next > 0 && next < steps) turn(next);
        if (late && s <= steps) __syncthreads();
        save_last(s);
        if (s < steps) state.step(slab_of(s));
        if (!late && s < steps) __syncthreads();
    }
    if constexpr (!Outputs)
        state.visit_states(first_column, all_channels, first_channel + warp,
                           [&](int64_t c, int64_t i, float re, float im) {
                               if (c < p.columns) p.ends[i] = {re, im};
                           });
}

template <class T, int Modes, bool Outputs>
void launch(cudaStream_t stream, const ChunkPass<T>& p) {
    using L = Layout<T, Modes>;
    static const bool asked = [] {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(chunk_pass<T, Modes, Outputs>),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, L::bytes),
              "asking for shared memory");
        return true;
    }();
    static_cast<void>(asked);
    const dim3 grid(static_cast<unsigned>(p.segments.channels / L::channels),
                    static_cast<unsigned>(ceil_div(p.columns, L::columns)));
    chunk_pass<T, Modes, Outputs><<<grid, L::threads, L::bytes, stream>>>(p);
    check_launch("s4d_conv");
}

template <class T, bool Outputs>
void launch_for(cudaStream_t stream, const ChunkPass<T>& p, int modes) {
    switch (modes) {
        case 16:
            return launch<T, 16, Outputs>(stream, p);
        case 32:
            return launch<T, 32, Outputs>(stream, p);
        default:
            return launch<T, 64, Outputs>(stream, p);
    }
}

}  // namespace

template <class T>
void launch_chunk_outputs(cudaStream_t stream, const ChunkPass<T>& pass, int modes) {
    launch_for<T, true>(stream, pass, modes);
}
template <class T>
void launch_chunk_ends(cudaStream_t stream, const ChunkPass<T>& pass, int modes) {
    launch_for<T, false>(stream, pass, modes);
}

template void launch_chunk_outputs(cudaStream_t, const ChunkPass<float>&, int);
template void launch_chunk_outputs(cudaStream_t, const ChunkPass<bf16>&, int);
template void launch_chunk_ends(cudaStream_t, const ChunkPass<float>&, int);
template void launch_chunk_ends(cudaStream_t, const ChunkPass<bf16>&, int);

}  // namespace nigiri::cuda
