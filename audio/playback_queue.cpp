#include "audio/playback_queue.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nigiri {

void PlaybackQueue::fill(float* out, size_t frames, size_t channels) noexcept {
    if (frames > block_.load(std::memory_order_relaxed)) block_.store(frames, std::memory_order_relaxed);
    const float target = paused_.load(std::memory_order_relaxed) ? 0.0f : volume_.load(std::memory_order_relaxed);
    // Asked before reading: what is written before `finished` is set must be seen as written.
    const bool finished = finished_.load(std::memory_order_acquire);
    std::array<float, fade> block;
    size_t done = 0;
    while (done < frames) {
        // Faded out entirely: nothing is taken, so that playing goes on where it was paused.
        const bool still = gain_ == 0 && target == 0 && paused_.load(std::memory_order_relaxed);
        const size_t wanted = still ? 0 : std::min(frames - done, block.size());
        const size_t got = ring_.read(std::span(block).first(wanted));
        if (got == 0) {
            if (!still && playing_) {
                if (!finished) underruns_.fetch_add(1, std::memory_order_relaxed);
                playing_ = false;
                gain_ = 0;  // what comes after a gap fades in
            }
            std::fill(out + done * channels, out + frames * channels, 0.0f);
            return;
        }
        playing_ = true;
        constexpr float step = 1.0f / static_cast<float>(fade);
        for (size_t i = 0; i < got; ++i) {
            gain_ = gain_ < target ? std::min(target, gain_ + step) : std::max(target, gain_ - step);
            const float x = block[i] * gain_;
            for (size_t c = 0; c < channels; ++c) out[(done + i) * channels + c] = x;
        }
        played_.fetch_add(got, std::memory_order_release);
        done += got;
    }
}

}  // namespace nigiri
