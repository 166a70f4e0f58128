// How fast networks generate here, beside the published code's numbers.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "kernels/backend.h"
#include "model/config.h"
#include "model/generator.h"

namespace nigiri::app {

// The preset that a network is of, whatever its layers; "own sizes" where there is none.
std::string preset_name(const ModelConfig& model);

// Steps a second of each stream, by the published code on one H100 with the weights of `base`: as published, and the
// same captured in a CUDA graph; and by PyTorch on two CPU cores. Measured once, on other machines than this one.
struct PublishedSpeed {
    std::optional<double> as_published, cuda_graph, two_cores;
};
// Of a named layer in `base`; nothing where nothing was measured.
PublishedSpeed published_speed(const std::string& layer, int64_t streams);

struct GenerateSpeed {
    EngineReport engine;
    size_t weight_bytes = 0;
    int64_t steps = 0;            // measured
    double steps_per_second = 0;  // of each stream, drawing included
};

// Generates with random weights for about `seconds`, from one code drawn to the next, sampling at temperature 1.
GenerateSpeed bench_generate(const std::shared_ptr<Backend>& backend, const Config& config, int64_t streams,
                             const EngineChoice& engine, uint64_t seed, double seconds, const std::atomic<bool>& stop);

}  // namespace nigiri::app
