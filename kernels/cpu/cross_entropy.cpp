#include "kernels/cross_entropy.h"

#include <cmath>
#include <limits>
#include <string>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cross_entropy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// One row: the loss, and the gradient where `gradient` is given (it may be `logits`). A gradient without a
// target is 0.
float row_loss(const float* logits, float* gradient, int64_t columns, int32_t target, float scale) {
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t whole = columns / lanes * lanes;
    const auto rest = static_cast<size_t>(columns - whole);
    const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
    if (target < 0) {
        for (int64_t c = 0; gradient != nullptr && c < columns; ++c) gradient[c] = 0;
        return 0;
    }
    const float at_target = logits[target];

    V maximum = lowest, second = lowest;
    int64_t c = 0;
    for (; c + 2 * lanes <= whole; c += 2 * lanes) {
        maximum = hn::Max(maximum, hn::LoadU(d, logits + c));
        second = hn::Max(second, hn::LoadU(d, logits + c + lanes));
    }
    if (c < whole) maximum = hn::Max(maximum, hn::LoadU(d, logits + c));
    if (rest > 0)
        second =
            hn::Max(second, hn::IfThenElse(hn::FirstN(d, rest), simd::load_first(d, logits + whole, rest), lowest));
    maximum = hn::MaxOfLanes(d, hn::Max(maximum, second));

    V total = hn::Zero(d);
    for (c = 0; c < whole; c += lanes) {
        const auto e = simd::exp(d, hn::Sub(hn::LoadU(d, logits + c), maximum));
        total = hn::Add(total, e);
        if (gradient != nullptr) hn::StoreU(e, d, gradient + c);
    }
    if (rest > 0) {
        const auto e = simd::exp(d, hn::Sub(simd::load_first(d, logits + whole, rest), maximum));
        total = hn::Add(total, hn::IfThenElseZero(hn::FirstN(d, rest), e));
        if (gradient != nullptr) simd::store_first(e, d, gradient + whole, rest);
    }
    const float sum = simd::sum(d, total);

    if (gradient != nullptr) {
        const auto factor = hn::Set(d, scale / sum);
        for (c = 0; c < whole; c += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, gradient + c), factor), d, gradient + c);
        if (rest > 0)
            simd::store_first(hn::Mul(simd::load_first(d, gradient + whole, rest), factor), d, gradient + whole, rest);
        gradient[target] -= scale;
    }
    return std::log(sum) + (hn::GetLane(maximum) - at_target);
}

void row_losses(Rows logits, Elements<const int32_t> targets, float* losses, Rows gradient, int64_t columns,
                float scale, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
        losses[r] = row_loss(logits[r], gradient.data != nullptr ? gradient[r] : nullptr, columns, targets[r], scale);
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(row_losses);

void plain_row(const CrossEntropy& op, int64_t row, int32_t target, double scale) {
    const int64_t columns = op.logits.columns();
    const double* x = op.logits.row<double>(row);
    double maximum = x[0], sum = 0;
    for (int64_t c = 1; c < columns; ++c) maximum = std::max(maximum, x[c]);
    for (int64_t c = 0; c < columns; ++c) sum += std::exp(x[c] - maximum);
    op.losses.as<double>()[row] = target < 0 ? 0 : std::log(sum) + maximum - x[target];
    if (!op.dlogits) return;
    double* dx = op.dlogits.row<double>(row);
    for (int64_t c = 0; c < columns; ++c)
        dx[c] = target < 0 ? 0 : scale * (std::exp(x[c] - maximum) / sum - (c == target ? 1 : 0));
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::cross_entropy(const CrossEntropy& op) {
    const int64_t rows = op.logits.rows(), columns = op.logits.columns();
    require(op.targets.size() == rows && op.losses.size() == rows && op.losses.contiguous() &&
                op.losses.dtype == op.logits.dtype,
            "cross_entropy", "logits (rows, V), targets (rows), losses (rows)");
    if (op.dlogits)
        require(op.dlogits.shape == op.logits.shape && op.dlogits.dtype == op.logits.dtype, "cross_entropy",
                "dlogits like logits");
    if (op.scale_at)
        require(op.scale_at.size() == 1 && op.scale_at.dtype == op.losses.dtype, "cross_entropy",
                "one scale of the losses' type");
    const Elements<const int32_t> targets(op.targets);
    for (int64_t r = 0; r < rows; ++r)
        if (targets[r] < -1 || targets[r] >= columns)
            throw Error("target " + std::to_string(targets[r]) + " at position " + std::to_string(r) +
                        " is none of the " + std::to_string(columns) + " classes");
    if (op.logits.dtype == DType::f64) {
        const double scale = op.scale_at ? *op.scale_at.as<double>() : op.scale;
        for (int64_t r = 0; r < rows; ++r) plain_row(op, r, targets[r], scale);
        return;
    }
    const Rows logits{op.logits.as<float>(), op.logits.row_stride};
    const Rows gradient{op.dlogits.as<float>(), op.dlogits.row_stride};
    float* losses = op.losses.as<float>();
    const float scale = op.scale_at ? *op.scale_at.as<float>() : static_cast<float>(op.scale);
    parallel_ranges(threads(), rows, 1, op.logits.size() * 4, [&](int64_t begin, int64_t end) {
        HWY_DYNAMIC_DISPATCH(row_losses)
        (logits, targets, losses, gradient, columns, scale, begin, end);
    });
}

}  // namespace nigiri
#endif
