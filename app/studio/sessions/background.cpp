#include "app/studio/sessions/background.h"

#include <sys/resource.h>
#include <unistd.h>

#include "kernels/error.h"
#include "kernels/clock.h"

namespace nigiri::studio {

namespace {

constexpr double wakes_per_second = 30;

// Of this thread and of those that it starts, such as OpenMP's: they compute for minutes on every processor there is,
// while the player's thread has milliseconds.
void yield_to_sound() {
    constexpr int nicer = 5;
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), nicer);
}

}  // namespace

Background::~Background() { finish(); }

bool Background::start(std::function<void()> work) {
    {
        const std::lock_guard lock(mutex_);
        if (status_.running) return false;
        status_ = {.running = true, .ended = status_.ended};
    }
    if (thread_.joinable()) thread_.join();  // ended already
    stop_.store(false);
    thread_ = std::thread([this, work = std::move(work)] {
        yield_to_sound();
        std::string error, hint;
        try {
            work();
        } catch (const Cancelled&) {
            // What the user asked for is no failure.
        } catch (const Error& e) {
            error = e.what(), hint = e.hint();
        } catch (const std::bad_alloc&) {
            error = "there is not enough memory", hint = "close other programs, or choose something smaller";
        } catch (const std::exception& e) {
            error = e.what();
        }
        {
            const std::lock_guard lock(mutex_);
            status_ = {
                .fraction = status_.fraction, .what = {}, .error = error, .hint = hint, .ended = status_.ended + 1};
        }
        if (wake_) wake_();
    });
    return true;
}

void Background::stop() {
    stop_.store(true);
    const std::lock_guard lock(mutex_);
    status_.stopping = status_.running;
}

void Background::finish() {
    stop();
    if (thread_.joinable()) thread_.join();
}

Background::Status Background::status() const {
    const std::lock_guard lock(mutex_);
    return status_;
}

Progress Background::progress() {
    return [this](double fraction, const std::string& what) {
        report(fraction, what);
        return !stop_.load();
    };
}

void Background::report(double fraction, const std::string& what) {
    const double time = steady_seconds();
    {
        const std::lock_guard lock(mutex_);
        status_.fraction = fraction;
        status_.what = what;
        if (time - last_wake_ < 1 / wakes_per_second) return;
        last_wake_ = time;
    }
    if (wake_) wake_();
}

}  // namespace nigiri::studio
