#include "audio/level_meter.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace nigiri {
namespace {

constexpr float full_scale = 1 - 1.0f / 32768;  // the largest 16-bit sample

uint64_t packed(float peak, float mean_square) {
    return static_cast<uint64_t>(std::bit_cast<uint32_t>(peak)) << 32 | std::bit_cast<uint32_t>(mean_square);
}

}  // namespace

void LevelMeter::add(int64_t at, std::span<const float> samples, int rate) {
    const int64_t size = std::max(1, rate / 100);
    if (size != block_size_.load(std::memory_order_relaxed)) {
        for (auto& b : blocks_) b.store(0, std::memory_order_relaxed);
        block_size_.store(size, std::memory_order_release);
        peak_ = 0;
        squares_ = 0;
    }
    for (const float x : samples) {
        peak_ = std::max(peak_, std::abs(x));
        squares_ += static_cast<double>(x) * x;
        if (++at % size != 0) continue;
        if (peak_ >= full_scale) clipped_.store(true, std::memory_order_relaxed);
        blocks_[static_cast<size_t>(at / size - 1) % blocks].store(
            packed(peak_, static_cast<float>(squares_ / static_cast<double>(size))), std::memory_order_release);
        peak_ = 0;
        squares_ = 0;
    }
}

Levels LevelMeter::at(int64_t heard) const {
    Levels levels;
    levels.clipped = clipped_.load(std::memory_order_relaxed);
    const int64_t last = heard / block_size_.load(std::memory_order_acquire);  // whole blocks heard
    double squares = 0;
    for (int64_t b = std::max<int64_t>(0, last - held_blocks); b < last; ++b) {
        const uint64_t block = blocks_[static_cast<size_t>(b) % blocks].load(std::memory_order_acquire);
        const float peak = std::bit_cast<float>(static_cast<uint32_t>(block >> 32));
        levels.held = std::max(levels.held, peak);
        if (b < last - window_blocks) continue;
        levels.peak = std::max(levels.peak, peak);
        squares += std::bit_cast<float>(static_cast<uint32_t>(block));
    }
    levels.rms = static_cast<float>(std::sqrt(squares / window_blocks));
    return levels;
}

}  // namespace nigiri
