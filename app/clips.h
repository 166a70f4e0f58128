// Clips from a model, with everything needed to make them again: as the command line and the studio write them.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "audio/write.h"
#include "model/checkpoint.h"
#include "model/generator.h"

namespace nigiri::app {

// What a clip was made with. The same settings on the same device make the same clip.
struct ClipSettings {
    std::string model;  // file name
    std::string layer;
    int64_t step = 0;  // of the model's training
    SamplingOptions sampling;
    std::string prompt;  // name of the audio that was continued; empty: none
};

ClipSettings clip_settings(const std::filesystem::path& model, const Config& config, int64_t step,
                           const SamplingOptions& sampling, const std::string& prompt);

// The codes of a prompt, scaled as the model's training audio was.
std::vector<uint8_t> prompt_codes(std::vector<float> samples, const SignalConfig& signal);

// Indices of the clips, the likeliest a sample first.
std::vector<size_t> by_likelihood(const std::vector<Clip>& clips);

// {"model", "layer", "step", "seed", "clip", "temperature", "top_k", "top_p", "prompt", "prompt_samples", "samples",
//  "log2_likelihood_per_sample"}; `index` is the clip's number among those made side by side.
nlohmann::json clip_facts(const Clip& clip, size_t index, const ClipSettings& settings);

// Writes a .wav or .flac with the facts (any object) in its comment, and PATH.json with the facts alone. Throws Error.
void write_clip(const std::filesystem::path& path, std::span<const float> samples, int rate,
                const nlohmann::json& facts, SampleFormat format = SampleFormat::pcm16);

// The facts of a clip that write_clip wrote, from its sidecar or else its comment; null where there are none.
nlohmann::json read_clip_facts(const std::filesystem::path& path);

}  // namespace nigiri::app
