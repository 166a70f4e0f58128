#include "kernels/cpu/engine/short_conv.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/short_conv.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_math-inl.h"

#ifndef NIGIRI_SHORT_CONV_ONCE
#define NIGIRI_SHORT_CONV_ONCE
namespace nigiri::cpu {

inline constexpr int64_t most_taps = 8;  // causal_conv1d.h

struct ConvRow {
    const float* past[most_taps];  // the inputs, oldest first; the last is the ring's place for x
    const float *x, *weight, *bias;
    float *newest, *y;
    int64_t taps, width;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void conv_silu(const ConvRow& c, int64_t begin, int64_t end) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t i = begin; i < end; i += lanes) {
        const auto x = hn::Load(d, c.x + i);
        hn::Store(x, d, c.newest + i);
        auto sum = hn::Load(d, c.bias + i);
        for (int64_t k = 0; k + 1 < c.taps; ++k)
            sum = hn::MulAdd(hn::Load(d, c.weight + k * c.width + i), hn::Load(d, c.past[k] + i), sum);
        sum = hn::MulAdd(hn::Load(d, c.weight + (c.taps - 1) * c.width + i), x, sum);
        hn::Store(simd::silu(d, sum), d, c.y + i);
    }
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(conv_silu);

ShortConv::ShortConv(const BlockStep& block, int64_t streams, Arena& arena)
    : channels_(block.ssm.channels), taps_(block.taps) {
    if (taps_ < 1 || taps_ > most_taps) throw Error("a short convolution has 1 to 8 taps");
    const int64_t width = padded(channels_);
    float* weight = arena.allocate<float>(taps_ * width);
    float* bias = arena.allocate<float>(width);
    for (int64_t d = 0; d < channels_; ++d) {
        for (int64_t k = 0; k < taps_; ++k)
            weight[k * width + d] = block.conv_weight[static_cast<size_t>(d * taps_ + k)];
        bias[d] = block.conv_bias[static_cast<size_t>(d)];
    }
    weight_ = weight;
    bias_ = bias;
    ring_ = arena.allocate<float>(streams * taps_ * width);
}

void ShortConv::step(int64_t stream, int64_t time, Share share, const float* x, float* y) const {
    ConvRow row{{}, x, weight_, bias_, slot(stream, time), y, taps_, padded(channels_)};
    for (int64_t k = 0; k < taps_; ++k) row.past[k] = slot(stream, time - (taps_ - 1) + k);
    HWY_DYNAMIC_DISPATCH(conv_silu)(row, share.begin, share.end);
}

std::vector<float> ShortConv::state(int64_t stream, int64_t time) const {
    std::vector<float> values;
    for (int64_t k = 1; k < taps_; ++k) {
        const float* row = slot(stream, time - taps_ + k);
        values.insert(values.end(), row, row + channels_);
    }
    return values;
}

void ShortConv::set_state(int64_t stream, int64_t time, const std::vector<float>& values) {
    for (int64_t k = 1; k < taps_; ++k)
        std::copy_n(values.begin() + (k - 1) * channels_, channels_, slot(stream, time - taps_ + k));
}

}  // namespace nigiri::cpu
#endif
