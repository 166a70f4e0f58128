#include "app/compare/level_match.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "audio/analysis.h"

namespace nigiri::app {

LevelMatch match_levels(std::span<const std::vector<float>> sounds, int rate, double wanted_lufs) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    LevelMatch match;
    match.target_lufs = -infinity;
    std::vector<double> loudness;
    double highest = infinity;
    for (const auto& sound : sounds) {
        loudness.push_back(integrated_loudness(sound, rate));
        if (!std::isfinite(loudness.back())) continue;
        // A sound of loudness L and peak P (dB) reaches L - P before its peak is at full scale.
        highest = std::min(highest, loudness.back() - measure_level(sound, rate).peak_dbfs);
    }
    if (std::isfinite(highest)) match.target_lufs = std::min(wanted_lufs, highest);
    for (size_t i = 0; i < sounds.size(); ++i) {
        if (!std::isfinite(loudness[i])) {
            match.gains.push_back(1);
            continue;
        }
        double peak = 0;
        for (const float x : sounds[i])
            if (std::isfinite(x)) peak = std::max(peak, std::abs(static_cast<double>(x)));
        const double gain = std::pow(10, (match.target_lufs - loudness[i]) / 20);
        match.gains.push_back(std::min(gain, 1 / peak));  // for the last bit of rounding
    }
    return match;
}

}  // namespace nigiri::app
