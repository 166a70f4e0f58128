// A hand on a stream while it plays: sampling, a moment to come back to, and the way between two models.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "audio/held_sound.h"
#include "audio/quantize.h"
#include "model/config.h"
#include "model/generator.h"

namespace nigiri::app {

// Where a stream breaks off and goes on elsewhere, the one fades into the other.
inline constexpr double seam_seconds = 0.02;

// What the hand wants. Any thread; the stream takes it up when it is asked for the next samples.
class Steering {
  public:
    enum class Wish : uint8_t { freeze, back, branch };

    // Throws Error where an option is out of range.
    explicit Steering(const SamplingOptions& sampling) : controls_(std::make_shared<SamplingControls>(sampling)) {}

    const std::shared_ptr<SamplingControls>& controls() const { return controls_; }
    // Keeps the moment; goes back to the one kept and on as it went; or goes back and on with other dice. Without a
    // moment kept the last two do nothing.
    void wish(Wish wish);
    // Between two models: 0 is the first alone, 1 the second. Reached within a tenth of a second.
    void set_mix(double mix) { mix_.store(mix, std::memory_order_relaxed); }
    double mix() const { return mix_.load(std::memory_order_relaxed); }

    // Samples made when the moment that is kept was; negative: none.
    int64_t frozen_at() const { return frozen_at_.load(std::memory_order_relaxed); }

  private:
    friend class SteeredStream;
    std::optional<Wish> take();

    std::shared_ptr<SamplingControls> controls_;
    std::atomic<double> mix_{0};
    std::atomic<int64_t> frozen_at_{-1};
    std::mutex mutex_;
    std::deque<Wish> wishes_;
};

// One stream, or one of each of two models, of which every one hears its own codes; out comes their equal-power sum.
// Two models cost the time of both, whatever the mix is.
class SteeredStream {
  public:
    // Streams of one; `second` may be null. `hold`: samples kept back for the guard (held_sound.h).
    SteeredStream(std::unique_ptr<GuardedStream> first, std::unique_ptr<GuardedStream> second,
                  const SignalConfig& signal, std::shared_ptr<Steering> steering, int64_t hold);

    // Draws `samples` of each and appends to `out` what may be heard: nearly as many, none while they are kept back.
    // Fewer where `keep_on`, asked between blocks, gives up.
    void make(int64_t samples, std::vector<float>& out, const KeepOn& keep_on = {});
    // Nothing more is drawn: the rest.
    void finish(std::vector<float>& out);

    // Drawn by the first model and kept, and what they cost in all; 0 before the first.
    int64_t samples() const { return voices_[0].drawn; }
    double bits() const { return voices_[0].bits; }
    int64_t joins() const { return joins_; }  // by the hand
    std::vector<GuardEvent> take_events() { return std::exchange(events_, {}); }

  private:
    struct Voice {
        std::unique_ptr<GuardedStream> stream;
        HeldSound held;
        int64_t next = 0;   // position
        int64_t drawn = 0;  // samples that were made, those before a return to a moment included
        double bits = 0;    // of them
        double last_total = 0;
        std::optional<FrozenStream> frozen;
    };
    void obey(Steering::Wish wish);
    int64_t draw(Voice& voice, int64_t most);
    void deliver(std::vector<float>& out);

    std::shared_ptr<Steering> steering_;
    std::array<float, code_count> value_;
    std::vector<Voice> voices_;
    std::vector<float> first_, second_;
    double mix_ = 0, mix_step_ = 1;  // as heard; most it moves a sample
    int64_t joins_ = 0;
    std::vector<GuardEvent> events_;
};

}  // namespace nigiri::app
