// Records a microphone as a sound that grows.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "audio/input.h"
#include "audio/level_meter.h"
#include "audio/sound.h"

namespace nigiri {

struct RecorderOptions {
    int rate = 16000;             // Hz, of the sound: what the device hears is converted to it
    double longest_seconds = 60;  // recording ends by itself then
    std::string device = "auto";  // as for open_input
    // Called from the recorder's thread whenever there is more to see.
    std::function<void()> on_change;
    std::function<std::unique_ptr<AudioInput>(const std::string& device, int rate)> open = open_input;
};

struct RecorderStatus {
    enum class State { opening, recording, finished } state = State::opening;
    std::string device;   // what it records from; empty while opening
    std::string problem;  // why it ended before it was told to; empty if it did not
    int64_t dropped = 0;  // samples lost, at the device's rate
};

// Begins at once. A thread of its own opens the device, reads and converts, so that no call here waits longer than
// stop(): until what was heard so far is in the sound. What was recorded stays, whatever happens to the device.
class Recorder {
  public:
    // Throws Error on options that make no sense; that there is no device is in the status.
    explicit Recorder(RecorderOptions options);
    ~Recorder();
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;

    std::shared_ptr<const Sound> sound() const { return sound_; }
    void stop();
    RecorderStatus status() const;
    // Of what was heard last; without a lock.
    Levels levels() const { return meter_.at(sound_->size()); }

  private:
    void run(const std::stop_token& stop);
    void record(const std::stop_token& stop);
    void add(std::span<const float> samples);

    const RecorderOptions options_;
    const int64_t longest_;
    std::shared_ptr<Sound> sound_;
    LevelMeter meter_;
    mutable std::mutex mutex_;
    RecorderStatus status_;
    std::jthread thread_;  // last: it uses the others
};

}  // namespace nigiri
