// The spectrum at every node is a sum over the modes with one division each, all in float64 (about 60
// operations a mode and node; 34 million for 128 channels x 16384 taps x 32 modes), then cuFFT in float64. At
// w = exp(-2 i phi), phi = pi k / length, with q = dt / (2 i sin(phi) - cos(phi) dt lambda) and S(v) = sum v
// q over the conjugate-closed state, Woodbury's formula of s4_kernel.h becomes
//   K^ = exp(i phi) [ S(c b) - cos(phi) S(c p) S(p* b) / (1 + cos(phi) S(p* p)) ],
// in which nothing is singular. Channels come in groups that bound the scratch memory.
#include <algorithm>

#include "kernels/cpu/s4_parameters.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fft_plans.h"
#include "kernels/cuda/s4_modes.cuh"

namespace nigiri {

namespace cuda {
namespace {

constexpr int threads = 256, warps = threads / 32;
constexpr int64_t group_bytes = int64_t{192} << 20;
constexpr int backward_blocks = 32;  // of a channel at most; each sums many nodes

// A mode as the sums use it: dt lambda, and dt times c b, c p, p* b and |p|^2.
struct Pole {
    Complex pole, weight[3];
    double square;
};

__global__ void find_poles(S4Modes m, int64_t d0, int64_t channels, Pole* poles) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= channels * m.modes) return;
    const S4Mode s = s4_mode(m, d0 + i / m.modes, i % m.modes);
    poles[i] = {s.dt * s.lambda, {s.dt * (s.c * s.b), s.dt * (s.c * s.p), s.dt * (conj(s.p) * s.b)}, s.dt * norm(s.p)};
}

struct Node {
    double sine2, cosine;  // 2 sin(phi), cos(phi)
    Complex turn;          // exp(i phi)
};

__device__ Node node_at(int64_t k, int64_t length) {
    double sine, cosine;
    sincospi(static_cast<double>(k) / static_cast<double>(length), &sine, &cosine);
    return {2 * sine, cosine, {cosine, sine}};
}

// q / dt for a pole and for its conjugate; one division serves both.
struct Pair {
    Complex q, r;
};

__device__ Pair reciprocals(const Node& node, Complex pole) {
    const double re = -node.cosine * pole.re;
    const double im = node.sine2 - node.cosine * pole.im, conjugate_im = node.sine2 + node.cosine * pole.im;
    const double size = re * re + im * im, conjugate_size = re * re + conjugate_im * conjugate_im;
    const double inverse = 1 / (size * conjugate_size), a = inverse * conjugate_size, b = inverse * size;
    return {{re * a, -im * a}, {re * b, -conjugate_im * b}};
}

struct FourSums {
    Complex s[4];  // S(c b), S(c p), S(p* b), S(p* p)
};

__device__ FourSums sum_poles(const Pole* poles, int64_t modes, const Node& node) {
    FourSums sums = {};
    for (int64_t n = 0; n < modes; ++n) {
        const Pole& pole = poles[n];
        const Pair pair = reciprocals(node, pole.pole);
        const Complex sum = pair.q + pair.r, difference = pair.q - pair.r;
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            const Complex v = pole.weight[i];  // v q + v* r
            sums.s[i].re += v.re * sum.re - v.im * difference.im;
            sums.s[i].im += v.re * sum.im + v.im * difference.re;
        }
        sums.s[3] = sums.s[3] + pole.square * sum;
    }
    return sums;
}

// Loads a channel's poles into shared memory.
__device__ void load_poles(const Pole* from, int64_t modes, Pole* to) {
    for (int64_t n = threadIdx.x; n < modes; n += threads) to[n] = from[n];
    __syncthreads();
}

__global__ void __launch_bounds__(threads) spectra(const Pole* all, int64_t modes, int64_t length, Complex* out) {
    extern __shared__ __align__(16) unsigned char memory[];
    Pole* poles = reinterpret_cast<Pole*>(memory);
    const int64_t channel = blockIdx.y, nodes = length / 2 + 1;
    load_poles(all + channel * modes, modes, poles);
    const int64_t k = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    if (k >= nodes) return;
    const Node node = node_at(k, length);
    const FourSums sums = sum_poles(poles, modes, node);
    const Complex divisor = {1 + node.cosine * sums.s[3].re, node.cosine * sums.s[3].im};
    Complex y = node.turn * (sums.s[0] - node.cosine * (sums.s[1] * sums.s[2] / divisor));
    if (k == 0 || 2 * k == length) y.im = 0;
    out[channel * nodes + k] = (1 / static_cast<double>(length)) * y;
}

// Rows of `length` doubles in the room of length / 2 + 1 complex ones.
__device__ double* real_row(Complex* rows, int64_t channel, int64_t length) {
    return reinterpret_cast<double*>(rows + channel * (length / 2 + 1));
}

__global__ void to_kernel(Complex* rows, int64_t length, Rows kernel, int64_t taps, int64_t d0) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    if (l < taps) kernel.row(d0 + blockIdx.y)[l] = static_cast<float>(real_row(rows, blockIdx.y, length)[l]);
}

__global__ void from_kernel(Rows dkernel, int64_t taps, int64_t d0, Complex* rows, int64_t length) {
    const int64_t l = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x;
    if (l < length) real_row(rows, blockIdx.y, length)[l] = l < taps ? dkernel.row(d0 + blockIdx.y)[l] : 0.0f;
}

__device__ double warp_sum(double x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

// The gradient of the four sums at a node.
struct NodeGradient {
    Complex s[4];
};

constexpr int totals = 10;  // of a mode: four complex weights' and the pole's

// The gradients of a channel's poles: a block takes every gridDim.x-th tile of 256 nodes. First every thread
// finds the gradients of its node's four sums, then every warp adds up its modes' shares over the tile.
__global__ void __launch_bounds__(threads)
    pole_gradients(const Pole* all, int64_t modes, int64_t length, const Complex* transformed, double* partial) {
    extern __shared__ __align__(16) unsigned char memory[];
    NodeGradient* gradients = reinterpret_cast<NodeGradient*>(memory);
    Node* nodes = reinterpret_cast<Node*>(gradients + threads);
    Pole* poles = reinterpret_cast<Pole*>(nodes + threads);
    double* sums = reinterpret_cast<double*>(poles + modes);
    const int64_t channel = blockIdx.y, used = length / 2 + 1;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int64_t i = threadIdx.x; i < totals * modes; i += threads) sums[i] = 0;
    load_poles(all + channel * modes, modes, poles);
    for (int64_t k0 = static_cast<int64_t>(blockIdx.x) * threads; k0 < used; k0 += gridDim.x * int64_t{threads}) {
        const int64_t k = k0 + threadIdx.x;
        Node node = {2, 0, {0, 1}};  // beyond the last: no gradient
        NodeGradient g = {};
        if (k < used) {
            node = node_at(k, length);
            // dK^ = m / length times the conjugate of the transform; m = 2 where the node stands for two.
            const double m = (k == 0 || 2 * k == length ? 1.0 : 2.0) / static_cast<double>(length);
            const Complex f = transformed[channel * used + k];
            const FourSums s = sum_poles(poles, modes, node);
            const Complex divisor = {1 + node.cosine * s.s[3].re, node.cosine * s.s[3].im};
            g.s[0] = node.turn * Complex{m * f.re, -m * f.im};
            const Complex gain = node.cosine * (g.s[0] / divisor);
            const Complex first = gain * s.s[2];
            g.s[1] = -1.0 * first;
            g.s[2] = -1.0 * (gain * s.s[1]);
            g.s[3] = node.cosine * (first * s.s[1] / divisor);
        }
        gradients[threadIdx.x] = g;
        nodes[threadIdx.x] = node;
        __syncthreads();
        for (int64_t n = warp; n < modes; n += warps) {
            const Pole pole = poles[n];
            double total[totals] = {};
            for (int i = lane; i < threads; i += 32) {
                const Pair pair = reciprocals(nodes[i], pole.pole);
                const Complex sum = pair.q + pair.r, difference = pair.q - pair.r;
                // With a the gradient of a sum and v its weight: a q + (a r)* for the weight, and for the
                // pole cos(phi) (sum a v) q^2 + (cos(phi) (sum a v*) r^2)*.
                double rr = 0, ii = 0, ri = 0, ir = 0;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const Complex a = gradients[i].s[j];
                    const Complex v = j < 3 ? pole.weight[j] : Complex{pole.square, 0};
                    total[2 * j] += a.re * sum.re - a.im * sum.im;
                    total[2 * j + 1] += a.re * difference.im + a.im * difference.re;
                    rr += a.re * v.re;
                    ii += a.im * v.im;
                    ri += a.re * v.im;
                    ir += a.im * v.re;
                }
                const Complex direct = Complex{rr - ii, ri + ir} * (pair.q * pair.q);
                const Complex other = Complex{rr + ii, ir - ri} * (pair.r * pair.r);
                total[8] += nodes[i].cosine * (direct.re + other.re);
                total[9] += nodes[i].cosine * (direct.im - other.im);
            }
#pragma unroll
            for (int j = 0; j < totals; ++j) {
                const double all_lanes = warp_sum(total[j]);
                if (lane == 0) sums[n * totals + j] += all_lanes;
            }
        }
        __syncthreads();
    }
    double* to = partial + (channel * gridDim.x + blockIdx.x) * modes * totals;
    for (int64_t i = threadIdx.x; i < totals * modes; i += threads) to[i] = sums[i];
}

__global__ void finish_modes(S4Modes m, int64_t d0, int64_t channels, const double* partial, int blocks,
                             ModeGradient* gradients) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= channels * m.modes) return;
    const int64_t channel = i / m.modes, n = i % m.modes;
    double sum[totals] = {};
    for (int block = 0; block < blocks; ++block)
        for (int j = 0; j < totals; ++j) sum[j] += partial[((channel * blocks + block) * m.modes + n) * totals + j];
    const S4Mode s = s4_mode(m, d0 + channel, n);
    const Complex cb = {sum[0], sum[1]}, cp = {sum[2], sum[3]}, pb = {sum[4], sum[5]}, pp = {sum[6], sum[7]};
    const Complex pole = {sum[8], sum[9]};
    // For dL = Re(t dx) the gradient of x, dL/dRe + i dL/dIm, is t*.
    ModeGradient g;
    g.a_real = s.dt * s.lambda.re * pole.re;
    g.a_imag = s.dt * pole.im;
    g.c = s.dt * conj(cb * s.b + cp * s.p);
    g.b = s.dt * conj(cb * s.c + pb * conj(s.p));
    g.p = s.dt * (conj(cp * s.c + pp * conj(s.p)) + pb * s.b + pp * s.p);
    g.inv_dt = s.dt * (pole * s.lambda + cb * s.c * s.b + cp * s.c * s.p + pb * conj(s.p) * s.b + norm(s.p) * pp).re;
    gradients[(d0 + channel) * m.modes + n] = g;
}

unsigned blocks_for(int64_t wanted, int64_t size) { return static_cast<unsigned>(ceil_div(wanted, size)); }

int64_t checked_length(const S4Parameters& op, const View& kernel, const char* name) {
    cpu::check_s4(op, name);
    const int64_t length = s4_length_at_rate(op.length, op.rate);
    require(kernel.shape.rank() == 2 && kernel[0] == op.c[0] && kernel[1] >= 1 && kernel[1] <= length, name,
            "a kernel (D, L) no longer than the length that C is tied to");
    require(kernel.dtype == DType::f32 && op.c.dtype == DType::f32, name, "float32 parameters and kernel");
    return length;
}

// More shared memory than every kernel gets must be asked for.
void allow_shared(const void* kernel, size_t bytes) {
    if (bytes > 48 * 1024)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
              "asking for shared memory (fewer modes need less)");
}

}  // namespace
}  // namespace cuda

void CudaBackend::s4_kernel_forward(const S4KernelForward& op) {
    using namespace cuda;
    const char* name = "s4_kernel_forward";
    const int64_t length = checked_length(op, op.kernel, name), nodes = length / 2 + 1, taps = op.kernel[1];
    const S4Modes m(op);
    const int64_t group = std::clamp<int64_t>(group_bytes / (16 * nodes), 1, m.channels);
    const Tensor rows = allocate({group, 4 * nodes}, DType::f32),
                 poles = allocate({group * m.modes, sizeof(Pole) / 4}, DType::f32);
    auto* const row = pointer<Complex>(rows);
    auto* const pole = pointer<Pole>(poles);
    const size_t shared = static_cast<size_t>(m.modes) * sizeof(Pole);
    allow_shared(reinterpret_cast<const void*>(spectra), shared);
    for (int64_t d0 = 0; d0 < m.channels; d0 += group) {
        const int64_t channels = std::min(group, m.channels - d0);
        const auto y = static_cast<unsigned>(channels);
        find_poles<<<blocks_for(channels * m.modes, 128), 128, 0, stream_>>>(m, d0, channels, pole);
        spectra<<<dim3(blocks_for(nodes, threads), y), threads, shared, stream_>>>(pole, m.modes, length, row);
        fft_->run(*this, stream_, Transform::real_inverse_f64, length, group, row);
        to_kernel<<<dim3(blocks_for(taps, threads), y), threads, 0, stream_>>>(row, length, op.kernel, taps, d0);
    }
    check_launch(name);
}

void CudaBackend::s4_kernel_backward(const S4KernelBackward& op) {
    using namespace cuda;
    const char* name = "s4_kernel_backward";
    const int64_t length = checked_length(op, op.dkernel, name), nodes = length / 2 + 1, taps = op.dkernel[1];
    const auto like = [&](const View& gradient, const View& parameter) {
        require(gradient.empty() || (gradient.shape == parameter.shape && gradient.dtype == parameter.dtype), name,
                "gradients like their parameters");
    };
    like(op.dinv_dt, op.inv_dt), like(op.da_real, op.a_real), like(op.da_imag, op.a_imag);
    like(op.dp, op.p), like(op.db, op.b), like(op.dc, op.c);
    const S4Modes m(op);
    const int64_t group = std::clamp<int64_t>(group_bytes / (16 * nodes), 1, m.channels);
    const auto blocks = static_cast<int>(std::min<int64_t>(backward_blocks, ceil_div(nodes, threads)));
    const Tensor rows = allocate({group, 4 * nodes}, DType::f32),
                 poles = allocate({group * m.modes, sizeof(Pole) / 4}, DType::f32),
                 sums = allocate({group * blocks * m.modes, 2 * totals}, DType::f32),
                 gradients = allocate({m.channels * m.modes, sizeof(ModeGradient) / 4}, DType::f32);
    auto* const row = pointer<Complex>(rows);
    auto* const pole = pointer<Pole>(poles);
    auto* const partial = pointer<double>(sums);
    auto* const gradient = pointer<ModeGradient>(gradients);
    const size_t shared = threads * (sizeof(NodeGradient) + sizeof(Node)) +
                          static_cast<size_t>(m.modes) * (sizeof(Pole) + totals * sizeof(double));
    allow_shared(reinterpret_cast<const void*>(pole_gradients), shared);
    for (int64_t d0 = 0; d0 < m.channels; d0 += group) {
        const int64_t channels = std::min(group, m.channels - d0);
        const auto y = static_cast<unsigned>(channels);
        from_kernel<<<dim3(blocks_for(length, threads), y), threads, 0, stream_>>>(op.dkernel, taps, d0, row, length);
        fft_->run(*this, stream_, Transform::real_f64, length, group, row);
        find_poles<<<blocks_for(channels * m.modes, 128), 128, 0, stream_>>>(m, d0, channels, pole);
        pole_gradients<<<dim3(static_cast<unsigned>(blocks), y), threads, shared, stream_>>>(pole, m.modes, length, row,
                                                                                             partial);
        finish_modes<<<blocks_for(channels * m.modes, 128), 128, 0, stream_>>>(m, d0, channels, partial, blocks,
                                                                               gradient);
    }
    check_launch(name);
    add_mode_gradients(stream_, gradient, m.channels, m.copies, m.modes, true,
                       {op.dinv_dt, op.da_real, op.da_imag, op.dp, op.db, op.dc});
}

}  // namespace nigiri
