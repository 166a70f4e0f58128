#include "audio/metrics/mel_features.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "audio/spectrogram.h"
#include "kernels/error.h"

namespace nigiri {

Features mel_features(const SoundSet& sounds, const MelFeatureOptions& o) {
    if (o.bands < 1 || o.frames < 1) throw Error("log-mel features need a band and a frame at least");
    if (sounds.rate < 1000) throw Error("sound at " + std::to_string(sounds.rate) + " Hz cannot be compared");
    MelOptions mel;
    mel.bands = o.bands;
    // 1.024 rather than 1: 16 kHz gets 1024 samples.
    mel.window = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::lround(0.064 * 1.024 * sounds.rate))));
    mel.hop = mel.window / 2;
    mel.centred = false;
    mel.floor = 1e-5;
    Features features;
    features.dimensions = o.bands * o.frames;
    for (const auto& sound : sounds.sounds) {
        std::vector<float> finite(sound.begin(), sound.end());
        for (float& x : finite)
            if (!std::isfinite(x)) x = 0;
        const Spectrogram s = log_mel(finite, sounds.rate, mel);
        const auto whole = static_cast<std::ptrdiff_t>(s.frames / o.frames * features.dimensions);
        features.values.insert(features.values.end(), s.values.begin(), s.values.begin() + whole);
    }
    return features;
}

}  // namespace nigiri
