#include "kernels/cpu/engine/pace.h"

#include <algorithm>

namespace nigiri::cpu {

namespace {

// Samples for which the faster way is kept before the other is tried again: about a second of sound.
constexpr int64_t stint = 16384;
// What together has to be worth: less would only keep processors from other programs.
constexpr double worth = 0.85;
// A sample that takes so much longer than alone has lost a thread to another program.
constexpr double lost_factor = 10, lost_nanoseconds = 500'000;

}  // namespace

Pace::Pace(int64_t period) : window_(std::min<int64_t>((128 + period - 1) / period * period, stint / 4)) {
    begin(false, true, 2 * window_);
}

void Pace::begin(bool together, bool trial, int64_t samples) {
    together_ = together;
    trial_ = trial;
    left_ = samples;
    count_ = 0;
    sum_ = 0;
}

void Pace::took(std::chrono::nanoseconds time) {
    const auto nanoseconds = static_cast<double>(time.count());
    // The first half of a trial wakes threads and fills their caches.
    if (!trial_ || left_ <= window_) {
        sum_ += nanoseconds;
        ++count_;
    }
    if (together_ && nanoseconds > lost_factor * alone_ + lost_nanoseconds) return begin(false, false, stint / 2);
    if (--left_ > 0) return;
    (together_ ? together_average_ : alone_) = sum_ / static_cast<double>(count_);
    // A long stint, or the very first trial, is followed by a trial of the other way, and that by the faster one.
    if (!trial_ || together_average_ == 0) return begin(!together_, true, 2 * window_);
    begin(together_average_ < worth * alone_, false, stint);
}

}  // namespace nigiri::cpu
