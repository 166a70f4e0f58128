// Generation: codes drawn one at a time, each fed back, in constant memory a step.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "model/guarded_stream.h"
#include "model/network.h"
#include "model/sampler.h"

namespace nigiri {

struct Clip {
    std::vector<uint8_t> codes;  // the prompt, then what was generated
    int64_t prompt = 0;          // how many of them are the prompt's
    double log2_likelihood = 0;  // exact, of the generated codes given what came before, at temperature 1
    std::vector<GuardEvent> events;
    int64_t fresh = 0;  // while it is made: how many of its last codes came since progress was told before

    int64_t generated() const { return static_cast<int64_t>(codes.size()) - prompt; }
    double log2_likelihood_per_sample() const {
        return generated() > 0 ? log2_likelihood / static_cast<double>(generated()) : 0.0;
    }
};

// The code that stands before the first sample: silence.
inline int32_t start_code(int64_t vocabulary) { return static_cast<int32_t>(vocabulary / 2); }
inline int32_t start_code(const ModelConfig& config) { return start_code(config.vocabulary); }

// What runs a network, as it was chosen.
struct EngineReport {
    std::string engine;  // its description
    WeightFormat weights = WeightFormat::f32;
    // Why the device's own engine does not, so that every operation of every sample is called by itself; empty: it
    // does, or was not wanted.
    std::string plain_because;
};

// What shall run the network.
struct EngineChoice {
    std::optional<WeightFormat> weights = {};  // none: f32 on the processor, bf16 on CUDA
    int threads = 0;                           // of the processor: recurrent_engine.h
    bool plain = false;                        // the reference: Network::advance
    std::function<void(const EngineReport&)> report = {};
    // Makes another engine than the device's, which may throw Error where it cannot run a program.
    std::function<std::unique_ptr<RecurrentEngine>(const RecurrentProgram&, int64_t streams, WeightFormat)> make = {};
};

// The fastest engine there is for a network where it is: the device's own, or, where that declines the network, a
// PlainEngine. Throws Error where the weights asked for need another. The network must outlive it and keep its
// parameters.
std::unique_ptr<RecurrentEngine> make_engine(const Network& network, int64_t streams, const EngineChoice& choice);

struct GenerationSetup {
    EngineChoice engine;
    std::optional<GuardOptions> guard;  // its period is set from the network
    // For clips: gets what was made before the engine failed, and before generate() throws.
    std::function<void(const std::vector<Clip>&)> rescue = {};
};

// Asked between pieces of a prompt; returning false gives up.
using KeepOn = std::function<bool()>;

// Streams behind their prompts, ready to draw: one a prompt, all of equal length. Prompts are taken in by the parallel
// pass. Null where `keep_on` gave up. Networks of 256 codes only; throws Error where prompts or network do not fit. The
// network must outlive the result.
std::unique_ptr<GuardedStream> open_stream(const Network& network, std::span<const std::vector<uint8_t>> prompts,
                                           std::shared_ptr<const SamplingControls> controls,
                                           const GenerationSetup& setup = {}, const KeepOn& keep_on = {});

// Called some fifty times a second with the clips so far, and without samples while a prompt is taken in; returning
// false ends the generation and keeps what was made. A clip that has gone back may be shorter than it was.
using GenerationProgress = std::function<bool(const std::vector<Clip>& clips)>;

// `count` clips side by side, each `samples` codes after `prompt`. Clip i draws from stream i of the seed, so it is the
// same clip whatever the count. Networks of 256 codes only.
std::vector<Clip> generate(const Network& network, int64_t count, int64_t samples, std::span<const uint8_t> prompt,
                           const SamplingOptions& options, const GenerationProgress& progress = {},
                           const GenerationSetup& setup = {});
// One clip a prompt; all prompts of equal length. Throws Error where they are not.
std::vector<Clip> generate(const Network& network, std::span<const std::vector<uint8_t>> prompts, int64_t samples,
                           const SamplingOptions& options, const GenerationProgress& progress = {},
                           const GenerationSetup& setup = {});

}  // namespace nigiri
