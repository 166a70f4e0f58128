// Linear layers: products by cuBLASLt, and around them what it does not do well: weights rounded to the
// activations' type, gradients of weights over very many rows, gradients of biases.
//   forward   reads x and writes y: a row of K in and N out against 2 K N operations, bound by bytes up to K,
//   N of some 300 dx        the same with K and N exchanged dweight   reads x and dy and writes next to
//   nothing
#include <algorithm>

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/tall_product.h"
#include "kernels/linear.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256;

// ---- sums of the columns of dy, for dbias; on the way dy may be rounded to bf16 for the products ----

struct SumLayout {
    int64_t rows, columns, slab;
    int wide;  // threads along the columns
};

template <class T, int C, bool convert>
__global__ void __launch_bounds__(threads)
    column_sum_kernel(SumLayout s, Rows<const T> dy, Rows<bf16> rounded, float* partial) {
    const int64_t column = (static_cast<int64_t>(blockIdx.y) * s.wide + threadIdx.x % s.wide) * C;
    const int group = threadIdx.x / s.wide, groups = threads / s.wide;
    const int64_t end = min(s.rows, (blockIdx.x + 1) * s.slab);
    const bool exists = column < s.columns;
    float sum[C] = {};
    if (exists) {
#pragma unroll 4
        for (int64_t row = blockIdx.x * s.slab + group; row < end; row += groups) {
            float v[C];
            load_vector<C>(dy.at(row, column), v);
            if constexpr (convert) store_vector<C>(rounded.at(row, column), v);
#pragma unroll
            for (int c = 0; c < C; ++c) sum[c] += v[c];
        }
    }
    __shared__ float sums[threads][C];
#pragma unroll
    for (int c = 0; c < C; ++c) sums[threadIdx.x][c] = sum[c];
    __syncthreads();
    if (group != 0 || !exists) return;
#pragma unroll
    for (int c = 0; c < C; ++c) {
        float total = 0;
        for (int g = 0; g < groups; ++g) total += sums[g * s.wide + threadIdx.x][c];
        partial[static_cast<int64_t>(blockIdx.x) * s.columns + column + c] = total;
    }
}

template <class T, int C, bool convert>
void launch_column_sums(cudaStream_t stream, const SumLayout& s, dim3 grid, const View& dy, const View& rounded,
                        float* partial) {
    column_sum_kernel<T, C, convert><<<grid, threads, 0, stream>>>(s, Rows<const T>(dy), Rows<bf16>(rounded), partial);
    check_launch("linear_backward");
}

// Rows of a matrix start on 16 bytes where the stride is a multiple of this many elements.
int64_t padded(int64_t columns) { return ceil_div(columns, 8) * 8; }

}  // namespace

// What the operations below share; a friend of the backend so that it may use its stream, memory and library.
struct CudaBackend::Products {
    CudaBackend& backend;

    void run(const MatrixProduct& p) const {
        if (!backend.products_) backend.products_ = std::make_unique<MatrixProducts>();
        backend.products_->multiply(p, backend.stream_);
    }

    // x itself, or rounded to bf16 in scratch memory.
    Tensor rounded(const View& x) const {
        std::vector<int64_t> extents = {x.rows(), padded(x.columns())};
        const Tensor t = backend.allocate(Shape(extents), DType::bf16).columns(0, x.columns());
        backend.copy({.x = x.reshaped({x.rows(), x.columns()}), .y = t});
        return t;
    }

    // The weight as the products want it.
    View weight(const View& w, DType type, Tensor& scratch) const {
        if (type == w.dtype) return w;
        scratch = rounded(w);
        return scratch;
    }

    // dbias += the columns' sums of dy, which is also rounded into `rounded` where that is given.
    void add_bias_gradient(const View& dy, const View& dbias, const View& rounded) const {
        SumLayout s{dy.rows(), dy.columns(), 0, 1};
        const bool whole = whole_vectors(4, dy, rounded);
        const int64_t width = whole ? s.columns / 4 : s.columns;
        while (s.wide < 32 && s.wide < width) s.wide *= 2;
        const int64_t across = ceil_div(width, s.wide);
        const int64_t slabs = std::clamp<int64_t>(ceil_div(s.rows, 4 * (threads / s.wide)), 1,
                                                  std::max<int64_t>(1, 8 * backend.multiprocessors_ / across));
        s.slab = ceil_div(s.rows, slabs);
        const dim3 grid(static_cast<unsigned>(ceil_div(s.rows, s.slab)), static_cast<unsigned>(across));
        const Tensor partial = backend.allocate(Shape{int64_t{grid.x}, s.columns}, DType::f32);
        float* sums = partial.as<float>();
        const auto launch = [&](auto zero, auto lanes) {
            using T = decltype(zero);
            if constexpr (sizeof(T) == 4) {
                if (rounded) return launch_column_sums<T, lanes(), true>(backend.stream_, s, grid, dy, rounded, sums);
            }
            launch_column_sums<T, lanes(), false>(backend.stream_, s, grid, dy, {}, sums);
        };
        dispatch(dy.dtype, [&](auto zero) {
            if (whole)
                launch(zero, std::integral_constant<int, 4>{});
            else
                launch(zero, std::integral_constant<int, 1>{});
        });
        if (dbias) add_column_sums(backend.stream_, partial, Target(dbias));
    }

    // dweight (N, K) += dy^T x over M rows. Where N K is small and M up to millions, the rows are cut into
    // slabs, one product of a batch each, enough of them to occupy the device, and the slabs' results are
    // added up in order: the library's own cuts of the inner sum are fewer and coarser. Where the results are
    // large it has the better measure of cuts.
    void add_weight_gradient(const View& x, const View& dy, const View& dweight) const {
        const int64_t m = x.rows(), n = dy.columns(), k = x.columns();
        const int64_t tiles = ceil_div(n, 128) * ceil_div(k, 128);
        const int64_t most = n * k < 32768 ? 2 * backend.multiprocessors_ / tiles : 1;
        const int64_t wanted = std::clamp<int64_t>(most, 1, std::max<int64_t>(1, m / 512));
        const int64_t slab = wanted == 1 ? m : ceil_div(ceil_div(m, wanted), 64) * 64;
        const int64_t whole = m / slab, rest = m - whole * slab;
        const auto product = [&](int64_t first, int64_t rows, int64_t batch) {
            MatrixProduct p;
            p.m = n, p.n = k, p.k = rows, p.batch = batch;
            p.a = Matrix(dy, true), p.b = Matrix(x);
            const auto offset = [&](Matrix& matrix) {
                matrix.batch_stride = slab * matrix.stride;
                matrix.data = static_cast<char*>(matrix.data) +
                              first * matrix.stride * static_cast<int64_t>(size_of(matrix.dtype));
            };
            offset(p.a), offset(p.b);
            return p;
        };
        if (whole == 1 && rest == 0) {
            MatrixProduct p = product(0, m, 1);
            p.c = p.d = Matrix(dweight);
            return run(p);
        }
        const Tensor partial = backend.allocate({whole + (rest > 0 ? 1 : 0), n * k}, DType::f32);
        const auto into = [&](MatrixProduct p, int64_t slot) {
            p.d.data = partial.as<float>() + slot * n * k;
            p.d.stride = k, p.d.batch_stride = n * k;
            run(p);
        };
        into(product(0, slab, whole), 0);
        if (rest > 0) into(product(whole * slab, rest, 1), whole);
        add_column_sums(backend.stream_, partial, Target(dweight));
    }
};

void CudaBackend::linear_forward(const LinearForward& op) {
    constexpr const char* name = "linear_forward";
    require(op.weight.shape.rank() == 2 && op.weight[1] == op.x.columns() && op.weight[0] == op.y.columns(), name,
            "x (..., K), weight (N, K), y (..., N)");
    require(op.x.rows() == op.y.rows(), name, "x and y of equally many rows");
    require((op.weight.dtype == DType::f32 || op.weight.dtype == op.x.dtype) &&
                (op.x.dtype == DType::bf16 || op.y.dtype == DType::f32),
            name, "weight in float32 or x's type, y at least as wide as x");
    if (op.bias)
        require(op.bias.size() == op.y.columns() && op.bias.contiguous() &&
                    (op.bias.dtype == DType::f32 || op.bias.dtype == op.y.dtype),
                name, "bias (N) in float32 or y's type");
    if (op.residual)
        require(op.residual.shape == op.y.shape && op.residual.dtype == op.y.dtype && !op.accumulate, name,
                "a residual like y");
    if (op.y.size() == 0) return;
    const Products products{*this};
    Tensor weight, bias;
    LinearForward given = op;
    given.weight = products.weight(op.weight, op.x.dtype, weight);
    if (tall_forward(*this, given)) return;
    MatrixProduct p;
    p.m = op.x.rows(), p.n = op.y.columns(), p.k = op.x.columns();
    p.a = Matrix(op.x);
    p.b = Matrix(given.weight, /*is_transposed=*/true);
    p.d = Matrix(op.y);
    if (op.accumulate) p.c = p.d;
    if (op.residual) p.c = Matrix(op.residual);
    if (op.bias) p.bias = products.weight(op.bias, op.y.dtype, bias).data;
    products.run(p);
}

void CudaBackend::linear_backward(const LinearBackward& op) {
    constexpr const char* name = "linear_backward";
    const int64_t m = op.dy.rows(), n = op.dy.columns();
    if (op.dx)
        require(op.weight.shape.rank() == 2 && op.weight[0] == n && op.weight[1] == op.dx.columns() &&
                    op.dx.rows() == m && (op.weight.dtype == DType::f32 || op.weight.dtype == op.dx.dtype),
                name, "dy (..., N), weight (N, K) in float32 or dx's type, dx (..., K)");
    if (op.dweight)
        require(op.dweight.shape.rank() == 2 && op.dweight[0] == n && op.dweight[1] == op.x.columns() &&
                    op.x.rows() == m && op.dweight.dtype == DType::f32 && (!op.dx || op.dx.dtype == op.x.dtype),
                name, "dy (..., N), x (..., K), float32 dweight (N, K), dx of x's type");
    if (op.dbias)
        require(op.dbias.size() == n && op.dbias.contiguous() && op.dbias.dtype == DType::f32, name,
                "float32 dbias (N)");
    if (m == 0 || n == 0) return;
    const DType type = op.dx ? op.dx.dtype : op.dweight ? op.x.dtype : op.dy.dtype;
    require(type == op.dy.dtype || type == DType::bf16, name, "dy at least as wide as x");
    const Products products{*this};
    Tensor weight, rounded;
    LinearBackward given = op;
    if (op.dx) given.weight = products.weight(op.weight, type, weight);
    if (tall_backward(*this, given)) return;
    View dy = op.dy;
    if (type != dy.dtype) {
        rounded = allocate({m, padded(n)}, DType::bf16).columns(0, n);
        if (!op.dbias) copy({.x = dy.reshaped({m, n}), .y = rounded});
        dy = rounded;
    }
    if (op.dbias) products.add_bias_gradient(op.dy.reshaped({m, n}), op.dbias, rounded);
    if (op.dx) {
        MatrixProduct p;
        p.m = m, p.n = op.dx.columns(), p.k = n;
        p.a = Matrix(dy);
        p.b = Matrix(given.weight);
        p.d = Matrix(op.dx);
        products.run(p);
    }
    if (op.dweight) products.add_weight_gradient(op.x, dy, op.dweight);
}

}  // namespace nigiri
