// The short convolution of a Mamba block with its SiLU (causal_conv1d.h), one sample at a time. The last inputs stand
// in a ring that nothing is moved in.
#pragma once

#include <vector>

#include "kernels/cpu/engine/state_step.h"

namespace nigiri::cpu {

class ShortConv {
  public:
    ShortConv() = default;
    ShortConv(const BlockStep& block, int64_t streams, Arena& arena);

    // Sample `time` of one stream, for a share of the channels: y = silu(conv(x)).
    void step(int64_t stream, int64_t time, Share share, const float* x, float* y) const;

    // The last taps - 1 inputs before sample `time`, (taps - 1, D).
    std::vector<float> state(int64_t stream, int64_t time) const;
    void set_state(int64_t stream, int64_t time, const std::vector<float>& values);
    size_t state_size() const { return static_cast<size_t>((taps_ - 1) * channels_); }

  private:
    float* slot(int64_t stream, int64_t time) const {
        return ring_ + (stream * taps_ + (time % taps_ + taps_) % taps_) * padded(channels_);
    }

    int64_t channels_ = 0, taps_ = 1;
    const float *weight_ = nullptr, *bias_ = nullptr;  // (taps, padded channels)
    float* ring_ = nullptr;                            // (streams, taps, padded channels)
};

}  // namespace nigiri::cpu
