// Models given on the command line, and the clips made from them.
#pragma once

#include <atomic>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "audio/quantize.h"
#include "model/checkpoint.h"
#include "model/generator.h"

namespace nigiri::app {

// A model file, or a run folder, which stands for its best checkpoint.
std::filesystem::path model_path(const std::filesystem::path& given);

// A clip's codes as a waveform in [-1, 1].
std::vector<float> waveform(const Clip& clip, const SignalConfig& signal);

// What a clip was made with, as JSON: it travels in the sound file's comment. `index` is the clip's stream of the seed.
nlohmann::json clip_facts(const Clip& clip, size_t index, const std::filesystem::path& model,
                          const Checkpoint& checkpoint, const SamplingOptions& sampling, const std::string& prompt);
// A .wav or .flac file with those facts.
void write_clip(const std::filesystem::path& path, std::span<const float> samples, int rate,
                const nlohmann::json& facts);

// Writes a short clip of a network in training; always the same seed, so that previews can be compared.
void write_preview(const Network& network, const Config& config, const std::filesystem::path& path,
                   const std::atomic<bool>& stop);

}  // namespace nigiri::app
