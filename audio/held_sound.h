// Sound that is still being decided: its last seconds can be taken back until they are taken out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace nigiri {

// Samples go in at positions that go on by one, or back: then what came from there on is replaced. Out comes a stream
// without a jump in it: where some of what is replaced has left already, the new sound is joined to what would have
// followed by an equal-power crossfade, because what was heard cannot be taken back. Samples are within [-1, 1].
class HeldSound {
  public:
    // In samples. At least `fade` are always kept back, so that there is something to fade out with.
    HeldSound(int64_t hold, int64_t fade);

    // Throws Error where samples would be left out.
    void put(int64_t position, float x);
    // The next sample comes from elsewhere: joined to what would have followed. Positions go on.
    void join();
    // Nothing more comes: all of it may be taken.
    void finish() { finished_ = true; }

    // Takes out what may be, as much as fits; returns how much.
    size_t take(std::span<float> out);
    int64_t taken() const { return taken_; }
    // What take() would give now, and that together with what was taken and what is kept back.
    int64_t ready() const;
    int64_t made() const { return taken_ + static_cast<int64_t>(pending_.size()); }
    // Times that something already taken was replaced.
    int64_t joins() const { return joins_; }

  private:
    void fade_from(size_t kept);

    int64_t hold_, fade_;
    std::deque<float> pending_;
    int64_t first_ = 0;        // position of the first pending sample
    std::vector<float> tail_;  // what fades out
    int64_t fade_begin_ = 0;   // position where it begins to
    int64_t taken_ = 0, joins_ = 0;
    bool finished_ = false;
};

}  // namespace nigiri
