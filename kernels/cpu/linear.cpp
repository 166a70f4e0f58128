#include "kernels/linear.h"

#include <oneapi/dnnl/dnnl.h>
#include <omp.h>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

#ifndef NIGIRI_KERNELS_CPU_LINEAR_ONCE
#define NIGIRI_KERNELS_CPU_LINEAR_ONCE
namespace nigiri::cpu {

// A product of few rows, as a step of generation needs it.
struct FewRows {
    static constexpr int64_t most = 4;
    Rows x, weight, y;
    const float* bias = nullptr;
    int64_t rows = 0, columns = 0;  // rows of x, columns of x
    bool accumulate = false;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;

// Four vectors to the vector of their four sums, in its lowest block.
#if HWY_TARGET != HWY_SCALAR
template <class D>
HWY_INLINE hn::Vec<hn::Full128<float>> fold(D d, hn::Vec<D> v) {
    if constexpr (hn::MaxLanes(d) == 4) {
        return v;
    } else {
        const hn::Half<D> half;
        return fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
    }
}

HWY_INLINE void store_sums(V a, V b, V c, V e, float* to) {
    const Tag d;
    const hn::RepartitionToWide<Tag> pairs;
    const auto ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
    const auto ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
    const auto low = hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce)));
    const auto high = hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce)));
    hn::StoreU(fold(d, hn::Add(low, high)), hn::Full128<float>(), to);
}
#else
HWY_INLINE void store_sums(V a, V b, V c, V e, float* to) {
    to[0] = a.raw, to[1] = b.raw, to[2] = c.raw, to[3] = e.raw;
}
#endif

// sums[m][i] = dot(x[m], weight[n + i]) for four rows of the weight, each read once for all rows of x.
template <int kRows>
HWY_INLINE void dot4(const FewRows& p, int64_t n, float (&sums)[kRows][4]) {
    const Tag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    V acc[kRows][4];
    for (auto& row : acc)
        for (auto& v : row) v = hn::Zero(d);
    const float *w0 = p.weight[n], *w1 = p.weight[n + 1], *w2 = p.weight[n + 2], *w3 = p.weight[n + 3];
    int64_t k = 0;
    for (; k + lanes <= p.columns; k += lanes) {
        const auto v0 = hn::LoadU(d, w0 + k), v1 = hn::LoadU(d, w1 + k);
        const auto v2 = hn::LoadU(d, w2 + k), v3 = hn::LoadU(d, w3 + k);
        for (int m = 0; m < kRows; ++m) {
            const auto x = hn::LoadU(d, p.x[m] + k);
            acc[m][0] = hn::MulAdd(v0, x, acc[m][0]);
            acc[m][1] = hn::MulAdd(v1, x, acc[m][1]);
            acc[m][2] = hn::MulAdd(v2, x, acc[m][2]);
            acc[m][3] = hn::MulAdd(v3, x, acc[m][3]);
        }
    }
    if (k < p.columns) {
        const auto rest = static_cast<size_t>(p.columns - k);
        const auto v0 = simd::load_first(d, w0 + k, rest), v1 = simd::load_first(d, w1 + k, rest);
        const auto v2 = simd::load_first(d, w2 + k, rest), v3 = simd::load_first(d, w3 + k, rest);
        for (int m = 0; m < kRows; ++m) {
            const auto x = simd::load_first(d, p.x[m] + k, rest);
            acc[m][0] = hn::MulAdd(v0, x, acc[m][0]);
            acc[m][1] = hn::MulAdd(v1, x, acc[m][1]);
            acc[m][2] = hn::MulAdd(v2, x, acc[m][2]);
            acc[m][3] = hn::MulAdd(v3, x, acc[m][3]);
        }
    }
    for (int m = 0; m < kRows; ++m) store_sums(acc[m][0], acc[m][1], acc[m][2], acc[m][3], sums[m]);
}

template <int kRows>
void few_rows(const FewRows& p, int64_t begin, int64_t end) {
    const Tag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto put = [&](int64_t m, int64_t n, float sum) HWY_ATTR {
        if (p.bias != nullptr) sum += p.bias[n];
        p.y[m][n] = p.accumulate ? p.y[m][n] + sum : sum;
    };
    int64_t n = begin;
    for (; n + 4 <= end; n += 4) {
        float sums[kRows][4];
        dot4<kRows>(p, n, sums);
        for (int m = 0; m < kRows; ++m)
            for (int64_t i = 0; i < 4; ++i) put(m, n + i, sums[m][i]);
    }
    for (; n < end; ++n) {
        for (int m = 0; m < kRows; ++m) {
            auto acc = hn::Zero(d);
            int64_t k = 0;
            for (; k + lanes <= p.columns; k += lanes)
                acc = hn::MulAdd(hn::LoadU(d, p.weight[n] + k), hn::LoadU(d, p.x[m] + k), acc);
            if (k < p.columns) {
                const auto rest = static_cast<size_t>(p.columns - k);
                acc = hn::MulAdd(simd::load_first(d, p.weight[n] + k, rest), simd::load_first(d, p.x[m] + k, rest), acc);
            }
            put(m, n, simd::sum(d, acc));
        }
    }
}

void few_rows_product(const FewRows& p, int64_t begin, int64_t end) {
    switch (p.rows) {
        case 1: few_rows<1>(p, begin, end); return;
        case 2: few_rows<2>(p, begin, end); return;
        case 3: few_rows<3>(p, begin, end); return;
        case 4: few_rows<4>(p, begin, end); return;
        default: return;
    }
}

void add_to_rows(const float* bias, Rows y, int64_t rows, int64_t columns) {
    const Rows same{const_cast<float*>(bias), 0};
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR { at.store(hn::Add(at.load(d, y), at.load(d, same)), d, y); });
}

// sums += the columns' sums over some rows.
void column_sums(Rows x, int64_t rows, int64_t columns, float* sums) {
    const Rows all{sums, 0};
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR { at.store(hn::Add(at.load(d, all), at.load(d, x)), d, all); });
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(few_rows_product);
HWY_EXPORT(add_to_rows);
HWY_EXPORT(column_sums);

// The library asks OpenMP, whose number of threads belongs to the calling thread; it is put back afterwards.
class ThreadCount {
  public:
    explicit ThreadCount(int wanted) : before_(omp_get_max_threads()) {
        if (before_ != wanted) omp_set_num_threads(wanted);
        changed_ = before_ != wanted;
    }
    ~ThreadCount() {
        if (changed_) omp_set_num_threads(before_);
    }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;

  private:
    int before_;
    bool changed_ = false;
};

// c = beta c + op(a) op(b), all row-major; op(a) is m x k.
void product(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, Rows a, Rows b, float beta, Rows c) {
    const auto stride = [](Rows r, int64_t columns) { return std::max(r.stride, columns); };  // one row may say anything
    const auto status =
        dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a.data, stride(a, transpose_a == 'T' ? m : k), b.data,
                   stride(b, transpose_b == 'T' ? k : n), beta, c.data, stride(c, n));
    if (status != dnnl_success) throw Error("matrix product failed (oneDNN status " + std::to_string(status) + ")");
}

Rows rows_of(const View& v) { return {v.as<float>(), v.row_stride}; }

void forward(const LinearForward& op, int threads) {
    const int64_t m = op.x.rows(), k = op.x.columns(), n = op.y.columns();
    const Rows x = rows_of(op.x), weight = rows_of(op.weight), y = rows_of(op.y);
    const float* bias = op.bias.as<float>();
    if (m <= FewRows::most) {
        const FewRows p{x, weight, y, bias, m, k, op.accumulate};
        // Weights stream at cache speed: waking threads pays from about a megabyte.
        parallel_ranges(threads, n, 4, n * k / 8, [&](int64_t begin, int64_t end) {
            HWY_DYNAMIC_DISPATCH(few_rows_product)(p, begin, end);
        });
        return;
    }
    const float beta = op.accumulate ? 1.0f : 0.0f;
    const bool wide = m * n * k > (int64_t{1} << 20);
    if (bias == nullptr || !wide) {
        const ThreadCount count(wide ? threads : 1);
        product('N', 'T', m, n, k, x, weight, beta, y);
        if (bias != nullptr) HWY_DYNAMIC_DISPATCH(add_to_rows)(bias, y, m, n);
        return;
    }
    // Blocks of rows, so that the bias is added while a block is still in the cache.
    constexpr int64_t block = 256;
    const ThreadCount count(1);
    parallel_ranges(threads, m, block, m * n * k, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r += block) {
            const int64_t rows = std::min(block, end - r);
            const Rows to{y[r], y.stride};
            product('N', 'T', rows, n, k, {x[r], x.stride}, weight, beta, to);
            HWY_DYNAMIC_DISPATCH(add_to_rows)(bias, to, rows, n);
        }
    });
}

void plain_forward(const LinearForward& op) {
    for (int64_t m = 0; m < op.x.rows(); ++m)
        for (int64_t n = 0; n < op.y.columns(); ++n) {
            const double *x = op.x.row<double>(m), *w = op.weight.row<double>(n);
            double sum = op.bias ? op.bias.as<double>()[n] : 0;
            for (int64_t k = 0; k < op.x.columns(); ++k) sum += x[k] * w[k];
            double& y = op.y.row<double>(m)[n];
            y = op.accumulate ? y + sum : sum;
        }
}

void plain_backward(const LinearBackward& op) {
    const int64_t rows = op.dy.rows(), n_count = op.dy.columns();
    for (int64_t m = 0; m < rows; ++m) {
        const double* dy = op.dy.row<double>(m);
        if (op.dx) std::fill_n(op.dx.row<double>(m), op.dx.columns(), 0.0);
        for (int64_t n = 0; n < n_count; ++n) {
            if (op.dx)
                for (int64_t k = 0; k < op.dx.columns(); ++k) op.dx.row<double>(m)[k] += dy[n] * op.weight.row<double>(n)[k];
            if (op.dweight)
                for (int64_t k = 0; k < op.x.columns(); ++k) op.dweight.row<double>(n)[k] += dy[n] * op.x.row<double>(m)[k];
            if (op.dbias) op.dbias.as<double>()[n] += dy[n];
        }
    }
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::linear_forward(const LinearForward& op) {
    constexpr const char* name = "linear_forward";
    require(op.weight.shape.rank() == 2 && op.weight[1] == op.x.columns() && op.weight[0] == op.y.columns(), name,
            "x (..., K), weight (N, K), y (..., N)");
    require(op.x.rows() == op.y.rows(), name, "x and y of equally many rows");
    require(op.x.dtype == op.y.dtype && op.weight.dtype == op.y.dtype, name, "equal element types");
    if (op.bias) require(op.bias.size() == op.y.columns() && op.bias.contiguous(), name, "bias (N)");
    if (op.x.rows() == 0) return;
    dispatch(op.y.dtype, [&](auto zero) {
        if constexpr (std::is_same_v<decltype(zero), float>)
            forward(op, threads());
        else
            plain_forward(op);
    });
}

void CpuBackend::linear_backward(const LinearBackward& op) {
    constexpr const char* name = "linear_backward";
    const int64_t m = op.dy.rows(), n = op.dy.columns();
    if (op.dx)
        require(op.weight.shape.rank() == 2 && op.weight[0] == n && op.weight[1] == op.dx.columns() &&
                    op.dx.rows() == m && op.dx.dtype == op.dy.dtype && op.weight.dtype == op.dy.dtype,
                name, "dy (..., N), weight (N, K), dx (..., K)");
    if (op.dweight)
        require(op.dweight.shape.rank() == 2 && op.dweight[0] == n && op.dweight[1] == op.x.columns() &&
                    op.x.rows() == m && op.dweight.dtype == op.dy.dtype && op.x.dtype == op.dy.dtype,
                name, "dy (..., N), x (..., K), dweight (N, K)");
    if (op.dbias)
        require(op.dbias.size() == n && op.dbias.contiguous() && op.dbias.dtype == op.dy.dtype, name, "dbias (N)");
    if (m == 0) return;
    if (op.dy.dtype == DType::f64) {
        plain_backward(op);
        return;
    }
    const Rows dy{op.dy.as<float>(), op.dy.row_stride};
    if (op.dx) {
        const int64_t k = op.dx.columns();
        const ThreadCount count(m * n * k > (int64_t{1} << 20) ? threads() : 1);
        product('N', 'N', m, k, n, dy, rows_of(op.weight), 0.0f, rows_of(op.dx));
    }
    if (op.dweight) {
        const int64_t k = op.x.columns();
        const ThreadCount count(m * n * k > (int64_t{1} << 20) ? threads() : 1);
        product('T', 'N', n, k, m, dy, rows_of(op.x), 1.0f, rows_of(op.dweight));
    }
    if (op.dbias) {
        const int64_t slices = slices_of(m);
        const Tensor partial = zeros({slices, n}, DType::f32);
        parallel_slices(threads(), m, slices, m * n, [&](int64_t slice, int64_t begin, int64_t end) {
            HWY_DYNAMIC_DISPATCH(column_sums)({dy[begin], dy.stride}, end - begin, n, partial.view().row<float>(slice));
        });
        HWY_DYNAMIC_DISPATCH(column_sums)({partial.as<float>(), n}, slices, n, op.dbias.as<float>());
    }
}

}  // namespace nigiri
#endif
