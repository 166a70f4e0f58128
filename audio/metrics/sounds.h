// A set of sounds to be compared with another set.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nigiri {

// Samples in [-1, 1], all at the same rate.
struct SoundSet {
    int rate = 16000;  // Hz
    std::vector<std::vector<float>> sounds;

    int64_t samples() const {
        int64_t n = 0;
        for (const auto& s : sounds) n += static_cast<int64_t>(s.size());
        return n;
    }
    double seconds() const { return static_cast<double>(samples()) / rate; }
};

// `count` of n things, at most half of them, spread evenly: the k-th stands in the middle of the k-th of `count` parts.
std::vector<size_t> evenly_spread(size_t n, size_t count);

// A set in two parts: `count` sounds spread evenly over it (at most half of them), and the rest. The first is what a
// perfect imitation of the second would be: as many sounds of the same kind that are not in it.
struct SplitSounds {
    SoundSet sample, rest;
};
SplitSounds split_evenly(SoundSet set, size_t count);

}  // namespace nigiri
