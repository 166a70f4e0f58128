#include "kernels/norm.h"

#include <cmath>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

#ifndef NIGIRI_KERNELS_CPU_NORM_ONCE
#define NIGIRI_KERNELS_CPU_NORM_ONCE
namespace nigiri::cpu {

// Pointers of one call; absent operands are null. Scalar norms have one weight and one bias.
struct NormRows {
    Rows x, y;  // forward: y; backward: dx
    Rows dy;    // backward
    const float* weight = nullptr;
    const float* bias = nullptr;
    float* mean = nullptr;  // forward: written where wanted; backward: read
    float* rstd = nullptr;
    float* dweight = nullptr;  // backward: partial sums of one slice, D elements (scalar: one)
    float* dbias = nullptr;
    int64_t columns = 0;
    float eps = 0;
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

// Calls f(place) for every vector of one row, whole ones and the last part. Places behind the end load as
// zeros.
template <class F>
HWY_INLINE void along_row(int64_t columns, F f) {
    simd::map(1, columns, [=](auto, auto at) HWY_ATTR { f(at); });
}

// Zeros where a place is behind the end of the row, for sums of values that are not zero there by themselves.
HWY_INLINE V inside(simd::Whole<Tag>, V v) { return v; }
HWY_INLINE V inside(simd::Part<Tag> at, V v) { return hn::IfThenElseZero(hn::FirstN(Tag(), at.n), v); }

template <NormKind kind>
void forward_rows(const NormRows& a, int64_t begin, int64_t end) {
    const Tag d;
    const auto per_column = hn::Set(d, 1.0f / static_cast<float>(a.columns));
    const auto eps = hn::Set(d, a.eps), one = hn::Set(d, 1.0f);
    const Rows weight{const_cast<float*>(a.weight), 0}, bias{const_cast<float*>(a.bias), 0};
    for (int64_t r = begin; r < end; ++r) {
        const Rows x{a.x[r], 0}, y{a.y[r], 0};
        auto mean = hn::Zero(d), square = hn::Zero(d);
        if constexpr (kind != NormKind::rms) {
            along_row(a.columns, [&](auto at) HWY_ATTR { mean = hn::Add(mean, at.load(d, x)); });
            mean = hn::Mul(hn::SumOfLanes(d, mean), per_column);
        }
        // A second pass over the row, which is in the first cache by now: sum(x^2) - mean^2 would cancel.
        along_row(a.columns, [&](auto at) HWY_ATTR {
            const auto c = inside(at, hn::Sub(at.load(d, x), mean));
            square = hn::MulAdd(c, c, square);
        });
        const auto variance = hn::Mul(hn::SumOfLanes(d, square), per_column);
        const auto rstd = hn::Div(one, hn::Sqrt(hn::Add(variance, eps)));
        if constexpr (kind == NormKind::scalar) {
            const auto scale = hn::Mul(rstd, hn::Set(d, a.weight[0]));
            const auto shift = hn::Sub(mean, hn::Set(d, a.bias[0]));
            along_row(a.columns,
                      [&](auto at) HWY_ATTR { at.store(hn::Mul(scale, hn::Sub(at.load(d, x), shift)), d, y); });
        } else {
            along_row(a.columns, [&](auto at) HWY_ATTR {
                const auto v = hn::Mul(hn::Mul(hn::Sub(at.load(d, x), mean), rstd), at.load(d, weight));
                if constexpr (kind == NormKind::layer)
                    at.store(hn::Add(v, at.load(d, bias)), d, y);
                else
                    at.store(v, d, y);
            });
        }
        if (a.mean != nullptr) a.mean[r] = hn::GetLane(mean);
        if (a.rstd != nullptr) a.rstd[r] = hn::GetLane(rstd);
    }
}

// With n = (x - mean) rstd, g = weight dy and c = bias rstd for scalar norms, 0 else:
//   dx = rstd (g - mean(g) - n mean(g (n + c))), without mean(g) for rms;
//   layer, rms: dweight += dy n, dbias += dy;  scalar: dweight += sum dy (n + c), dbias += weight rstd sum
//   dy.
template <NormKind kind>
void backward_rows(const NormRows& a, int64_t begin, int64_t end) {
    constexpr bool scalar = kind == NormKind::scalar;
    const Tag d;
    const auto per_column = hn::Set(d, 1.0f / static_cast<float>(a.columns));
    const Rows weight{const_cast<float*>(a.weight), 0}, dweight{a.dweight, 0}, dbias{a.dbias, 0};
    const auto scalar_weight = hn::Set(d, a.weight[0]);
    for (int64_t r = begin; r < end; ++r) {
        const Rows x{a.x[r], 0}, dy{a.dy[r], 0}, dx{a.y[r], 0};
        const auto rstd = hn::Set(d, a.rstd[r]);
        const auto mean = kind == NormKind::rms ? hn::Zero(d) : hn::Set(d, a.mean[r]);
        const auto c = scalar ? hn::Set(d, a.bias[0] * a.rstd[r]) : hn::Zero(d);
        auto sum_g = hn::Zero(d), sum_gn = hn::Zero(d);
        along_row(a.columns, [&](auto at) HWY_ATTR {
            const auto n = hn::Mul(hn::Sub(at.load(d, x), mean), rstd), t = at.load(d, dy);
            if constexpr (scalar) {
                sum_g = hn::Add(sum_g, t);
                sum_gn = hn::MulAdd(t, hn::Add(n, c), sum_gn);
            } else {
                const auto g = hn::Mul(t, at.load(d, weight));
                sum_g = hn::Add(sum_g, g);
                sum_gn = hn::MulAdd(g, n, sum_gn);
                at.store(hn::MulAdd(t, n, at.load(d, dweight)), d, dweight);
                if constexpr (kind == NormKind::layer) at.store(hn::Add(t, at.load(d, dbias)), d, dbias);
            }
        });
        sum_g = hn::SumOfLanes(d, sum_g);
        sum_gn = hn::SumOfLanes(d, sum_gn);
        if constexpr (scalar) {
            a.dweight[0] += hn::GetLane(sum_gn);
            a.dbias[0] += a.weight[0] * a.rstd[r] * hn::GetLane(sum_g);
            sum_g = hn::Mul(sum_g, scalar_weight);
            sum_gn = hn::Mul(sum_gn, scalar_weight);
        }
        const auto mean_g = kind == NormKind::rms ? hn::Zero(d) : hn::Mul(sum_g, per_column);
        const auto mean_gn = hn::Mul(sum_gn, per_column);
        const auto slope = [&](auto at) HWY_ATTR {
            const auto n = hn::Mul(hn::Sub(at.load(d, x), mean), rstd), t = at.load(d, dy);
            const auto g = hn::Mul(t, scalar ? scalar_weight : at.load(d, weight));
            return hn::Mul(rstd, hn::NegMulAdd(n, mean_gn, hn::Sub(g, mean_g)));
        };
        if (a.accumulate)
            along_row(a.columns, [&](auto at) HWY_ATTR { at.store(hn::Add(at.load(d, dx), slope(at)), d, dx); });
        else
            along_row(a.columns, [&](auto at) HWY_ATTR { at.store(slope(at), d, dx); });
    }
}

void forward(NormKind kind, const NormRows& a, int64_t begin, int64_t end) {
    switch (kind) {
        case NormKind::layer:
            forward_rows<NormKind::layer>(a, begin, end);
            return;
        case NormKind::rms:
            forward_rows<NormKind::rms>(a, begin, end);
            return;
        case NormKind::scalar:
            forward_rows<NormKind::scalar>(a, begin, end);
            return;
    }
}

void backward(NormKind kind, const NormRows& a, int64_t begin, int64_t end) {
    switch (kind) {
        case NormKind::layer:
            backward_rows<NormKind::layer>(a, begin, end);
            return;
        case NormKind::rms:
            backward_rows<NormKind::rms>(a, begin, end);
            return;
        case NormKind::scalar:
            backward_rows<NormKind::scalar>(a, begin, end);
            return;
    }
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void check_parameters(const char* name, NormKind kind, const View& x, const View& weight, const View& bias) {
    const int64_t wanted = kind == NormKind::scalar ? 1 : x.columns();
    require(weight.size() == wanted && weight.contiguous() && weight.dtype == x.dtype, name,
            "weight (D), or (1) for scalar norms");
    require(kind == NormKind::rms ? bias.empty() : bias.size() == wanted && bias.contiguous() && bias.dtype == x.dtype,
            name, "bias (D), or (1) for scalar norms, none for rms norms");
}

void check_statistics(const char* name, const View& x, const View& statistic) {
    require(statistic.size() == x.rows() && statistic.contiguous() && statistic.dtype == x.dtype, name,
            "mean and rstd with one element for each row");
}

void plain_forward(const NormForward& op) {
    const int64_t columns = op.x.columns();
    for (int64_t r = 0; r < op.x.rows(); ++r) {
        const double* x = op.x.row<double>(r);
        double* y = op.y.row<double>(r);
        double mean = 0, square = 0;
        if (op.kind != NormKind::rms) {
            for (int64_t i = 0; i < columns; ++i) mean += x[i];
            mean /= static_cast<double>(columns);
        }
        for (int64_t i = 0; i < columns; ++i) square += (x[i] - mean) * (x[i] - mean);
        const double rstd = 1 / std::sqrt(square / static_cast<double>(columns) + op.eps);
        for (int64_t i = 0; i < columns; ++i) {
            const int64_t p = op.kind == NormKind::scalar ? 0 : i;
            const double w = op.weight.as<double>()[p], b = op.bias ? op.bias.as<double>()[p] : 0;
            y[i] = op.kind == NormKind::scalar ? w * rstd * (x[i] - mean + b) : w * (x[i] - mean) * rstd + b;
        }
        if (op.mean) op.mean.as<double>()[r] = mean;
        if (op.rstd) op.rstd.as<double>()[r] = rstd;
    }
}

void plain_backward(const NormBackward& op) {
    const int64_t columns = op.x.columns();
    const bool scalar = op.kind == NormKind::scalar, rms = op.kind == NormKind::rms;
    const double* weight = op.weight.as<double>();
    double* dweight = op.dweight.as<double>();
    double* dbias = op.dbias.as<double>();
    for (int64_t r = 0; r < op.x.rows(); ++r) {
        const double *x = op.x.row<double>(r), *dy = op.dy.row<double>(r);
        double* dx = op.dx.row<double>(r);
        const double rstd = op.rstd.as<double>()[r], mean = rms ? 0 : op.mean.as<double>()[r];
        const double c = scalar ? op.bias.as<double>()[0] * rstd : 0;
        double mean_g = 0, mean_gn = 0;
        for (int64_t i = 0; i < columns; ++i) {
            const int64_t p = scalar ? 0 : i;
            const double n = (x[i] - mean) * rstd, g = weight[p] * dy[i];
            mean_g += g / static_cast<double>(columns);
            mean_gn += g * (n + c) / static_cast<double>(columns);
            dweight[p] += dy[i] * (n + c);
            if (!rms) dbias[p] += dy[i] * (scalar ? weight[0] * rstd : 1);
        }
        if (rms) mean_g = 0;
        for (int64_t i = 0; i < columns; ++i) {
            const double n = (x[i] - mean) * rstd, g = weight[scalar ? 0 : i] * dy[i];
            const double slope = rstd * (g - mean_g - n * mean_gn);
            dx[i] = op.accumulate ? dx[i] + slope : slope;
        }
    }
}

Rows rows_of(const View& v) { return {v.as<float>(), v.row_stride}; }

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::norm_forward(const NormForward& op) {
    constexpr const char* name = "norm_forward";
    require(op.y.shape == op.x.shape && op.y.dtype == op.x.dtype, name, "x and y of equal shape and type");
    check_parameters(name, op.kind, op.x, op.weight, op.bias);
    if (op.mean) check_statistics(name, op.x, op.mean);
    if (op.rstd) check_statistics(name, op.x, op.rstd);
    dispatch(op.x.dtype, [&](auto zero) {
        if constexpr (std::is_same_v<decltype(zero), double>) {
            plain_forward(op);
        } else {
            NormRows a;
            a.x = rows_of(op.x), a.y = rows_of(op.y);
            a.weight = op.weight.as<float>(), a.bias = op.bias.as<float>();
            a.mean = op.mean.as<float>(), a.rstd = op.rstd.as<float>();
            a.columns = op.x.columns(), a.eps = static_cast<float>(op.eps);
            parallel_ranges(threads(), op.x.rows(), 1, op.x.size() * 2, [&](int64_t begin, int64_t end) {
                HWY_DYNAMIC_DISPATCH(forward)(op.kind, a, begin, end);
            });
        }
    });
}

void CpuBackend::norm_backward(const NormBackward& op) {
    constexpr const char* name = "norm_backward";
    require(op.dx.shape == op.x.shape && op.dx.dtype == op.x.dtype && op.dy.shape == op.x.shape &&
                op.dy.dtype == op.x.dtype,
            name, "x, dy and dx of equal shape and type");
    check_parameters(name, op.kind, op.x, op.weight, op.bias);
    check_parameters(name, op.kind, op.x, op.dweight, op.dbias);
    if (op.kind != NormKind::rms) check_statistics(name, op.x, op.mean);
    check_statistics(name, op.x, op.rstd);
    if (op.x.dtype == DType::f64) {
        plain_backward(op);
        return;
    }
    const int64_t rows = op.x.rows(), slices = slices_of(rows), parameters = op.weight.size();
    const Tensor partial = zeros({slices, 2 * parameters}, DType::f32);
    NormRows a;
    a.x = rows_of(op.x), a.dy = rows_of(op.dy), a.y = rows_of(op.dx);
    a.weight = op.weight.as<float>(), a.bias = op.bias.as<float>();
    a.mean = op.mean.as<float>(), a.rstd = op.rstd.as<float>();
    a.columns = op.x.columns(), a.accumulate = op.accumulate;
    parallel_slices(threads(), rows, slices, op.x.size() * 4, [&](int64_t slice, int64_t begin, int64_t end) {
        NormRows mine = a;
        mine.dweight = partial.view().row<float>(slice);
        mine.dbias = mine.dweight + parameters;
        HWY_DYNAMIC_DISPATCH(backward)(op.kind, mine, begin, end);
    });
    for (int64_t s = 0; s < slices; ++s) {
        const float* from = partial.view().row<float>(s);
        for (int64_t i = 0; i < parameters; ++i) op.dweight.as<float>()[i] += from[i];
        if (op.dbias)
            for (int64_t i = 0; i < parameters; ++i) op.dbias.as<float>()[i] += from[parameters + i];
    }
}

}  // namespace nigiri
#endif
