// A lock-free ring between one producer and one consumer.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nigiri {

// One thread writes and one reads, each at its own pace; neither ever waits, locks or allocates. Memory is
// taken when it is made.
template <class T>
class Ring {
  public:
    // Room for at least `capacity` elements (rounded up to a power of two).
    explicit Ring(size_t capacity) : data_(std::bit_ceil(std::max<size_t>(capacity, 2))), mask_(data_.size() - 1) {}

    size_t capacity() const { return data_.size(); }

    // Producer: appends as many as there is room for; returns how many.
    size_t write(std::span<const T> values) noexcept {
        const uint64_t head = head_.load(std::memory_order_relaxed);
        const size_t room = data_.size() - static_cast<size_t>(head - tail_.load(std::memory_order_acquire));
        const size_t n = std::min(values.size(), room);
        for (size_t i = 0; i < n; ++i) data_[(head + i) & mask_] = values[i];
        head_.store(head + n, std::memory_order_release);
        return n;
    }
    size_t room() const noexcept {
        return data_.size() -
               static_cast<size_t>(head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire));
    }
    // Producer: everything written so far is to be skipped by the consumer; it does so with its next read.
    void drop() noexcept { drop_until_.store(head_.load(std::memory_order_relaxed), std::memory_order_release); }

    // Consumer: takes as many as there are; returns how many.
    size_t read(std::span<T> values) noexcept {
        const uint64_t drop = drop_until_.load(std::memory_order_acquire);
        uint64_t tail = std::max(tail_.load(std::memory_order_relaxed), drop);
        const size_t there = static_cast<size_t>(head_.load(std::memory_order_acquire) - tail);
        const size_t n = std::min(values.size(), there);
        for (size_t i = 0; i < n; ++i) values[i] = data_[(tail + i) & mask_];
        tail_.store(tail + n, std::memory_order_release);
        return n;
    }
    // Either side: what can be read at least (consumer) or at most (producer).
    size_t size() const noexcept {
        // The consumer's end first: it only grows, and never beyond the producer's, so the difference is
        // never negative.
        const uint64_t tail =
            std::max(tail_.load(std::memory_order_acquire), drop_until_.load(std::memory_order_acquire));
        return static_cast<size_t>(head_.load(std::memory_order_acquire) - tail);
    }

  private:
    std::vector<T> data_;
    size_t mask_;
    // On cache lines of their own, so that the two sides do not slow each other down.
    alignas(64) std::atomic<uint64_t> head_{0};        // elements ever written
    alignas(64) std::atomic<uint64_t> tail_{0};        // elements ever read or skipped
    alignas(64) std::atomic<uint64_t> drop_until_{0};  // written by the producer: where reading goes on
};

}  // namespace nigiri
