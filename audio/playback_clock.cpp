#include "audio/playback_clock.h"

#include <algorithm>
#include <cmath>

namespace nigiri {
namespace {

constexpr double settling = 0.2;         // seconds in which a difference falls to 1 / e: several blocks of any device
constexpr double longest_jitter = 0.15;  // seconds: more is no unevenness, the device stood still

}  // namespace

void PlaybackClock::start(int64_t base, int rate, double latency) {
    rate_ = rate;
    latency_ = latency * rate;
    written_ = base;
    taken_ = static_cast<double>(base);
    heard_ = std::max(heard_, taken_);
    running_ = false;
}

void PlaybackClock::update(double now, int64_t taken, int64_t written) {
    const double said = static_cast<double>(taken);
    if (taken < written) {
        if (!running_) {
            taken_ = said;  // after a rest: the first sample is only just being taken
        } else {
            const double guess = taken_at(now), error = said - guess;
            taken_ = std::abs(error) > longest_jitter * rate_ ? said
                                                              : guess + error * (1 - std::exp((now_ - now) / settling));
        }
        running_ = true;
    } else {
        // All is taken; what the device still holds goes on at its pace.
        taken_ = running_ ? taken_at(now) : said + latency_;
        if (taken_ >= said + latency_) running_ = false;
        taken_ = std::min(taken_, said + latency_);
    }
    now_ = now;
    written_ = written;
}

double PlaybackClock::heard(double now) const {
    const double end = static_cast<double>(written_);
    const double taken = running_ ? taken_at(now) : taken_;
    heard_ = std::max(heard_, std::min(end, taken - latency_));
    return heard_;
}

}  // namespace nigiri
