// Where sound goes: a device, a file, or nowhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "audio/device.h"
#include "audio/progress.h"

namespace nigiri {

// Takes mono samples in [-1, 1] at rate() from one thread. Nothing here waits; counts are in samples at
// rate().
class AudioOutput {
  public:
    virtual ~AudioOutput() = default;

    // "device 'HDA Intel', 48000 Hz, from 16000 Hz", "null", "file out.wav": one line for the user.
    virtual std::string description() const = 0;
    int rate() const { return rate_; }

    // Takes as many samples as there is room for; returns how many. Playing starts with the first.
    virtual size_t write(std::span<const float> samples) = 0;
    // Samples that write() would take now.
    virtual size_t room() const = 0;
    // Taken but not yet played, and played, since the output was opened. (A device's own buffer counts as
    // played.)
    virtual int64_t queued() const = 0;
    virtual int64_t played() const = 0;
    // Times the output, or the device behind it, ran empty although finish() had not been called.
    virtual int64_t underruns() const = 0;
    // The most samples taken at once so far: a queue must always hold more.
    virtual size_t block() const { return 0; }
    // Seconds from when a sample counts as played until it is heard.
    virtual double latency() const { return 0; }
    // Why nothing will be heard any more, such as a device that was pulled out; empty while all is well.
    virtual std::string failure() const { return {}; }

    // Nothing more is coming for now; what a converter or a file still holds goes out. write() afterwards
    // begins a new sound (of a file: throws Error).
    virtual void finish() = 0;
    // Forgets what is queued.
    virtual void drop() = 0;
    virtual void set_paused(bool paused) = 0;
    virtual bool paused() const = 0;
    virtual void set_volume(float volume) = 0;  // 1: as written; no effect on files

  protected:
    explicit AudioOutput(int rate) : rate_(rate) {}

  private:
    int rate_;
};

// Consumes in real time, as a device would, or at once. For machines without sound, and for tests.
std::unique_ptr<AudioOutput> open_null_output(int rate, bool real_time = true);
// Writes a 16-bit WAV or FLAC; finish() completes it (under its name only then). Destroyed unfinished, it
// leaves no file.
std::unique_ptr<AudioOutput> open_file_output(const std::filesystem::path& path, int rate);

// The devices PortAudio finds; empty where there are none.
std::vector<SoundDevice> output_devices();
// A device's buffer where nobody waits for a click to be heard: a machine that is busy may leave the player alone for
// so long without a gap. (An hour beside three builds on two cores had 38 gaps with the device's own 35 ms.)
inline constexpr int unhurried_buffer_ms = 500;

// index -1: the default device. Where the device does not take `rate`, samples are converted to its own rate.
// Throws Error.
// `buffer_seconds` is what the device itself holds, roughly, and no less than its own choice (some 35 ms with ALSA):
// more for machines on which PortAudio's thread does not run in time.
std::unique_ptr<AudioOutput> open_device_output(int rate, int index = -1, double buffer_seconds = 0);

// "auto": the default device, or where there is none or it fails, the null output; `message` then says so and
// why. "null", "file:PATH": those. Anything else: the device of this number, or the first whose name contains
// it (any case); Error with the devices there are where none does, because a device that was asked for is not
// to be replaced in silence. `buffer_seconds`: as for open_device_output; other outputs have no use for it.
std::unique_ptr<AudioOutput> open_output(const std::string& what, int rate, std::string& message,
                                         double buffer_seconds = 0);

// Plays all samples and returns when they have been heard (of a file: written). Returns false if `progress`
// cancelled; then the sound stops.
bool play(AudioOutput& output, std::span<const float> samples, const Progress& progress = {});

}  // namespace nigiri
