// Memory that a backend has asked of the system and keeps: blocks of a few sizes, handed out again as soon as their
// tensor is gone. Whoever gets a block next uses it after whoever had it, because a backend runs in order.
//
// A reservation is for work that will be repeated on the same memory (Backend::record): all blocks that were handed out
// during it stay out of the pool until it ends. Inside of it blocks come and go as always, so it holds what the work
// needs at its peak and not what it takes altogether.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

namespace nigiri {

class BlockPool {
  public:
    struct System {
        std::function<void*(size_t bytes)> allocate;  // null where there is no more
        std::function<void(void*)> free;
    };

    // `alignment`, a power of two, is what `system` promises, and the unit of small blocks.
    BlockPool(size_t alignment, System system);
    ~BlockPool();  // gives unused blocks back
    BlockPool(const BlockPool&) = delete;
    BlockPool& operator=(const BlockPool&) = delete;

    // Null where the system has no more.
    void* acquire(size_t bytes);
    void release(void* data, size_t bytes);
    // What a request of so many bytes takes.
    size_t rounded(size_t bytes) const;

    size_t in_use() const;  // bytes
    size_t peak() const;    // since the last reset
    void reset_peak();
    size_t unused() const;  // bytes that are kept for the next ones
    void trim();            // gives unused blocks back to the system

    // Blocks kept for repeated work. They go back to the pool when this ends; the pool must still be there.
    class Reservation {
      public:
        Reservation(BlockPool& pool, std::vector<std::pair<size_t, void*>> blocks, size_t peak, size_t missing)
            : pool_(pool), blocks_(std::move(blocks)), peak_(peak), missing_(missing) {}
        ~Reservation();
        Reservation(const Reservation&) = delete;
        Reservation& operator=(const Reservation&) = delete;

        size_t bytes() const;
        // Blocks that were handed out and had not come back at the end: the memory is not all here.
        size_t missing() const { return missing_; }
        // The work runs once more: the pool's peak is what it would be had the blocks been taken again.
        void count_use() const;

      private:
        BlockPool& pool_;
        std::vector<std::pair<size_t, void*>> blocks_;
        size_t peak_, missing_;  // peak_: bytes in use at most, beyond those before
    };
    // Between the two, one reservation at a time.
    void begin_reservation();
    std::unique_ptr<Reservation> end_reservation();

  private:
    const size_t alignment_;
    const System system_;
    mutable std::mutex mutex_;
    std::multimap<size_t, void*> free_;  // by rounded size
    size_t in_use_ = 0, peak_ = 0;
    // While a reservation is made:
    bool reserving_ = false;
    std::unordered_set<void*> handed_out_;
    size_t in_use_before_ = 0, peak_before_ = 0;
};

}  // namespace nigiri
