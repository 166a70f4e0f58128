#include "audio/metrics/sounds.h"

#include <algorithm>
#include <utility>

namespace nigiri {

SplitSounds split_evenly(SoundSet set, size_t count) {
    const size_t n = set.sounds.size(), m = std::min(count, n / 2);
    SplitSounds parts;
    parts.sample.rate = parts.rest.rate = set.rate;
    size_t taken = 0;
    for (size_t i = 0; i < n; ++i) {
        // The k-th of m stands in the middle of the k-th m-th part.
        const bool chosen = taken < m && i == (2 * taken + 1) * n / (2 * m);
        taken += chosen;
        (chosen ? parts.sample : parts.rest).sounds.push_back(std::move(set.sounds[i]));
    }
    return parts;
}

}  // namespace nigiri
