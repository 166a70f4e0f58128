// AdamW, and sums over whole tensors. Bound by bytes: an element's update reads 16 and writes 16. A set of
// parameters is cut into pieces of equal size, listed once in device memory, so that a step is four launches
// however many tensors there are. The norm and what follows from it (clipping, whether to update at all) stay in
// device memory, so that nothing waits for them.
#include <algorithm>
#include <cmath>

#include "kernels/adamw.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/vector.cuh"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256;
constexpr int64_t piece_size = 4096;

struct Piece {
    float *weight, *grad, *m, *v;
    bf16* rounded;  // null where not wanted
    int count;
    float lr, weight_decay;
};

struct StepValues {
    double factor, beta1, beta2, eps, correction1,
        correction2;  // corrections: 1 / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
    double clip;
};

struct StepState {
    StepValues values;
    double norm;  // of all gradients, before clipping
    float scale;  // times every gradient
    int update;   // 0: the norm is not a number
};

StepValues values_of(double factor, double beta1, double beta2, double eps, double clip, int64_t step) {
    const auto n = static_cast<double>(step);
    return {factor, beta1, beta2, eps, 1 / (1 - std::pow(beta1, n)), 1 / std::sqrt(1 - std::pow(beta2, n)), clip};
}

// Derived in double and rounded once, as on the CPU.
struct Factors {
    float keep, beta1, rest1, beta2, rest2, rate, scale2, eps, gradient_scale;

    __device__ Factors(const StepValues& s, double lr, double weight_decay, float scale)
        : keep(static_cast<float>(1 - s.factor * lr * weight_decay)),
          beta1(static_cast<float>(s.beta1)),
          rest1(static_cast<float>(1 - s.beta1)),
          beta2(static_cast<float>(s.beta2)),
          rest2(static_cast<float>(1 - s.beta2)),
          rate(static_cast<float>(s.factor * lr * s.correction1)),
          scale2(static_cast<float>(s.correction2)),
          eps(static_cast<float>(s.eps)),
          gradient_scale(scale) {}

    __device__ void update(float& weight, float grad, float& m, float& v) const {
        const float g = grad * gradient_scale;
        m = fmaf(m, beta1, g * rest1);
        v = fmaf(v, beta2, g * g * rest2);
        weight = weight * keep - m / fmaf(sqrtf(v), scale2, eps) * rate;
    }
};

__device__ inline bool aligned(const Piece& p) {
    return ((reinterpret_cast<uintptr_t>(p.weight) | reinterpret_cast<uintptr_t>(p.grad) |
             reinterpret_cast<uintptr_t>(p.m) | reinterpret_cast<uintptr_t>(p.v) |
             2 * reinterpret_cast<uintptr_t>(p.rounded)) &
            15) == 0;
}

template <int n>
__device__ void update_vector(const Piece& p, int i, const Factors& f) {
    float w[n], g[n], m[n], v[n], zeros[n];
    load_vector<n>(p.weight + i, w);
    load_vector<n>(p.grad + i, g);
    load_vector<n>(p.m + i, m);
    load_vector<n>(p.v + i, v);
#pragma unroll
    for (int k = 0; k < n; ++k) {
        f.update(w[k], g[k], m[k], v[k]);
        zeros[k] = 0;
    }
    store_vector<n>(p.weight + i, w);
    store_vector<n>(p.grad + i, zeros);
    store_vector<n>(p.m + i, m);
    store_vector<n>(p.v + i, v);
    if (p.rounded != nullptr) store_vector<n>(p.rounded + i, w);
}

__device__ void update_piece(const Piece& p, const Factors& f) {
    const int whole = aligned(p) ? p.count / 4 * 4 : 0;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < whole; i += 4 * threads) update_vector<4>(p, i, f);
    for (int i = whole + static_cast<int>(threadIdx.x); i < p.count; i += threads) update_vector<1>(p, i, f);
}

__global__ void __launch_bounds__(threads) update_kernel(const Piece* pieces, const StepState* state) {
    if (!state->update) return;
    const Piece p = pieces[blockIdx.x];
    update_piece(p, Factors(state->values, p.lr, p.weight_decay, state->scale));
}

// One tensor of any size; `whole` describes all of it.
__global__ void __launch_bounds__(threads)
    single_kernel(Piece whole, int64_t size, double lr, double weight_decay, double scale, StepValues values) {
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * piece_size;
    whole.weight += begin, whole.grad += begin, whole.m += begin, whole.v += begin;
    whole.count = static_cast<int>(min(piece_size, size - begin));
    update_piece(whole, Factors(values, lr, weight_decay, static_cast<float>(scale)));
}

// The sum of the block's values, in thread 0, always in the same order.
__device__ double block_sum(double x) {
    __shared__ double sums[32];
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x < blockDim.x / 32 ? sums[threadIdx.x] : 0.0;
    if (threadIdx.x < 32)
        for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__global__ void __launch_bounds__(threads) piece_squares_kernel(const Piece* pieces, double* partial) {
    const Piece p = pieces[blockIdx.x];
    const int whole = aligned(p) ? p.count / 4 * 4 : 0;
    double sum = 0;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < whole; i += 4 * threads) {
        float g[4];
        load_vector<4>(p.grad + i, g);
#pragma unroll
        for (int k = 0; k < 4; ++k) sum += static_cast<double>(g[k]) * g[k];
    }
    for (int i = whole + static_cast<int>(threadIdx.x); i < p.count; i += threads)
        sum += static_cast<double>(p.grad[i]) * p.grad[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024) norm_kernel(const double* partial, int count, StepState* state) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += 1024) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    const double norm = sqrt(sum), clip = state->values.clip;
    state->norm = norm;
    state->update = isfinite(norm);
    state->scale = static_cast<float>(clip > 0 && norm > clip ? clip / norm : 1.0);
}

// What changes from step to step.
__global__ void set_kernel(StepState* state, StepValues values) { state->values = values; }

template <class T, bool square>
__global__ void __launch_bounds__(threads) sum_kernel(Rows<const T> x, int64_t columns, int64_t size, double* partial) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
    double sum = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < size; i += step) {
        const int64_t row = columns == size ? 0 : i / columns;
        const double v = load(x.at(row, i - row * columns));
        sum += square ? v * v : v;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024) finish_kernel(const double* partial, int count, double* total) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += 1024) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum;
}

// What a set becomes on the device.
struct Prepared {
    int pieces = 0;
    Tensor list, partial, state;
};

const Piece* list_of(const Prepared& p) { return static_cast<const Piece*>(p.list.view().data); }
double* partial_of(const Prepared& p) { return static_cast<double*>(p.partial.view().data); }
StepState* state_of(const Prepared& p) { return static_cast<StepState*>(p.state.view().data); }

Tensor allocate_bytes(Backend& backend, size_t bytes) {
    return backend.allocate({static_cast<int64_t>(bytes + 3) / 4}, DType::i32);
}

void check_item(const View& weight, const View& grad, const View& m, const View& v) {
    for (const View* x : {&weight, &grad, &m, &v})
        require(x->shape == weight.shape && x->dtype == DType::f32 && x->contiguous(), "adamw",
                "contiguous float32 operands of equal shape");
}

const Prepared& prepare(CudaBackend& backend, const AdamWSet& set) {
    if (set.prepared) return *static_cast<const Prepared*>(set.prepared.get());
    std::vector<Piece> pieces;
    for (const AdamWSet::Item& item : set.items) {
        check_item(item.weight, item.grad, item.m, item.v);
        require(!item.rounded || (item.rounded.shape == item.weight.shape && item.rounded.contiguous() &&
                                  item.rounded.dtype == DType::bf16),
                "adamw_step", "the rounded weight in bfloat16, like the weight");
        for (int64_t at = 0; at < item.weight.size(); at += piece_size)
            pieces.push_back({item.weight.as<float>() + at, item.grad.as<float>() + at, item.m.as<float>() + at,
                              item.v.as<float>() + at, item.rounded ? pointer<bf16>(item.rounded) + at : nullptr,
                              static_cast<int>(std::min(piece_size, item.weight.size() - at)),
                              static_cast<float>(item.lr), static_cast<float>(item.weight_decay)});
    }
    auto made = std::make_shared<Prepared>();
    made->pieces = static_cast<int>(pieces.size());
    made->list = allocate_bytes(backend, std::max<size_t>(1, pieces.size()) * sizeof(Piece));
    made->partial = allocate_bytes(backend, std::max<size_t>(1, pieces.size()) * sizeof(double));
    made->state = allocate_bytes(backend, sizeof(StepState));
    check(cudaMemcpyAsync(made->list.view().data, pieces.data(), pieces.size() * sizeof(Piece), cudaMemcpyHostToDevice,
                          backend.stream()),
          "listing the parameters");
    backend.synchronize();  // `pieces` ends here
    set.prepared = made;
    return *made;
}

double download_double(const CudaBackend& backend, const double* from) {
    double value = 0;
    check(cudaMemcpyAsync(&value, from, sizeof(double), cudaMemcpyDeviceToHost, backend.stream()), "reading a sum");
    check(cudaStreamSynchronize(backend.stream()), "reading a sum");
    return value;
}

template <bool square>
double sum_of(CudaBackend& backend, const View& x) {
    if (x.size() == 0) return 0;
    const int64_t blocks = std::clamp<int64_t>(x.size() / (8 * threads), 1, 8 * backend.multiprocessors());
    const Tensor partial = allocate_bytes(backend, static_cast<size_t>(blocks + 1) * sizeof(double));
    auto* sums = static_cast<double*>(partial.view().data);
    dispatch(x.dtype, [&](auto zero) {
        using T = decltype(zero);
        sum_kernel<T, square><<<static_cast<unsigned>(blocks), threads, 0, backend.stream()>>>(
            Rows<const T>(x), x.contiguous() ? x.size() : x.columns(), x.size(), sums);
        finish_kernel<<<1, 1024, 0, backend.stream()>>>(sums, static_cast<int>(blocks), sums + blocks);
        check_launch("sum");
    });
    return download_double(backend, sums + blocks);
}

}  // namespace

void CudaBackend::adamw(const AdamW& op) {
    check_item(op.weight, op.grad, op.m, op.v);
    require(op.step >= 1, "adamw", "steps that count from 1");
    if (op.weight.size() == 0) return;
    const Piece whole{op.weight.as<float>(), op.grad.as<float>(), op.m.as<float>(), op.v.as<float>(), nullptr, 0, 0, 0};
    single_kernel<<<static_cast<unsigned>(ceil_div(op.weight.size(), piece_size)), threads, 0, stream_>>>(
        whole, op.weight.size(), op.lr, op.weight_decay, op.gradient_scale,
        values_of(1, op.beta1, op.beta2, op.eps, 0, op.step));
    check_launch("adamw");
}

void CudaBackend::adamw_step(const AdamWStep& op) {
    require(op.step >= 1, "adamw_step", "steps that count from 1");
    const Prepared& p = prepare(*this, op.set);
    if (p.pieces == 0) return;
    const auto blocks = static_cast<unsigned>(p.pieces);
    set_kernel<<<1, 1, 0, stream_>>>(state_of(p), values_of(op.factor, op.beta1, op.beta2, op.eps, op.clip, op.step));
    piece_squares_kernel<<<blocks, threads, 0, stream_>>>(list_of(p), partial_of(p));
    norm_kernel<<<1, 1024, 0, stream_>>>(partial_of(p), p.pieces, state_of(p));
    update_kernel<<<blocks, threads, 0, stream_>>>(list_of(p), state_of(p));
    check_launch("adamw_step");
}

double CudaBackend::gradient_norm(const AdamWSet& set) {
    const Prepared& p = prepare(*this, set);
    return p.pieces == 0 ? 0 : download_double(*this, &state_of(p)->norm);
}

double CudaBackend::sum(const View& x) { return sum_of<false>(*this, x); }
double CudaBackend::sum_of_squares(const View& x) { return sum_of<true>(*this, x); }

}  // namespace nigiri
