// Attention of rows that continue a sequence. Scores of some rows, their softmax, the weighted values: three simple
// kernels, bound by the reading of keys and values.
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/vector.cuh"

namespace nigiri::cuda {

namespace {

constexpr int threads = 256;
constexpr int wide = 32, parts = 8;                // channels and shares of the keys of a block that weighs values
constexpr int64_t most_scores = int64_t{1} << 24;  // of scratch memory
constexpr int64_t most_rows = 65535;               // of a grid's second axis

template <class T>
struct Problem {
    Rows<const T> q, k, v;
    Rows<T> y;
    Rows<float> log_sums;  // may be absent
    float* scores;         // (rows of this call, keys)
    int64_t first_row;     // rows are (sequence, head, place), the place running fastest
    int64_t length, heads, channels, keys, key_rows, past;
    float scale;

    struct Place {
        int64_t b, h, l;
    };
    __device__ Place place(int64_t row) const {
        const int64_t r = first_row + row;
        return {r / length / heads, r / length % heads, r % length};
    }
    __device__ int64_t visible(const Place& at) const { return past + at.l + 1; }
};

template <class T>
__global__ void __launch_bounds__(threads) score_kernel(const Problem<T> p) {
    const int64_t j = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x, row = blockIdx.y;
    const auto at = p.place(row);
    if (j >= p.visible(at)) return;
    const T* const q = p.q.at(at.b * p.length + at.l, at.h * p.channels);
    const T* const k = p.k.at(at.b * p.key_rows + j, at.h * p.channels);
    float sum = 0;
    for (int64_t e = 0; e < p.channels; ++e) sum = fmaf(load(q + e), load(k + e), sum);
    p.scores[row * p.keys + j] = sum * p.scale;
}

template <class T>
__global__ void __launch_bounds__(threads) weight_kernel(const Problem<T> p) {
    __shared__ float shared[threads];
    const int64_t row = blockIdx.x;
    const auto at = p.place(row);
    const int64_t count = p.visible(at);
    float* const s = p.scores + row * p.keys;
    const auto reduce = [&](float x, auto&& join) {
        shared[threadIdx.x] = x;
        __syncthreads();
        for (int half = threads / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + half]);
            __syncthreads();
        }
        const float result = shared[0];
        __syncthreads();
        return result;
    };
    float peak = -INFINITY, sum = 0;
    for (int64_t j = threadIdx.x; j < count; j += threads) peak = fmaxf(peak, s[j]);
    peak = reduce(peak, [](float a, float b) { return fmaxf(a, b); });
    for (int64_t j = threadIdx.x; j < count; j += threads) {
        s[j] = expf(s[j] - peak);
        sum += s[j];
    }
    sum = reduce(sum, [](float a, float b) { return a + b; });
    for (int64_t j = threadIdx.x; j < count; j += threads) s[j] /= sum;
    if (threadIdx.x == 0 && p.log_sums.data != nullptr) *p.log_sums.at(at.b * p.length + at.l, at.h) = peak + logf(sum);
}

template <class T>
__global__ void __launch_bounds__(wide* parts) value_kernel(const Problem<T> p) {
    __shared__ float sums[parts][wide];
    const int64_t row = blockIdx.x, e = static_cast<int64_t>(blockIdx.y) * wide + threadIdx.x;
    const auto at = p.place(row);
    const int64_t count = p.visible(at);
    const bool exists = e < p.channels;
    const float* const s = p.scores + row * p.keys;
    float sum = 0;
    if (exists)
        for (int64_t j = threadIdx.y; j < count; j += parts)
            sum = fmaf(s[j], load(p.v.at(at.b * p.key_rows + j, at.h * p.channels + e)), sum);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || !exists) return;
    for (int i = 1; i < parts; ++i) sum += sums[i][threadIdx.x];
    store(p.y.at(at.b * p.length + at.l, at.h * p.channels + e), sum);
}

}  // namespace

void attend_rows(CudaBackend& backend, const AttentionForward& op) {
    constexpr const char* name = "attention_forward";
    const int64_t length = op.q[1], channels = op.q[2] / op.heads, keys = op.past + length;
    const int64_t rows = op.q[0] * op.heads * length;
    const int64_t some = std::clamp<int64_t>(most_scores / keys, 1, std::min(rows, most_rows));
    const Tensor scores = backend.allocate({some, keys}, DType::f32);
    dispatch(op.q.dtype, [&](auto zero) {
        using T = decltype(zero);
        Problem<T> p{Rows<const T>(op.q),
                     Rows<const T>(op.k),
                     Rows<const T>(op.v),
                     Rows<T>(op.y),
                     Rows<float>(op.log_sums),
                     scores.as<float>(),
                     0,
                     length,
                     op.heads,
                     channels,
                     keys,
                     op.k[1],
                     op.past,
                     1 / std::sqrt(static_cast<float>(channels))};
        for (; p.first_row < rows; p.first_row += some) {
            const auto count = static_cast<unsigned>(std::min(some, rows - p.first_row));
            score_kernel<<<dim3(static_cast<unsigned>(ceil_div(keys, threads)), count), threads, 0, backend.stream()>>>(
                p);
            weight_kernel<<<count, threads, 0, backend.stream()>>>(p);
            value_kernel<<<dim3(count, static_cast<unsigned>(ceil_div(channels, wide))), dim3(wide, parts), 0,
                           backend.stream()>>>(p);
            check_launch(name);
        }
    });
}

}  // namespace nigiri::cuda
