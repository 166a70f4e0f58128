// Which sample is being heard now, between the steps in which a device takes them.
#pragma once

#include <cstdint>

namespace nigiri {

// A device takes blocks, and says so late and unevenly; a cursor that followed that would jump. This clock runs evenly
// at the sound's rate and is drawn towards what the device says. Times are in seconds and never fall.
class PlaybackClock {
  public:
    // A device was opened whose first sample is sample `base` of the stream; it is heard `latency` seconds after the
    // device took it.
    void start(int64_t base, int rate, double latency);
    // By now the device took the stream's samples before `taken`, of those before `written`.
    void update(double now, int64_t taken, int64_t written);
    // The sample of the stream that is heard: never falls, never beyond what was written.
    double heard(double now) const;

  private:
    double taken_at(double now) const { return taken_ + (now - now_) * rate_; }

    double rate_ = 1, latency_ = 0;  // samples a second, samples
    double now_ = 0, taken_ = 0;     // the estimate of the last update
    int64_t written_ = 0;
    bool running_ = false;
    mutable double heard_ = 0;
};

}  // namespace nigiri
