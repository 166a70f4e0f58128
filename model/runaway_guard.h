// Notices that a model's own output, fed back, has left the road: noise, silence, a constant offset or overdrive that
// it does not come back from. What is looked at are windows of half a second, ten times a second. The offline
// definition, for clips that are finished, is audio/metrics/runaway.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace nigiri {

enum class Trouble : uint8_t { noise, silence, loud, offset };
const char* name_of(Trouble trouble);  // "noise", ...

// A window of sound as the guard sees it.
struct WindowFeatures {
    double bits = 0;        // mean surprise a sample
    double level_dbfs = 0;  // RMS without the mean; -infinity for a constant
    double flatness = 0;    // spectral: 0 for a sine, 0.56 for white noise
    double offset = 0;      // magnitude of the mean
};

// Spectral flatness of some samples: given from outside, because this library knows codes and no sound.
using FlatnessOf = std::function<double(std::span<const float> samples)>;

struct GuardOptions {
    int64_t sample_rate = 16000;     // Hz
    int64_t period = 1;              // of the network: looks and snapshots fall on its multiples
    std::array<float, 256> value{};  // of each code, in [-1, 1]
    FlatnessOf flatness;             // none: noise is judged by surprise alone
    double expected_bits = 0;        // a sample, as the model has them on what it was trained for; 0: unknown

    // Noise: flatter than this and more surprising than expected, or than the stream's own past, by this much.
    double noise_flatness = 0.05;
    double noise_bits = 1.0;
    // Silence: below this for so long, unless it was asked for.
    double silence_dbfs = -60;
    double silence_seconds = 2;
    double loud_dbfs = -3;  // a full-scale sine
    double largest_offset = 0.5;

    // What to do about it (guarded_stream.h).
    double snapshot_seconds = 1;  // one each so many
    int snapshots = 6;            // kept a stream
    int attempts = 6;             // at one place, before the stream is left as it is
    double cooling = 0.95;        // of the temperature for a second, from the second attempt on and once more each time
};

struct Alarm {
    Trouble trouble = Trouble::noise;
    int64_t began = 0, noticed = 0;  // samples
    WindowFeatures window;           // the last
};

// Listens to one stream. A copy goes on from where the original was, so that a guard goes back with its stream. Alarms
// depend on the samples and nothing else.
class RunawayGuard {
  public:
    // Throws Error where an option makes no sense.
    explicit RunawayGuard(std::shared_ptr<const GuardOptions> options);

    // What is there before the stream begins, such as a prompt: silence at its end asks for silence.
    void hear(std::span<const uint8_t> codes);
    // The next sample; an alarm once trouble has lasted (noise, overdrive, offset: five windows in a row, so within 1.1
    // s of its beginning; silence: silence_seconds, and a tenth). After an alarm the guard says nothing more until it
    // has heard a second without trouble.
    std::optional<Alarm> take(int32_t code, double bits);

    int64_t samples() const { return samples_; }
    // Samples from the beginning of any trouble until it is noticed, at most.
    static int64_t latency(const GuardOptions& options);
    // Between two looks: about a tenth of a second, in whole periods.
    static int64_t hop(const GuardOptions& options);

  private:
    struct Hop {
        double bits = 0, sum = 0, squares = 0;
    };
    WindowFeatures window();
    std::optional<Trouble> judge(const WindowFeatures& w);

    std::shared_ptr<const GuardOptions> options_;
    int64_t hop_samples_;
    std::vector<float> recent_;  // the samples of the window, oldest at samples_ % size
    std::vector<Hop> hops_;      // of the window, the oldest at hop number % size
    Hop hop_;                    // under way
    int64_t samples_ = 0;
    std::array<int, 4> lasting_{};    // hops that each trouble has lasted
    int healthy_ = 0;                 // hops without any
    bool armed_ = true;               // false after an alarm
    bool silence_asked_for_ = false;  // until there is sound again
    double past_bits_ = 0;            // mean of healthy hops, with a memory of some ten seconds
    int past_hops_ = 0;
};

}  // namespace nigiri
