// Long work beside the window: a thread, how far it is, and how it ended.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "audio/progress.h"

namespace nigiri::studio {

// Called from any thread when the window should look again.
using Wake = std::function<void()>;

// One piece of work at a time. The work sees a stop flag; its exceptions end here, as text for the window.
class Background {
  public:
    struct Status {
        bool running = false;
        bool stopping = false;    // asked to stop, not there yet
        double fraction = 0;      // in [0, 1]
        std::string what;         // being worked on
        std::string error, hint;  // of the last work, if it failed; empty again with the next start
        uint64_t ended = 0;       // how many works have ended
    };

    explicit Background(Wake wake) : wake_(std::move(wake)) {}
    // As finish().
    ~Background();
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;

    // Returns false, and does nothing, while something runs.
    bool start(std::function<void()> work);
    void stop();
    // Asks the work to stop and waits for it.
    void finish();
    Status status() const;
    bool running() const { return status().running; }

    // For the work.
    const std::atomic<bool>& stopping() const { return stop_; }
    // For operations that report; wakes the window at most thirty times a second.
    Progress progress();
    void report(double fraction, const std::string& what);

  private:
    Wake wake_;
    std::atomic<bool> stop_{false};
    mutable std::mutex mutex_;
    Status status_;
    double last_wake_ = 0;
    std::thread thread_;
};

}  // namespace nigiri::studio
