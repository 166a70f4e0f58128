// S4's recurrence. Everything is float32 here but the discretisation, which happens once and in double; the
// factors are kept as (D, 6, N) pairs: a, f, g, b and 2 c of s4_discrete.h, the last unused.
//
// A step needs two sums over the modes, s = Re sum f h and y = Re sum c h', so eight lanes share a channel
// and add up by shuffles; four channels make a warp. Bound by the state (16 bytes a mode) where many streams
// take one step.
#include "kernels/cpu/s4_parameters.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/s4_modes.cuh"

namespace nigiri {

namespace cuda {
namespace {

constexpr int threads = 256;

// One block discretises one channel and recovers the true C from C~ = C (I - Abar^length): powers of the real
// 2N x 2N matrix by squaring, then Gaussian elimination with partial pivoting, in global scratch. It runs
// once for a layer's state, so it is written to be short.
struct Discretize {
    S4Modes modes;
    int64_t length, d0;
    double* scratch;
    Rows factors;
};

// z = x y, all square of `size` rows.
__device__ void multiply(const double* x, const double* y, double* z, int64_t size) {
    for (int64_t i = threadIdx.x; i < size * size; i += threads) {
        const double* row = x + i / size * size;
        const double* column = y + i % size;
        double sum = 0;
        for (int64_t k = 0; k < size; ++k) sum += row[k] * column[k * size];
        z[i] = sum;
    }
    __syncthreads();
}

// Solves m x = x, m lost. Ties between pivots go to the first row.
__device__ void solve(double* m, double* x, int64_t size) {
    __shared__ int64_t chosen;
    for (int64_t k = 0; k < size; ++k) {
        if (threadIdx.x < 32) {
            double best = -1;
            int64_t at = k;
            for (int64_t i = k + threadIdx.x; i < size; i += 32)
                if (fabs(m[i * size + k]) > best) best = fabs(m[i * size + k]), at = i;
            for (int offset = 16; offset > 0; offset /= 2) {
                const double other = __shfl_xor_sync(0xffffffffu, best, offset);
                const int64_t other_at = __shfl_xor_sync(0xffffffffu, at, offset);
                if (other > best || (other == best && other_at < at)) best = other, at = other_at;
            }
            if (threadIdx.x == 0) chosen = at;
        }
        __syncthreads();
        const int64_t pivot = chosen;
        if (pivot != k) {
            for (int64_t j = threadIdx.x; j < size; j += threads) {
                const double swapped = m[k * size + j];
                m[k * size + j] = m[pivot * size + j];
                m[pivot * size + j] = swapped;
            }
            if (threadIdx.x == 0) {
                const double swapped = x[k];
                x[k] = x[pivot];
                x[pivot] = swapped;
            }
        }
        __syncthreads();
        // Column k stays as it is: it holds the factors until every row is done, and nobody reads it
        // afterwards.
        const int64_t rest = size - k - 1;
        for (int64_t i = threadIdx.x; i < rest * (rest + 1); i += threads) {
            const int64_t row = k + 1 + i / (rest + 1), j = i % (rest + 1);
            const double factor = m[row * size + k] / m[k * size + k];
            if (j < rest)
                m[row * size + k + 1 + j] -= factor * m[k * size + k + 1 + j];
            else
                x[row] -= factor * x[k];
        }
        __syncthreads();
    }
    for (int64_t k = size - 1; k >= 0; --k) {
        if (threadIdx.x == 0) x[k] /= m[k * size + k];
        __syncthreads();
        for (int64_t i = threadIdx.x; i < k; i += threads) x[i] -= m[i * size + k] * x[k];
        __syncthreads();
    }
}

int64_t scratch_doubles(int64_t modes) { return 3 * (2 * modes) * (2 * modes) + 12 * modes; }

__global__ void __launch_bounds__(threads) discretize(Discretize op) {
    __shared__ double shared_rho, shared_pb;
    const int64_t count = op.modes.modes, size = 2 * count, d = op.d0 + blockIdx.x;
    double* base = op.scratch + blockIdx.x * (3 * size * size + 6 * size);
    double *current = base + size * size, *next = current + size * size, *x = next + size * size;
    Complex* layer = reinterpret_cast<Complex*>(x + size);  // a, f, g, b: N each; then 2 N doubles of sums
    Complex *a = layer, *f = a + count, *g = f + count, *b = g + count;
    double* sums = reinterpret_cast<double*>(b + count);
    for (int64_t n = threadIdx.x; n < count; n += threads) {
        const S4Mode m = s4_mode(op.modes, d, n);
        const Complex half = 0.5 * (m.dt * m.lambda), inverse = Complex{1, 0} / (Complex{1, 0} - half);
        a[n] = (Complex{1, 0} + half) * inverse;
        f[n] = 2.0 * (conj(m.p) * inverse);
        g[n] = inverse * m.p;
        b[n] = inverse;
        sums[n] = 2 * norm(m.p) * inverse.re;
        sums[count + n] = 2 * (conj(m.p) * inverse * m.b).re;
        // Re(sum c h) = sum (Re c Re h - Im c Im h)
        x[2 * n] = m.c.re;
        x[2 * n + 1] = -m.c.im;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        const double dt = s4_mode(op.modes, d, 0).dt;
        double pp = 0, pb = 0;
        for (int64_t n = 0; n < count; ++n) pp += sums[n], pb += sums[count + n];
        shared_rho = dt / (1 + 0.5 * dt * pp);
        shared_pb = pb;
    }
    __syncthreads();
    for (int64_t n = threadIdx.x; n < count; n += threads) {
        const S4Mode m = s4_mode(op.modes, d, n);
        b[n] = m.dt * (b[n] * (m.b - (0.5 * shared_rho * shared_pb) * m.p));
        g[n] = shared_rho * g[n];
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count * count; i += threads) {
        const int64_t row = i / count, column = i % count;
        const Complex p = g[row], q = f[column], own = row == column ? a[row] : Complex{0, 0};
        double* top = base + 2 * row * size + 2 * column;
        top[0] = own.re - p.re * q.re, top[1] = p.re * q.im - own.im;
        top[size] = own.im - p.im * q.re, top[size + 1] = own.re + p.im * q.im;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size * size; i += threads) current[i] = base[i];
    __syncthreads();
    int bit = 0;
    while ((op.length >> bit) > 1) ++bit;
    for (--bit; bit >= 0; --bit) {
        multiply(current, current, next, size);
        double* swapped = current;
        current = next, next = swapped;
        if (op.length >> bit & 1) {
            multiply(current, base, next, size);
            swapped = current;
            current = next, next = swapped;
        }
    }
    // (I - Abar^length) transposed: it acts on C, a row.
    for (int64_t i = threadIdx.x; i < size * size; i += threads) {
        const int64_t row = i / size, column = i % size;
        next[i] = (row == column ? 1.0 : 0.0) - current[column * size + row];
    }
    __syncthreads();
    solve(next, x, size);
    for (int64_t n = threadIdx.x; n < count; n += threads) {
        const Complex all[5] = {a[n], f[n], g[n], b[n], {2 * x[2 * n], -2 * x[2 * n + 1]}};
        for (int which = 0; which < 5; ++which) {
            float* pair = op.factors.row((6 * d + which) * count + n);
            pair[0] = static_cast<float>(all[which].re);
            pair[1] = static_cast<float>(all[which].im);
        }
    }
}

template <class T>
struct Recurrence {
    const float2* factors;
    const float* skip;
    const T* u;
    T* y;
    int64_t u_stride, y_stride;
    float2* state;
    int64_t batch, length, channels, modes;
};

constexpr int share = 8;  // lanes of a channel

__device__ float share_sum(float x) {
#pragma unroll
    for (int offset = share / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__device__ float2 step_of(float2 a, float2 h, float2 g, float s, float2 b, float u) {
    return {fmaf(a.x, h.x, fmaf(-a.y, h.y, fmaf(b.x, u, -g.x * s))),
            fmaf(a.x, h.y, fmaf(a.y, h.x, fmaf(b.y, u, -g.y * s)))};
}

__device__ float real_product(float2 a, float2 b, float sum) { return fmaf(a.x, b.x, fmaf(-a.y, b.y, sum)); }

// Kept > 0: each lane's factors and states stay in registers (at most 8 Kept modes); Kept = 0: in memory.
template <class T, int Kept>
__global__ void __launch_bounds__(threads) recurrence(Recurrence<T> r) {
    const int64_t index = (blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x) / share;
    const int lane = threadIdx.x % share;
    const bool used = index < r.batch * r.channels;
    const int64_t b = used ? index / r.channels : 0, d = used ? index % r.channels : 0;
    const float2* factors = r.factors + 6 * d * r.modes;
    float2* state = r.state + (b * r.channels + d) * r.modes;
    const auto factor = [&](int which, int64_t n) { return factors[which * r.modes + n]; };
    constexpr int kept = Kept > 0 ? Kept : 1;
    float2 h[kept], a[kept], f[kept], g[kept], in[kept], c[kept];
    if constexpr (Kept > 0) {
#pragma unroll
        for (int i = 0; i < kept; ++i) {
            const int64_t n = lane + i * share;
            const bool there = used && n < r.modes;
            const float2 zero = {0, 0};
            h[i] = there ? state[n] : zero, a[i] = there ? factor(0, n) : zero, f[i] = there ? factor(1, n) : zero;
            g[i] = there ? factor(2, n) : zero, in[i] = there ? factor(3, n) : zero, c[i] = there ? factor(4, n) : zero;
        }
    }
    for (int64_t l = 0; l < r.length; ++l) {
        const float u = used ? load(r.u + (b * r.length + l) * r.u_stride + d) : 0.0f;
        float s = 0, y = 0;
        if constexpr (Kept > 0) {
#pragma unroll
            for (int i = 0; i < kept; ++i) s = real_product(f[i], h[i], s);
            s = share_sum(s);
#pragma unroll
            for (int i = 0; i < kept; ++i) {
                h[i] = step_of(a[i], h[i], g[i], s, in[i], u);
                y = real_product(c[i], h[i], y);
            }
        } else {
            const int64_t modes = used ? r.modes : 0;
            for (int64_t n = lane; n < modes; n += share) s = real_product(factor(1, n), state[n], s);
            s = share_sum(s);
            for (int64_t n = lane; n < modes; n += share) {
                state[n] = step_of(factor(0, n), state[n], factor(2, n), s, factor(3, n), u);
                y = real_product(factor(4, n), state[n], y);
            }
        }
        y = share_sum(y);
        if (used && lane == 0) store(r.y + (b * r.length + l) * r.y_stride + d, r.skip ? fmaf(r.skip[d], u, y) : y);
    }
    if constexpr (Kept > 0) {
#pragma unroll
        for (int i = 0; i < kept; ++i)
            if (used && lane + i * share < r.modes) state[lane + i * share] = h[i];
    }
}

}  // namespace
}  // namespace cuda

void CudaBackend::s4_discretize(const S4Discretize& op) {
    using namespace cuda;
    const char* name = "s4_discretize";
    cpu::check_s4(op, name);
    require(op.c.dtype == DType::f32, name, "float32 parameters");
    const int64_t width = op.c[0], count = op.c[1];
    require(
        cpu::is_shape(op.factors, {width, 6 * count, 2}) && op.factors.dtype == DType::f32 && op.factors.contiguous(),
        name, "contiguous float32 factors (D, 6 N, 2)");
    const int64_t group = std::min<int64_t>(width, 128);
    const Tensor scratch = allocate({group, 2 * scratch_doubles(count)}, DType::f32);
    for (int64_t d0 = 0; d0 < width; d0 += group) {
        const Discretize d = {S4Modes(op), s4_length_at_rate(op.length, op.rate), d0, pointer<double>(scratch),
                              op.factors};
        discretize<<<static_cast<unsigned>(std::min(group, width - d0)), threads, 0, stream_>>>(d);
    }
    check_launch(name);
}

void CudaBackend::s4_recurrence(const S4Recurrence& op) {
    using namespace cuda;
    const char* name = "s4_recurrence";
    require(op.u.shape.rank() == 3 && op.y.shape == op.u.shape && op.y.dtype == op.u.dtype, name, "u and y (B, L, D)");
    require(op.state.shape.rank() == 4 && op.state[0] == op.u[0] && op.state[1] == op.u[2] && op.state[3] == 2, name,
            "a state (B, D, N, 2)");
    require(op.factors.shape == Shape({op.u[2], 6 * op.state[2], 2}), name, "factors (D, 6 N, 2)");
    require(op.state.contiguous() && op.factors.contiguous() && op.state.dtype == DType::f32 &&
                op.factors.dtype == DType::f32,
            name, "a contiguous float32 state and contiguous float32 factors");
    require(op.skip.empty() || (op.skip.size() == op.u[2] && op.skip.dtype == DType::f32), name, "a skip (D)");
    if (op.u.size() == 0) return;
    dispatch(op.u.dtype, [&]<class T>(T) {
        const Recurrence<T> r = {pointer<const float2>(op.factors),
                                 op.skip.as<float>(),
                                 pointer<T>(op.u),
                                 pointer<T>(op.y),
                                 op.u.row_stride,
                                 op.y.row_stride,
                                 pointer<float2>(op.state),
                                 op.u[0],
                                 op.u[1],
                                 op.u[2],
                                 op.state[2]};
        const auto blocks = static_cast<unsigned>(ceil_div(r.batch * r.channels * share, threads));
        if (r.modes <= 4 * share)
            recurrence<T, 4><<<blocks, threads, 0, stream_>>>(r);
        else
            recurrence<T, 0><<<blocks, threads, 0, stream_>>>(r);
    });
    check_launch(name);
}

}  // namespace nigiri
