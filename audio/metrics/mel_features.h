// Sounds as points in a space of log-mel levels: what the distance of timbres and the clusters look at.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "audio/metrics/sounds.h"

namespace nigiri {

// Points of `dimensions` numbers, one after the other.
struct Features {
    int dimensions = 0;
    std::vector<float> values;

    int64_t count() const { return dimensions ? static_cast<int64_t>(values.size()) / dimensions : 0; }
    std::span<const float> at(int64_t i) const {
        return std::span(values).subspan(static_cast<size_t>(i * dimensions), static_cast<size_t>(dimensions));
    }
};

struct MelFeatureOptions {
    int bands = 40;
    int frames = 1;  // frames in a point: 1 looks at the sound of a moment, more at its course
};

// Log-mel levels (spectrogram.h; Hann windows of 64 ms or the next smaller power of two, every half window, nothing
// beyond the ends) in dB, floored at a power of 1e-5, which is some 60 dB below full scale: differences between
// silences are not heard. Point i holds frames i * frames to (i + 1) * frames - 1 of a sound, time by time; points of
// several frames do not overlap, and none spans two sounds.
Features mel_features(const SoundSet& sounds, const MelFeatureOptions& options);

}  // namespace nigiri
