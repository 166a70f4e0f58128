// Generation: codes drawn one at a time, each fed back, in constant memory a step.
#pragma once

#include <functional>
#include <vector>

#include "model/network.h"
#include "model/sampler.h"

namespace nigiri {

struct Clip {
    std::vector<uint8_t> codes;  // the prompt, then what was generated
    int64_t prompt = 0;          // how many of them are the prompt's
    double log2_likelihood = 0;  // exact, of the generated codes given what came before, at temperature 1

    int64_t generated() const { return static_cast<int64_t>(codes.size()) - prompt; }
    double log2_likelihood_per_sample() const {
        return generated() > 0 ? log2_likelihood / static_cast<double>(generated()) : 0.0;
    }
};

// The code that stands before the first sample: silence.
inline int32_t start_code(const ModelConfig& config) { return static_cast<int32_t>(config.vocabulary / 2); }

// Called after every sample with the clips so far; returning false ends the generation and keeps what was made.
using GenerationProgress = std::function<bool(const std::vector<Clip>& clips)>;

// `count` clips side by side, each `samples` codes after `prompt`. Clip i draws from stream i of the seed, so it is the
// same clip whatever the count. Networks of 256 codes only.
std::vector<Clip> generate(const Network& network, int64_t count, int64_t samples, std::span<const uint8_t> prompt,
                           const SamplingOptions& options, const GenerationProgress& progress = {});
// One clip a prompt; all prompts of equal length. Throws Error where they are not.
std::vector<Clip> generate(const Network& network, std::span<const std::vector<uint8_t>> prompts, int64_t samples,
                           const SamplingOptions& options, const GenerationProgress& progress = {});

}  // namespace nigiri
