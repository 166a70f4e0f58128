// The short causal convolution. A thread walks along the length over a run of rows of a few neighbouring
// channels, with the last rows in registers, so that apart from the K - 1 rows where two runs meet every
// element crosses the memory bus once; bound by those bytes: 2 elements an output forwards, 3 backwards.
#include <algorithm>

#include "kernels/causal_conv1d.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256, step = 4;  // rows whose loads are under way together

// K weights of C channels. Kernels of fewer than K taps have zeros in front.
template <int K, int C>
struct Taps {
    float weight[C][K], bias[C];

    __device__ Taps(const float* from, int64_t stride, const float* bias_from, int taps, int64_t channel,
                    int64_t channels) {
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const bool exists = channel + c < channels;
#pragma unroll
            for (int k = 0; k < K; ++k)
                weight[c][k] = exists && k >= K - taps ? from[(channel + c) * stride + k - (K - taps)] : 0.0f;
            bias[c] = exists && bias_from != nullptr ? bias_from[channel + c] : 0.0f;
        }
    }
};

template <class T>
struct Problem {
    int64_t length, channels, run;  // run: rows a thread walks
    int64_t runs;                   // of all sequences
    int64_t runs_each;              // of one
    int taps;
    bool silu;
    const float* weight;
    int64_t weight_stride;
    const float* bias;
    Rows<const T> x;
};

// A block is `columns` threads wide (times C channels) and takes `threads / columns` runs side by side.
template <class T>
struct Place {
    int64_t channel, run, base, begin, end;  // base: the sequence's first row; [begin, end): rows within it

    __device__ Place(const Problem<T>& p, int columns, int channels_each) {
        channel = (static_cast<int64_t>(blockIdx.y) * columns + threadIdx.x % columns) * channels_each;
        run = static_cast<int64_t>(blockIdx.x) * (threads / columns) + threadIdx.x / columns;
        const int64_t sequence = run / p.runs_each;
        base = sequence * p.length;
        begin = (run - sequence * p.runs_each) * p.run;
        end = min(begin + p.run, p.length);
    }
    __device__ bool exists(const Problem<T>& p) const { return run < p.runs && channel < p.channels; }
};

template <class T, int K, int C>
__global__ void __launch_bounds__(threads)
    forward_kernel(const Problem<T> p, int columns, Rows<T> y, Rows<const float> state) {
    const Place<T> at(p, columns, C);
    if (!at.exists(p)) return;
    const Taps<K, C> taps(p.weight, p.weight_stride, p.bias, p.taps, at.channel, p.channels);
    float x[K - 1 + step][C];  // the K - 1 rows before, then the rows of this step
#pragma unroll
    for (int k = 0; k < K - 1; ++k) {
        const int64_t row = at.begin - (K - 1) + k;
#pragma unroll
        for (int c = 0; c < C; ++c) x[k][c] = 0;
        if (row >= 0) {
            if (k >= K - p.taps) load_vector<C>(p.x.at(at.base + row, at.channel), x[k]);
        } else if (state.data != nullptr && row >= -(p.taps - 1)) {
            load_vector<C>(state.at(at.base / p.length * (p.taps - 1) + (p.taps - 1) + row, at.channel),
                           x[k]);
        }
    }
    for (int64_t row = at.begin; row < at.end; row += step) {
#pragma unroll
        for (int i = 0; i < step; ++i)
            if (row + i < at.end) load_vector<C>(p.x.at(at.base + row + i, at.channel), x[K - 1 + i]);
#pragma unroll
        for (int i = 0; i < step; ++i) {
            if (row + i >= at.end) break;
            float out[C];
#pragma unroll
            for (int c = 0; c < C; ++c) {
                out[c] = taps.bias[c];
#pragma unroll
                for (int k = 0; k < K; ++k) out[c] = fmaf(taps.weight[c][k], x[i + k][c], out[c]);
                if (p.silu) out[c] = silu(out[c]);
            }
            store_vector<C>(y.at(at.base + row + i, at.channel), out);
        }
#pragma unroll
        for (int k = 0; k < K - 1; ++k)
#pragma unroll
            for (int c = 0; c < C; ++c) x[k][c] = x[k + step][c];
    }
}

// The state becomes the last taps - 1 inputs, some of them older than this call where it is short. A kernel
// of its own: the runs above still read the state before.
template <class T>
__global__ void __launch_bounds__(threads) state_kernel(Rows<const T> x, Rows<float> state, int64_t batch,
                                                        int64_t length, int64_t channels, int kept) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x, b = i / channels,
                  channel = i % channels;
    if (b >= batch) return;
    for (int j = 0; j < kept; ++j) {  // upwards: what is read lies behind what has been written
        const int64_t row = length - kept + j;
        *state.at(b * kept + j, channel) =
            row >= 0 ? load(x.at(b * length + row, channel)) : *state.at(b * kept + kept + row, channel);
    }
}

// With slope s = dy silu'(p):  dx[l] = sum_k weight[k] s[l + K - 1 - k],  dweight[k] += s[l] x[l - (K - 1) +
// k], dbias += s[l]. A run's dx needs the slopes of the K - 1 rows behind its end: these are computed by both
// neighbours, but counted in the sums by the one they belong to. `partial` (blocks, D K + D).
template <class T, int K, int C>
__global__ void __launch_bounds__(threads)
    backward_kernel(const Problem<T> p, int columns, Rows<const T> dy, Rows<T> dx, float* partial) {
    const Place<T> at(p, columns, C);
    const bool exists = at.exists(p);
    float dweight[C][K], dbias[C];
#pragma unroll
    for (int c = 0; c < C; ++c) {
        dbias[c] = 0;
#pragma unroll
        for (int k = 0; k < K; ++k) dweight[c][k] = 0;
    }
    if (exists) {
        const Taps<K, C> taps(p.weight, p.weight_stride, p.bias, p.taps, at.channel, p.channels);
        float x[K - 1 + step][C], s[K - 1 + step][C];
#pragma unroll
        for (int k = 0; k < K - 1; ++k) {
            const int64_t row = at.begin - (K - 1) + k;
#pragma unroll
            for (int c = 0; c < C; ++c) x[k][c] = s[k][c] = 0;
            if (row >= 0 && k >= K - p.taps) load_vector<C>(p.x.at(at.base + row, at.channel), x[k]);
        }
        const int64_t stop = at.end + K - 1;  // one past the last slope needed
        for (int64_t row = at.begin; row < stop; row += step) {
#pragma unroll
            for (int i = 0; i < step; ++i) {
#pragma unroll
                for (int c = 0; c < C; ++c) x[K - 1 + i][c] = s[K - 1 + i][c] = 0;
                if (row + i < p.length && row + i < stop) {
                    load_vector<C>(p.x.at(at.base + row + i, at.channel), x[K - 1 + i]);
                    load_vector<C>(dy.at(at.base + row + i, at.channel), s[K - 1 + i]);
                }
            }
#pragma unroll
            for (int i = 0; i < step; ++i)
#pragma unroll
                for (int c = 0; c < C; ++c) {
                    float& slope = s[K - 1 + i][c];
                    if (p.silu) {
                        float sum = taps.bias[c];
#pragma unroll
                        for (int k = 0; k < K; ++k) sum = fmaf(taps.weight[c][k], x[i + k][c], sum);
                        slope *= silu_slope(sum, sigmoid(sum));
                    }
                    const float own = row + i < at.end ? slope : 0.0f;
                    dbias[c] += own;
#pragma unroll
                    for (int k = 0; k < K; ++k) dweight[c][k] = fmaf(own, x[i + k][c], dweight[c][k]);
                }
#pragma unroll
            for (int i = 0; i < step;
                 ++i) {  // dx[row - (K - 1) + i] needs the slopes of K rows from there on
                const int64_t to = row - (K - 1) + i;
                if (to < at.begin || to >= at.end) continue;
                float out[C];
#pragma unroll
                for (int c = 0; c < C; ++c) {
                    out[c] = 0;
#pragma unroll
                    for (int k = 0; k < K; ++k) out[c] = fmaf(taps.weight[c][K - 1 - k], s[i + k][c], out[c]);
                }
                store_vector<C>(dx.at(at.base + to, at.channel), out);
            }
#pragma unroll
            for (int k = 0; k < K - 1; ++k)
#pragma unroll
                for (int c = 0; c < C; ++c) x[k][c] = x[k + step][c], s[k][c] = s[k + step][c];
        }
    }

    // The block's runs, added up in order, one number a thread at a time.
    __shared__ float sums[threads];
    const int groups = threads / columns;
    float* to = partial + static_cast<int64_t>(blockIdx.x) * p.channels * (p.taps + 1);
    const auto add_up = [&](float value, float* out) {
        sums[threadIdx.x] = value;
        __syncthreads();
        if (threadIdx.x < columns && exists) {
            float sum = 0;
            for (int g = 0; g < groups; ++g) sum += sums[g * columns + threadIdx.x];
            *out = sum;
        }
        __syncthreads();
    };
#pragma unroll
    for (int c = 0; c < C; ++c) {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k >= K - p.taps) add_up(dweight[c][k], to + (at.channel + c) * p.taps + k - (K - p.taps));
        add_up(dbias[c], to + p.channels * p.taps + at.channel + c);
    }
}

// How the work is laid out: `columns` threads along the channels, runs long enough to make the rows read
// twice few, and short enough that every multiprocessor has work.
template <class T>
struct Layout {
    Problem<T> p;
    int columns;
    dim3 grid;

    Layout(const View& x, const View& weight, const View& bias, bool silu, int channels_each,
           int multiprocessors) {
        const int64_t width = ceil_div(x[2], channels_each);
        columns = 1;
        while (columns < 32 && columns < width) columns *= 2;
        const int64_t wanted =
            int64_t{multiprocessors} * 1536;  // threads: two to three times what is resident
        int64_t run = 128;
        while (run > 8 && width * x[0] * ceil_div(x[1], run) < wanted) run /= 2;
        p.length = x[1], p.channels = x[2], p.run = run;
        p.runs_each = ceil_div(p.length, run), p.runs = x[0] * p.runs_each;
        p.taps = static_cast<int>(weight[1]), p.silu = silu;
        p.weight = weight.as<float>(), p.weight_stride = weight.row_stride, p.bias = bias.as<float>();
        p.x = Rows<const T>(x);
        grid = dim3(static_cast<unsigned>(ceil_div(p.runs, threads / columns)),
                    static_cast<unsigned>(ceil_div(width, columns)));
    }
};

void check(const char* name, const View& x, const View& weight, const View& bias, const View& y) {
    require(x.shape.rank() == 3 && y.shape == x.shape && y.dtype == x.dtype, name,
            "x (B, L, D) and its like");
    require(weight.shape.rank() == 2 && weight[0] == x[2] && weight[1] >= 1 && weight[1] <= 8 &&
                weight.dtype == DType::f32,
            name, "float32 weight (D, K) with 1 <= K <= 8");
    if (bias)
        require(bias.size() == x[2] && bias.contiguous() && bias.dtype == DType::f32, name,
                "float32 bias (D)");
}

// Calls f(K, C): four taps of four channels a thread where the views allow it, else any taps of single
// channels.
template <class F>
void dispatch_taps(bool fast, F&& f) {
    using std::integral_constant;
    if (fast)
        f(integral_constant<int, 4>{}, integral_constant<int, 4>{});
    else
        f(integral_constant<int, 8>{}, integral_constant<int, 1>{});
}

}  // namespace

void CudaBackend::causal_conv1d_forward(const CausalConv1dForward& op) {
    constexpr const char* name = "causal_conv1d_forward";
    check(name, op.x, op.weight, op.bias, op.y);
    const int64_t taps = op.weight[1];
    const View state = taps > 1 ? op.state : View{};
    if (state)
        require(state.shape == Shape({op.x[0], taps - 1, op.x[2]}) && state.dtype == DType::f32, name,
                "float32 state (B, K - 1, D)");
    require(op.x.data != op.y.data || op.x.size() == 0, name, "an output beside the input");
    if (op.x.size() == 0) return;
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        dispatch_taps(taps <= 4 && whole_vectors(4, op.x, op.y, state), [&](auto k, auto c) {
            const Layout<T> layout(op.x, op.weight, op.bias, op.silu, c(), multiprocessors_);
            forward_kernel<T, k(), c()><<<layout.grid, threads, 0, stream_>>>(
                layout.p, layout.columns, Rows<T>(op.y), Rows<const float>(state));
        });
        check_launch(name);
        if (!state) return;
        const auto blocks = static_cast<unsigned>(ceil_div(op.x[0] * op.x[2], threads));
        state_kernel<T><<<blocks, threads, 0, stream_>>>(Rows<const T>(op.x), Rows<float>(state), op.x[0],
                                                         op.x[1], op.x[2], static_cast<int>(taps - 1));
        check_launch(name);
    });
}

void CudaBackend::causal_conv1d_backward(const CausalConv1dBackward& op) {
    constexpr const char* name = "causal_conv1d_backward";
    check(name, op.x, op.weight, op.bias, op.dy);
    check(name, op.dx, op.dweight, op.dbias, op.dx);
    require(op.dx.shape == op.x.shape && op.dx.dtype == op.x.dtype && op.dweight.shape == op.weight.shape,
            name, "gradients shaped like their values");
    require(op.dx.data != op.dy.data || op.dx.size() == 0, name, "dx beside dy");
    if (op.x.size() == 0) return;
    const int64_t taps = op.weight[1];
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        dispatch_taps(taps <= 4 && whole_vectors(4, op.x, op.dy, op.dx), [&](auto k, auto c) {
            const Layout<T> layout(op.x, op.weight, op.bias, op.silu, c(), multiprocessors_);
            const Tensor partial = allocate(Shape{int64_t{layout.grid.x}, op.x[2] * (taps + 1)}, DType::f32);
            backward_kernel<T, k(), c()><<<layout.grid, threads, 0, stream_>>>(
                layout.p, layout.columns, Rows<const T>(op.dy), Rows<T>(op.dx), partial.as<float>());
            check_launch(name);
            add_column_sums(stream_, partial, Target(op.dweight), Target(op.dbias));
        });
    });
}

}  // namespace nigiri
