// The level of what is being heard, for a meter on the screen.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace nigiri {

struct Levels {               // amplitudes, 1 being full scale
    float peak = 0, rms = 0;  // of the last 50 ms
    float held = 0;           // the highest peak of the last 1.5 s
    bool clipped = false;     // a sample reached full scale since the last reset
};

// One thread adds samples before they are heard, others read the levels at any sample of the stream; nobody waits.
// Levels are kept for blocks of about 10 ms, of the last 2.5 s.
class LevelMeter {
  public:
    // Samples of the stream from `at` on, without gaps. `rate` in Hz.
    void add(int64_t at, std::span<const float> samples, int rate);
    Levels at(int64_t heard) const;
    void reset_clipped() { clipped_.store(false, std::memory_order_relaxed); }

  private:
    static constexpr size_t blocks = 256;
    static constexpr int64_t window_blocks = 5, held_blocks = 150;

    // Peak and mean square in one word, so that they belong together.
    std::array<std::atomic<uint64_t>, blocks> blocks_{};
    std::atomic<int64_t> block_size_{160};
    std::atomic<bool> clipped_{false};
    // The adding thread's own: of the block under way.
    float peak_ = 0;
    double squares_ = 0;
};

}  // namespace nigiri
