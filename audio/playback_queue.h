// What stands between a program that makes samples and a device that takes them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "audio/ring.h"

namespace nigiri {

// The producer (any one thread) writes samples and changes the settings; the consumer (the audio callback)
// calls fill() and nothing else. fill() never allocates, locks, waits or makes a system call.
class PlaybackQueue {
  public:
    // Room for at least `capacity` mono samples.
    explicit PlaybackQueue(size_t capacity) : ring_(capacity) {}

    // Producer.
    size_t write(std::span<const float> samples) noexcept { return ring_.write(samples); }
    size_t room() const noexcept { return ring_.room(); }
    size_t queued() const noexcept { return ring_.size(); }
    size_t capacity() const noexcept { return ring_.capacity(); }
    // Forget what is queued.
    void drop() noexcept { ring_.drop(); }
    // Nothing more is coming for now: running empty is then an end and no underrun. Writing again takes it
    // back.
    void set_finished(bool finished) noexcept { finished_.store(finished, std::memory_order_release); }
    // Playback fades out or in within `fade` samples, so that neither pause nor volume clicks. While paused
    // nothing is taken.
    void set_paused(bool paused) noexcept { paused_.store(paused, std::memory_order_relaxed); }
    bool paused() const noexcept { return paused_.load(std::memory_order_relaxed); }
    void set_volume(float volume) noexcept { volume_.store(volume, std::memory_order_relaxed); }

    // Consumer: `frames` frames of `channels` equal channels; silence where there is nothing.
    void fill(float* out, size_t frames, size_t channels) noexcept;

    // Any thread. Samples played; calls that ran empty in the midst of playing.
    uint64_t played() const noexcept { return played_.load(std::memory_order_acquire); }
    uint64_t underruns() const noexcept { return underruns_.load(std::memory_order_relaxed); }
    // The most frames asked for by one call of fill().
    size_t block() const noexcept { return block_.load(std::memory_order_relaxed); }

    static constexpr size_t fade = 256;

  private:
    Ring<float> ring_;
    std::atomic<bool> finished_{false}, paused_{false};
    std::atomic<float> volume_{1};
    std::atomic<uint64_t> played_{0}, underruns_{0};
    std::atomic<size_t> block_{0};
    // The consumer's own.
    float gain_ = 0;
    bool playing_ = false;
};

}  // namespace nigiri
