// Whether a team's work is faster together or alone, found out by doing both in turn. Together each sample waits for
// every thread several times, so that threads which share their processors with other programs lose milliseconds at a
// time; alone takes at most as many times longer as there are threads.
#pragma once

#include <chrono>
#include <cstdint>

namespace nigiri::cpu {

class Pace {
  public:
    // Samples cost the same every `period`.
    explicit Pace(int64_t period);

    bool together() const { return together_; }
    // Called after every sample with the time it took.
    void took(std::chrono::nanoseconds time);

  private:
    void begin(bool together, bool trial, int64_t samples);

    int64_t window_;  // samples of a trial that count
    bool together_ = false, trial_ = true;
    int64_t left_, count_ = 0;
    double sum_ = 0;
    double alone_ = 0, together_average_ = 0;  // nanoseconds a sample; 0: not known yet
};

}  // namespace nigiri::cpu
