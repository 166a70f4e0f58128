// Which of the twelve pitch classes sound, how much, and how tonal a set of sounds is.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "audio/metrics/sounds.h"

namespace nigiri {

// Shares of the pitch classes C, C sharp, ... B; their sum is 1, or 0 where nothing sounds.
using PitchClasses = std::array<double, 12>;

struct PitchClassStatistics {
    PitchClasses shares{};  // mean over the frames of all sounds
    int64_t frames = 0;     // that sound
    // Mean over the sounds of the entropy in bits of a sound's own shares: 0 for one pitch class, log2 12 = 3.585 for
    // all twelve alike (noise). Does not change when a sound is transposed. None where nothing sounds.
    std::optional<double> entropy_bits;
};

// A pitch class profile (Fujishima 1999, "Realtime chord recognition of musical sound", ICMC) from spectral peaks, as
// in Gomez 2006 ("Tonal description of polyphonic audio for music content processing", INFORMS Journal on Computing
// 18). Frames of a Hann window of 256 ms (or the next smaller power of two), every half window, louder than -60 dBFS
// RMS. In each the peaks of the spectrum between 100 Hz and 2 kHz that are at most 30 dB below the highest of them (the
// side lobes of the window are 31 dB down); a peak's frequency is the vertex of the parabola through its and its
// neighbours' log powers, its pitch class is round(12 log2(f / 440 Hz)) above A, its weight the square root of its
// power. A frame's shares sum to 1. Overtones count as pitch classes of their own, in both sets alike.
PitchClassStatistics pitch_classes(const SoundSet& sounds);

// Jensen-Shannon divergence in bits. none where either is silent.
std::optional<double> pitch_class_distance(const PitchClasses& a, const PitchClasses& b);

// The same after the transposition of `a` by 0 to 11 semitones upwards that makes it least: 0 for a transposed copy.
struct TransposedDistance {
    double bits = 0;
    int semitones = 0;
};
std::optional<TransposedDistance> transposed_pitch_class_distance(const PitchClasses& a, const PitchClasses& b);

}  // namespace nigiri
