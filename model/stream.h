// Codes as they are drawn, one sample after the other, of one or several streams in step.
#pragma once

#include <atomic>
#include <exception>
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
    float bits = 0;  // its surprise: -log2 of its probability under the network itself
};

// Samples that follow each other, of every stream.
struct StreamBlock {
    int64_t samples = 0, streams = 0;
    std::span<const StreamDraw> draws;  // (samples, streams)

    const StreamDraw& at(int64_t sample, int64_t stream) const {
        return draws[static_cast<size_t>(sample * streams + stream)];
    }
};

// Stream i draws from random stream i of the seed: sample t is chosen by its t-th uniform number, whoever chooses.
// Engines that draw codes themselves do so for a whole block; for the others the host draws one sample after the other.
// Either way the controls are live (read before every sample here, every few samples there), and where nobody changes
// them the codes depend on the engine's logits and the seed alone: not on how samples are divided into blocks, nor,
// apart from draws at the very edge between two codes (sampler.h), on who chooses.
class Stream {
  public:
    // All streams of the engine begin at its present state, with `code` to be taken in first.
    Stream(std::unique_ptr<RecurrentEngine> engine, std::shared_ptr<const SamplingControls> controls, int32_t code);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    int64_t streams() const { return engine_->streams(); }
    const RecurrentEngine& engine() const { return *engine_; }

    // The next samples of every stream, 1 to `most` (at least 1): as many as are made within some 20 ms, so that
    // whoever waits may look around. Valid until the next call. Throws Error where the network's output is not a number
    // or the engine fails; what was drawn before is returned first, and the next call throws.
    StreamBlock draw(int64_t most);
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
    void step();
    void step_by_step(int64_t most);
    void draw_on_engine(int64_t most);
    DrawControls controls_of(int64_t stream) const;

    std::unique_ptr<RecurrentEngine> engine_;
    std::shared_ptr<const SamplingControls> controls_;
    Sampler sampler_{SamplingOptions{}};
    std::vector<Voice> voices_;
    std::vector<int32_t> codes_;  // one a stream, to be taken in
    std::vector<float> logits_;   // where the host draws
    DrawRequest request_;         // where the engine does
    int64_t pace_;                // samples that it is expected to draw in the time of a block
    std::vector<StreamDraw> draws_;
    std::exception_ptr failure_;  // of the last block, to be told by the next
};

}  // namespace nigiri
