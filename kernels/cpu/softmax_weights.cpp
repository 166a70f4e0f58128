#include "kernels/softmax_weights.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax_weights.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, weight_block>;  // a block is a whole number of vectors

double weights_of(const float* x, size_t n, float peak, float scale, float* weights, float* blocks) {
    const Tag d;
    const size_t lanes = hn::Lanes(d);
    const auto shift = hn::Set(d, peak), factor = hn::Set(d, scale);
    double total = 0;
    for (size_t begin = 0; begin < n; begin += weight_block) {
        const size_t end = std::min(n, begin + weight_block);
        auto sum = hn::Zero(d);
        for (size_t i = begin; i < end; i += lanes) {
            const size_t left = end - i;
            const auto v = left >= lanes ? hn::LoadU(d, x + i) : simd::load_first(d, x + i, left);
            const auto w = simd::exp(d, hn::Mul(hn::Sub(v, shift), factor));
            if (left >= lanes) {
                hn::StoreU(w, d, weights + i);
                sum = hn::Add(sum, w);
            } else {
                simd::store_first(w, d, weights + i, left);
                sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, left), w));
            }
        }
        const float block = simd::sum(d, sum);
        blocks[begin / weight_block] = block;
        total += block;
    }
    return total;
}

float largest_of(const float* x, size_t n) {
    const Tag d;
    const size_t lanes = hn::Lanes(d);
    auto most = hn::Set(d, x[0]);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
    float result = hn::GetLane(hn::MaxOfLanes(d, most));
    for (; i < n; ++i) result = std::max(result, x[i]);
    return result;
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {

namespace cpu {
HWY_EXPORT(weights_of);
HWY_EXPORT(largest_of);
}  // namespace cpu

double softmax_weights(std::span<const float> logits, float peak, float scale, std::span<float> weights,
                       std::span<float> blocks) {
    using namespace cpu;
    return HWY_DYNAMIC_DISPATCH(weights_of)(logits.data(), logits.size(), peak, scale, weights.data(), blocks.data());
}

float largest(std::span<const float> x) {
    using namespace cpu;
    return HWY_DYNAMIC_DISPATCH(largest_of)(x.data(), x.size());
}

}  // namespace nigiri
#endif
