// Where sound comes from: a microphone, or a test.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "audio/device.h"

namespace nigiri {

// Gives mono samples at rate() to one thread. Nothing here waits.
class AudioInput {
  public:
    virtual ~AudioInput() = default;

    // "device 'ALSA: USB microphone', 48000 Hz": one line for the user.
    virtual std::string description() const = 0;
    int rate() const { return rate_; }
    // Takes what was heard and not yet read, as much as fits; returns how much.
    virtual size_t read(std::span<float> samples) = 0;
    // Samples lost because nobody read for too long (two seconds).
    virtual int64_t dropped() const = 0;
    // Why nothing more will come, such as a device that was pulled out; empty while all is well.
    virtual std::string failure() const { return {}; }

  protected:
    AudioInput() = default;
    int rate_ = 0;
};

// Hears `samples` and then silence, in real time; or the samples as fast as they are read, and then nothing.
std::unique_ptr<AudioInput> open_null_input(int rate, std::vector<float> samples = {}, bool real_time = true);

// The devices PortAudio finds; empty where there are none.
std::vector<SoundDevice> input_devices();
// index -1: the default device. At `rate` if the device agrees, otherwise at one of its own. Several channels are
// averaged. Throws Error, also where there is no device.
std::unique_ptr<AudioInput> open_device_input(int rate, int index = -1);
// "auto": the default device. "null": silence. Anything else: the device of this number or name. Throws Error.
std::unique_ptr<AudioInput> open_input(const std::string& what, int rate);

}  // namespace nigiri
