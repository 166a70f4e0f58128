// A tile is 64 x 64 taps of one channel, l = l0 + 64 i + j. With w the weights and a the poles of N modes,
//   K[l] = Re sum_n (w_n a_n^(l0 + 64 i)) (a_n^j)
// is a product of a (64 x 2N) and a (2N x 64) matrix, made in shared memory from double-precision powers of
// which only every eighth is computed by squaring. 4N multiply-adds a tap: bound by arithmetic (0.27 GFLOP
// for 128 channels x 16384 taps x 32 modes), not by the 4 bytes a tap. The backward pass is the same product
// the other way round.
#include "kernels/cpu/s4d_check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/s4d_modes.cuh"

namespace nigiri {

namespace cuda {
namespace {

constexpr int tile = 64, taps_of_tile = tile * tile;
constexpr int group = 32;  // modes at a time
constexpr int threads = 256, warps = threads / 32;
constexpr int pitch = tile + 4;  // of the factors' rows

// What the tiles need of a mode.
struct Pole {
    Complex abar, weight;
};

__global__ void find_poles(S4dModes p, Pole* poles) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= p.channels * p.modes) return;
    const S4dMode m = s4d_mode(p, i / p.modes, i % p.modes);
    poles[i] = {m.abar, s4d_weight(p, m)};
}

__global__ void __launch_bounds__(threads)
    kernel_tiles(const Pole* poles, int64_t modes, bool is_complex, Rows kernel, int64_t length) {
    __shared__ __align__(16) float left[2 * group * pitch], right[2 * group * pitch];
    const int64_t d = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * taps_of_tile;
    const int mode = threadIdx.x % group, part = threadIdx.x / group;
    const int column = threadIdx.x % 16 * 4, row = threadIdx.x / 16 * 4;
    const int inner = is_complex ? 2 * group : group;
    float sums[4][4] = {};
    for (int64_t n0 = 0; n0 < modes; n0 += group) {
        // Thread (mode, part) makes columns 8 part .. 8 part + 7 of the mode's rows of both factors.
        Complex a = {0, 0}, l = {0, 0};
        if (n0 + mode < modes) {
            const Pole& pole = poles[d * modes + n0 + mode];
            a = pole.abar;
            l = pole.weight * power(a, first + tile * 8 * part);
        }
        const Complex step = power(a, tile);
        Complex r = power(a, 8 * part);
        if (n0 > 0) __syncthreads();
        for (int k = 8 * part; k < 8 * part + 8; ++k) {
            left[mode * pitch + k] = static_cast<float>(l.re);
            left[(group + mode) * pitch + k] = -static_cast<float>(l.im);
            right[mode * pitch + k] = static_cast<float>(r.re);
            right[(group + mode) * pitch + k] = static_cast<float>(r.im);
            l = l * step;
            r = r * a;
        }
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < inner; ++k) {
            const float4 x = *reinterpret_cast<const float4*>(left + k * pitch + row);
            const float4 y = *reinterpret_cast<const float4*>(right + k * pitch + column);
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(xs[i], ys[j], sums[i][j]);
        }
    }
    float* out = kernel.row(d);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int64_t l = first + (row + i) * tile + column + j;
            if (l < length) out[l] = sums[i][j];
        }
}

// sum_l dK_l a^l and sum_l l dK_l a^(l - 1) over the taps of one tile.
struct TileSums {
    Complex sum, moment;
};

// For row i, S_i = sum_j dK[i, j] a^j and M_i = sum_j j dK[i, j] a^(j - 1) in float32; then, in double and
// with l = l0 + 64 i, sum = sum_i a^l S_i and moment = sum_i (a^l M_i + l a^(l - 1) S_i).
__global__ void __launch_bounds__(threads)
    moment_tiles(const Pole* poles, int64_t modes, Rows dkernel, int64_t length, TileSums* partial) {
    __shared__ __align__(16) float taps[tile][pitch];         // [j][i]
    __shared__ __align__(16) float4 powers[tile / 2][group];  // half of the j's at a time
    __shared__ TileSums of_warp[warps][group];
    const int64_t d = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * taps_of_tile;
    const int mode = threadIdx.x % group, part = threadIdx.x / group;
    const float* in = dkernel.row(d);
    for (int k = threadIdx.x; k < taps_of_tile; k += threads)
        taps[k % tile][k / tile] = first + k < length ? in[first + k] : 0.0f;
    for (int64_t n0 = 0; n0 < modes; n0 += group) {
        const Complex a = n0 + mode < modes ? poles[d * modes + n0 + mode].abar : Complex{0, 0};
        float4 sums[8] = {};
        for (int half = 0; half < tile; half += tile / 2) {
            __syncthreads();
            const int j0 = half + 4 * part;
            Complex before = power(a, j0 > 0 ? j0 - 1 : 0), p = j0 > 0 ? before * a : before;
            for (int j = j0; j < j0 + 4; ++j) {
                powers[j - half][mode] = {static_cast<float>(p.re), static_cast<float>(p.im),
                                          static_cast<float>(j * before.re), static_cast<float>(j * before.im)};
                before = p;
                p = p * a;
            }
            __syncthreads();
#pragma unroll 2
            for (int j = 0; j < tile / 2; ++j) {
                const float4 x = *reinterpret_cast<const float4*>(&taps[half + j][8 * part]);
                const float4 y = *reinterpret_cast<const float4*>(&taps[half + j][8 * part + 4]);
                const float4 q = powers[j][mode];
                const float xs[8] = {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    sums[i].x = fmaf(xs[i], q.x, sums[i].x);
                    sums[i].y = fmaf(xs[i], q.y, sums[i].y);
                    sums[i].z = fmaf(xs[i], q.z, sums[i].z);
                    sums[i].w = fmaf(xs[i], q.w, sums[i].w);
                }
            }
        }
        const int64_t l0 = first + 8 * part * tile;
        const Complex step = power(a, tile);
        Complex before = power(a, l0 > 0 ? l0 - 1 : 0), p = l0 > 0 ? before * a : before;
        TileSums total = {{0, 0}, {0, 0}};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const Complex s = {sums[i].x, sums[i].y}, m = {sums[i].z, sums[i].w};
            total.sum = total.sum + p * s;
            total.moment = total.moment + p * m + static_cast<double>(l0 + i * tile) * (before * s);
            // a^(l - 1) of l = 0 is never used, so the next one must not be made from it.
            before = l0 + i == 0 ? power(a, tile - 1) : before * step;
            p = p * step;
        }
        of_warp[part][mode] = total;
        __syncthreads();
        if (part == 0 && n0 + mode < modes) {
            for (int w = 1; w < warps; ++w) {
                total.sum = total.sum + of_warp[w][mode].sum;
                total.moment = total.moment + of_warp[w][mode].moment;
            }
            partial[(d * gridDim.x + blockIdx.x) * modes + n0 + mode] = total;
        }
    }
}

__global__ void finish_modes(S4dModes p, const TileSums* partial, int64_t tiles, ModeGradient* gradients) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= p.channels * p.modes) return;
    const int64_t d = i / p.modes, n = i % p.modes;
    TileSums total = {{0, 0}, {0, 0}};
    for (int64_t t = 0; t < tiles; ++t) {
        const TileSums& s = partial[(d * tiles + t) * p.modes + n];
        total.sum = total.sum + s.sum;
        total.moment = total.moment + s.moment;
    }
    gradients[i] = s4d_mode_backward(p, s4d_mode(p, d, n), total.sum, total.moment);
}

__global__ void discretize(S4dModes p, Rows abar, Rows cbar) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= p.channels * p.modes) return;
    const int64_t n = i / p.channels, d = i % p.channels;
    const S4dMode m = s4d_mode(p, d, n);
    const Complex weight = s4d_weight(p, m);
    abar.row(n)[d] = static_cast<float>(m.abar.re);
    cbar.row(n)[d] = static_cast<float>(weight.re);
    if (!p.is_complex) return;
    abar.row(p.modes + n)[d] = static_cast<float>(m.abar.im);
    cbar.row(p.modes + n)[d] = static_cast<float>(weight.im);
}

unsigned blocks_for(int64_t threads_wanted) { return static_cast<unsigned>(ceil_div(threads_wanted, 128)); }

dim3 tiles_of(int64_t length, int64_t channels) {
    return {static_cast<unsigned>(ceil_div(length, taps_of_tile)), static_cast<unsigned>(channels)};
}

// Scratch of doubles: memory has no float64 tensors on this device, but bytes are bytes.
template <class T>
Tensor scratch_of(Backend& backend, int64_t count) {
    return backend.allocate({count, static_cast<int64_t>(sizeof(T) / 4)}, DType::f32);
}

}  // namespace
}  // namespace cuda

void CudaBackend::s4d_kernel_forward(const S4dKernelForward& op) {
    using namespace cuda;
    cpu::check_s4d(op, DType::f32, "s4d_kernel_forward");
    cpu::check_s4d_kernel(op, op.kernel, "s4d_kernel_forward");
    op.kernel.as<float>();
    const S4dModes p(op);
    const Tensor poles = scratch_of<Pole>(*this, p.channels * p.modes);
    auto* const pole = pointer<Pole>(poles);
    find_poles<<<blocks_for(p.channels * p.modes), 128, 0, stream_>>>(p, pole);
    kernel_tiles<<<tiles_of(op.kernel[1], p.channels), threads, 0, stream_>>>(pole, p.modes, p.is_complex, op.kernel,
                                                                              op.kernel[1]);
    check_launch("s4d_kernel_forward");
}

void CudaBackend::s4d_kernel_backward(const S4dKernelBackward& op) {
    using namespace cuda;
    const char* name = "s4d_kernel_backward";
    cpu::check_s4d(op, DType::f32, name);
    cpu::check_s4d_kernel(op, op.dkernel, name);
    cpu::check_s4d_gradients(op, op.dinv_dt, op.da_real, op.da_imag, op.db, op.dc, name);
    op.dkernel.as<float>();
    const S4dModes p(op);
    const int64_t count = p.channels * p.modes, length = op.dkernel[1];
    const dim3 grid = tiles_of(length, p.channels);
    const Tensor poles = scratch_of<Pole>(*this, count), sums = scratch_of<TileSums>(*this, count * grid.x),
                 gradients = scratch_of<ModeGradient>(*this, count);
    auto* const pole = pointer<Pole>(poles);
    auto* const partial = pointer<TileSums>(sums);
    auto* const gradient = pointer<ModeGradient>(gradients);
    find_poles<<<blocks_for(count), 128, 0, stream_>>>(p, pole);
    moment_tiles<<<grid, threads, 0, stream_>>>(pole, p.modes, op.dkernel, length, partial);
    finish_modes<<<blocks_for(count), 128, 0, stream_>>>(p, partial, grid.x, gradient);
    check_launch(name);
    add_mode_gradients(stream_, gradient, p.channels, p.copies, p.modes, p.is_complex,
                       {op.dinv_dt, op.da_real, op.da_imag, {}, op.db, op.dc});
}

void CudaBackend::s4d_discretize(const S4dDiscretize& op) {
    using namespace cuda;
    const char* name = "s4d_discretize";
    cpu::check_s4d(op, DType::f32, name);
    const S4dModes p(op);
    const Shape planar = {op.is_complex ? 2 : 1, p.modes, p.channels};
    require(op.abar.shape == planar && op.cbar.shape == planar, name,
            "abar and cbar (2, N, D), or (1, N, D) where real");
    op.abar.as<float>(), op.cbar.as<float>();
    discretize<<<blocks_for(p.channels * p.modes), 128, 0, stream_>>>(p, op.abar, op.cbar);
    check_launch(name);
}

}  // namespace nigiri
