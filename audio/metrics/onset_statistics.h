// How often notes begin, and how far apart.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "audio/metrics/sounds.h"

namespace nigiri {

// Intervals between neighbouring onsets of a sound: bin i holds those from 0.05 * 2^(i/2) to 0.05 * 2^((i+1)/2)
// seconds, the last one (from 3.2 s) all longer ones as well, the first all shorter ones. Half an octave a bin: a tempo
// changed by a few percent changes little.
inline constexpr int interval_bins = 13;
// Logarithmic because rhythms are ratios.
int interval_bin(double seconds);

struct OnsetStatistics {
    double per_second = 0;                          // onsets of all sounds over their length
    std::array<double, interval_bins> intervals{};  // counts
};

// Onsets as analysis.h finds them (spectral flux; see there what it misses). Intervals longer than a sound cannot
// occur: compare sets of sounds of equal length.
OnsetStatistics onset_statistics(const SoundSet& sounds);
// From times in seconds, ascending, one list a sound.
OnsetStatistics onset_statistics(std::span<const std::vector<double>> times, double seconds);

// Jensen-Shannon divergence in bits of the intervals; none where either set has none.
std::optional<double> interval_distance(const OnsetStatistics& a, const OnsetStatistics& b);

}  // namespace nigiri
