#include "audio/metrics/onset_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "audio/analysis.h"
#include "audio/metrics/distribution.h"

namespace nigiri {

int interval_bin(double seconds) {
    if (!(seconds > 0.05)) return 0;
    return static_cast<int>(std::min<double>(interval_bins - 1, std::floor(2 * std::log2(seconds / 0.05))));
}

OnsetStatistics onset_statistics(std::span<const std::vector<double>> times, double seconds) {
    OnsetStatistics result;
    size_t count = 0;
    for (const auto& sound : times) {
        count += sound.size();
        for (size_t i = 1; i < sound.size(); ++i)
            result.intervals[static_cast<size_t>(interval_bin(sound[i] - sound[i - 1]))] += 1;
    }
    result.per_second = seconds > 0 ? static_cast<double>(count) / seconds : 0;
    return result;
}

OnsetStatistics onset_statistics(const SoundSet& sounds) {
    std::vector<std::vector<double>> times;
    for (const auto& sound : sounds.sounds) times.push_back(onsets(sound, sounds.rate));
    return onset_statistics(times, sounds.seconds());
}

std::optional<double> interval_distance(const OnsetStatistics& a, const OnsetStatistics& b) {
    return jensen_shannon_bits(a.intervals, b.intervals);
}

}  // namespace nigiri
