#include "audio/metrics/sounds.h"

#include <algorithm>
#include <utility>

namespace nigiri {

std::vector<size_t> evenly_spread(size_t n, size_t count) {
    const size_t m = std::min(count, n / 2);
    std::vector<size_t> chosen;
    for (size_t k = 0; k < m; ++k) chosen.push_back((2 * k + 1) * n / (2 * m));
    return chosen;
}

SplitSounds split_evenly(SoundSet set, size_t count) {
    const std::vector<size_t> chosen = evenly_spread(set.sounds.size(), count);
    SplitSounds parts;
    parts.sample.rate = parts.rest.rate = set.rate;
    size_t next = 0;
    for (size_t i = 0; i < set.sounds.size(); ++i) {
        const bool kept = next < chosen.size() && i == chosen[next];
        next += kept;
        (kept ? parts.sample : parts.rest).sounds.push_back(std::move(set.sounds[i]));
    }
    return parts;
}

}  // namespace nigiri
