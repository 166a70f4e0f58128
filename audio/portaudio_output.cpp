// Playing through PortAudio.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "audio/output.h"
#include "audio/playback_queue.h"
#include "audio/portaudio_session.h"
#include "audio/resample.h"

namespace nigiri {
namespace {

constexpr double device_queue_seconds = 2;

class PortAudioOutput : public AudioOutput {
  public:
    PortAudioOutput(int rate, int index, double buffer_seconds)
        : AudioOutput(rate),
          device_(index >= 0 ? index : Pa_GetDefaultOutputDevice()),
          queue_(open(rate, buffer_seconds)) {
        const QuietStderr quiet;
        Pa_SetStreamFinishedCallback(stream_, &ended);
        if (const PaError error = Pa_StartStream(stream_); error != paNoError) {
            Pa_CloseStream(stream_);
            fail_with("'" + name_ + "' cannot be played to", error);
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
        size_t n = samples.size();
        if (!resampler_) {
            n = queue_.write(samples);
        } else {
            flush();
            n = std::min(n, room());
            resampler_->process(samples.first(n), converted_);
            flush();
        }
        queue_.set_finished(false);  // only now: an empty queue before the first sample is no underrun
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
    int64_t underruns() const override {
        return static_cast<int64_t>(queue_.underruns()) + late_.load(std::memory_order_relaxed);
    }
    size_t block() const override { return to_own(queue_.block()); }
    double latency() const override { return latency_; }
    std::string failure() const override {
        return ended_.load(std::memory_order_acquire) ? "'" + name_ + "' went away" : "";
    }
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
    size_t open(int rate, double buffer_seconds) {
        const PaDeviceInfo* info = device_ == paNoDevice ? nullptr : Pa_GetDeviceInfo(device_);
        if (!info || info->maxOutputChannels < 1) throw Error("there is no sound device");
        name_ = name_of(*info);
        PaStreamParameters parameters{};
        parameters.device = device_;
        parameters.sampleFormat = paFloat32;
        parameters.suggestedLatency = std::max(buffer_seconds, info->defaultHighOutputLatency);
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
                if (const PaStreamInfo* stream = Pa_GetStreamInfo(stream_)) latency_ = stream->outputLatency;
                if (device_rate_ != rate) resampler_.emplace(rate, device_rate_);
                return static_cast<size_t>(device_queue_seconds * device_rate_) + 8192;
            }
        fail_with("'" + name_ + "' cannot be opened", error);
    }

    static int callback(const void*, void* out, unsigned long frames, const PaStreamCallbackTimeInfo*,
                        PaStreamCallbackFlags flags, void* self) {
        auto* output = static_cast<PortAudioOutput*>(self);
        // The device itself ran empty, because PortAudio's thread came late.
        if ((flags & paOutputUnderflow) && output->queue_.queued() > 0)
            output->late_.fetch_add(1, std::memory_order_relaxed);
        output->queue_.fill(static_cast<float*>(out), frames, output->channels_);
        return paContinue;
    }

    // PortAudio's thread gave up: a device that was pulled out, a sound server that ended.
    static void ended(void* self) {
        static_cast<PortAudioOutput*>(self)->ended_.store(true, std::memory_order_release);
    }

    void flush() {
        const size_t n = queue_.write(converted_);
        converted_.erase(converted_.begin(), converted_.begin() + static_cast<std::ptrdiff_t>(n));
    }
    size_t to_own(size_t device_samples) const {
        return static_cast<size_t>(static_cast<uint64_t>(device_samples) * static_cast<uint64_t>(rate()) /
                                   static_cast<uint64_t>(device_rate_));
    }

    PortAudioSession session_;
    PaDeviceIndex device_;
    PaStream* stream_ = nullptr;
    std::string name_;
    size_t channels_ = 1;
    int device_rate_ = 0;
    double latency_ = 0;
    std::atomic<bool> ended_{false};
    std::atomic<int64_t> late_{0};
    std::optional<Resampler> resampler_;
    std::vector<float> converted_;  // converted, but not yet in the queue
    PlaybackQueue queue_;
};

}  // namespace

std::vector<SoundDevice> output_devices() {
    std::vector<SoundDevice> devices;
    try {
        const PortAudioSession session;
        for (PaDeviceIndex i = 0; i < Pa_GetDeviceCount(); ++i) {
            const PaDeviceInfo* info = Pa_GetDeviceInfo(i);
            if (!info || info->maxOutputChannels < 1) continue;
            devices.push_back({i, name_of(*info), info->maxOutputChannels,
                               static_cast<int>(std::lround(info->defaultSampleRate)),
                               i == Pa_GetDefaultOutputDevice()});
        }
    } catch (const Error&) {
        devices.clear();  // no sound system: no devices
    }
    return devices;
}

std::unique_ptr<AudioOutput> open_device_output(int rate, int index, double buffer_seconds) {
    if (rate < 1000 || rate > 768000) throw Error("cannot play at " + std::to_string(rate) + " Hz");
    return std::make_unique<PortAudioOutput>(rate, index, buffer_seconds);
}

}  // namespace nigiri
