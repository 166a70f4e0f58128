// Hearing through PortAudio.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <optional>

#include "audio/input.h"
#include "audio/portaudio_session.h"
#include "audio/ring.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr double ring_seconds = 2;

class PortAudioInput final : public AudioInput {
  public:
    PortAudioInput(int rate, int index) : device_(index >= 0 ? index : Pa_GetDefaultInputDevice()), ring_(open(rate)) {
        const QuietStderr quiet;
        Pa_SetStreamFinishedCallback(stream_, &ended);
        if (const PaError error = Pa_StartStream(stream_); error != paNoError) {
            Pa_CloseStream(stream_);
            fail_with("'" + name_ + "' cannot be heard", error);
        }
    }
    ~PortAudioInput() override {
        const QuietStderr quiet;
        Pa_AbortStream(stream_);
        Pa_CloseStream(stream_);
    }
    PortAudioInput(const PortAudioInput&) = delete;
    PortAudioInput& operator=(const PortAudioInput&) = delete;

    std::string description() const override { return "device '" + name_ + "', " + std::to_string(rate_) + " Hz"; }
    size_t read(std::span<float> samples) override { return ring_.read(samples); }
    int64_t dropped() const override { return dropped_.load(std::memory_order_relaxed); }
    std::string failure() const override {
        return ended_.load(std::memory_order_acquire) ? "'" + name_ + "' went away" : "";
    }

  private:
    // Returns the ring's size.
    size_t open(int rate) {
        const PaDeviceInfo* info = device_ == paNoDevice ? nullptr : Pa_GetDeviceInfo(device_);
        if (!info || info->maxInputChannels < 1)
            throw Error("there is no microphone or other sound input", "connect one, or use a sound file");
        name_ = name_of(*info);
        PaStreamParameters parameters{};
        parameters.device = device_;
        parameters.sampleFormat = paFloat32;
        parameters.suggestedLatency = info->defaultHighInputLatency;
        const QuietStderr quiet;
        PaError error = paInvalidSampleRate;
        for (const double candidate : {static_cast<double>(rate), info->defaultSampleRate, 48000.0, 44100.0})
            for (const int channels : {1, 2}) {
                if (channels > info->maxInputChannels) continue;
                parameters.channelCount = channels;
                error = Pa_OpenStream(&stream_, &parameters, nullptr, candidate, paFramesPerBufferUnspecified, paNoFlag,
                                      &callback, this);
                if (error != paNoError) continue;
                channels_ = static_cast<size_t>(channels);
                rate_ = static_cast<int>(std::lround(candidate));
                return static_cast<size_t>(ring_seconds * rate_);
            }
        fail_with("'" + name_ + "' cannot be opened", error);
    }

    // Never allocates, locks or waits.
    static int callback(const void* in, void*, unsigned long frames, const PaStreamCallbackTimeInfo*,
                        PaStreamCallbackFlags, void* self) {
        auto* input = static_cast<PortAudioInput*>(self);
        const auto* samples = static_cast<const float*>(in);
        if (!samples) return paContinue;
        const size_t channels = input->channels_;
        std::array<float, 256> mono;
        for (size_t done = 0; done < frames;) {
            const size_t n = std::min(frames - done, mono.size());
            for (size_t i = 0; i < n; ++i) {
                const float* frame = samples + (done + i) * channels;
                mono[i] = channels == 1 ? frame[0] : 0.5f * (frame[0] + frame[1]);
            }
            const size_t written = input->ring_.write(std::span<const float>(mono).first(n));
            if (written < n) input->dropped_.fetch_add(static_cast<int64_t>(n - written), std::memory_order_relaxed);
            done += n;
        }
        return paContinue;
    }
    static void ended(void* self) { static_cast<PortAudioInput*>(self)->ended_.store(true, std::memory_order_release); }

    PortAudioSession session_;
    PaDeviceIndex device_;
    PaStream* stream_ = nullptr;
    std::string name_;
    size_t channels_ = 1;
    std::atomic<int64_t> dropped_{0};
    std::atomic<bool> ended_{false};
    Ring<float> ring_;
};

}  // namespace

std::vector<SoundDevice> input_devices() {
    std::vector<SoundDevice> devices;
    try {
        const PortAudioSession session;
        for (PaDeviceIndex i = 0; i < Pa_GetDeviceCount(); ++i) {
            const PaDeviceInfo* info = Pa_GetDeviceInfo(i);
            if (!info || info->maxInputChannels < 1) continue;
            devices.push_back({i, name_of(*info), info->maxInputChannels,
                               static_cast<int>(std::lround(info->defaultSampleRate)),
                               i == Pa_GetDefaultInputDevice()});
        }
    } catch (const Error&) {
        devices.clear();  // no sound system: no devices
    }
    return devices;
}

std::unique_ptr<AudioInput> open_device_input(int rate, int index) {
    if (rate < 1000 || rate > 768000) throw Error("cannot record at " + std::to_string(rate) + " Hz");
    return std::make_unique<PortAudioInput>(rate, index);
}

}  // namespace nigiri
