#include "kernels/cpu/engine/team.h"

#include <chrono>

#include "hwy/cache_control.h"

namespace nigiri::cpu {

namespace {

// How long an idle thread looks for the next sample before it sleeps: longer than a draw from the logits takes, shorter
// than what anyone would notice in the processor's load.
constexpr auto patience = std::chrono::microseconds(50);
// Looks before a thread in a meeting lets others have the processor: where there are fewer processors than threads the
// one it waits for may need this one.
constexpr int looks_before_yield = 4096;

}  // namespace

Team::Team(int size, std::function<void(const Part&)> work)
    : work_(std::move(work)), seats_(static_cast<size_t>(size)) {
    for (int t = 1; t < size; ++t) threads_.emplace_back([this, t] { wait_for_work(t); });
}

Team::~Team() {
    ended_.store(true);
    runs_.fetch_add(1);
    runs_.notify_all();
    for (std::thread& t : threads_) t.join();
}

void Team::run_together() {
    runs_.fetch_add(1);
    runs_.notify_all();
    work_({0, 1, this});
}

void Team::wait_for_work(int thread) {
    for (uint32_t done = 0;; ++done) {
        const auto begun = std::chrono::steady_clock::now();
        for (int looks = 1; runs_.load(std::memory_order_acquire) == done; ++looks) {
            hwy::Pause();
            if (looks % 64 == 0 && std::chrono::steady_clock::now() - begun > patience) {
                runs_.wait(done);
                break;
            }
        }
        if (ended_.load()) return;
        work_({thread, thread + 1, this});
    }
}

void Team::meet(int thread) {
    std::atomic<uint64_t>& mine = seats_[static_cast<size_t>(thread)].meetings;
    const uint64_t meeting = mine.load(std::memory_order_relaxed) + 1;
    mine.store(meeting, std::memory_order_release);
    for (const Seat& other : seats_)
        for (int looks = 0; other.meetings.load(std::memory_order_acquire) < meeting;) {
            hwy::Pause();
            if (++looks >= looks_before_yield) std::this_thread::yield();
        }
}

}  // namespace nigiri::cpu
