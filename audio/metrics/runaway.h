// Clips that leave the road: a model's own output, fed back, may drift into silence, noise, a constant offset or
// overdrive and stay there. (The sampler published with Goel et al. 2022, "It's Raw! Audio Generation with State-Space
// Models", arXiv:2202.09729, ranks clips by likelihood and leaves the ends out. The criteria here are our own.)
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "audio/metrics/sounds.h"

namespace nigiri {

enum class Runaway : uint8_t { none, silence, noise, loud, offset };
const char* name_of(Runaway kind);  // "none", "silence", ...

// Half a second of sound.
struct SoundWindow {
    double level_dbfs = 0;  // RMS without the mean; -infinity for a constant
    double flatness = 0;    // analysis.h, spectral_flatness
    double offset = 0;      // magnitude of the mean
};

// Consecutive windows; a rest shorter than a window is left out, unless it is all there is.
std::vector<SoundWindow> sound_windows(std::span<const float> samples, int rate);

// What a window may be, from held-out audio: its 1 % and 99 % quantiles with a margin, between fixed ends so that
// untypical recordings do not make everything right or wrong.
struct WindowRange {
    double silence_dbfs = -60;  // a window below is silent: 1 % quantile - 6 dB, within [-70, -50]
    double loud_dbfs = -3;      // above is overdriven: 99 % quantile + 6 dB, within [-20, -3] (a full-scale sine: -3)
    // Above is noise: ten times the 99 % quantile, as if the noise between the tones were 10 dB louder, within [0.05,
    // 0.5] (white noise: 0.56; a piano: 0.0001, after 8-bit codes below 0.01).
    double flatness = 0.5;
    double offset = 0.05;  // above is an offset: 99 % quantile + 0.05, at most 0.5
};
WindowRange window_range(const SoundSet& held_out);

// In this order where several apply: offset, loud, noise, silence.
Runaway judge(const SoundWindow& window, const WindowRange& range);

// A clip has run away into a kind if half of its windows or more are of that kind, or all of its last second (if it is
// longer than that): it does not come back. A shorter breakdown, or a rest in the music, is none.
Runaway ran_away(std::span<const float> samples, int rate, const WindowRange& range);

}  // namespace nigiri
