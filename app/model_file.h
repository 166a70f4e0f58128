// Models given on the command line, and the clips made from them.
#pragma once

#include <atomic>
#include <filesystem>

#include "audio/quantize.h"
#include "model/checkpoint.h"
#include "model/generator.h"

namespace nigiri::app {

// A model file, or a run folder, which stands for its best checkpoint.
std::filesystem::path model_path(const std::filesystem::path& given);
// "small-mamba-s4": what it is called. A checkpoint inside of a run folder goes by the run's name.
std::string model_name(const std::filesystem::path& given);

// A clip's codes as a waveform in [-1, 1].
std::vector<float> waveform(const Clip& clip, const SignalConfig& signal);

// Writes a short clip of a network in training; always the same seed, so that previews can be compared.
void write_preview(const Network& network, const Config& config, const std::filesystem::path& path,
                   const std::atomic<bool>& stop);

}  // namespace nigiri::app
