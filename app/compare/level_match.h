// Equal loudness for listening tests: the louder of two sounds is taken for the better one.
#pragma once

#include <span>
#include <vector>

namespace nigiri::app {

struct LevelMatch {
    double target_lufs = 0;     // what all sounds that are not silent have afterwards; -infinity where all are silent
    std::vector<double> gains;  // one a sound, a factor; 1 for silence
};

// Gains that bring the sounds to equal integrated loudness (EBU R128, analysis.h) without any sample beyond full scale:
// the target is `wanted_lufs` (R128's own, -23), lowered to what the sound with the least headroom reaches. Sounds
// shorter than 400 ms have no integrated loudness and count as silence.
LevelMatch match_levels(std::span<const std::vector<float>> sounds, int rate, double wanted_lufs = -23);

}  // namespace nigiri::app
