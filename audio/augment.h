// Small changes to a sound that leave what it says: what a classifier must not mind.
#pragma once

#include <span>
#include <vector>

#include "kernels/random.h"

namespace nigiri {

// Each is drawn uniformly from its range.
struct Augmentation {
    double earlier = 0.02, later = 0.2;  // seconds by which it is moved; what leaves the clip is gone, silence follows
    double speed = 1.12;  // pitch and tempo together, a factor from 1 / speed to speed, on a logarithmic scale
    double gain_db = 6;   // louder or softer by at most this
    double noise_low_db = -75, noise_high_db = -35;  // white noise, RMS below full scale; half of the clips have none
};

// A clip of the same length in [-1, 1]. The same generator state makes the same clip.
std::vector<float> augmented(std::span<const float> samples, int rate, const Augmentation& how, Random& random);

}  // namespace nigiri
