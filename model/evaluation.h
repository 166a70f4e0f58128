// Exact bits per sample of recordings under a network.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/recurrent_engine.h"
#include "model/network.h"

namespace nigiri {

struct Evaluation {
    double bits = 0;  // summed over samples
    int64_t samples = 0;

    double bits_per_sample() const { return samples > 0 ? bits / static_cast<double>(samples) : 0.0; }
};

// Called with the number of samples done; returning false stops early.
using EvaluationProgress = std::function<bool(int64_t samples)>;

// The recording as one sequence of any length: the state is carried from piece to piece, memory does not grow.
Evaluation evaluate_sequence(const Network& network, std::span<const uint8_t> codes,
                             const EvaluationProgress& progress = {});

// Segments of at most `length` samples, each from a zero state. Each is a span of codes.
Evaluation evaluate_segments(const Network& network, const std::vector<std::span<const uint8_t>>& segments,
                             const EvaluationProgress& progress = {});

// The same, sample by sample by an engine: what generates is what is judged, its weights in bf16 or int8 too. As many
// segments run side by side as the engine has streams, each from the state its stream is in now, which it is left in.
Evaluation evaluate_segments(RecurrentEngine& engine, const std::vector<std::span<const uint8_t>>& segments,
                             const EvaluationProgress& progress = {});

// A sequence's parallel pass, its sample-by-sample pass and a pass in pieces, compared: the largest difference
// of log-probabilities (nats).
struct SelfCheck {
    double step_difference = 0, piece_difference = 0;
    int64_t length = 0;
};
SelfCheck selfcheck(const Network& network, int64_t length, uint64_t seed);

}  // namespace nigiri
