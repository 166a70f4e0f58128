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
    static constexpr int64_t most = 16;  // more are faster through the library
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

// The sums of four vectors, in this order. (A sum of one vector at a time would take twice the instructions.)
struct Sums {
#if HWY_TARGET == HWY_SCALAR
    float v[4];
    HWY_INLINE Sums(V a, V b, V c, V e) : v{a.raw, b.raw, c.raw, e.raw} {}
    HWY_INLINE void add(const float* p) {
        for (int i = 0; i < 4; ++i) v[i] += p[i];
    }
    HWY_INLINE void store(float* p) const {
        for (int i = 0; i < 4; ++i) p[i] = v[i];
    }
#else
    using Four = hn::Full128<float>;
    hn::Vec<Four> v;
    HWY_INLINE Sums(V a, V b, V c, V e) {
        const Tag d;
        const hn::RepartitionToWide<Tag> pairs;
        // Within every block of four lanes: first the sums of two lanes of each, then all four.
        const auto ab = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
        const auto ce = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e)));
        v = fold(d, hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ce)),
                            hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ce))));
    }
    HWY_INLINE void add(const float* p) { v = hn::Add(v, hn::LoadU(Four(), p)); }
    HWY_INLINE void store(float* p) const { hn::StoreU(v, Four(), p); }

    template <class D>
    static HWY_INLINE hn::Vec<Four> fold(D d, hn::Vec<D> u) {
        if constexpr (hn::MaxLanes(d) == 4) {
            return u;
        } else {
            const hn::Half<D> half;
            return fold(half, hn::Add(hn::LowerHalf(half, u), hn::UpperHalf(half, u)));
        }
    }
#endif
};

// Four outputs n of all rows of x; each weight is read once.
template <int kRows>
HWY_INLINE void four_outputs(const FewRows& p, int64_t n) {
    const Tag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    V acc[kRows][4];
    for (auto& row : acc)
        for (auto& v : row) v = hn::Zero(d);
    const float *w0 = p.weight[n], *w1 = p.weight[n + 1], *w2 = p.weight[n + 2], *w3 = p.weight[n + 3];
    const auto step = [&](auto load, int64_t k) HWY_ATTR {
        const auto v0 = load(w0 + k), v1 = load(w1 + k), v2 = load(w2 + k), v3 = load(w3 + k);
        for (int m = 0; m < kRows; ++m) {
            const auto x = load(p.x[m] + k);
            acc[m][0] = hn::MulAdd(v0, x, acc[m][0]);
            acc[m][1] = hn::MulAdd(v1, x, acc[m][1]);
            acc[m][2] = hn::MulAdd(v2, x, acc[m][2]);
            acc[m][3] = hn::MulAdd(v3, x, acc[m][3]);
        }
    };
    int64_t k = 0;
    for (; k + lanes <= p.columns; k += lanes) step([&](const float* from) HWY_ATTR { return hn::LoadU(d, from); }, k);
    if (k < p.columns) {
        const auto rest = static_cast<size_t>(p.columns - k);
        step([&](const float* from) HWY_ATTR { return simd::load_first(d, from, rest); }, k);
    }
    for (int m = 0; m < kRows; ++m) {
        Sums sums(acc[m][0], acc[m][1], acc[m][2], acc[m][3]);
        if (p.bias != nullptr) sums.add(p.bias + n);
        if (p.accumulate) sums.add(p.y[m] + n);
        sums.store(p.y[m] + n);
    }
}

HWY_INLINE float dot(const float* a, const float* b, int64_t n) {
    const Tag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    auto acc = hn::Zero(d);
    int64_t k = 0;
    for (; k + lanes <= n; k += lanes) acc = hn::MulAdd(hn::LoadU(d, a + k), hn::LoadU(d, b + k), acc);
    if (k < n) {
        const auto rest = static_cast<size_t>(n - k);
        acc = hn::MulAdd(simd::load_first(d, a + k, rest), simd::load_first(d, b + k, rest), acc);
    }
    return simd::sum(d, acc);
}

template <int kRows>
void few_rows(const FewRows& p, int64_t begin, int64_t end) {
    int64_t n = begin;
    for (; n + 4 <= end; n += 4) four_outputs<kRows>(p, n);
    for (; n < end; ++n)
        for (int m = 0; m < kRows; ++m) {
            const float sum = dot(p.weight[n], p.x[m], p.columns) + (p.bias != nullptr ? p.bias[n] : 0);
            p.y[m][n] = p.accumulate ? p.y[m][n] + sum : sum;
        }
}

void few_rows_product(FewRows p, int64_t begin, int64_t end) {
    for (; p.rows > 4; p.rows -= 4) {
        few_rows<4>(p, begin, end);
        p.x.data = p.x[4], p.y.data = p.y[4];
    }
    switch (p.rows) {
        case 1:
            few_rows<1>(p, begin, end);
            return;
        case 2:
            few_rows<2>(p, begin, end);
            return;
        case 3:
            few_rows<3>(p, begin, end);
            return;
        case 4:
            few_rows<4>(p, begin, end);
            return;
        default:
            return;
    }
}

void add_to_rows(const float* bias, Rows y, int64_t rows, int64_t columns) {
    const Rows same{const_cast<float*>(bias), 0};
    simd::map(rows, columns,
              [=](auto d, auto at) HWY_ATTR { at.store(hn::Add(at.load(d, y), at.load(d, same)), d, y); });
}

// sums += the columns' sums over some rows.
void column_sums(Rows x, int64_t rows, int64_t columns, float* sums) {
    const Rows all{sums, 0};
    simd::map(rows, columns,
              [=](auto d, auto at) HWY_ATTR { at.store(hn::Add(at.load(d, all), at.load(d, x)), d, all); });
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
    const auto stride = [](Rows r, int64_t columns) {
        return std::max(r.stride, columns);
    };  // one row may say anything
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
        // Weights stream at cache speed: waking threads for a single row pays from about a megabyte.
        parallel_ranges(threads, n, 4, n * k * (4 + m) / 32, [&](int64_t begin, int64_t end) {
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
    constexpr int64_t block = 512;
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
                for (int64_t k = 0; k < op.dx.columns(); ++k)
                    op.dx.row<double>(m)[k] += dy[n] * op.weight.row<double>(n)[k];
            if (op.dweight)
                for (int64_t k = 0; k < op.x.columns(); ++k)
                    op.dweight.row<double>(n)[k] += dy[n] * op.x.row<double>(m)[k];
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
    if (op.residual) require(!op.accumulate, name, "either a residual or accumulate");
    if (op.x.rows() == 0) return;
    dispatch(op.y.dtype, [&](auto zero) {
        if constexpr (std::is_same_v<decltype(zero), float>)
            forward(op, threads());
        else
            plain_forward(op);
    });
    if (op.residual) add({.x1 = op.residual, .x2 = op.y, .y = op.y});
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
            HWY_DYNAMIC_DISPATCH(column_sums)
            ({dy[begin], dy.stride}, end - begin, n, partial.view().row<float>(slice));
        });
        HWY_DYNAMIC_DISPATCH(column_sums)({partial.as<float>(), n}, slices, n, op.dbias.as<float>());
    }
}

}  // namespace nigiri
#endif
