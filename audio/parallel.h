// Works through many files on a few threads while the calling thread reports progress. Private to the audio
// library.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "audio/progress.h"

namespace nigiri {

// What a piece of work tells while it runs.
class WorkMonitor {
  public:
    void add(uint64_t weight) { done_ += weight; }
    // True once the user has cancelled or another piece has failed: leave soon.
    bool stopping() const { return stop_; }

  private:
    template <class Work, class Label>
    friend void parallel_items(size_t, int, uint64_t, const Progress&, Label&&, Work&&);
    std::atomic<uint64_t> done_{0};
    std::atomic<bool> stop_{false};
};

// Calls work(i, monitor) for i in [0, count), in order of i as threads become free. `total` is the sum of
// what the pieces add to the monitor. `progress` is called on this thread only, with label(i) of the piece
// begun last. The first exception of a piece is thrown here.
template <class Work, class Label>
void parallel_items(size_t count, int threads, uint64_t total, const Progress& progress, Label&& label, Work&& work) {
    if (threads <= 0) threads = static_cast<int>(std::min(8u, std::max(1u, std::thread::hardware_concurrency())));
    if (count > 0) report(progress, 0, label(0));
    WorkMonitor monitor;
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::condition_variable changed;
    size_t running = 0;  // guarded by mutex, as is `error`
    std::exception_ptr error;
    const auto loop = [&] {
        try {
            for (size_t i; !monitor.stopping() && (i = next++) < count;) work(i, monitor);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!error) error = std::current_exception();
            monitor.stop_ = true;
        }
        const std::lock_guard lock(mutex);
        --running;
        changed.notify_all();
    };
    std::vector<std::jthread> pool;
    const size_t wanted = std::min(count, static_cast<size_t>(threads));
    {
        std::unique_lock lock(mutex);
        for (size_t t = 0; t < wanted; ++t) {
            ++running;
            pool.emplace_back(loop);
        }
        while (!changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return running == 0; })) {
            if (!progress || monitor.stop_) continue;
            lock.unlock();  // a slow callback must not hold the workers up
            const size_t begun = std::min(next.load(), count);
            const double share = total ? static_cast<double>(monitor.done_) / static_cast<double>(total) : 0;
            try {
                report(progress, std::min(1.0, share), begun ? label(begun - 1) : std::string());
                lock.lock();
            } catch (...) {
                lock.lock();
                if (!error) error = std::current_exception();
                monitor.stop_ = true;
            }
        }
    }
    if (error) std::rethrow_exception(error);
}

}  // namespace nigiri
