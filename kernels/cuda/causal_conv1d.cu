// The short causal convolution. A thread walks along the length over a run of rows of a few neighbouring
// channels, with the last rows in registers, so that apart from the K - 1 rows where two runs meet every
// element crosses the memory bus once; bound by those bytes: 2 elements an output forwards, 3 backwards.
#include <algorithm>
#include <type_traits>

#include "kernels/causal_conv1d.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256;
constexpr int step = 4;  // rows taken together; the next ones are being loaded meanwhile

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

// The rows of one thread: a run's offsets are short numbers wherever rows are not absurdly far apart.
constexpr int64_t longest_stride = INT32_MAX / 256;

template <class T, int C>
struct Along {
    using Offset = std::conditional_t<C == 1, int64_t, int>;

    T* first;
    Offset stride;

    __device__ Along(const Rows<T>& rows, int64_t row, int64_t channel)
        : first(rows.at(row, channel)), stride(static_cast<Offset>(rows.stride)) {}
    __device__ T* at(int row) const { return first + row * stride; }
};

template <class T, int K, int C>
__global__ void __launch_bounds__(threads)
    forward_kernel(const Problem<T> p, int columns, Rows<T> y, Rows<const float> state) {
    const Place<T> at(p, columns, C);
    if (!at.exists(p)) return;
    const Taps<K, C> taps(p.weight, p.weight_stride, p.bias, p.taps, at.channel, p.channels);
    const int rows = static_cast<int>(at.end - at.begin);
    const Along<const T, C> from(p.x, at.base + at.begin, at.channel);
    const Along<T, C> to(y, at.base + at.begin, at.channel);
    float x[K][C];  // the last K rows
#pragma unroll
    for (int k = 0; k < K - 1; ++k) {
        const int64_t row = at.begin - (K - 1) + k;
#pragma unroll
        for (int c = 0; c < C; ++c) x[k + 1][c] = 0;
        if (row >= 0) {
            if (k >= K - p.taps) load_vector<C>(p.x.at(at.base + row, at.channel), x[k + 1]);
        } else if (state.data != nullptr && row >= -(p.taps - 1)) {
            load_vector<C>(state.at(at.base / p.length * (p.taps - 1) + (p.taps - 1) + row, at.channel), x[k + 1]);
        }
    }
    const auto take = [&](const Packed<T, C>& packed, int row) {
#pragma unroll
        for (int k = 0; k < K - 1; ++k)
#pragma unroll
            for (int c = 0; c < C; ++c) x[k][c] = x[k + 1][c];
        packed.unpack(x[K - 1]);
        float out[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            out[c] = taps.bias[c];
#pragma unroll
            for (int k = 0; k < K; ++k) out[c] = fmaf(taps.weight[c][k], x[k][c], out[c]);
            if (C > 1 || p.silu) out[c] = silu(out[c]);
        }
        store_vector<C>(to.at(row), out);
    };
    // Two steps are on their way: a thread has little else to wait for.
    Packed<T, C> next[step] = {}, later[step] = {};
    const auto fetch = [&](Packed<T, C>(&packed)[step], int row) {
#pragma unroll
        for (int i = 0; i < step; ++i)
            if (row + i < rows) packed[i] = load_packed<T, C>(from.at(row + i));
    };
    int row = 0;
    fetch(next, row);
    fetch(later, row + step);
    for (; row + step <= rows; row += step) {
        Packed<T, C> now[step];
#pragma unroll
        for (int i = 0; i < step; ++i) now[i] = next[i], next[i] = later[i];
        fetch(later, row + 2 * step);
#pragma unroll
        for (int i = 0; i < step; ++i) take(now[i], row + i);
    }
#pragma unroll
    for (int i = 0; i < step; ++i)
        if (row + i < rows) take(next[i], row + i);
}

// The state becomes the last taps - 1 inputs, some of them older than this call where it is short. A kernel
// of its own: the runs above still read the state before.
template <class T>
__global__ void __launch_bounds__(threads)
    state_kernel(Rows<const T> x, Rows<float> state, int64_t batch, int64_t length, int64_t channels, int kept) {
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
        const int rows = static_cast<int>(at.end - at.begin);
        // Rows that are loaded: the run and K - 1 more, as far as the sequence goes.
        const int there = static_cast<int>(min(p.length - at.begin, static_cast<int64_t>(rows + K - 1)));
        const Along<const T, C> from_x(p.x, at.base + at.begin, at.channel),
            from_dy(dy, at.base + at.begin, at.channel);
        const Along<T, C> to(dx, at.base + at.begin, at.channel);
        float x[K][C], s[K][C];  // inputs and slopes of the last K rows
#pragma unroll
        for (int k = 0; k < K; ++k) {
            const int64_t row = at.begin - K + k;
#pragma unroll
            for (int c = 0; c < C; ++c) x[k][c] = s[k][c] = 0;
            if (row >= 0 && k >= K - p.taps + 1) load_vector<C>(p.x.at(at.base + row, at.channel), x[k]);
        }
        // Takes in a row, which counts in the sums where it is the run's own, and gives dx of the row K - 1
        // before.
        const auto take = [&](const Packed<T, C>& packed_x, const Packed<T, C>& packed_dy, int row, bool own) {
#pragma unroll
            for (int k = 0; k < K - 1; ++k)
#pragma unroll
                for (int c = 0; c < C; ++c) x[k][c] = x[k + 1][c], s[k][c] = s[k + 1][c];
            packed_x.unpack(x[K - 1]);
            packed_dy.unpack(s[K - 1]);
            float out[C];
#pragma unroll
            for (int c = 0; c < C; ++c) {
                float& slope = s[K - 1][c];
                if (C > 1 || p.silu) {
                    float sum = taps.bias[c];
#pragma unroll
                    for (int k = 0; k < K; ++k) sum = fmaf(taps.weight[c][k], x[k][c], sum);
                    slope *= silu_slope(sum, sigmoid(sum));
                }
                if (own) {
                    dbias[c] += slope;
#pragma unroll
                    for (int k = 0; k < K; ++k) dweight[c][k] = fmaf(slope, x[k][c], dweight[c][k]);
                }
                out[c] = 0;
#pragma unroll
                for (int k = 0; k < K; ++k) out[c] = fmaf(taps.weight[c][K - 1 - k], s[k][c], out[c]);
            }
            const int back = row - (K - 1);
            if (back >= 0 && (own || back < rows)) store_vector<C>(to.at(back), out);
        };
        Packed<T, C> next_x[step] = {}, next_dy[step] = {};
        const auto fetch = [&](int row) {  // rows behind the sequence have no slope
#pragma unroll
            for (int i = 0; i < step; ++i) {
                next_x[i] = row + i < there ? load_packed<T, C>(from_x.at(row + i)) : Packed<T, C>{};
                next_dy[i] = row + i < there ? load_packed<T, C>(from_dy.at(row + i)) : Packed<T, C>{};
            }
        };
        int row = 0;
        fetch(row);
        for (; row + step <= rows; row += step) {
            Packed<T, C> now_x[step], now_dy[step];
#pragma unroll
            for (int i = 0; i < step; ++i) now_x[i] = next_x[i], now_dy[i] = next_dy[i];
            fetch(row + step);
#pragma unroll
            for (int i = 0; i < step; ++i) take(now_x[i], now_dy[i], row + i, true);
        }
        for (; row < rows + K - 1; row += step) {
#pragma unroll
            for (int i = 0; i < step; ++i) take(next_x[i], next_dy[i], row + i, row + i < rows);
            if (row + step < rows + K - 1) fetch(row + step);
        }
    }

    // The block's runs are added up in order, each sum by one thread.
    constexpr int sums = C * (K + 1);
    __shared__ float shared[sums][threads];
#pragma unroll
    for (int c = 0; c < C; ++c) {
#pragma unroll
        for (int k = 0; k < K; ++k) shared[c * (K + 1) + k][threadIdx.x] = dweight[c][k];
        shared[c * (K + 1) + K][threadIdx.x] = dbias[c];
    }
    __syncthreads();
    float* to = partial + static_cast<int64_t>(blockIdx.x) * p.channels * (p.taps + 1);
    for (int i = static_cast<int>(threadIdx.x); i < sums * columns; i += threads) {
        const int column = i % columns, of = i / columns, c = of / (K + 1), k = of % (K + 1);
        const int64_t channel = (static_cast<int64_t>(blockIdx.y) * columns + column) * C + c;
        if (channel >= p.channels || k < K - p.taps) continue;
        float sum = 0;
        for (int group = column; group < threads; group += columns) sum += shared[of][group];
        to[k < K ? channel * p.taps + k - (K - p.taps) : p.channels * p.taps + channel] = sum;
    }
}

// How the work is laid out: `columns` threads along the channels, runs long enough to make the rows read
// twice few, and short enough that every multiprocessor has work.
template <class T>
struct Layout {
    Problem<T> p;
    int columns;
    dim3 grid;

    Layout(const View& x, const View& weight, const View& bias, bool silu, int channels_each, int multiprocessors) {
        const int64_t width = ceil_div(x[2], channels_each);
        columns = 1;
        while (columns < 32 && columns < width) columns *= 2;
        const int64_t wanted = int64_t{multiprocessors} * 960;  // threads: about twice what is resident
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
    require(x.shape.rank() == 3 && y.shape == x.shape && y.dtype == x.dtype, name, "x (B, L, D) and its like");
    require(
        weight.shape.rank() == 2 && weight[0] == x[2] && weight[1] >= 1 && weight[1] <= 8 && weight.dtype == DType::f32,
        name, "float32 weight (D, K) with 1 <= K <= 8");
    if (bias) require(bias.size() == x[2] && bias.contiguous() && bias.dtype == DType::f32, name, "float32 bias (D)");
}

template <class... Views>
bool fast(const Views&... views) {
    return whole_vectors(4, views...) && ((views.row_stride < longest_stride) && ...);
}

// Calls f(K, C): four taps of four channels a thread, with SiLU, where the views allow it, else anything a
// channel at a time.
template <class F>
void dispatch_taps(bool four, F&& f) {
    using std::integral_constant;
    if (four)
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
        dispatch_taps(taps <= 4 && op.silu && fast(op.x, op.y, state), [&](auto k, auto c) {
            const Layout<T> layout(op.x, op.weight, op.bias, op.silu, c(), multiprocessors_);
            forward_kernel<T, k(), c()><<<layout.grid, threads, 0, stream_>>>(layout.p, layout.columns, Rows<T>(op.y),
                                                                              Rows<const float>(state));
        });
        check_launch(name);
        if (!state) return;
        const auto blocks = static_cast<unsigned>(ceil_div(op.x[0] * op.x[2], threads));
        state_kernel<T><<<blocks, threads, 0, stream_>>>(Rows<const T>(op.x), Rows<float>(state), op.x[0], op.x[1],
                                                         op.x[2], static_cast<int>(taps - 1));
        check_launch(name);
    });
}

void CudaBackend::causal_conv1d_backward(const CausalConv1dBackward& op) {
    constexpr const char* name = "causal_conv1d_backward";
    check(name, op.x, op.weight, op.bias, op.dy);
    check(name, op.dx, op.dweight, op.dbias, op.dx);
    require(op.dx.shape == op.x.shape && op.dx.dtype == op.x.dtype && op.dweight.shape == op.weight.shape, name,
            "gradients shaped like their values");
    require(op.dx.data != op.dy.data || op.dx.size() == 0, name, "dx beside dy");
    if (op.x.size() == 0) return;
    const int64_t taps = op.weight[1];
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        dispatch_taps(taps <= 4 && op.silu && fast(op.x, op.dy, op.dx), [&](auto k, auto c) {
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
