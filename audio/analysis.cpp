#include "audio/analysis.h"

#include <ebur128.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "audio/spectrogram.h"
#include "audio/text.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double decibels(double amplitude) { return amplitude > 0 ? 20 * std::log10(amplitude) : -infinity; }

void check_rate(int rate) {
    if (rate < 1) throw Error("sound at " + std::to_string(rate) + " Hz cannot be analysed");
}

struct DestroyMeter {
    void operator()(ebur128_state* state) const { ebur128_destroy(&state); }
};

}  // namespace

Level measure_level(std::span<const float> samples, int rate, const LevelOptions& options) {
    check_rate(rate);
    const size_t block = std::max<size_t>(1, static_cast<size_t>(rate) / 50);
    const double silence = std::pow(10, options.silence_dbfs / 20);
    double peak = 0, sum = 0, square = 0, block_square = 0;
    int64_t clipped = 0, silent = 0, blocks = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
        const double x = std::isfinite(samples[i]) ? samples[i] : 0;
        peak = std::max(peak, std::abs(x));
        sum += x;
        block_square += x * x;
        clipped += std::abs(x) >= options.clipping;
        if ((i + 1) % block == 0 || i + 1 == samples.size()) {
            const double length = static_cast<double>(i % block + 1);
            silent += std::sqrt(block_square / length) < silence;
            square += block_square;
            block_square = 0;
            ++blocks;
        }
    }
    const double n = std::max<double>(1, static_cast<double>(samples.size()));
    Level level;
    level.peak_dbfs = decibels(peak);
    level.rms_dbfs = decibels(std::sqrt(square / n));
    level.dc = sum / n;
    level.clipped_share = static_cast<double>(clipped) / n;
    level.silent_share = blocks ? static_cast<double>(silent) / static_cast<double>(blocks) : 0;
    return level;
}

double integrated_loudness(std::span<const float> samples, int rate) {
    check_rate(rate);
    const std::unique_ptr<ebur128_state, DestroyMeter> meter(
        ebur128_init(1, static_cast<unsigned long>(rate), EBUR128_MODE_I));
    if (!meter) throw Error("loudness cannot be measured at " + std::to_string(rate) + " Hz");
    std::vector<float> block;
    for (size_t at = 0; at < samples.size(); at += block.size()) {
        const auto part = samples.subspan(at, std::min<size_t>(samples.size() - at, 1 << 15));
        block.assign(part.begin(), part.end());
        for (float& x : block)
            if (!std::isfinite(x)) x = 0;
        if (ebur128_add_frames_float(meter.get(), block.data(), block.size()) != EBUR128_SUCCESS)
            throw Error("loudness cannot be measured: out of memory");
    }
    double loudness = -infinity;
    if (ebur128_loudness_global(meter.get(), &loudness) != EBUR128_SUCCESS) return -infinity;
    return loudness;
}

double spectral_flatness(std::span<const float> samples, int rate) {
    check_rate(rate);
    SpectrumOptions options;
    options.hop = 512;
    options.centred = false;
    // Parseval: a frame of RMS r has the mean power r^2 * sum of the squared window, which is 3/8 of its
    // length.
    const double audible = std::pow(10, -60 / 10.0) * options.window * 3 / 8;
    double sum = 0;
    int64_t counted = 0;
    each_power_spectrum(samples, options, [&](int64_t, std::span<const double> power) {
        // Without the first and last bins, whose power is distributed otherwise and which hold the offset.
        const auto bins = power.subspan(2, power.size() - 4);
        double logs = 0, total = 0;
        for (const double p : bins) {
            logs += std::log(std::max(p, 1e-30));
            total += p;
        }
        const double mean = total / static_cast<double>(bins.size());
        if (!(mean > audible)) return;
        sum += std::exp(logs / static_cast<double>(bins.size())) / mean;
        ++counted;
    });
    return counted ? sum / static_cast<double>(counted) : 0;
}

std::vector<double> onsets(std::span<const float> samples, int rate) {
    check_rate(rate);
    MelOptions options;
    options.window =
        static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(16, rate * 64 / 1000 + rate / 100))));
    options.hop = std::max(1, options.window / 4);
    options.centred = false;
    options.bands = 40;
    const Spectrogram mel = log_mel(samples, rate, options);
    if (mel.frames < 2) return {};
    const float floor = *std::max_element(mel.values.begin(), mel.values.end()) - 60;
    if (!(floor > -100)) return {};  // 10 log10 of the spectrogram's own floor: nothing but silence
    std::vector<double> flux(static_cast<size_t>(mel.frames), 0.0);
    for (int64_t t = 1; t < mel.frames; ++t) {
        double rise = 0;
        for (int b = 0; b < mel.bands; ++b)
            rise += std::max(0.0f, std::max(mel.at(t, b), floor) - std::max(mel.at(t - 1, b), floor));
        flux[static_cast<size_t>(t)] = rise / mel.bands;
    }
    const int64_t near = std::max<int64_t>(1, std::llround(0.05 / mel.seconds_per_frame));
    const int64_t around = std::max<int64_t>(near, std::llround(0.15 / mel.seconds_per_frame));
    constexpr double threshold = 1;  // dB above the surroundings' mean
    std::vector<double> times;
    for (int64_t t = 1; t < mel.frames; ++t) {
        const double here = flux[static_cast<size_t>(t)];
        bool peak = true;
        double sum = 0;
        int64_t count = 0;
        for (int64_t s = std::max<int64_t>(1, t - around); s <= std::min(mel.frames - 1, t + around); ++s) {
            const double there = flux[static_cast<size_t>(s)];
            if (std::abs(s - t) <= near && (there > here || (there == here && s < t))) peak = false;
            sum += there;
            ++count;
        }
        // A rise from frame t - 1 to t comes from the samples frame t has beyond it; weighed by the window,
        // the onset lies near its third quarter.
        if (peak && here - sum / static_cast<double>(count) >= threshold)
            times.push_back((static_cast<double>(t * options.hop) + 0.75 * options.window) / rate);
    }
    return times;
}

Analysis analyse(std::span<const float> samples, int rate, const LevelOptions& options) {
    Analysis a;
    a.level = measure_level(samples, rate, options);
    a.seconds = static_cast<double>(samples.size()) / rate;
    a.loudness_lufs = integrated_loudness(samples, rate);
    a.flatness = spectral_flatness(samples, rate);
    a.onsets_per_second = a.seconds > 0 ? static_cast<double>(onsets(samples, rate).size()) / a.seconds : 0;
    if (std::any_of(samples.begin(), samples.end(), [](float x) { return !std::isfinite(x); }))
        a.warnings.push_back("not a number");
    if (a.level.silent_share >= 0.98) a.warnings.push_back("silent");
    if (a.level.clipped_share > 0.01) a.warnings.push_back("clipped");
    if (std::abs(a.level.dc) > 0.05) a.warnings.push_back("constant offset");
    if (a.flatness > 0.4) a.warnings.push_back("noise");
    return a;
}

nlohmann::json to_json(const Analysis& a) {
    const auto finite = [](double x) { return std::isfinite(x) ? nlohmann::json(x) : nlohmann::json(nullptr); };
    return {{"seconds", a.seconds},
            {"peak_dbfs", finite(a.level.peak_dbfs)},
            {"rms_dbfs", finite(a.level.rms_dbfs)},
            {"dc", a.level.dc},
            {"clipped_share", a.level.clipped_share},
            {"silent_share", a.level.silent_share},
            {"loudness_lufs", finite(a.loudness_lufs)},
            {"flatness", a.flatness},
            {"onsets_per_second", a.onsets_per_second},
            {"warnings", a.warnings}};
}

std::string to_text(const Analysis& a) {
    std::string text = duration(a.seconds) + ", peak " + shown(a.level.peak_dbfs, 1) + " dBFS, RMS " +
                       shown(a.level.rms_dbfs, 1) + " dBFS, " + shown(a.loudness_lufs, 1) + " LUFS, flatness " +
                       shown(a.flatness, 2) + ", " + shown(a.onsets_per_second, 1) + " onsets/s";
    for (const std::string& w : a.warnings) text += ", " + w + "!";
    return text;
}

}  // namespace nigiri
