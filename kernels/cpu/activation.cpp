#include "kernels/activation.h"

#include <cmath>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void gelu_block(Rows x, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        const auto v = at.load(d, x);
        auto density = hn::Undefined(d);
        at.store(hn::Mul(v, simd::normal_cdf(d, v, density)), d, y);
    });
}

void gelu_slope_block(Rows x, Rows dy, Rows dx, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        const auto v = at.load(d, x);
        auto density = hn::Undefined(d);
        const auto cdf = simd::normal_cdf(d, v, density);
        at.store(hn::Mul(at.load(d, dy), hn::MulAdd(v, density, cdf)), d, dx);
    });
}

void glu_block(Rows a, Rows b, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        at.store(hn::Mul(at.load(d, a), simd::sigmoid(d, at.load(d, b))), d, y);
    });
}

void glu_slope_block(Rows a, Rows b, Rows dy, Rows da, Rows db, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        const auto s = simd::sigmoid(d, at.load(d, b));
        const auto g = hn::Mul(at.load(d, dy), s);
        const auto slope = hn::Mul(hn::Mul(g, at.load(d, a)), hn::Sub(hn::Set(d, 1.0f), s));
        at.store(g, d, da);
        at.store(slope, d, db);
    });
}

void gate_block(Rows x, Rows z, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns,
              [=](auto d, auto at) HWY_ATTR { at.store(hn::Mul(at.load(d, x), simd::silu(d, at.load(d, z))), d, y); });
}

void gate_slope_block(Rows x, Rows z, Rows dy, Rows dx, Rows dz, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        const auto v = at.load(d, z), g = at.load(d, dy), u = at.load(d, x);
        const auto s = simd::sigmoid(d, v);
        at.store(hn::Mul(g, hn::Mul(v, s)), d, dx);
        at.store(hn::Mul(hn::Mul(g, u), simd::silu_slope(d, v, s)), d, dz);
    });
}

void product_block(Rows x1, Rows x2, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns,
              [=](auto d, auto at) HWY_ATTR { at.store(hn::Mul(at.load(d, x1), at.load(d, x2)), d, y); });
}

void product_slope_block(Rows x1, Rows x2, Rows dy, Rows dx1, Rows dx2, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        const auto a = at.load(d, x1), b = at.load(d, x2), g = at.load(d, dy);
        at.store(hn::Mul(g, b), d, dx1);
        at.store(hn::Mul(g, a), d, dx2);
    });
}

void negative_exp_block(Rows x, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR { at.store(hn::Neg(simd::exp(d, at.load(d, x))), d, y); });
}

void multiply_add_block(Rows x1, Rows x2, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns, [=](auto d, auto at) HWY_ATTR {
        at.store(hn::MulAdd(at.load(d, x1), at.load(d, x2), at.load(d, y)), d, y);
    });
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(gelu_block);
HWY_EXPORT(gelu_slope_block);
HWY_EXPORT(glu_block);
HWY_EXPORT(glu_slope_block);
HWY_EXPORT(gate_block);
HWY_EXPORT(gate_slope_block);
HWY_EXPORT(product_block);
HWY_EXPORT(product_slope_block);
HWY_EXPORT(negative_exp_block);
HWY_EXPORT(multiply_add_block);

// What an exponential and a division cost beside a copy: decides from which size threads are woken.
constexpr int64_t cost = 4;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); }

// Element-wise operations: `block` for float32 a vector at a time, `element` for float64 one at a time.
template <class BlockF, class ElementF, class... Views>
void elementwise(const char* name, int threads, const BlockF& block, const ElementF& element, const View& first,
                 const Views&... others) {
    require(((others.shape == first.shape && others.dtype == first.dtype) && ...), name, "equal shapes and types");
    dispatch(first.dtype, [&](auto zero) {
        if constexpr (std::is_same_v<decltype(zero), float>)
            parallel_blocks(threads, cost, block, first, others...);
        else
            for_each_element(first, element);
    });
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::gelu_forward(const GeluForward& op) {
    elementwise(
        "gelu_forward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(gelu_block)
            (b.of(op.x), b.of(op.y), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) {
            const double x = op.x.row<double>(r)[c];
            op.y.row<double>(r)[c] = x * normal_cdf(x);
        },
        op.x, op.y);
}

void CpuBackend::gelu_backward(const GeluBackward& op) {
    elementwise(
        "gelu_backward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(gelu_slope_block)(b.of(op.x), b.of(op.dy), b.of(op.dx), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) {
            const double x = op.x.row<double>(r)[c];
            op.dx.row<double>(r)[c] = op.dy.row<double>(r)[c] * (normal_cdf(x) + x * normal_density(x));
        },
        op.x, op.dy, op.dx);
}

void CpuBackend::glu_forward(const GluForward& op) {
    const int64_t h = op.y.columns();
    require(op.x.columns() == 2 * h, "glu_forward", "x of twice the columns of y");
    const View a = op.x.columns(0, h), b = op.x.columns(h, h);
    elementwise(
        "glu_forward", threads(),
        [&](const Block& k) {
            HWY_DYNAMIC_DISPATCH(glu_block)
            (k.of(a), k.of(b), k.of(op.y), k.rows, k.columns);
        },
        [&](int64_t r, int64_t c) { op.y.row<double>(r)[c] = a.row<double>(r)[c] * sigmoid(b.row<double>(r)[c]); },
        op.y, a, b);
}

void CpuBackend::glu_backward(const GluBackward& op) {
    const int64_t h = op.dy.columns();
    require(op.x.columns() == 2 * h && op.dx.columns() == 2 * h, "glu_backward", "x and dx of twice the columns of dy");
    const View a = op.x.columns(0, h), b = op.x.columns(h, h), da = op.dx.columns(0, h), db = op.dx.columns(h, h);
    elementwise(
        "glu_backward", threads(),
        [&](const Block& k) {
            HWY_DYNAMIC_DISPATCH(glu_slope_block)
            (k.of(a), k.of(b), k.of(op.dy), k.of(da), k.of(db), k.rows, k.columns);
        },
        [&](int64_t r, int64_t c) {
            const double s = sigmoid(b.row<double>(r)[c]), g = op.dy.row<double>(r)[c] * s, x = a.row<double>(r)[c];
            da.row<double>(r)[c] = g;
            db.row<double>(r)[c] = g * x * (1 - s);
        },
        op.dy, a, b, da, db);
}

void CpuBackend::gate_forward(const GateForward& op) {
    elementwise(
        "gate_forward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(gate_block)(b.of(op.x), b.of(op.z), b.of(op.y), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) {
            const double z = op.z.row<double>(r)[c];
            op.y.row<double>(r)[c] = op.x.row<double>(r)[c] * z * sigmoid(z);
        },
        op.x, op.z, op.y);
}

void CpuBackend::gate_backward(const GateBackward& op) {
    elementwise(
        "gate_backward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(gate_slope_block)
            (b.of(op.x), b.of(op.z), b.of(op.dy), b.of(op.dx), b.of(op.dz), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) {
            const double x = op.x.row<double>(r)[c], z = op.z.row<double>(r)[c], g = op.dy.row<double>(r)[c];
            const double s = sigmoid(z);
            op.dx.row<double>(r)[c] = g * z * s;
            op.dz.row<double>(r)[c] = g * x * s * (1 + z * (1 - s));
        },
        op.x, op.z, op.dy, op.dx, op.dz);
}

void CpuBackend::product_forward(const ProductForward& op) {
    elementwise(
        "product_forward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(product_block)(b.of(op.x1), b.of(op.x2), b.of(op.y), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) { op.y.row<double>(r)[c] = op.x1.row<double>(r)[c] * op.x2.row<double>(r)[c]; },
        op.x1, op.x2, op.y);
}

void CpuBackend::product_backward(const ProductBackward& op) {
    elementwise(
        "product_backward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(product_slope_block)
            (b.of(op.x1), b.of(op.x2), b.of(op.dy), b.of(op.dx1), b.of(op.dx2), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) {
            const double a = op.x1.row<double>(r)[c], b = op.x2.row<double>(r)[c], g = op.dy.row<double>(r)[c];
            op.dx1.row<double>(r)[c] = g * b;
            op.dx2.row<double>(r)[c] = g * a;
        },
        op.x1, op.x2, op.dy, op.dx1, op.dx2);
}

void CpuBackend::negative_exp_forward(const NegativeExpForward& op) {
    elementwise(
        "negative_exp_forward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(negative_exp_block)
            (b.of(op.x), b.of(op.y), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) { op.y.row<double>(r)[c] = -std::exp(op.x.row<double>(r)[c]); }, op.x, op.y);
}

void CpuBackend::negative_exp_backward(const NegativeExpBackward& op) {
    elementwise(
        "negative_exp_backward", threads(),
        [&](const Block& b) {
            HWY_DYNAMIC_DISPATCH(multiply_add_block)(b.of(op.dy), b.of(op.y), b.of(op.dx), b.rows, b.columns);
        },
        [&](int64_t r, int64_t c) { op.dx.row<double>(r)[c] += op.dy.row<double>(r)[c] * op.y.row<double>(r)[c]; },
        op.dy, op.y, op.dx);
}

}  // namespace nigiri
#endif
