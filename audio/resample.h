// Sample-rate conversion in blocks (soxr, high quality: 20 bits, linear phase).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace nigiri {

// One channel. After finish() the output holds exactly round(n * to / from) samples for n samples of input,
// aligned with the input (no delay). With from == to samples pass unchanged.
class Resampler {
  public:
    // Rates in Hz, each at least 1. Throws Error on a rate or ratio soxr refuses.
    Resampler(int from, int to);
    ~Resampler();
    Resampler(Resampler&&) noexcept;
    Resampler& operator=(Resampler&&) noexcept;

    // Appends what is ready to `out`.
    void process(std::span<const float> in, std::vector<float>& out);
    // Appends the rest. The resampler is then ready for another signal.
    void finish(std::vector<float>& out);

  private:
    struct Engine;
    std::unique_ptr<Engine> engine_;
    int from_, to_;
    int64_t consumed_ = 0, produced_ = 0;
};

// round(n * to / from).
int64_t resampled_length(int64_t n, int from, int to);
std::vector<float> resample(std::span<const float> samples, int from, int to);

}  // namespace nigiri
