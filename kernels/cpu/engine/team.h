// Threads that do one piece of work together, sample by sample, tens of thousands of times a second: nothing is asked
// of the system between two samples that follow each other closely, and an idle team costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace nigiri::cpu {

class Team;

// The shares of the work that a thread does: its own, or, where it is alone, all of them one after the other.
struct Part {
    int first = 0, last = 1;
    Team* team = nullptr;  // null: alone
    // Called by every thread from within the work: returns when all have come. What was written before is seen after.
    void meet() const;
};

class Team {
  public:
    // `work` does a part of the work, of `size` shares; it must not throw.
    Team(int size, std::function<void(const Part&)> work);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Runs the work on all threads, thread 0 being the caller, and returns when thread 0 is done: the others are done
    // as well where the work ends with a meeting.
    void run_together();
    void run_alone() { work_({0, size(), nullptr}); }

    int size() const { return static_cast<int>(seats_.size()); }

  private:
    struct alignas(64) Seat {
        std::atomic<uint64_t> meetings{0};
    };

    friend struct Part;
    void meet(int thread);
    void wait_for_work(int thread);

    std::function<void(const Part&)> work_;
    std::vector<Seat> seats_;
    alignas(64) std::atomic<uint32_t> runs_{0};
    std::atomic<bool> ended_{false};
    std::vector<std::thread> threads_;
};

inline void Part::meet() const {
    if (team) team->meet(first);
}

}  // namespace nigiri::cpu
