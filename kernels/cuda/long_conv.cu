// By cuFFT. Two real sequences make one complex one: batch rows 2q and 2q + 1 of a channel or, in a batch of
// one, channels 2q and 2q + 1; complex transforms are up to twice as fast as real ones. The samples (B, L, D)
// are turned into such padded rows, transformed in place, multiplied by the kernels' spectra, transformed
// back and turned into samples again with the skip on top. Channels and batch rows come in groups: short rows
// in groups that stay in the L2 cache from pass to pass, so that memory sees little more than u and y; long
// ones in groups that bound the scratch memory. The kernel's gradient is summed over the batch as a spectrum,
// in the order of the rows.
#include <algorithm>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fft_plans.h"

namespace nigiri {

namespace cuda {
namespace {

constexpr int64_t cached_group = int64_t{32} << 20, long_group = int64_t{256} << 20, long_rows = 1 << 16;
constexpr int threads = 256;
constexpr int tile_elements = 2048;  // samples x channels that a block turns over, of each of two sequences

// A group: channels [d0, d0 + channels) of batch rows [b0, b0 + used). A row of data is n complex numbers:
// pair q of channel c, or of channels 2c and 2c + 1, is row c * pairs + q. Kernels' rows are always pairs of
// channels.
struct Group {
    int64_t n, length, d0, b0;
    int channels, used;  // what there is; the plans' rows may be more
    int pairs;           // rows of a channel
    bool by_channels;    // a row is two channels of one batch row

    __host__ __device__ int rows_of_channels() const { return by_channels ? (channels + 1) / 2 : channels; }
};

// Two sequences' samples as one block turns them: item i of a tile of Wide channels is rows first(i) and
// second(i) of it.
template <int Wide>
struct Tile {
    static constexpr int samples = tile_elements / Wide, pitch = samples + 1;
    float values[2 * Wide][pitch];

    static __device__ int first(const Group& g, int i) { return g.by_channels ? 2 * i : i; }
    static __device__ int second(const Group& g, int i) { return g.by_channels ? 2 * i + 1 : Wide + i; }
    static __device__ int items(const Group& g) { return g.by_channels ? Wide / 2 : Wide; }
};

// Calls f(row of the tile, sample of the tile, row of the activation or -1, channel of it) for every element
// of the two sequences' tile; blocks: samples, channels, pairs.
template <int Wide, class F>
__device__ void each_element(const Group& g, F&& f) {
    using Block = Tile<Wide>;
    const int64_t l0 = static_cast<int64_t>(blockIdx.x) * Block::samples;
    const int c0 = static_cast<int>(blockIdx.y) * Wide, sequences = g.by_channels ? 1 : 2;
    for (int i = threadIdx.x; i < sequences * tile_elements; i += threads) {
        const int c = i % Wide, l = i / Wide % Block::samples, half = i / tile_elements;
        const int b = static_cast<int>(blockIdx.z) * sequences + half;
        const bool there = l0 + l < g.length && c0 + c < g.channels && b < g.used;
        f(half * Wide + c, l, there ? (g.b0 + b) * g.length + l0 + l : -1, g.d0 + c0 + c);
    }
}

// Calls f(row, sample of the tile, item) for every complex number of the tile's rows.
template <int Wide, class F>
__device__ void each_number(const Group& g, F&& f) {
    using Block = Tile<Wide>;
    const int64_t l0 = static_cast<int64_t>(blockIdx.x) * Block::samples;
    const int item0 = static_cast<int>(blockIdx.y) * Block::items(g);
    for (int i = threadIdx.x; i < Block::items(g) * Block::samples; i += threads) {
        const int l = i % Block::samples, item = i / Block::samples;
        if (l0 + l < g.n && item0 + item < g.rows_of_channels())
            f((static_cast<int64_t>(item0 + item) * g.pairs + blockIdx.z) * g.n + l0 + l, l, item);
    }
}

template <class T, int Wide>
__global__ void __launch_bounds__(threads) gather(Group g, const T* u, int64_t stride, float2* rows) {
    __shared__ Tile<Wide> tile;
    each_element<Wide>(g, [&](int row, int l, int64_t from, int64_t channel) {
        tile.values[row][l] = from >= 0 ? load(u + from * stride + channel) : 0.0f;
    });
    __syncthreads();
    each_number<Wide>(g, [&](int64_t at, int l, int item) {
        rows[at] = {tile.values[tile.first(g, item)][l], tile.values[tile.second(g, item)][l]};
    });
}

// y = rows + skip v, v like y or absent.
template <class T, int Wide>
__global__ void __launch_bounds__(threads)
    scatter(Group g, const float2* rows, T* y, int64_t stride, const T* v, int64_t v_stride, const float* skip) {
    __shared__ Tile<Wide> tile;
    each_number<Wide>(g, [&](int64_t at, int l, int item) {
        const float2 pair = rows[at];
        tile.values[tile.first(g, item)][l] = pair.x;
        tile.values[tile.second(g, item)][l] = pair.y;
    });
    __syncthreads();
    each_element<Wide>(g, [&](int row, int l, int64_t to, int64_t channel) {
        if (to < 0) return;
        float x = tile.values[row][l];
        if (skip) x = fmaf(skip[channel], load(v + to * v_stride + channel), x);
        store(y + to * stride + channel, x);
    });
}

// The kernels of channels 2 blockIdx.y and the next of the group, padded with zeros; taps that the sequence
// cannot reach are left out.
__global__ void pad_kernels(Group g, const float* kernel, int64_t stride, int64_t taps, float2* rows) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    const int c = 2 * static_cast<int>(blockIdx.y);
    if (l >= g.n) return;
    const auto tap = [&](int channel) {
        return l < taps && channel < g.channels ? kernel[(g.d0 + channel) * stride + l] : 0.0f;
    };
    rows[blockIdx.y * g.n + l] = {tap(c), tap(c + 1)};
}

__device__ float2 product(float2 a, float2 b) { return {fmaf(a.x, b.x, -a.y * b.y), fmaf(a.x, b.y, a.y * b.x)}; }
__device__ float2 conjugate_product(float2 a, float2 b) {  // a* b
    return {fmaf(a.x, b.x, a.y * b.y), fmaf(a.x, b.y, -a.y * b.x)};
}
__device__ float2 sum(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }

// The spectra of two real sequences at k, from that of first + i second at k and n - k, and back.
struct Pair {
    float2 first, second;
};
__device__ Pair unpacked(float2 z, float2 mirror) {
    return {{0.5f * (z.x + mirror.x), 0.5f * (z.y - mirror.y)}, {0.5f * (z.y + mirror.y), 0.5f * (mirror.x - z.x)}};
}
__device__ float2 packed(const Pair& p) { return {p.first.x - p.second.y, p.first.y + p.second.x}; }
__device__ float2 packed_mirror(const Pair& p) { return {p.first.x + p.second.y, p.second.x - p.first.y}; }

// A row of spectra, read and written at k and n - k together.
struct Spectrum {
    float2* row;
    int64_t k, mirror;

    __device__ Spectrum(float2* rows, int64_t index, int64_t n, int64_t at)
        : row(rows + index * n), k(at), mirror(at == 0 ? 0 : n - at) {}
    __device__ Pair get() const { return unpacked(row[k], row[mirror]); }
    __device__ void set(const Pair& p) const {
        row[k] = packed(p);
        if (mirror != k) row[mirror] = packed_mirror(p);
    }
};

// The kernels' spectra of a data row's two sequences.
__device__ Pair kernels_of(const Group& g, const Spectrum& kernels, int c) {
    const Pair k = kernels.get();
    if (g.by_channels) return k;
    return c % 2 == 0 ? Pair{k.first, k.first} : Pair{k.second, k.second};
}

// x *= k / n; blocks: frequencies, channels (or pairs of them), pairs of batch rows.
__global__ void multiply(Group g, float2* x, float2* kernels) {
    const int64_t k = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    const int c = static_cast<int>(blockIdx.y);
    if (k > g.n / 2) return;
    const float scale = 1.0f / static_cast<float>(g.n);
    const Pair kernel = kernels_of(g, Spectrum(kernels, g.by_channels ? c : c / 2, g.n, k), c);
    const Spectrum at(x, static_cast<int64_t>(c) * g.pairs + blockIdx.z, g.n, k);
    const Pair in = at.get(), first = {product(kernel.first, in.first), product(kernel.second, in.second)};
    at.set({{scale * first.first.x, scale * first.first.y}, {scale * first.second.x, scale * first.second.y}});
}

// dk += u* dy, or = where `first`; dy *= k*. All over n. A thread has one frequency of two channels.
__global__ void multiply_back(Group g, float2* u, float2* dy, float2* kernels, float2* dkernels, int used_pairs,
                              bool first) {
    const int64_t k = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x, p = blockIdx.y;
    if (k > g.n / 2) return;
    const float scale = 1.0f / static_cast<float>(g.n);
    const Spectrum kernel(kernels, p, g.n, k), dkernel(dkernels, p, g.n, k);
    Pair total = {{0, 0}, {0, 0}};
    const int rows = g.by_channels ? 1 : 2;  // of data that share the kernels' row
    for (int i = 0; i < rows; ++i) {
        const int c = static_cast<int>(p) * rows + i;
        if (c >= g.rows_of_channels()) break;
        const Pair own = kernels_of(g, kernel, c);
        for (int q = 0; q < used_pairs; ++q) {
            const Spectrum at(dy, static_cast<int64_t>(c) * g.pairs + q, g.n, k);
            const Pair x = Spectrum(u, static_cast<int64_t>(c) * g.pairs + q, g.n, k).get(), d = at.get();
            const float2 a = conjugate_product(x.first, d.first), b = conjugate_product(x.second, d.second);
            if (g.by_channels)
                total = {sum(total.first, a), sum(total.second, b)};
            else
                (i == 0 ? total.first : total.second) = sum(i == 0 ? total.first : total.second, sum(a, b));
            const Pair back = {conjugate_product(own.first, d.first), conjugate_product(own.second, d.second)};
            at.set({{scale * back.first.x, scale * back.first.y}, {scale * back.second.x, scale * back.second.y}});
        }
    }
    total = {{scale * total.first.x, scale * total.first.y}, {scale * total.second.x, scale * total.second.y}};
    if (!first) {
        const Pair before = dkernel.get();
        total = {sum(before.first, total.first), sum(before.second, total.second)};
    }
    dkernel.set(total);
}

// The gradient's rows back into (D, Lk); lag 0 is the skip's gradient as well.
__global__ void unpad_kernels(Group g, const float2* rows, float* dkernel, int64_t stride, int64_t taps, int64_t reach,
                              float* dskip) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    if (l >= taps) return;
    const float2 pair = l < reach ? rows[blockIdx.y * g.n + l] : float2{0, 0};
    for (int i = 0; i < 2; ++i) {
        const int c = 2 * static_cast<int>(blockIdx.y) + i;
        if (c >= g.channels) return;
        const float x = i == 0 ? pair.x : pair.y;
        dkernel[(g.d0 + c) * stride + l] = x;
        if (l == 0 && dskip) dskip[g.d0 + c] += x;
    }
}

void check(const View& u, const View& kernel, const View& skip, const char* name) {
    require(u.shape.rank() == 3, name, "u (B, L, D)");
    require(kernel.shape.rank() == 2 && kernel[0] == u[2] && kernel[1] >= 1, name, "kernel (D, Lk), Lk at least 1");
    require(!skip || skip.size() == u[2], name, "skip (D)");
    require(kernel.dtype == DType::f32 && (!skip || skip.dtype == DType::f32), name, "a float32 kernel and skip");
}

void check_like(const View& v, const View& like, const char* name, const char* rule) {
    require(v.shape == like.shape && v.dtype == like.dtype, name, rule);
}

// How the work is cut, and the launches of one group. Groups of 32 channels read whole lines; very long rows
// get by with fewer.
class Cut {
  public:
    int64_t reach;  // taps that the sequence can reach

    Cut(const View& u, const View& kernel, cudaStream_t stream) : stream_(stream) {
        const int64_t length = u[1], batch = u[0];
        reach = std::min(length, kernel[1]);
        group_.n = good_transform_length(length + reach - 1);
        group_.length = length;
        group_.by_channels = batch == 1;
        const int64_t row = 8 * group_.n, room = group_.n > long_rows ? long_group : cached_group;
        int64_t wide = 32;
        while (wide > 8 && wide * row > (group_.by_channels ? 2 : 1) * room) wide /= 2;
        channels = static_cast<int>(std::min(wide, (u[2] + 1) / 2 * 2));
        const int64_t pairs = ceil_div(batch, 2), fit = std::clamp<int64_t>(room / (channels * row), 1, pairs);
        group_.pairs = static_cast<int>(ceil_div(pairs, ceil_div(pairs, fit)));
    }
    int channels;  // of a group, even
    int64_t batch_rows() const { return group_.by_channels ? 1 : 2 * group_.pairs; }
    int64_t data_rows() const { return group_.by_channels ? channels / 2 : int64_t{channels} * group_.pairs; }
    int64_t kernel_rows() const { return channels / 2; }
    Tensor memory(Backend& backend, int64_t rows) const { return backend.allocate({rows, 2 * group_.n}, DType::f32); }

    Group at(const View& u, int64_t d0, int64_t b0) const {
        Group g = group_;
        g.d0 = d0, g.b0 = b0;
        g.channels = static_cast<int>(std::min<int64_t>(channels, u[2] - d0));
        g.used = static_cast<int>(std::min(batch_rows(), u[0] - b0));
        return g;
    }
    static int used_pairs(const Group& g) { return g.by_channels ? 1 : (g.used + 1) / 2; }
    static dim3 frequencies(const Group& g, int64_t y, int64_t z) { return blocks(g.n / 2 + 1, y, z); }
    static dim3 blocks(int64_t items, int64_t y, int64_t z = 1) {
        return {static_cast<unsigned>(ceil_div(items, threads)), static_cast<unsigned>(y), static_cast<unsigned>(z)};
    }

    template <class T>
    void turn_in(const Group& g, const View& u, float2* rows) const {
        if (g.channels > 8)
            gather<T, 32><<<tiles<32>(g, g.n), threads, 0, stream_>>>(g, pointer<const T>(u), u.row_stride, rows);
        else
            gather<T, 8><<<tiles<8>(g, g.n), threads, 0, stream_>>>(g, pointer<const T>(u), u.row_stride, rows);
    }
    template <class T>
    void turn_out(const Group& g, const float2* rows, const View& y, const View& v, const float* skip) const {
        if (g.channels > 8)
            scatter<T, 32><<<tiles<32>(g, g.length), threads, 0, stream_>>>(g, rows, pointer<T>(y), y.row_stride,
                                                                            pointer<const T>(v), v.row_stride, skip);
        else
            scatter<T, 8><<<tiles<8>(g, g.length), threads, 0, stream_>>>(g, rows, pointer<T>(y), y.row_stride,
                                                                          pointer<const T>(v), v.row_stride, skip);
    }

  private:
    template <int Wide>
    static dim3 tiles(const Group& g, int64_t samples) {
        return {static_cast<unsigned>(ceil_div(samples, Tile<Wide>::samples)),
                static_cast<unsigned>(ceil_div(g.channels, Wide)), static_cast<unsigned>(used_pairs(g))};
    }

    cudaStream_t stream_;
    Group group_{};
};

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
    const Cut cut(op.u, op.kernel, stream_);
    const Tensor rows = cut.memory(*this, cut.data_rows()), spectra = cut.memory(*this, cut.kernel_rows());
    auto *const x = pointer<float2>(rows), *const k = pointer<float2>(spectra);
    for (int64_t d0 = 0; d0 < op.u[2]; d0 += cut.channels)
        for (int64_t b0 = 0; b0 < op.u[0]; b0 += cut.batch_rows()) {
            const Group g = cut.at(op.u, d0, b0);
            if (b0 == 0) {
                pad_kernels<<<Cut::blocks(g.n, ceil_div(g.channels, 2)), threads, 0, stream_>>>(
                    g, op.kernel.as<float>(), op.kernel.row_stride, cut.reach, k);
                fft_->run(*this, stream_, Transform::complex_f32, g.n, cut.kernel_rows(), k);
            }
            dispatch(op.u.dtype, [&]<class T>(T) {
                cut.turn_in<T>(g, op.u, x);
                fft_->run(*this, stream_, Transform::complex_f32, g.n, cut.data_rows(), x);
                multiply<<<Cut::frequencies(g, g.rows_of_channels(), Cut::used_pairs(g)), threads, 0, stream_>>>(g, x,
                                                                                                                 k);
                fft_->run(*this, stream_, Transform::complex_inverse_f32, g.n, cut.data_rows(), x);
                cut.turn_out<T>(g, x, op.y, op.u, op.skip.as<float>());
            });
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
    const Cut cut(op.u, op.kernel, stream_);
    const int64_t taps = op.kernel[1];
    const Tensor u_rows = cut.memory(*this, cut.data_rows()), dy_rows = cut.memory(*this, cut.data_rows()),
                 spectra = cut.memory(*this, cut.kernel_rows()), sums = cut.memory(*this, cut.kernel_rows());
    auto *const x = pointer<float2>(u_rows), *const dx = pointer<float2>(dy_rows);
    auto *const k = pointer<float2>(spectra), *const dk = pointer<float2>(sums);
    for (int64_t d0 = 0; d0 < op.u[2]; d0 += cut.channels)
        for (int64_t b0 = 0; b0 < op.u[0]; b0 += cut.batch_rows()) {
            const Group g = cut.at(op.u, d0, b0);
            const int64_t kernels = ceil_div(g.channels, 2);
            if (b0 == 0) {
                pad_kernels<<<Cut::blocks(g.n, kernels), threads, 0, stream_>>>(g, op.kernel.as<float>(),
                                                                                op.kernel.row_stride, cut.reach, k);
                fft_->run(*this, stream_, Transform::complex_f32, g.n, cut.kernel_rows(), k);
            }
            dispatch(op.u.dtype, [&]<class T>(T) {
                cut.turn_in<T>(g, op.u, x);
                cut.turn_in<T>(g, op.dy, dx);
                fft_->run(*this, stream_, Transform::complex_f32, g.n, cut.data_rows(), x);
                fft_->run(*this, stream_, Transform::complex_f32, g.n, cut.data_rows(), dx);
                multiply_back<<<Cut::frequencies(g, kernels, 1), threads, 0, stream_>>>(g, x, dx, k, dk,
                                                                                        Cut::used_pairs(g), b0 == 0);
                fft_->run(*this, stream_, Transform::complex_inverse_f32, g.n, cut.data_rows(), dx);
                cut.turn_out<T>(g, dx, op.du, op.dy, op.skip.as<float>());
            });
            if (b0 + cut.batch_rows() < op.u[0]) continue;
            fft_->run(*this, stream_, Transform::complex_inverse_f32, g.n, cut.kernel_rows(), dk);
            unpad_kernels<<<Cut::blocks(taps, kernels), threads, 0, stream_>>>(
                g, dk, op.dkernel.as<float>(), op.dkernel.row_stride, taps, cut.reach, op.dskip.as<float>());
        }
    check_launch(name);
}

}  // namespace nigiri
