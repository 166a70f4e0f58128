// By cuFFT, in groups of channels and batch rows small enough to stay in the L2 cache between the passes: the
// samples (B, L, D) are turned into padded rows of one channel each, transformed in place, multiplied by the
// kernel's spectrum, transformed back and turned into samples again with the skip on top. Memory sees u and y
// once; the transforms' eight passes over the padded rows run at the cache's speed. The kernel's gradient is
// summed over the batch as a spectrum, in the order of the rows.
#include <algorithm>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fft_plans.h"

namespace nigiri {

namespace cuda {
namespace {

constexpr int64_t group_bytes = int64_t{20} << 20;  // of padded rows; the transform's own room doubles it
constexpr int threads = 256;
constexpr int tile_elements = 1024;  // samples x channels that a block turns over

// Rows of one channel and one batch row each, batch fastest; a row has room for n reals or n / 2 + 1 complex
// numbers.
struct PaddedRows {
    float* data;
    int64_t n;

    __host__ __device__ int64_t pitch() const { return 2 * (n / 2 + 1); }
    __host__ __device__ int64_t spectrum() const { return n / 2 + 1; }
    __device__ float* row(int64_t i) const { return data + i * pitch(); }
    __device__ float2* complex_row(int64_t i) const {
        return reinterpret_cast<float2*>(data) + i * spectrum();
    }
};

// Channels [d0, d0 + channels) of batch rows [b0, b0 + rows) of (B, L, D).
template <class T>
struct Part {
    T* data;
    int64_t stride, length;
    int64_t d0, b0;
    int channels, rows;

    __device__ T* at(int64_t b, int64_t l) const { return data + ((b0 + b) * length + l) * stride + d0; }
};

// A block turns `wide` channels by 1024 / wide samples; grid: samples, channels, batch rows.
template <class T>
__global__ void __launch_bounds__(threads) gather(Part<const T> u, PaddedRows to, int wide) {
    __shared__ float tile[tile_elements + 64];
    const int samples = tile_elements / wide, pitch = samples + 1;
    const int64_t l0 = static_cast<int64_t>(blockIdx.x) * samples, b = blockIdx.z;
    const int c0 = static_cast<int>(blockIdx.y) * wide;
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
        const int c = i % wide, l = i / wide;
        const bool inside = l0 + l < u.length && c0 + c < u.channels;
        tile[c * pitch + l] = inside ? load(u.at(b, l0 + l) + c0 + c) : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
        const int l = i % samples, c = i / samples;
        if (l0 + l < to.n && c0 + c < u.channels) to.row((c0 + c) * u.rows + b)[l0 + l] = tile[c * pitch + l];
    }
}

// y = rows + skip v, v like y or absent.
template <class T>
__global__ void __launch_bounds__(threads)
    scatter(PaddedRows from, Part<T> y, Part<const T> v, const float* skip, int wide) {
    __shared__ float tile[tile_elements + 64];
    const int samples = tile_elements / wide, pitch = samples + 1;
    const int64_t l0 = static_cast<int64_t>(blockIdx.x) * samples, b = blockIdx.z;
    const int c0 = static_cast<int>(blockIdx.y) * wide;
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
        const int l = i % samples, c = i / samples;
        if (l0 + l < y.length && c0 + c < y.channels)
            tile[c * pitch + l] = from.row((c0 + c) * y.rows + b)[l0 + l];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
        const int c = i % wide, l = i / wide;
        if (l0 + l >= y.length || c0 + c >= y.channels) continue;
        float x = tile[c * pitch + l];
        if (skip) x = fmaf(skip[y.d0 + c0 + c], load(v.at(b, l0 + l) + c0 + c), x);
        store(y.at(b, l0 + l) + c0 + c, x);
    }
}

// The kernels of channels d0 + blockIdx.y, padded with zeros; taps the sequence cannot reach are left out.
__global__ void pad_kernel(const float* kernel, int64_t stride, int64_t d0, int64_t taps, PaddedRows to) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x, c = blockIdx.y;
    if (l < to.n) to.row(c)[l] = l < taps ? kernel[(d0 + c) * stride + l] : 0.0f;
}

__device__ float2 product(float2 a, float2 b) {
    return {fmaf(a.x, b.x, -a.y * b.y), fmaf(a.x, b.y, a.y * b.x)};
}
__device__ float2 conjugate(float2 a) {
    return {a.x, -a.y};
}

// x *= k / n, channel blockIdx.y, batch row blockIdx.z.
__global__ void multiply(PaddedRows x, PaddedRows k, int rows) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x, c = blockIdx.y;
    if (i >= x.spectrum()) return;
    const float scale = 1.0f / static_cast<float>(x.n);
    const float2 kernel = k.complex_row(c)[i];
    float2* at = x.complex_row(c * rows + blockIdx.z) + i;
    *at = product({scale * kernel.x, scale * kernel.y}, *at);
}

// dk += conj(u) dy, or = where `first`; dy *= conj(k). All over n.
__global__ void multiply_back(PaddedRows u, PaddedRows dy, PaddedRows k, PaddedRows dk, int rows, int used,
                              bool first) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x, c = blockIdx.y;
    if (i >= u.spectrum()) return;
    const float scale = 1.0f / static_cast<float>(u.n);
    const float2 kernel = k.complex_row(c)[i], conjugated = {scale * kernel.x, -scale * kernel.y};
    float2 sum = first ? float2{0, 0} : dk.complex_row(c)[i];
    for (int b = 0; b < used; ++b) {
        float2* at = dy.complex_row(c * rows + b) + i;
        const float2 g = *at, term = product(conjugate(u.complex_row(c * rows + b)[i]), g);
        sum = {fmaf(scale, term.x, sum.x), fmaf(scale, term.y, sum.y)};
        *at = product(conjugated, g);
    }
    dk.complex_row(c)[i] = sum;
}

// The gradient's rows back into (D, Lk); lag 0 is the skip's gradient as well.
__global__ void unpad_kernel(PaddedRows from, float* dkernel, int64_t stride, int64_t d0, int64_t taps,
                             int64_t reach, float* dskip) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x, c = blockIdx.y;
    if (l >= taps) return;
    const float x = l < reach ? from.row(c)[l] : 0.0f;
    dkernel[(d0 + c) * stride + l] = x;
    if (l == 0 && dskip) dskip[d0 + c] += x;
}

void check(const View& u, const View& kernel, const View& skip, const char* name) {
    require(u.shape.rank() == 3, name, "u (B, L, D)");
    require(kernel.shape.rank() == 2 && kernel[0] == u[2] && kernel[1] >= 1, name,
            "kernel (D, Lk), Lk at least 1");
    require(!skip || skip.size() == u[2], name, "skip (D)");
    require(kernel.dtype == DType::f32 && (!skip || skip.dtype == DType::f32), name,
            "a float32 kernel and skip");
}

void check_like(const View& v, const View& like, const char* name, const char* rule) {
    require(v.shape == like.shape && v.dtype == like.dtype, name, rule);
}

// How the work is cut. Groups of 32 channels read whole lines; very long rows get by with 8.
struct Groups {
    int64_t n, reach;
    int channels, rows;

    Groups(const View& u, const View& kernel) {
        const int64_t length = u[1];
        reach = std::min(length, kernel[1]);
        n = good_transform_length(length + reach - 1);
        const int64_t row_bytes = 4 * PaddedRows{nullptr, n}.pitch();
        int64_t wide = 32;
        while (wide > 8 && wide * row_bytes > group_bytes) wide /= 2;
        channels = static_cast<int>(std::min(wide, u[2]));
        const int64_t fit = std::clamp<int64_t>(group_bytes / (channels * row_bytes), 1, u[0]);
        rows = static_cast<int>(ceil_div(u[0], ceil_div(u[0], fit)));
    }
    Tensor padded(Backend& backend, int64_t count) const {
        return backend.allocate({count, PaddedRows{nullptr, n}.pitch()}, DType::f32);
    }
    PaddedRows of(const Tensor& t) const { return {pointer<float>(t), n}; }
    dim3 grid(int64_t items, int64_t z = 1, int64_t y = 0) const {
        return {static_cast<unsigned>(ceil_div(items, threads)), static_cast<unsigned>(y ? y : channels),
                static_cast<unsigned>(z)};
    }
};

int tile_width(int channels) {
    return channels > 16 ? 32 : channels > 8 ? 16 : 8;
}

template <class T>
Part<T> part_of(const View& v, const Groups& g, int64_t d0, int64_t b0) {
    return {
        pointer<T>(v), v.row_stride, v[1], d0, b0, static_cast<int>(std::min<int64_t>(g.channels, v[2] - d0)),
        g.rows};
}

template <class T>
void turn_in(cudaStream_t stream, const Part<const T>& u, int64_t used, const PaddedRows& to) {
    const int wide = tile_width(u.channels);
    const dim3 grid(static_cast<unsigned>(ceil_div(to.n, tile_elements / wide)),
                    static_cast<unsigned>(ceil_div(u.channels, wide)), static_cast<unsigned>(used));
    gather<T><<<grid, threads, 0, stream>>>(u, to, wide);
}

template <class T>
void turn_out(cudaStream_t stream, const PaddedRows& from, int64_t used, const Part<T>& y,
              const Part<const T>& v, const float* skip) {
    const int wide = tile_width(y.channels);
    const dim3 grid(static_cast<unsigned>(ceil_div(y.length, tile_elements / wide)),
                    static_cast<unsigned>(ceil_div(y.channels, wide)), static_cast<unsigned>(used));
    scatter<T><<<grid, threads, 0, stream>>>(from, y, v, skip, wide);
}

}  // namespace
}  // namespace cuda

// In a group with fewer rows or channels than the plan, the remaining rows hold what an earlier group left;
// their transforms are made and never read.
void CudaBackend::long_conv_forward(const LongConvForward& op) {
    using namespace cuda;
    const char* name = "long_conv_forward";
    check(op.u, op.kernel, op.skip, name);
    check_like(op.y, op.u, name, "y like u");
    if (op.u.size() == 0) return;
    const Groups g(op.u, op.kernel);
    const int64_t batch = op.u[0], width = op.u[2];
    const Tensor rows = g.padded(*this, g.channels * g.rows), spectra = g.padded(*this, g.channels);
    const PaddedRows x = g.of(rows), k = g.of(spectra);
    for (int64_t d0 = 0; d0 < width; d0 += g.channels) {
        const auto channels = static_cast<unsigned>(std::min<int64_t>(g.channels, width - d0));
        pad_kernel<<<g.grid(g.n, 1, channels), threads, 0, stream_>>>(op.kernel.as<float>(),
                                                                      op.kernel.row_stride, d0, g.reach, k);
        fft_->run(*this, stream_, Transform::real_f32, g.n, g.channels, k.data);
        for (int64_t b0 = 0; b0 < batch; b0 += g.rows) {
            const int64_t used = std::min<int64_t>(g.rows, batch - b0);
            dispatch(op.u.dtype, [&]<class T>(T) {
                const auto u = part_of<const T>(op.u, g, d0, b0);
                turn_in(stream_, u, used, x);
                fft_->run(*this, stream_, Transform::real_f32, g.n, g.channels * g.rows, x.data);
                multiply<<<g.grid(x.spectrum(), used, channels), threads, 0, stream_>>>(x, k, g.rows);
                fft_->run(*this, stream_, Transform::inverse_f32, g.n, g.channels * g.rows, x.data);
                turn_out(stream_, x, used, part_of<T>(op.y, g, d0, b0), u, op.skip.as<float>());
            });
        }
    }
    check_launch(name);
}

void CudaBackend::long_conv_backward(const LongConvBackward& op) {
    using namespace cuda;
    const char* name = "long_conv_backward";
    check(op.u, op.kernel, op.skip, name);
    check_like(op.dy, op.u, name, "dy like u");
    check_like(op.du, op.u, name, "du like u");
    check_like(op.dkernel, op.kernel, name, "dkernel like kernel");
    require(op.skip.empty() == op.dskip.empty(), name, "dskip exactly where there is a skip");
    if (op.dskip) check_like(op.dskip, op.skip, name, "dskip like skip");
    if (op.u.size() == 0) return fill({.y = op.dkernel, .value = 0});
    const Groups g(op.u, op.kernel);
    const int64_t batch = op.u[0], width = op.u[2], taps = op.kernel[1];
    const Tensor u_rows = g.padded(*this, g.channels * g.rows),
                 dy_rows = g.padded(*this, g.channels * g.rows), spectra = g.padded(*this, g.channels),
                 sums = g.padded(*this, g.channels);
    const PaddedRows x = g.of(u_rows), dx = g.of(dy_rows), k = g.of(spectra), dk = g.of(sums);
    for (int64_t d0 = 0; d0 < width; d0 += g.channels) {
        const auto channels = static_cast<unsigned>(std::min<int64_t>(g.channels, width - d0));
        pad_kernel<<<g.grid(g.n, 1, channels), threads, 0, stream_>>>(op.kernel.as<float>(),
                                                                      op.kernel.row_stride, d0, g.reach, k);
        fft_->run(*this, stream_, Transform::real_f32, g.n, g.channels, k.data);
        for (int64_t b0 = 0; b0 < batch; b0 += g.rows) {
            const auto used = static_cast<int>(std::min<int64_t>(g.rows, batch - b0));
            dispatch(op.u.dtype, [&]<class T>(T) {
                const auto dy = part_of<const T>(op.dy, g, d0, b0);
                turn_in(stream_, part_of<const T>(op.u, g, d0, b0), used, x);
                turn_in(stream_, dy, used, dx);
                fft_->run(*this, stream_, Transform::real_f32, g.n, g.channels * g.rows, x.data);
                fft_->run(*this, stream_, Transform::real_f32, g.n, g.channels * g.rows, dx.data);
                multiply_back<<<g.grid(x.spectrum(), 1, channels), threads, 0, stream_>>>(
                    x, dx, k, dk, g.rows, used, b0 == 0);
                fft_->run(*this, stream_, Transform::inverse_f32, g.n, g.channels * g.rows, dx.data);
                turn_out(stream_, dx, used, part_of<T>(op.du, g, d0, b0), dy, op.skip.as<float>());
            });
        }
        fft_->run(*this, stream_, Transform::inverse_f32, g.n, g.channels, dk.data);
        unpad_kernel<<<g.grid(taps, 1, channels), threads, 0, stream_>>>(
            dk, op.dkernel.as<float>(), op.dkernel.row_stride, d0, taps, g.reach, op.dskip.as<float>());
    }
    check_launch(name);
}

}  // namespace nigiri
