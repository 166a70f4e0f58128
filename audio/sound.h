// Mono samples that several threads share, also while they are still being made.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace nigiri {

// One thread appends; any number read what is there, without locks. Samples once appended stay where they are and do
// not change, so that nothing is copied when a sound grows, and a piece may be used as long as the sound lives.
class Sound {
  public:
    // A growing sound, empty. rate in Hz; `expected` is the length it will have in samples, 0 if unknown (it may
    // turn out shorter, not longer). Throws Error on a rate below 1.
    explicit Sound(int rate, int64_t expected = 0);
    // A finished one.
    Sound(int rate, std::vector<float> samples);
    ~Sound();
    Sound(const Sound&) = delete;
    Sound& operator=(const Sound&) = delete;

    int rate() const { return rate_; }
    // Samples there are by now.
    int64_t size() const { return size_.load(std::memory_order_acquire); }
    // Samples there will be: size() where it is final, otherwise what was announced; 0 if unknown.
    int64_t expected() const { return final() ? size() : expected_; }
    // Nothing more will come: said by finish(), or as long as announced. A size() asked for afterwards is the last.
    bool final() const { return final_.load(std::memory_order_acquire) || (expected_ > 0 && size() >= expected_); }

    // The writing thread. Throws Error where there would be more than was announced, after finish(), and where memory
    // runs out.
    void append(std::span<const float> samples);
    void finish() { final_.store(true, std::memory_order_release); }

    // The samples from `at` on that lie side by side, as many as there are; empty outside of [0, size()).
    std::span<const float> piece(int64_t at) const;
    // out[i] = sample begin + i, 0 outside of [0, size()). Returns how many were inside.
    size_t read(int64_t begin, std::span<float> out) const;
    std::vector<float> copy() const;

  private:
    // Block k holds first_block * 2^k samples: 40 of them are more than any memory, and all that is there can be found
    // without a list that grows.
    static constexpr int64_t first_block = 1 << 14;
    static constexpr size_t blocks = 40;
    static size_t block_of(int64_t at);
    static int64_t begin_of(size_t block) { return first_block * ((int64_t{1} << block) - 1); }

    int rate_;
    int64_t expected_ = 0;
    std::vector<float> whole_;  // of a sound that was finished from the start; the blocks are unused then
    std::array<std::unique_ptr<float[]>, blocks> blocks_;
    std::atomic<int64_t> size_{0};  // published after the samples and the block that they are in
    std::atomic<bool> final_{false};
};

}  // namespace nigiri
