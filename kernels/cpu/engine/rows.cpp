#include "kernels/cpu/engine/rows.h"

#include <algorithm>

#include "kernels/cpu/engine/packed_matrix.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/rows.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;
constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(Tag()));

void norm(const RowNorm& n, const float* HWY_RESTRICT x, float* HWY_RESTRICT y) {
    const Tag d;
    const V per_column = hn::Set(d, 1.0f / static_cast<float>(n.width));
    const int64_t whole = n.width / lanes * lanes, all = (n.width + lanes - 1) / lanes * lanes;
    const auto rest = hn::FirstN(d, static_cast<size_t>(n.width - whole));
    V mean = hn::Zero(d), square = hn::Zero(d);
    if (n.kind != NormKind::rms) {
        for (int64_t i = 0; i < whole; i += lanes) mean = hn::Add(mean, hn::Load(d, x + i));
        if (whole < all) mean = hn::Add(mean, hn::IfThenElseZero(rest, hn::Load(d, x + whole)));
        mean = hn::Mul(hn::SumOfLanes(d, mean), per_column);
    }
    for (int64_t i = 0; i < whole; i += lanes) {
        const V c = hn::Sub(hn::Load(d, x + i), mean);
        square = hn::MulAdd(c, c, square);
    }
    if (whole < all) {
        const V c = hn::IfThenElseZero(rest, hn::Sub(hn::Load(d, x + whole), mean));
        square = hn::MulAdd(c, c, square);
    }
    const V variance = hn::Mul(hn::SumOfLanes(d, square), per_column);
    const V rstd = hn::Div(hn::Set(d, 1.0f), hn::Sqrt(hn::Add(variance, hn::Set(d, n.eps))));
    if (n.kind == NormKind::scalar) {
        const V scale = hn::Mul(rstd, hn::Set(d, n.weight[0])), shift = hn::Sub(mean, hn::Set(d, n.bias[0]));
        for (int64_t i = 0; i < all; i += lanes)
            hn::Store(hn::Mul(scale, hn::Sub(hn::Load(d, x + i), shift)), d, y + i);
        return;
    }
    for (int64_t i = 0; i < all; i += lanes) {
        const V v = hn::Mul(hn::Mul(hn::Sub(hn::Load(d, x + i), mean), rstd), hn::Load(d, n.weight + i));
        hn::Store(hn::Add(v, hn::Load(d, n.bias + i)), d, y + i);
    }
}

void add(const float* HWY_RESTRICT x, float* HWY_RESTRICT y, int64_t count) {
    const Tag d;
    for (int64_t i = 0; i < count; i += lanes) hn::Store(hn::Add(hn::Load(d, y + i), hn::Load(d, x + i)), d, y + i);
}

void gelu(float* x, int64_t count) {
    const Tag d;
    for (int64_t i = 0; i < count; i += lanes) {
        const V v = hn::Load(d, x + i);
        V density = hn::Zero(d);
        hn::Store(hn::Mul(v, simd::normal_cdf(d, v, density)), d, x + i);
    }
}

void add_glu(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* HWY_RESTRICT y, int64_t count) {
    const Tag d;
    for (int64_t i = 0; i < count; i += lanes)
        hn::Store(hn::MulAdd(hn::Load(d, a + i), simd::sigmoid(d, hn::Load(d, b + i)), hn::Load(d, y + i)), d, y + i);
}

void gate(const float* HWY_RESTRICT z, float* HWY_RESTRICT y, int64_t count) {
    const Tag d;
    for (int64_t i = 0; i < count; i += lanes)
        hn::Store(hn::Mul(hn::Load(d, y + i), simd::silu(d, hn::Load(d, z + i))), d, y + i);
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(norm);
HWY_EXPORT(add);
HWY_EXPORT(gelu);
HWY_EXPORT(add_glu);
HWY_EXPORT(gate);

RowNorm::RowNorm(const NormMap& map, Arena& arena)
    : kind(map.kind), eps(static_cast<float>(map.eps)), width(map.width) {
    const auto columns = [&](const std::vector<float>& values) {
        float* row = arena.allocate<float>(padded(width));
        std::copy(values.begin(), values.end(), row);
        return row;
    };
    weight = columns(map.weight);
    bias = columns(map.bias);
}

void RowNorm::apply(const float* x, float* y) const { HWY_DYNAMIC_DISPATCH(norm)(*this, x, y); }
void add_row(const float* x, float* y, int64_t count) { HWY_DYNAMIC_DISPATCH(add)(x, y, count); }
void gelu_row(float* x, int64_t count) { HWY_DYNAMIC_DISPATCH(gelu)(x, count); }
void add_glu_row(const float* a, const float* b, float* y, int64_t count) {
    HWY_DYNAMIC_DISPATCH(add_glu)(a, b, y, count);
}
void gate_row(const float* z, float* y, int64_t count) { HWY_DYNAMIC_DISPATCH(gate)(z, y, count); }

}  // namespace nigiri::cpu
#endif
