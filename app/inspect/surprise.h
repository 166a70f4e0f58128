// How surprising every sample of a sound is to a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "audio/progress.h"
#include "model/network.h"

namespace nigiri::app {

// -log2 of the probability that the network gives each code after the ones before it, exact; their sum is the bits of
// evaluate_sequence(). Memory does not grow with the network's work, only with the result. Throws Cancelled.
std::vector<float> sample_bits(const Network& network, std::span<const uint8_t> codes, const Progress& progress = {});

// Means over `window` samples around each (fewer at the ends). window at least 1.
std::vector<float> smoothed(std::span<const float> values, int64_t window);

struct SurprisingPlace {
    int64_t begin = 0, end = 0;  // samples
    double mean_bits = 0;        // a sample
    double share = 0;            // of all bits of the sound
};

// The windows with the highest means, at least `apart` samples between any two, the most surprising first; at most
// `count`. window at least 1; a sound shorter than that is one window.
std::vector<SurprisingPlace> most_surprising(std::span<const float> bits, int64_t window, int64_t apart, size_t count);

}  // namespace nigiri::app
