// Softmax cross-entropy. A warp takes a row; rows of up to 256 classes stay in registers, so that logits are
// read once and the gradient written once. Bound by those bytes.
#include "kernels/cross_entropy.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/vector.cuh"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256, warps = threads / 32;

__device__ inline float warp_max(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

template <class T, class G>
struct Problem {
    int64_t rows;
    int columns;
    Rows<const T> logits;
    Integers targets;
    float* losses;
    Rows<G> gradient;  // absent: data is null
    float given_scale;
    const float* scale_at;  // null: the scale is given

    // What the target makes of a row. A target that is no class makes loss and gradient not a number.
    struct Target {
        int32_t at;
        bool counts, valid;
    };
    __device__ Target target(int64_t row) const {
        const int32_t t = targets[row];
        return {t, t != -1, t >= 0 && t < columns};
    }
    __device__ void store_loss(int64_t row, const Target& target, float loss) const {
        losses[row] = !target.counts ? 0.0f : target.valid ? loss : __int_as_float(0x7fffffff);
    }
    __device__ float factor(const Target& target) const {
        const float scale = scale_at != nullptr ? *scale_at : given_scale;
        return !target.counts ? 0.0f : target.valid ? scale : __int_as_float(0x7fffffff);
    }
};

// Lane j holds classes 4 j + (0 to 3) and 128 + 4 j + (0 to 3), missing ones as -infinity.
template <class T, class G>
__global__ void __launch_bounds__(threads) narrow_kernel(const Problem<T, G> p) {
    const int lane = threadIdx.x % 32;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
    if (row >= p.rows) return;
    float v[2][4];
#pragma unroll
    for (int u = 0; u < 2; ++u) {
        const int column = 128 * u + 4 * lane;
#pragma unroll
        for (int i = 0; i < 4; ++i) v[u][i] = -INFINITY;
        if (column < p.columns) load_vector<4>(p.logits.at(row, column), v[u]);
    }
    const auto target = p.target(row);
    float peak = -INFINITY, sum = 0, chosen = 0;
#pragma unroll
    for (int u = 0; u < 2; ++u)
#pragma unroll
        for (int i = 0; i < 4; ++i) peak = fmaxf(peak, v[u][i]);
    peak = warp_max(peak);
#pragma unroll
    for (int u = 0; u < 2; ++u)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            v[u][i] -= peak;
            if (128 * u + 4 * lane + i == target.at) chosen = v[u][i];
            v[u][i] = __expf(v[u][i]);
            sum += v[u][i];
        }
    sum = warp_sum(sum);
    chosen = warp_sum(chosen);
    if (lane == 0) p.store_loss(row, target, logf(sum) - chosen);
    if (p.gradient.data == nullptr) return;
    const float scale = p.factor(target), factor = __fdividef(scale, sum);
#pragma unroll
    for (int u = 0; u < 2; ++u) {
        const int column = 128 * u + 4 * lane;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            v[u][i] = scale == 0.0f ? 0.0f : v[u][i] * factor - (column + i == target.at ? scale : 0.0f);
        if (column < p.columns) store_vector<4>(p.gradient.at(row, column), v[u]);
    }
}

// Any number of classes: three walks along the row, the later ones through the caches.
template <class T, class G>
__global__ void __launch_bounds__(threads) wide_kernel(const Problem<T, G> p) {
    const int lane = threadIdx.x % 32;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
    if (row >= p.rows) return;
    const auto target = p.target(row);
    const auto logit = [&](int column) { return load(p.logits.at(row, column)); };
    const float chosen = target.valid ? logit(target.at) : 0.0f;
    float peak = -INFINITY, sum = 0;
    for (int c = lane; c < p.columns; c += 32) peak = fmaxf(peak, logit(c));
    peak = warp_max(peak);
    for (int c = lane; c < p.columns; c += 32) sum += __expf(logit(c) - peak);
    sum = warp_sum(sum);
    if (lane == 0) p.store_loss(row, target, logf(sum) + (peak - chosen));
    if (p.gradient.data == nullptr) return;
    const float scale = p.factor(target), factor = __fdividef(scale, sum);
    __syncwarp();  // the gradient may take the logits' place
    for (int c = lane; c < p.columns; c += 32)
        store(p.gradient.at(row, c),
              scale == 0.0f ? 0.0f : __expf(logit(c) - peak) * factor - (c == target.at ? scale : 0.0f));
}

}  // namespace

void CudaBackend::cross_entropy(const CrossEntropy& op) {
    constexpr const char* name = "cross_entropy";
    const int64_t rows = op.logits.rows(), columns = op.logits.columns();
    require(op.targets.size() == rows && op.losses.size() == rows && op.losses.contiguous() &&
                op.losses.dtype == DType::f32,
            name, "logits (rows, V), targets (rows), float32 losses (rows)");
    require(columns <= INT32_MAX - 256, name, "fewer classes");
    if (op.scale_at) require(op.scale_at.size() == 1 && op.scale_at.dtype == DType::f32, name, "one scale in float32");
    if (op.dlogits) {
        require(op.dlogits.shape == op.logits.shape, name, "dlogits like logits");
        require(op.dlogits.data != op.logits.data || op.dlogits.dtype == op.logits.dtype, name,
                "one type where dlogits is logits");
    }
    if (rows == 0) return;
    const auto blocks = static_cast<unsigned>(ceil_div(rows, warps));
    const bool narrow = columns <= 256 && whole_vectors(4, op.logits, op.dlogits);
    dispatch(op.logits.dtype, [&](auto a) {
        dispatch(op.dlogits ? op.dlogits.dtype : op.logits.dtype, [&](auto b) {
            using T = decltype(a);
            using G = decltype(b);
            const Problem<T, G> p{rows,
                                  static_cast<int>(columns),
                                  Rows<const T>(op.logits),
                                  Integers(op.targets),
                                  op.losses.as<float>(),
                                  Rows<G>(op.dlogits),
                                  static_cast<float>(op.scale),
                                  op.scale_at.as<float>()};
            if (narrow)
                narrow_kernel<<<blocks, threads, 0, stream_>>>(p);
            else
                wide_kernel<<<blocks, threads, 0, stream_>>>(p);
            check_launch(name);
        });
    });
}

}  // namespace nigiri
