#include "audio/input.h"

#include <algorithm>
#include <chrono>

#include "kernels/error.h"

namespace nigiri {
namespace {

class NullInput final : public AudioInput {
  public:
    NullInput(int rate, std::vector<float> samples, bool real_time)
        : samples_(std::move(samples)), real_time_(real_time), begun_(Clock::now()) {
        rate_ = rate;
    }

    std::string description() const override { return "null"; }
    size_t read(std::span<float> samples) override {
        size_t n = samples.size();
        if (real_time_) {
            const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
            n = std::min(n, static_cast<size_t>(seconds * rate_) - given_);
        } else {
            n = std::min(n, samples_.size() - given_);
        }
        for (size_t i = 0; i < n; ++i, ++given_) samples[i] = given_ < samples_.size() ? samples_[given_] : 0.0f;
        return n;
    }
    int64_t dropped() const override { return 0; }

  private:
    using Clock = std::chrono::steady_clock;
    std::vector<float> samples_;
    bool real_time_;
    Clock::time_point begun_;
    size_t given_ = 0;
};

}  // namespace

std::unique_ptr<AudioInput> open_null_input(int rate, std::vector<float> samples, bool real_time) {
    if (rate < 1000 || rate > 768000) throw Error("cannot record at " + std::to_string(rate) + " Hz");
    return std::make_unique<NullInput>(rate, std::move(samples), real_time);
}

std::unique_ptr<AudioInput> open_input(const std::string& what, int rate) {
    if (what == "null") return open_null_input(rate);
    if (what.empty() || what == "auto") return open_device_input(rate);
    return open_device_input(rate, find_device(input_devices(), what, "connect one, or use a sound file").index);
}

}  // namespace nigiri
