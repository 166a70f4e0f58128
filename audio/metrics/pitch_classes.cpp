#include "audio/metrics/pitch_classes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "audio/metrics/distribution.h"
#include "audio/spectrogram.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr double lowest = 100, highest = 2000;  // Hz
constexpr double below_highest_peak = 1e-3;     // of power: 30 dB, above the side lobes of the window

// Adds the frame's profile, whose sum is 1, to `sum`; false where the frame has no peak.
bool add_profile(std::span<const double> power, double hertz_per_bin, PitchClasses& sum) {
    const auto first = std::max<size_t>(1, static_cast<size_t>(std::ceil(lowest / hertz_per_bin)));
    const auto last = std::min(power.size() - 2, static_cast<size_t>(highest / hertz_per_bin));
    const auto is_peak = [&](size_t k) { return power[k] > power[k - 1] && power[k] >= power[k + 1]; };
    double top = 0;
    for (size_t k = first; k <= last; ++k)
        if (is_peak(k)) top = std::max(top, power[k]);
    if (!(top > 0)) return false;
    PitchClasses profile{};
    double total = 0;
    for (size_t k = first; k <= last; ++k) {
        if (!is_peak(k) || power[k] < below_highest_peak * top) continue;
        const auto level = [&](size_t i) { return std::log(std::max(power[i], 1e-30)); };
        const double left = level(k - 1), here = level(k), right = level(k + 1), bend = left - 2 * here + right;
        const double shift = bend < 0 ? std::clamp(0.5 * (left - right) / bend, -0.5, 0.5) : 0;
        const double hertz = (static_cast<double>(k) + shift) * hertz_per_bin;
        const auto above_a = std::lround(12 * std::log2(hertz / 440));
        const double weight = std::sqrt(power[k]);
        profile[static_cast<size_t>(((above_a + 9) % 12 + 12) % 12)] += weight;
        total += weight;
    }
    for (size_t c = 0; c < 12; ++c) sum[c] += profile[c] / total;
    return true;
}

}  // namespace

PitchClassStatistics pitch_classes(const SoundSet& sounds) {
    if (sounds.rate < 1000) throw Error("sound at " + std::to_string(sounds.rate) + " Hz has no pitch classes");
    SpectrumOptions options;
    options.window = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::lround(0.256 * 1.024 * sounds.rate))));
    options.hop = options.window / 2;
    options.centred = false;
    // Parseval, as in analysis.cpp: the mean power of a frame of -60 dBFS RMS under a Hann window.
    const double audible = 1e-6 * options.window * 3 / 8;
    PitchClassStatistics result;
    double entropies = 0;
    int64_t sounding = 0;
    for (const auto& sound : sounds.sounds) {
        std::vector<float> finite(sound.begin(), sound.end());
        for (float& x : finite)
            if (!std::isfinite(x)) x = 0;
        PitchClasses own{};
        int64_t frames = 0;
        each_power_spectrum(finite, options, [&](int64_t, std::span<const double> power) {
            // Without the lowest bins, which hold a constant offset.
            double sum = 0;
            for (const double p : power.subspan(2)) sum += p;
            if (sum / static_cast<double>(power.size() - 2) > audible)
                frames += add_profile(power, static_cast<double>(sounds.rate) / options.window, own);
        });
        if (frames == 0) continue;
        for (size_t c = 0; c < 12; ++c) result.shares[c] += own[c];
        result.frames += frames;
        entropies += nigiri::entropy_bits(own).value_or(0);
        ++sounding;
    }
    if (sounding == 0) return result;
    for (double& share : result.shares) share /= static_cast<double>(result.frames);
    result.entropy_bits = entropies / static_cast<double>(sounding);
    return result;
}

std::optional<double> pitch_class_distance(const PitchClasses& a, const PitchClasses& b) {
    return jensen_shannon_bits(a, b);
}

std::optional<TransposedDistance> transposed_pitch_class_distance(const PitchClasses& a, const PitchClasses& b) {
    std::optional<TransposedDistance> best;
    for (int semitones = 0; semitones < 12; ++semitones) {
        PitchClasses moved{};
        for (size_t c = 0; c < 12; ++c) moved[(c + static_cast<size_t>(semitones)) % 12] = a[c];
        const auto bits = jensen_shannon_bits(moved, b);
        if (bits && (!best || *bits < best->bits)) best = TransposedDistance{*bits, semitones};
    }
    return best;
}

}  // namespace nigiri
