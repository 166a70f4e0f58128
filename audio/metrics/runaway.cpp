#include "audio/metrics/runaway.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "audio/analysis.h"
#include "audio/metrics/distribution.h"

namespace nigiri {
namespace {

constexpr double window_seconds = 0.5;
constexpr size_t windows_at_end = 2;

SoundWindow measure(std::span<const float> samples, int rate) {
    const auto value = [](float x) { return std::isfinite(x) ? static_cast<double>(x) : 0.0; };
    const double n = static_cast<double>(samples.size());
    double mean = 0, square = 0;
    for (const float x : samples) mean += value(x) / n;
    for (const float x : samples) square += (value(x) - mean) * (value(x) - mean) / n;
    std::vector<float> centred(samples.size());
    for (size_t i = 0; i < samples.size(); ++i) centred[i] = static_cast<float>(value(samples[i]) - mean);
    SoundWindow w;
    // Rounding leaves something of a constant: far below the smallest step of 16 bits, so nothing.
    w.level_dbfs = square > 1e-14 ? 10 * std::log10(square) : -std::numeric_limits<double>::infinity();
    w.flatness = spectral_flatness(centred, rate);
    w.offset = std::abs(mean);
    return w;
}

}  // namespace

const char* name_of(Runaway kind) {
    switch (kind) {
        case Runaway::none:
            return "none";
        case Runaway::silence:
            return "silence";
        case Runaway::noise:
            return "noise";
        case Runaway::loud:
            return "loud";
        case Runaway::offset:
            return "offset";
    }
    return "none";
}

std::vector<SoundWindow> sound_windows(std::span<const float> samples, int rate) {
    const auto length = static_cast<size_t>(std::max<long>(1, std::lround(window_seconds * rate)));
    std::vector<SoundWindow> windows;
    for (size_t at = 0; at + length <= samples.size(); at += length)
        windows.push_back(measure(samples.subspan(at, length), rate));
    if (windows.empty() && !samples.empty()) windows.push_back(measure(samples, rate));
    return windows;
}

WindowRange window_range(const SoundSet& held_out) {
    std::vector<double> levels, flatness, offsets;
    for (const auto& sound : held_out.sounds)
        for (const SoundWindow& w : sound_windows(sound, held_out.rate)) {
            levels.push_back(w.level_dbfs);
            flatness.push_back(w.flatness);
            offsets.push_back(w.offset);
        }
    WindowRange range;
    if (levels.empty()) return range;
    range.silence_dbfs = std::clamp(quantile(levels, 0.01) - 6, -70.0, -50.0);
    range.loud_dbfs = std::clamp(quantile(levels, 0.99) + 6, -20.0, -3.0);
    range.flatness = std::clamp(10 * quantile(flatness, 0.99), 0.05, 0.5);
    range.offset = std::min(0.5, quantile(offsets, 0.99) + 0.05);
    return range;
}

Runaway judge(const SoundWindow& w, const WindowRange& range) {
    if (w.offset > range.offset) return Runaway::offset;
    if (w.level_dbfs > range.loud_dbfs) return Runaway::loud;
    if (w.flatness > range.flatness) return Runaway::noise;
    if (w.level_dbfs < range.silence_dbfs) return Runaway::silence;
    return Runaway::none;
}

Runaway ran_away(std::span<const float> samples, int rate, const WindowRange& range) {
    std::vector<Runaway> kinds;
    for (const SoundWindow& w : sound_windows(samples, rate)) kinds.push_back(judge(w, range));
    for (const Runaway kind : {Runaway::offset, Runaway::loud, Runaway::noise, Runaway::silence}) {
        const auto count = static_cast<size_t>(std::count(kinds.begin(), kinds.end(), kind));
        const bool half = count > 0 && 2 * count >= kinds.size();
        const bool end = kinds.size() > windows_at_end &&
                         std::count(kinds.end() - windows_at_end, kinds.end(), kind) == windows_at_end;
        if (half || end) return kind;
    }
    return Runaway::none;
}

}  // namespace nigiri
