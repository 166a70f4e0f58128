// An output that takes samples when the test says so, and keeps them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "audio/output.h"
#include "audio/playback_queue.h"
#include "audio/player.h"
#include "tests/audio/allocations.h"
#include "tests/audio/locks.h"

namespace nigiri::test {

// What the test and the output share; lives longer than the output, as the world does.
class Device {
  public:
    // Waits until what a player sends comes to rest with at least one sample queued or nothing more to come, then takes
    // up to n samples as a device's callback would, in blocks. Returns what was heard; less than n where no more came.
    std::vector<float> take(size_t n, size_t block = 128) {
        std::vector<float> all;
        auto idle_since = std::chrono::steady_clock::now();
        while (all.size() < n) {
            const size_t there = std::min({queue.queued(), n - all.size(), block});
            if (there == 0) {
                // Sent within a few milliseconds where it is sent at all; half a second covers a busy machine.
                if (std::chrono::steady_clock::now() - idle_since > std::chrono::milliseconds(500)) break;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                continue;
            }
            const size_t begin = all.size();
            all.resize(begin + there);
            // Made beforehand: making it may itself allocate.
            const std::function<void()> work = [&] { queue.fill(all.data() + begin, there, 1); };
            int l = 0;
            allocations += allocations_of([&] { l = locks_of(work).value_or(0); }).value_or(0);
            locks += l;
            ++callbacks;
            idle_since = std::chrono::steady_clock::now();
        }
        return all;
    }
    // Takes until nothing more comes.
    std::vector<float> take_all() { return take(100'000'000); }

    PlaybackQueue queue{1 << 16};
    int allocations = 0, locks = 0, callbacks = 0;
    std::atomic<bool> lost{false};
    std::atomic<bool> missing{false};  // cannot be opened
    std::atomic<int> opened{0};
    std::atomic<double> buffer_seconds{-1};  // asked for when it was opened last
};

class ControlledOutput final : public AudioOutput {
  public:
    ControlledOutput(std::shared_ptr<Device> device, int rate)
        : AudioOutput(rate), device_(std::move(device)), played_before_(device_->queue.played()) {}
    ~ControlledOutput() override { device_->queue.drop(); }  // as a device does that is closed

    std::string description() const override { return "controlled"; }
    size_t write(std::span<const float> samples) override {
        const size_t n = device_->queue.write(samples);
        device_->queue.set_finished(false);
        return n;
    }
    size_t room() const override { return device_->queue.room(); }
    int64_t queued() const override { return static_cast<int64_t>(device_->queue.queued()); }
    int64_t played() const override { return static_cast<int64_t>(device_->queue.played() - played_before_); }
    int64_t underruns() const override { return static_cast<int64_t>(device_->queue.underruns()); }
    size_t block() const override { return device_->queue.block(); }
    std::string failure() const override { return device_->lost ? "'controlled' went away" : ""; }
    void finish() override { device_->queue.set_finished(true); }
    void drop() override { device_->queue.drop(); }
    void set_paused(bool paused) override { device_->queue.set_paused(paused); }
    bool paused() const override { return device_->queue.paused(); }
    void set_volume(float volume) override { device_->queue.set_volume(volume); }

  private:
    std::shared_ptr<Device> device_;
    uint64_t played_before_;
};

// Options that send to `device`, and to nothing else.
inline PlayerOptions controlled(const std::shared_ptr<Device>& device) {
    PlayerOptions options;
    options.patience_seconds = 1e9;  // a test may stop at any point for as long as the machine likes
    options.open = [device](const std::string& name, int rate, std::string&,
                            double buffer_seconds) -> std::unique_ptr<AudioOutput> {
        ++device->opened;
        device->buffer_seconds = buffer_seconds;
        if (device->missing || name == "wrong") throw Error("there is no sound device '" + name + "'");
        device->lost = false;
        return std::make_unique<ControlledOutput>(device, rate);
    };
    return options;
}

// The largest second difference: the size of a corner. Of a sine of amplitude a it is a (2 pi f / rate)^2.
inline double largest_corner(const std::vector<float>& x) {
    double largest = 0;
    for (size_t i = 2; i < x.size(); ++i)
        largest = std::max(largest, std::abs(static_cast<double>(x[i]) - 2.0 * x[i - 1] + x[i - 2]));
    return largest;
}

}  // namespace nigiri::test
