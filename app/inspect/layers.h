// What the state spaces of a network do: kernels of the time-invariant ones, step sizes of the selective ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "audio/progress.h"
#include "model/network.h"

namespace nigiri::app {

struct LayerKernels {
    int64_t length = 0, channels = 0;
    int64_t stride = 1;         // samples of the sound a step
    std::vector<float> values;  // channel c at step l: values[c * length + l]

    std::span<const float> channel(int64_t c) const {
        return std::span(values).subspan(static_cast<size_t>(c * length), static_cast<size_t>(length));
    }
};

// The response of each channel to an impulse, the skip included at step 0: the state space run as it generates, so it
// holds for S4D and S4 alike and for any length. Throws Error for a selective layer, which has no kernel.
LayerKernels layer_kernels(const Network& network, const StateSpaceInfo& layer, int64_t length);

struct FrequencyResponse {
    std::vector<double> hertz;     // up to half of the layer's own rate
    std::vector<double> decibels;  // 20 log10 |K|, at least -120
};
// `rate` in Hz: of the layer's steps.
FrequencyResponse frequency_response(std::span<const float> kernel, double rate);

struct LayerSteps {
    int64_t stride = 1;  // samples of the sound a step
    int64_t channels = 0;
    std::vector<float> mean;     // over the channels, one a step
    std::vector<float> channel;  // of the one asked for
};
// Delta of an S6 layer along a sound: how fast it forgets and takes in. Throws Error for another layer or a channel it
// does not have, and Cancelled.
LayerSteps layer_steps(const Network& network, const StateSpaceInfo& layer, std::span<const uint8_t> codes,
                       int64_t channel, const Progress& progress = {});

}  // namespace nigiri::app
