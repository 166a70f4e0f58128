// What is read from a disk beside the window, again and again; meanwhile what was read last stays.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "app/studio/sessions/background.h"

namespace nigiri::studio {

// For the window's thread; a disk that is slow or hangs makes none of its calls wait. Only the destructor waits for a
// reading under way, which nothing can interrupt.
template <class What, class T>
class Refreshed {
  public:
    using Read = std::function<T(const What&)>;
    Refreshed(Wake wake, Read read) : read_(std::move(read)), work_(std::move(wake)) {}

    // Every frame in which it is shown: takes over what was read, and reads again where something else is wanted than
    // before, after refresh(), and every ten seconds; one reading at a time.
    void want(const What& what) {
        {
            const std::lock_guard lock(mutex_);
            if (found_) value_ = std::move(*found_), found_.reset();
        }
        const auto now = std::chrono::steady_clock::now();
        const bool due = stale_ || !(wanted_ == what) || now - begun_ > std::chrono::seconds(10);
        if (!due || !work_.start([this, what] {
                T found = read_(what);
                const std::lock_guard lock(mutex_);
                found_ = std::move(found);
            }))
            return;
        wanted_ = what;
        stale_ = false;
        begun_ = now;
    }
    void refresh() { stale_ = true; }
    // As read last; empty before the first time.
    const T& value() const { return value_; }

  private:
    const Read read_;
    T value_{};
    What wanted_{};
    bool stale_ = true;
    std::chrono::steady_clock::time_point begun_{};
    std::mutex mutex_;  // of found_
    std::optional<T> found_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
