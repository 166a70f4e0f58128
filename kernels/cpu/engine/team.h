// Threads that do one piece of work together, sample by sample, tens of thousands of times a second: nothing is asked
// of the system between two samples that follow each other closely, and an idle team costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace nigiri::cpu {

class Team {
  public:
    // `work(thread)` for threads 0 to size - 1; it must not throw.
    Team(int size, std::function<void(int thread)> work);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Runs the work on all threads, thread 0 being the caller, and returns when thread 0 is done. The others are done
    // as well where the work ends with a meeting.
    void run();

    // Called by every thread from within the work: returns when all have come. What was written before is seen after.
    void meet(int thread);

    int size() const { return static_cast<int>(seats_.size()); }

  private:
    struct alignas(64) Seat {
        std::atomic<uint64_t> meetings{0};
    };

    void wait_for_work(int thread);

    std::function<void(int)> work_;
    std::vector<Seat> seats_;
    alignas(64) std::atomic<uint32_t> runs_{0};
    std::atomic<bool> ended_{false};
    std::vector<std::thread> threads_;
};

}  // namespace nigiri::cpu
