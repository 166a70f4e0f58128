// Playing through PortAudio.
#include <fcntl.h>
#include <portaudio.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>

#include "audio/output.h"
#include "audio/playback_queue.h"
#include "audio/resample.h"
#include "audio/text.h"

namespace nigiri {
namespace {

constexpr double queue_seconds = 2;

// PortAudio's back ends (ALSA, JACK) write pages to stderr while they look for devices, found or not. The
// descriptor is the process's, so this lasts only as long as the calls that are known to do it.
class QuietStderr {
  public:
    QuietStderr() : lock_(mutex()) {
        const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nowhere < 0) return;
        saved_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (saved_ >= 0) ::dup2(nowhere, STDERR_FILENO);
        ::close(nowhere);
    }
    ~QuietStderr() {
        if (saved_ < 0) return;
        ::dup2(saved_, STDERR_FILENO);
        ::close(saved_);
    }
    QuietStderr(const QuietStderr&) = delete;
    QuietStderr& operator=(const QuietStderr&) = delete;

  private:
    static std::mutex& mutex() {
        static std::mutex m;
        return m;
    }
    std::unique_lock<std::mutex> lock_;
    int saved_ = -1;
};

[[noreturn]] void fail(const std::string& what, PaError error) {
    std::string reason = Pa_GetErrorText(error);
    if (const PaHostErrorInfo* host = error == paUnanticipatedHostError ? Pa_GetLastHostErrorInfo() : nullptr;
        host && host->errorText)
        reason += std::string(": ") + host->errorText;
    throw Error(what + ": " + printable(reason));
}

// PortAudio counts how often it was started.
class Session {
  public:
    Session() {
        const QuietStderr quiet;
        if (const PaError error = Pa_Initialize(); error != paNoError) fail("sound cannot be started", error);
    }
    ~Session() {
        const QuietStderr quiet;
        Pa_Terminate();
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
};

std::string name_of_device(const PaDeviceInfo& info) {
    const PaHostApiInfo* api = Pa_GetHostApiInfo(info.hostApi);
    return printable((api && api->name ? std::string(api->name) + ": " : "") + (info.name ? info.name : ""));
}

class PortAudioOutput : public AudioOutput {
  public:
    PortAudioOutput(int rate, int index)
        : AudioOutput(rate), device_(index >= 0 ? index : Pa_GetDefaultOutputDevice()), queue_(open(rate)) {
        const QuietStderr quiet;
        if (const PaError error = Pa_StartStream(stream_); error != paNoError) {
            Pa_CloseStream(stream_);
            fail("'" + name_ + "' cannot be played to", error);
        }
    }
    ~PortAudioOutput() override {
        const QuietStderr quiet;
        Pa_AbortStream(stream_);
        Pa_CloseStream(stream_);
    }
    PortAudioOutput(const PortAudioOutput&) = delete;
    PortAudioOutput& operator=(const PortAudioOutput&) = delete;

    std::string description() const override {
        std::string text = "device '" + name_ + "', " + std::to_string(device_rate_) + " Hz";
        if (device_rate_ != rate()) text += ", from " + std::to_string(rate()) + " Hz";
        return text;
    }

    size_t write(std::span<const float> samples) override {
        queue_.set_finished(false);
        if (!resampler_) return queue_.write(samples);
        flush();
        const size_t n = std::min(samples.size(), room());
        resampler_->process(samples.first(n), converted_);
        flush();
        return n;
    }
    // With a converter: so few that what comes of them fits, whatever the converter holds back.
    size_t room() const override {
        if (!resampler_) return queue_.room();
        const size_t margin = converted_.size() + 4096;
        if (queue_.room() <= margin) return 0;
        return to_own(queue_.room() - margin);
    }
    int64_t queued() const override { return static_cast<int64_t>(to_own(queue_.queued() + converted_.size())); }
    int64_t played() const override { return static_cast<int64_t>(to_own(queue_.played())); }
    int64_t underruns() const override { return static_cast<int64_t>(queue_.underruns()); }
    void finish() override {
        if (resampler_) resampler_->finish(converted_);
        flush();
        queue_.set_finished(true);
    }
    void drop() override {
        if (resampler_) {
            std::vector<float> rest;
            resampler_->finish(rest);
            converted_.clear();
        }
        queue_.drop();
    }
    void set_paused(bool paused) override { queue_.set_paused(paused); }
    bool paused() const override { return queue_.paused(); }
    void set_volume(float volume) override { queue_.set_volume(volume); }

  private:
    // Opens the stream: one channel at the caller's rate if the device agrees, or what it likes better.
    // Returns the queue's size.
    size_t open(int rate) {
        const PaDeviceInfo* info = device_ == paNoDevice ? nullptr : Pa_GetDeviceInfo(device_);
        if (!info || info->maxOutputChannels < 1) throw Error("there is no sound device");
        name_ = name_of_device(*info);
        PaStreamParameters parameters{};
        parameters.device = device_;
        parameters.sampleFormat = paFloat32;
        parameters.suggestedLatency =
            info->defaultHighOutputLatency;  // the safe one: nothing here answers to a keystroke
        const QuietStderr quiet;
        PaError error = paInvalidSampleRate;
        for (const double candidate : {static_cast<double>(rate), info->defaultSampleRate, 48000.0, 44100.0})
            for (const int channels : {1, 2}) {
                if (channels > info->maxOutputChannels) continue;
                parameters.channelCount = channels;
                error = Pa_OpenStream(&stream_, nullptr, &parameters, candidate, paFramesPerBufferUnspecified, paNoFlag,
                                      &callback, this);
                if (error != paNoError) continue;
                channels_ = static_cast<size_t>(channels);
                device_rate_ = static_cast<int>(std::lround(candidate));
                if (device_rate_ != rate) resampler_.emplace(rate, device_rate_);
                return static_cast<size_t>(queue_seconds * device_rate_) + 8192;
            }
        fail("'" + name_ + "' cannot be opened", error);
    }

    static int callback(const void*, void* out, unsigned long frames, const PaStreamCallbackTimeInfo*,
                        PaStreamCallbackFlags, void* self) {
        auto* output = static_cast<PortAudioOutput*>(self);
        output->queue_.fill(static_cast<float*>(out), frames, output->channels_);
        return paContinue;
    }

    void flush() {
        const size_t n = queue_.write(converted_);
        converted_.erase(converted_.begin(), converted_.begin() + static_cast<std::ptrdiff_t>(n));
    }
    size_t to_own(size_t device_samples) const {
        return static_cast<size_t>(static_cast<uint64_t>(device_samples) * static_cast<uint64_t>(rate()) /
                                   static_cast<uint64_t>(device_rate_));
    }

    Session session_;
    PaDeviceIndex device_;
    PaStream* stream_ = nullptr;
    std::string name_;
    size_t channels_ = 1;
    int device_rate_ = 0;
    std::optional<Resampler> resampler_;
    std::vector<float> converted_;  // converted, but not yet in the queue
    PlaybackQueue queue_;
};

}  // namespace

std::vector<OutputDevice> output_devices() {
    std::vector<OutputDevice> devices;
    try {
        const Session session;
        for (PaDeviceIndex i = 0; i < Pa_GetDeviceCount(); ++i) {
            const PaDeviceInfo* info = Pa_GetDeviceInfo(i);
            if (!info || info->maxOutputChannels < 1) continue;
            devices.push_back({i, name_of_device(*info), info->maxOutputChannels,
                               static_cast<int>(std::lround(info->defaultSampleRate)),
                               i == Pa_GetDefaultOutputDevice()});
        }
    } catch (const Error&) {
        devices.clear();  // no sound system: no devices
    }
    return devices;
}

std::unique_ptr<AudioOutput> open_device_output(int rate, int index) {
    if (rate < 1000 || rate > 768000) throw Error("cannot play at " + std::to_string(rate) + " Hz");
    return std::make_unique<PortAudioOutput>(rate, index);
}

}  // namespace nigiri
