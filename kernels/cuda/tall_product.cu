// Bound by bytes: forwards x in and y out, backwards x and dy in and dx out. The tensor cores have some 30 to
// 60 operations a byte to do meanwhile, a tenth of what they could.
#include <algorithm>
#include <atomic>

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/tall_product.cuh"
#include "kernels/cuda/tall_product.h"

namespace nigiri::cuda {

namespace {

constexpr int threads = 256, warps = threads / 32;

struct Bias {
    const float* wide = nullptr;
    const bf16* narrow = nullptr;

    explicit Bias(const View& v) {
        if (v && v.dtype == DType::f32) wide = pointer<float>(v);
        if (v && v.dtype == DType::bf16) narrow = pointer<bf16>(v);
    }
    __device__ float operator[](int i) const {
        return wide != nullptr ? wide[i] : narrow != nullptr ? load(narrow + i) : 0.0f;
    }
};

struct Sizes {
    int64_t rows;
    int k, n;  // columns of x and of y
};

// ---- forwards: KT tiles of 16 columns of x; 128 rows a tile, 16 a warp ----

constexpr int forward_rows = 16 * warps;

template <int KT, class Y>
__global__ void __launch_bounds__(threads) forward_kernel(Sizes s, Rows<const bf16> x, Rows<const bf16> weight,
                                                          Bias bias, Rows<const Y> residual, Rows<Y> y, bool whole) {
    constexpr int columns = 16 * KT, pitch = tile_pitch(columns), stage = forward_rows * pitch;
    extern __shared__ __align__(16) bf16 shared[];
    bf16 *tiles = shared, *w = shared + 2 * stage;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, padded_n = (s.n + 15) / 16 * 16;
    const int64_t step = static_cast<int64_t>(gridDim.x) * forward_rows;
    int64_t first = static_cast<int64_t>(blockIdx.x) * forward_rows;
    copy_tile<threads>(tiles, pitch, columns, x, first, forward_rows, s.rows, s.k);
    close_copies();
    load_weight<threads>(w, pitch, padded_n, columns, weight, s.n, s.k);
    for (int turn = 0; first < s.rows; first += step, turn ^= 1) {
        wait_copies<0>();
        __syncthreads();  // this tile is there for all, and nobody reads the other one any more
        if (first + step < s.rows)
            copy_tile<threads>(tiles + (turn ^ 1) * stage, pitch, columns, x, first + step, forward_rows, s.rows, s.k);
        close_copies();
        uint32_t a[KT][4];
#pragma unroll
        for (int kt = 0; kt < KT; ++kt) load_a(a[kt], tiles + turn * stage, pitch, 16 * warp, 16 * kt, lane);
        const int64_t row = first + 16 * warp;
        for (int n = 0; n < padded_n; n += 16) {
            float left[4], right[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int column = n + 2 * (lane % 4) + i % 2;
                left[i] = column < s.n ? bias[column] : 0.0f;
                right[i] = column + 8 < s.n ? bias[column + 8] : 0.0f;
            }
#pragma unroll
            for (int kt = 0; kt < KT; ++kt) {
                uint32_t b[4];
                load_b_transposed(b, w, pitch, n, 16 * kt, lane);
                multiply(left, a[kt], b[0], b[1]);
                multiply(right, a[kt], b[2], b[3]);
            }
            if constexpr (sizeof(Y) == 2) {
                if (residual.data != nullptr) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int64_t at = row + lane / 4 + 8 * (i / 2);
                        const int column = n + 2 * (lane % 4) + i % 2;
                        if (at < s.rows && column < s.n) left[i] += load(residual.at(at, column));
                        if (at < s.rows && column + 8 < s.n) right[i] += load(residual.at(at, column + 8));
                    }
                }
                StoreBf16{y, s.rows, s.n, whole}(row, n, left, right, lane);
            } else {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int64_t at = row + lane / 4 + 8 * half;
                    if (at >= s.rows) continue;
#pragma unroll
                    for (int side = 0; side < 2; ++side) {
                        const int column = n + 8 * side + 2 * (lane % 4);
                        float v[2] = {(side ? right : left)[2 * half], (side ? right : left)[2 * half + 1]};
                        if (whole && column < s.n) {  // a row's eight columns are a whole sector
                            if (residual.data != nullptr) {
                                const float2 r = *reinterpret_cast<const float2*>(residual.at(at, column));
                                v[0] += r.x, v[1] += r.y;
                            }
                            *reinterpret_cast<float2*>(y.at(at, column)) = make_float2(v[0], v[1]);
                        } else {
#pragma unroll
                            for (int i = 0; i < 2; ++i)
                                if (column + i < s.n)
                                    *y.at(at, column + i) =
                                        v[i] + (residual.data != nullptr ? *residual.at(at, column + i) : 0.0f);
                        }
                    }
                }
            }
        }
    }
}

// ---- backwards: KT tiles of 16 columns of x, NT of dy; 64 rows a tile ----
//
// dx: the warps share out 4 times 16 rows and, where there are enough, two halves of the columns.
// dweight: the warps share out the NT x KT result, which stays in registers to the end and leaves as one
// partial sum a block.

constexpr int backward_rows = 64;

template <int KT, int NT>
struct Split {
    static constexpr int k = 16 * KT, n = 16 * NT, pitch_x = tile_pitch(k), pitch_dy = tile_pitch(n);
    static constexpr int stage_x = backward_rows * pitch_x, stage_dy = backward_rows * pitch_dy;
    static constexpr int across_dx = KT > 1 ? 2 : 1,
                         pairs_dx = KT / across_dx;  // of results: 16 columns a warp each
    static constexpr int down = NT % 8 == 0 ? 8 : NT % 4 == 0 ? 4 : NT % 2 == 0 ? 2 : 1, across = warps / down;
    static constexpr int tiles_n = NT / down,
                         pairs_k = KT / across;  // 16 rows, 16 columns of dweight a warp each
    static_assert(pairs_dx * across_dx == KT && tiles_n * down == NT && pairs_k * across == KT, "shared out evenly");
};

template <int KT, int NT, class G>
__global__ void __launch_bounds__(threads)
    backward_kernel(Sizes s, Rows<const bf16> x, Rows<const bf16> weight, Rows<const G> dy, Rows<bf16> dx, bool whole,
                    bool with_bias, float* partial) {
    using S = Split<KT, NT>;
    extern __shared__ __align__(16) bf16 shared[];
    bf16 *xs = shared, *dys = xs + 2 * S::stage_x, *w = dys + 2 * S::stage_dy;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_n = warp % S::down * S::tiles_n * 16, warp_k = warp / S::down * S::pairs_k * 16;
    const int row_dx = warp % 4 * 16, column_dx = warp / 4 * S::pairs_dx * 16;
    const int64_t step = static_cast<int64_t>(gridDim.x) * backward_rows;
    int64_t first = static_cast<int64_t>(blockIdx.x) * backward_rows;

    // dy in float32 passes through registers on its way to bf16; four columns at a time.
    constexpr int fours = sizeof(G) == 4 ? backward_rows * S::n / 4 / threads : 1;
    float4 held[fours];
    const auto fetch = [&](int64_t from, int turn) {
        copy_tile<threads>(xs + turn * S::stage_x, S::pitch_x, S::k, x, from, backward_rows, s.rows, s.k);
        if constexpr (sizeof(G) == 2) {
            copy_tile<threads>(dys + turn * S::stage_dy, S::pitch_dy, S::n, dy, from, backward_rows, s.rows, s.n);
        } else {
#pragma unroll
            for (int i = 0; i < fours; ++i) {
                const int at = static_cast<int>(threadIdx.x) + i * threads, row = at / (S::n / 4),
                          column = at % (S::n / 4) * 4;
                held[i] = from + row < s.rows && column < s.n
                            ? *reinterpret_cast<const float4*>(dy.at(from + row, column))
                            : make_float4(0, 0, 0, 0);
            }
        }
        close_copies();
    };
    const auto put = [&](int turn) {
        if constexpr (sizeof(G) == 4) {
#pragma unroll
            for (int i = 0; i < fours; ++i) {
                const int at = static_cast<int>(threadIdx.x) + i * threads, row = at / (S::n / 4),
                          column = at % (S::n / 4) * 4;
                const float v[4] = {held[i].x, held[i].y, held[i].z, held[i].w};
                store_vector<4>(dys + turn * S::stage_dy + row * S::pitch_dy + column, v);
            }
        }
    };

    fetch(first, 0);
    load_weight<threads>(w, S::pitch_x, S::n, S::k, weight, s.n, s.k);
    put(0);
    float dweight[S::tiles_n][2 * S::pairs_k][4] = {}, dbias[S::tiles_n][4] = {};
    constexpr uint32_t ones = 0x3f803f80u;  // two bf16
    for (int turn = 0; first < s.rows; first += step, turn ^= 1) {
        wait_copies<0>();
        __syncthreads();
        const bool more = first + step < s.rows;
        if (more) fetch(first + step, turn ^ 1);
        const bf16 *tile_x = xs + turn * S::stage_x, *tile_dy = dys + turn * S::stage_dy;

        if (warp / 4 < S::across_dx) {
            float out[S::pairs_dx][2][4] = {};
#pragma unroll
            for (int nt = 0; nt < NT; ++nt) {
                uint32_t a[4];
                load_a(a, tile_dy, S::pitch_dy, row_dx, 16 * nt, lane);
#pragma unroll
                for (int p = 0; p < S::pairs_dx; ++p) {
                    uint32_t b[4];
                    load_b(b, w, S::pitch_x, 16 * nt, column_dx + 16 * p, lane);
                    multiply(out[p][0], a, b[0], b[1]);
                    multiply(out[p][1], a, b[2], b[3]);
                }
            }
            const StoreBf16 store{dx, s.rows, s.k, whole};
#pragma unroll
            for (int p = 0; p < S::pairs_dx; ++p) store(first + row_dx, column_dx + 16 * p, out[p][0], out[p][1], lane);
        }

#pragma unroll
        for (int r = 0; r < backward_rows; r += 16) {
            uint32_t a[S::tiles_n][4];
#pragma unroll
            for (int i = 0; i < S::tiles_n; ++i)
                load_a_transposed(a[i], tile_dy, S::pitch_dy, r, warp_n + 16 * i, lane);
#pragma unroll
            for (int p = 0; p < S::pairs_k; ++p) {
                uint32_t b[4];
                load_b(b, tile_x, S::pitch_x, r, warp_k + 16 * p, lane);
#pragma unroll
                for (int i = 0; i < S::tiles_n; ++i) {
                    multiply(dweight[i][2 * p], a[i], b[0], b[1]);
                    multiply(dweight[i][2 * p + 1], a[i], b[2], b[3]);
                }
            }
            if (with_bias && warp_k == 0)
#pragma unroll
                for (int i = 0; i < S::tiles_n; ++i) multiply(dbias[i], a[i], ones, ones);
        }
        if (more) put(turn ^ 1);
    }

    float* to = partial + static_cast<int64_t>(blockIdx.x) * (static_cast<int64_t>(s.n) * s.k + (with_bias ? s.n : 0));
#pragma unroll
    for (int i = 0; i < S::tiles_n; ++i) {
#pragma unroll
        for (int j = 0; j < 2 * S::pairs_k; ++j)
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                const int n = warp_n + 16 * i + lane / 4 + c / 2 * 8, k = warp_k + 8 * j + lane % 4 * 2 + c % 2;
                if (n < s.n && k < s.k) to[static_cast<int64_t>(n) * s.k + k] = dweight[i][j][c];
            }
        if (with_bias && warp_k == 0 && lane % 4 == 0)
#pragma unroll
            for (int c = 0; c < 4; c += 2) {
                const int n = warp_n + 16 * i + lane / 4 + c / 2 * 8;
                if (n < s.n) to[static_cast<int64_t>(s.n) * s.k + n] = dbias[i][c];
            }
    }
}

// Rows begin on 16 bytes.
bool aligned_rows(const View& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 &&
           v.row_stride * static_cast<int64_t>(size_of(v.dtype)) % 16 == 0;
}

// Blocks that are resident together on a multiprocessor, 0 where not even one finds room; asked once for each
// amount of shared memory.
template <class Kernel>
int resident_blocks(Kernel kernel, size_t shared_bytes, std::atomic<int>& known) {
    constexpr int none = -1;
    if (known == 0) {
        constexpr const char* what = "preparing a product";
        int most = 0, blocks = 0;
        check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), what);
        if (static_cast<int>(shared_bytes) <= most) {
            check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), what);
            check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes), what);
        }
        known = blocks > 0 ? blocks : none;
    }
    return std::max<int>(known, 0);
}

constexpr int widest = 512;  // columns of y

template <int KT, class Y>
bool launch_forward(const CudaBackend& backend, const LinearForward& op, const Sizes& s) {
    static std::atomic<int> known[widest / 16 + 1];
    const auto tiles = static_cast<size_t>(ceil_div(s.n, 16));
    const size_t bytes = (2 * forward_rows + 16 * tiles) * tile_pitch(16 * KT) * sizeof(bf16);
    const auto kernel = forward_kernel<KT, Y>;
    const int64_t resident = int64_t{resident_blocks(kernel, bytes, known[tiles])} * backend.multiprocessors();
    if (resident == 0) return false;
    const auto blocks = static_cast<unsigned>(std::min(ceil_div(s.rows, forward_rows), resident));
    const bool whole = whole_vectors(sizeof(Y) == 2 ? 4 : 2, op.y, op.residual);
    kernel<<<blocks, threads, bytes, backend.stream()>>>(s, Rows<const bf16>(op.x), Rows<const bf16>(op.weight),
                                                         Bias(op.bias), Rows<const Y>(op.residual), Rows<Y>(op.y),
                                                         whole);
    check_launch("linear_forward");
    return true;
}

template <int KT, int NT, class G>
bool launch_backward(CudaBackend& backend, const LinearBackward& op, const Sizes& s) {
    using S = Split<KT, NT>;
    static std::atomic<int> known;
    constexpr size_t bytes = (2 * S::stage_x + 2 * S::stage_dy + S::n * S::pitch_x) * sizeof(bf16);
    const auto kernel = backward_kernel<KT, NT, G>;
    const int64_t resident = int64_t{resident_blocks(kernel, bytes, known)} * backend.multiprocessors();
    if (resident == 0) return false;
    const int64_t blocks = std::min(ceil_div(s.rows, backward_rows), resident);
    const bool bias = static_cast<bool>(op.dbias);
    const Tensor partial = backend.allocate({blocks, int64_t{s.n} * s.k + (bias ? s.n : 0)}, DType::f32);
    kernel<<<static_cast<unsigned>(blocks), threads, bytes, backend.stream()>>>(
        s, Rows<const bf16>(op.x), Rows<const bf16>(op.weight), Rows<const G>(op.dy), Rows<bf16>(op.dx),
        whole_vectors(4, op.dx), bias, partial.as<float>());
    check_launch("linear_backward");
    add_column_sums(backend.stream(), partial, Target(op.dweight), Target(op.dbias));
    return true;
}

}  // namespace

bool tall_forward(const CudaBackend& backend, const LinearForward& op) {
    const Sizes s{op.x.rows(), static_cast<int>(op.x.columns()), static_cast<int>(op.y.columns())};
    // Elsewhere the library is as good or better.
    const bool suits = s.rows >= 1024 && ((s.k <= 128 && s.n <= 48) || (s.k <= 16 && s.n <= widest));
    if (!suits || op.accumulate || op.x.dtype != DType::bf16 || op.weight.dtype != DType::bf16 || !aligned_rows(op.x))
        return false;
    const auto with_type = [&](auto tiles) {
        return op.y.dtype == DType::bf16 ? launch_forward<tiles(), bf16>(backend, op, s)
                                         : launch_forward<tiles(), float>(backend, op, s);
    };
    using std::integral_constant;
    if (s.k <= 16) return with_type(integral_constant<int, 1>{});
    if (s.k <= 64) return with_type(integral_constant<int, 4>{});
    return with_type(integral_constant<int, 8>{});
}

bool tall_backward(CudaBackend& backend, const LinearBackward& op) {
    if (!op.dx || !op.dweight || op.dx.dtype != DType::bf16 || op.weight.dtype != DType::bf16) return false;
    const Sizes s{op.x.rows(), static_cast<int>(op.x.columns()), static_cast<int>(op.dy.columns())};
    if (s.rows < 1024 || !aligned_rows(op.x) || !aligned_rows(op.dy)) return false;
    const auto fits = [&](int k, int n) { return s.k <= k && s.n <= n; };
    if (op.dy.dtype == DType::f32)  // behind a residual stream
        return fits(128, 64) && s.n % 4 == 0 && launch_backward<8, 4, float>(backend, op, s);
    if (fits(16, 128)) return launch_backward<1, 8, bf16>(backend, op, s);
    if (fits(16, 256)) return launch_backward<1, 16, bf16>(backend, op, s);
    if (fits(64, 128)) return launch_backward<4, 8, bf16>(backend, op, s);
    if (fits(128, 48)) return launch_backward<8, 3, bf16>(backend, op, s);
    if (fits(128, 64)) return launch_backward<8, 4, bf16>(backend, op, s);
    return fits(256, 48) && launch_backward<16, 3, bf16>(backend, op, s);
}

}  // namespace nigiri::cuda
