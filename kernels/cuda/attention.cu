// Attention of whole sequences: for some rows of all heads of a sequence, the scores as one product of cuBLAS, their
// softmax by a kernel of our own, the weighted values as another product. The backward pass computes the scores again
// and adds what each block of rows gives to the keys' and values' gradients in float32, in the order of the rows.
#include <cmath>

#include "kernels/attention.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/vector.cuh"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 128;
constexpr int64_t most_scores = int64_t{1} << 22;  // of all heads: bounds the scratch memory to some 50 MB
constexpr int64_t fewest_rows = 16;                // below this a row at a time is as fast

// Rows [first, first + rows) of one sequence, against the keys before and at them.
struct Block {
    int64_t first, rows, keys, stride;  // of a row of scores; a head has rows * stride of them
};

__device__ inline float block_sum(float x, float* shared) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < threads / 32; ++i) x += shared[i];
    __syncthreads();
    return x;
}

__device__ inline float block_max(float x, float* shared) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < threads / 32; ++i) x = fmaxf(x, shared[i]);
    __syncthreads();
    return x;
}

// One row of one head a block of threads: weights from scores, zeros where nothing is seen. `weights` may be `scores`.
template <class T>
__global__ void __launch_bounds__(threads)
    softmax_kernel(const Block b, float scale, const float* scores, T* weights, Rows<float> log_sums) {
    __shared__ float shared[threads / 32];
    const int64_t r = blockIdx.x, h = blockIdx.y, at = (h * b.rows + r) * b.stride, seen = b.first + r + 1;
    float peak = -INFINITY, sum = 0;
    for (int64_t j = threadIdx.x; j < seen; j += threads) peak = fmaxf(peak, scores[at + j]);
    peak = block_max(peak, shared) * scale;
    for (int64_t j = threadIdx.x; j < seen; j += threads) sum += expf(fmaf(scores[at + j], scale, -peak));
    sum = block_sum(sum, shared);
    const float factor = 1 / sum;
    for (int64_t j = threadIdx.x; j < b.keys; j += threads)
        store(weights + at + j, j < seen ? expf(fmaf(scores[at + j], scale, -peak)) * factor : 0.0f);
    if (threadIdx.x == 0 && log_sums.data != nullptr) *log_sums.at(b.first + r, h) = peak + logf(sum);
}

// Weights from scores, and the scores' gradients from the weights'. Each output may take an input's place.
template <class T>
__global__ void __launch_bounds__(threads)
    slope_kernel(const Block b, float scale, const float* scores, const float* dweights, T* weights, T* slopes,
                 Rows<const float> log_sums, Rows<const float> dots) {
    const int64_t r = blockIdx.x, h = blockIdx.y, at = (h * b.rows + r) * b.stride, seen = b.first + r + 1;
    const float log_sum = *log_sums.at(b.first + r, h), mean = *dots.at(b.first + r, h);
    for (int64_t j = threadIdx.x; j < b.keys; j += threads) {
        const float w = j < seen ? expf(fmaf(scores[at + j], scale, -log_sum)) : 0.0f;
        const float slope = w == 0.0f ? 0.0f : w * (dweights[at + j] - mean) * scale;
        store(weights + at + j, w);
        store(slopes + at + j, slope);
    }
}

// dots (rows, heads): dy . y of every head.
template <class T>
__global__ void __launch_bounds__(threads)
    dot_kernel(Rows<const T> dy, Rows<const T> y, Rows<float> dots, int64_t count, int64_t heads, int64_t channels) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (i >= count) return;
    const int64_t row = i / heads, h = i % heads;
    float sum = 0;
    for (int64_t e = 0; e < channels; ++e)
        sum = fmaf(load(dy.at(row, h * channels + e)), load(y.at(row, h * channels + e)), sum);
    *dots.at(row, h) = sum;
}

// The rows of one sequence.
View sequence(const View& v, int64_t b) {
    View one = v;
    one.data = static_cast<char*>(v.data) + b * v[1] * v.row_stride * static_cast<int64_t>(size_of(v.dtype));
    one.shape = {v[1], v[2]};
    return one;
}

// All heads of a sequence's rows from `first` on, as a batch of matrices.
Matrix heads_of(const View& v, int64_t first, int64_t channels, bool transposed) {
    Matrix m(v, transposed);
    m.data = static_cast<char*>(m.data) + first * m.stride * static_cast<int64_t>(size_of(m.dtype));
    m.batch_stride = channels;
    return m;
}

Matrix scores_of(const Tensor& scores, const Block& b, bool transposed) {
    Matrix m;
    m.data = scores.view().data, m.dtype = scores.dtype(), m.stride = b.stride, m.transposed = transposed;
    m.batch_stride = b.rows * b.stride;
    return m;
}

MatrixProduct product(int64_t m, int64_t n, int64_t k, int64_t heads, const Matrix& a, const Matrix& b,
                      const Matrix& d) {
    MatrixProduct p;
    p.m = m, p.n = n, p.k = k, p.batch = heads;
    p.a = a, p.b = b, p.d = d;
    return p;
}

// Calls f on every block of rows of a sequence of `length`.
struct Plan {
    int64_t rows, stride;

    Plan(int64_t length, int64_t heads) : stride(ceil_div(length, 8) * 8) {
        rows = std::clamp<int64_t>(most_scores / (heads * stride) / 16 * 16, 16, std::max<int64_t>(16, length));
        rows = std::min(rows, length);
    }
    template <class F>
    void each(int64_t length, const F& f) const {
        for (int64_t first = 0; first < length; first += rows) {
            const int64_t count = std::min(rows, length - first);
            f(Block{first, count, first + count, stride});
        }
    }
};

void check_types(const char* name, const View& q, std::initializer_list<const View*> others) {
    for (const View* v : others) require(v->shape == q.shape && v->dtype == q.dtype, name, "operands like q");
}

}  // namespace

void CudaBackend::attention_forward(const AttentionForward& op) {
    constexpr const char* name = "attention_forward";
    require(op.q.shape.rank() == 3 && op.heads >= 1 && op.heads <= 65535 && op.q[2] % op.heads == 0, name,
            "q (B, L, D), heads that divide D");
    check_types(name, op.q, {&op.y});
    require(op.k.shape == op.v.shape && op.k.shape.rank() == 3 && op.k[0] == op.q[0] && op.k[2] == op.q[2] &&
                op.k.dtype == op.q.dtype && op.v.dtype == op.q.dtype && op.past >= 0 && op.k[1] >= op.past + op.q[1],
            name, "keys and values (B, K, D) of q's type, K at least past + L");
    if (op.log_sums)
        require(op.log_sums.shape == Shape({op.q[0], op.q[1], op.heads}) && op.log_sums.dtype == DType::f32, name,
                "float32 sums (B, L, heads)");
    if (op.q.size() == 0) return;
    const int64_t length = op.q[1], channels = op.q[2] / op.heads, heads = op.heads;
    if (op.past > 0 || length < fewest_rows) return attend_rows(*this, op);
    if (!products_) products_ = std::make_unique<MatrixProducts>();
    const float scale = 1 / std::sqrt(static_cast<float>(channels));
    const Plan plan(length, heads);
    const Tensor scores = allocate({heads, plan.rows, plan.stride}, DType::f32);
    const Tensor weights = op.q.dtype == DType::f32 ? scores : allocate(scores.shape(), op.q.dtype);
    for (int64_t s = 0; s < op.q[0]; ++s) {
        const View q = sequence(op.q, s), k = sequence(op.k, s), v = sequence(op.v, s), y = sequence(op.y, s);
        const View sums = op.log_sums ? sequence(op.log_sums, s) : View{};
        plan.each(length, [&](const Block& b) {
            products_->multiply(product(b.rows, b.keys, channels, heads, heads_of(q, b.first, channels, false),
                                        heads_of(k, 0, channels, true), scores_of(scores, b, false)),
                                stream_);
            dispatch(op.q.dtype, [&](auto zero) {
                using T = decltype(zero);
                softmax_kernel<T>
                    <<<dim3(static_cast<unsigned>(b.rows), static_cast<unsigned>(heads)), threads, 0, stream_>>>(
                        b, scale, scores.as<float>(), pointer<T>(weights), Rows<float>(sums));
                check_launch(name);
            });
            products_->multiply(product(b.rows, channels, b.keys, heads, scores_of(weights, b, false),
                                        heads_of(v, 0, channels, false), heads_of(y, b.first, channels, false)),
                                stream_);
        });
    }
}

void CudaBackend::attention_backward(const AttentionBackward& op) {
    constexpr const char* name = "attention_backward";
    require(op.q.shape.rank() == 3 && op.heads >= 1 && op.heads <= 65535 && op.q[2] % op.heads == 0, name,
            "q (B, L, D), heads that divide D");
    check_types(name, op.q, {&op.k, &op.v, &op.y, &op.dy, &op.dq, &op.dk, &op.dv});
    require(op.log_sums.shape == Shape({op.q[0], op.q[1], op.heads}) && op.log_sums.dtype == DType::f32, name,
            "float32 sums (B, L, heads)");
    if (op.q.size() == 0) return;
    if (!products_) products_ = std::make_unique<MatrixProducts>();
    const int64_t length = op.q[1], channels = op.q[2] / op.heads, heads = op.heads, rows = op.q.rows();
    const float scale = 1 / std::sqrt(static_cast<float>(channels));
    const bool plain = op.q.dtype == DType::f32;
    const Plan plan(length, heads);
    const Tensor scores = allocate({heads, plan.rows, plan.stride}, DType::f32);
    const Tensor dweights = allocate(scores.shape(), DType::f32);
    const Tensor weights = plain ? scores : allocate(scores.shape(), op.q.dtype);
    const Tensor slopes = plain ? dweights : allocate(scores.shape(), op.q.dtype);
    const Tensor dots = allocate({op.q[0], length, heads}, DType::f32);
    // Sums over the blocks: in the gradients themselves where these are float32.
    const Tensor wide_k = plain ? Tensor{} : allocate(op.k.shape, DType::f32);
    const Tensor wide_v = plain ? Tensor{} : allocate(op.v.shape, DType::f32);
    const View dk = plain ? op.dk : wide_k.view(), dv = plain ? op.dv : wide_v.view();
    fill({.y = dk, .value = 0});
    fill({.y = dv, .value = 0});
    dispatch(op.q.dtype, [&](auto zero) {
        using T = decltype(zero);
        dot_kernel<T><<<static_cast<unsigned>(ceil_div(rows * heads, threads)), threads, 0, stream_>>>(
            Rows<const T>(op.dy), Rows<const T>(op.y), Rows<float>(dots), rows * heads, heads, channels);
        check_launch(name);
    });
    const auto add = [&](const Tensor& turned, const View& x, const View& sum, const Block& b) {
        MatrixProduct p = product(b.keys, channels, b.rows, heads, scores_of(turned, b, true),
                                  heads_of(x, b.first, channels, false), heads_of(sum, 0, channels, false));
        p.c = p.d;
        products_->multiply(p, stream_);
    };
    for (int64_t s = 0; s < op.q[0]; ++s) {
        const View q = sequence(op.q, s), k = sequence(op.k, s), v = sequence(op.v, s), dy = sequence(op.dy, s);
        const View dq = sequence(op.dq, s), sums = sequence(op.log_sums, s), means = sequence(dots, s);
        plan.each(length, [&](const Block& b) {
            const auto against = [&](const View& x, const View& y, const Tensor& to) {
                products_->multiply(product(b.rows, b.keys, channels, heads, heads_of(x, b.first, channels, false),
                                            heads_of(y, 0, channels, true), scores_of(to, b, false)),
                                    stream_);
            };
            against(q, k, scores);
            against(dy, v, dweights);
            dispatch(op.q.dtype, [&](auto zero) {
                using T = decltype(zero);
                slope_kernel<T>
                    <<<dim3(static_cast<unsigned>(b.rows), static_cast<unsigned>(heads)), threads, 0, stream_>>>(
                        b, scale, scores.as<float>(), dweights.as<float>(), pointer<T>(weights), pointer<T>(slopes),
                        Rows<const float>(sums), Rows<const float>(means));
                check_launch(name);
            });
            products_->multiply(product(b.rows, channels, b.keys, heads, scores_of(slopes, b, false),
                                        heads_of(k, 0, channels, false), heads_of(dq, b.first, channels, false)),
                                stream_);
            add(slopes, q, sequence(dk, s), b);
            add(weights, dy, sequence(dv, s), b);
        });
    }
    if (plain) return;
    copy({.x = dk, .y = op.dk});
    copy({.x = dv, .y = op.dv});
}

}  // namespace nigiri
