// A sound at any zoom: what a waveform on the screen shows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "audio/sound.h"

namespace nigiri {

// Of a range of samples. Of none: lowest above highest.
struct SampleSummary {
    float lowest = 1, highest = -1, rms = 0;
};

// Lowest, highest and energy of blocks of 64 samples, of 8 blocks of those, of 8 of these, and so on, made once and
// continued as the sound grows. Whatever the zoom, a column on the screen is put together from about a hundred of
// these and of single samples, and is exact. A twentieth of the sound's memory. For one thread.
class Overview {
  public:
    explicit Overview(std::shared_ptr<const Sound> sound) : sound_(std::move(sound)) {}

    const Sound& sound() const { return *sound_; }
    // Samples covered: all that there were at the last update(), if its budget was enough.
    int64_t size() const { return size_; }
    // Continues over at most `budget` new samples (an hour of 48 kHz is 173 million; a million takes about two
    // milliseconds). Returns whether there are none left.
    bool update(int64_t budget = INT64_MAX);

    // Column c of n is samples begin + c (end - begin) / n up to those of column c + 1, but at least one; what lies
    // outside of [0, size()) does not count. Throws Error unless begin < end.
    void query(int64_t begin, int64_t end, std::span<SampleSummary> columns) const;
    // Of samples [begin, end).
    SampleSummary summary(int64_t begin, int64_t end) const;

  private:
    static constexpr int64_t first_block = 64, factor = 8;
    struct Block {
        float lowest, highest, energy;
    };
    struct Sum {
        float lowest, highest;
        double energy;
        void add(const Block& b);
        void add(std::span<const float> samples);
    };

    void add_first(int64_t begin, int64_t end);

    std::shared_ptr<const Sound> sound_;
    int64_t size_ = 0;
    std::vector<std::vector<Block>> levels_;  // whole blocks only
};

}  // namespace nigiri
