// Codes as they are drawn, one sample after the other, of one or several streams in step.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "kernels/random.h"
#include "kernels/recurrent_engine.h"
#include "model/sampler.h"

namespace nigiri {

// What may be changed while a stream runs, from any thread, without a lock. Each value is taken for itself: a change of
// two may show one sample apart.
class SamplingControls {
  public:
    // Throws Error where an option is out of range.
    explicit SamplingControls(const SamplingOptions& options) : seed_(options.seed) { set(options); }
    // The seed stays what it was.
    void set(const SamplingOptions& options);
    SamplingOptions get() const;

  private:
    const uint64_t seed_;
    std::atomic<double> temperature_{1}, top_p_{1};
    std::atomic<int64_t> top_k_{0};
};

// A stream at one moment: everything that decides how it goes on, apart from the controls.
struct StreamSnapshot {
    StreamState state;  // of the engine, before `code`
    int32_t code = 0;   // the last one known, not taken in yet
    Random random{0};
};

// The same moment with other dice. k = 0 keeps them; two k never share a draw, nor does any k > 0 with another stream
// of the seed (below 2^32 streams).
StreamSnapshot branch(StreamSnapshot snapshot, uint32_t k);

struct StreamDraw {
    int32_t code = 0;
    double bits = 0;  // its surprise: -log2 of its probability under the network itself
};

// Stream i draws from random stream i of the seed. The controls are read before every sample; where nobody changes them
// the codes depend on the engine's logits and the seed alone.
class Stream {
  public:
    // All streams of the engine begin at its present state, with `code` to be taken in first.
    Stream(std::unique_ptr<RecurrentEngine> engine, std::shared_ptr<const SamplingControls> controls, int32_t code);

    int64_t streams() const { return engine_->streams(); }
    const RecurrentEngine& engine() const { return *engine_; }

    // The next sample of every stream; valid until the next call. Throws Error where the network's output is not a
    // number.
    std::span<const StreamDraw> draw();
    // What a stream takes in next, instead of what it drew last: the last code of a prompt.
    void set_code(int64_t stream, int32_t code) { codes_[static_cast<size_t>(stream)] = code; }
    // The temperature of one stream, times this from now on.
    void scale_temperature(int64_t stream, double factor) { voices_[static_cast<size_t>(stream)].warmth = factor; }

    StreamSnapshot freeze(int64_t stream) const;
    // Streams of one engine keep step (recurrent_engine.h): a stream alone goes back by whole periods.
    void restore(int64_t stream, const StreamSnapshot& snapshot);

  private:
    struct Voice {
        Random random;
        double warmth = 1;
    };
    std::unique_ptr<RecurrentEngine> engine_;
    std::shared_ptr<const SamplingControls> controls_;
    Sampler sampler_{SamplingOptions{}};
    std::vector<Voice> voices_;
    std::vector<int32_t> codes_;  // one a stream, to be taken in
    std::vector<float> logits_;
    std::vector<StreamDraw> draws_;
};

}  // namespace nigiri
