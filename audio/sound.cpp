#include "audio/sound.h"

#include <algorithm>
#include <bit>
#include <new>
#include <string>

#include "kernels/error.h"

namespace nigiri {
namespace {

int checked_rate(int rate) {
    if (rate < 1) throw Error("a sound cannot have " + std::to_string(rate) + " samples a second");
    return rate;
}

}  // namespace

Sound::Sound(int rate, int64_t expected) : rate_(checked_rate(rate)), expected_(std::max<int64_t>(expected, 0)) {}

Sound::Sound(int rate, std::vector<float> samples) : rate_(checked_rate(rate)), whole_(std::move(samples)) {
    size_.store(static_cast<int64_t>(whole_.size()), std::memory_order_release);
    finish();
}

Sound::~Sound() = default;

size_t Sound::block_of(int64_t at) {
    return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(at / first_block + 1)) - 1);
}

void Sound::append(std::span<const float> samples) {
    if (samples.empty()) return;
    if (final()) throw Error("a finished sound cannot grow");
    int64_t at = size_.load(std::memory_order_relaxed);
    if (expected_ > 0 && static_cast<int64_t>(samples.size()) > expected_ - at)
        throw Error("a sound cannot become longer than was announced");
    while (!samples.empty()) {
        const size_t block = block_of(at);
        if (!blocks_[block]) {
            try {
                // Left as it is: pages that no sample is in yet take no memory.
                blocks_[block] = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(first_block) << block);
            } catch (const std::bad_alloc&) {
                throw Error("there is no memory for a longer sound");
            }
        }
        const size_t offset = static_cast<size_t>(at - begin_of(block));
        const size_t n = std::min(samples.size(), (static_cast<size_t>(first_block) << block) - offset);
        std::copy_n(samples.begin(), n, blocks_[block].get() + offset);
        samples = samples.subspan(n);
        at += static_cast<int64_t>(n);
        size_.store(at, std::memory_order_release);
    }
}

std::span<const float> Sound::piece(int64_t at) const {
    const int64_t there = size();
    if (at < 0 || at >= there) return {};
    if (!whole_.empty()) return std::span(whole_).subspan(static_cast<size_t>(at));
    const size_t block = block_of(at);
    const int64_t end = std::min(there, begin_of(block + 1));
    return {blocks_[block].get() + (at - begin_of(block)), static_cast<size_t>(end - at)};
}

size_t Sound::read(int64_t begin, std::span<float> out) const {
    const int64_t there = size(), end = begin + static_cast<int64_t>(out.size());
    const int64_t first = std::clamp<int64_t>(0, begin, end), last = std::clamp<int64_t>(there, first, end);
    std::fill(out.begin(), out.begin() + (first - begin), 0.0f);
    for (int64_t at = first; at < last;) {
        const auto part = piece(at);
        const size_t n = std::min(part.size(), static_cast<size_t>(last - at));
        std::copy_n(part.begin(), n, out.begin() + (at - begin));
        at += static_cast<int64_t>(n);
    }
    std::fill(out.begin() + (last - begin), out.end(), 0.0f);
    return static_cast<size_t>(last - first);
}

std::vector<float> Sound::copy() const {
    std::vector<float> all(static_cast<size_t>(size()));
    read(0, all);
    return all;
}

}  // namespace nigiri
