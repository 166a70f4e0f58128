// Generated digits on disk, in pieces: what was made is not made again when a long run goes on.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "model/generator.h"

namespace nigiri::app {

struct DigitClips {
    std::vector<std::vector<uint8_t>> codes;  // digit_samples each
    std::vector<double> bits;                 // exact, of the whole clip: -log2 of its likelihood at temperature 1

    size_t size() const { return codes.size(); }
};

struct DigitClipOptions {
    int64_t count = 1024;
    int64_t batch = 128;       // side by side, and a file
    SamplingOptions sampling;  // batch k draws from the seed + k 2^32
    EngineChoice engine;
};

// Called after every sample; returning false stops.
using DigitClipProgress = std::function<bool(int64_t clips_done, double share_of_batch)>;

// Makes clips of one second from nothing and keeps them in FOLDER/NUMBER.safetensors, a file a batch; batches that are
// there already, made with the same model, settings and kind of device, are read instead. `model_id` tells models
// apart. Throws Error where the folder holds clips of other settings, or cannot be written, and Cancelled, with the
// batches that were finished kept.
DigitClips digit_clips(const Network& network, const std::string& model_id, const DigitClipOptions& options,
                       const std::filesystem::path& folder, const DigitClipProgress& progress = {});

// The clips left by the published selection, by rank of their likelihood, ascending: those from floor(lower n) to
// floor(upper n) - 1. Indices, the least likely first.
std::vector<size_t> kept_by_likelihood(const std::vector<double>& bits, double lower, double upper);

}  // namespace nigiri::app
