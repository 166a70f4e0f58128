#include "audio/spectrogram.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "audio/fft.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr double slaney_knee = 1000, slaney_slope = 3.0 / 200;  // Hz; mel per Hz below the knee
const double slaney_step = std::log(6.4) / 27;                  // of ln f per mel above it

void check(const SpectrumOptions& o) {
    if (o.hop < 1 || o.window < 2 || o.window > 1 << 20)
        throw Error("a spectrogram needs a window and a hop above zero");
}

}  // namespace

double hertz_to_mel(double hertz, MelScale scale) {
    if (scale == MelScale::htk) return 2595 * std::log10(1 + hertz / 700);
    if (hertz < slaney_knee) return hertz * slaney_slope;
    return slaney_knee * slaney_slope + std::log(hertz / slaney_knee) / slaney_step;
}

double mel_to_hertz(double mel, MelScale scale) {
    if (scale == MelScale::htk) return 700 * (std::pow(10, mel / 2595) - 1);
    if (mel < slaney_knee * slaney_slope) return mel / slaney_slope;
    return slaney_knee * std::exp((mel - slaney_knee * slaney_slope) * slaney_step);
}

int64_t each_power_spectrum(std::span<const float> samples, const SpectrumOptions& o,
                            const std::function<void(int64_t, std::span<const double>)>& f) {
    check(o);
    RealFft fft(o.window);
    const size_t size = static_cast<size_t>(o.window);
    std::vector<double> hann(size), frame(size), power(static_cast<size_t>(fft.bins()));
    std::vector<std::complex<double>> spectrum(power.size());
    for (size_t i = 0; i < size; ++i)
        hann[i] = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / o.window);
    const int64_t n = static_cast<int64_t>(samples.size());
    const int64_t frames = o.centred ? 1 + n / o.hop : n < o.window ? 0 : (n - o.window) / o.hop + 1;
    for (int64_t t = 0; t < frames; ++t) {
        const int64_t begin = t * o.hop - (o.centred ? o.window / 2 : 0);
        for (int64_t i = 0; i < o.window; ++i) {
            const int64_t at = begin + i;
            frame[static_cast<size_t>(i)] =
                at >= 0 && at < n ? samples[static_cast<size_t>(at)] * hann[static_cast<size_t>(i)] : 0;
        }
        fft.forward(frame, spectrum);
        for (size_t k = 0; k < power.size(); ++k) power[k] = std::norm(spectrum[k]);
        f(t, power);
    }
    return frames;
}

std::vector<double> mel_filters(int rate, const MelOptions& o) {
    check(o);
    if (rate < 1) throw Error("a spectrogram needs a sample rate");
    const double highest = o.highest > 0 ? o.highest : rate / 2.0;
    if (o.bands < 1 || o.bands > 4096 || !(o.lowest >= 0) || !(o.lowest < highest) || highest > rate / 2.0)
        throw Error("mel bands must lie between 0 Hz and half the sample rate");
    const int bins = o.window / 2 + 1;
    std::vector<double> edges(static_cast<size_t>(o.bands) + 2);
    const double low = hertz_to_mel(o.lowest, o.scale), high = hertz_to_mel(highest, o.scale);
    for (size_t i = 0; i < edges.size(); ++i)
        edges[i] =
            mel_to_hertz(low + (high - low) * static_cast<double>(i) / static_cast<double>(o.bands + 1), o.scale);
    std::vector<double> filters(static_cast<size_t>(o.bands) * static_cast<size_t>(bins));
    for (size_t b = 0; b < static_cast<size_t>(o.bands); ++b) {
        const double left = edges[b], peak = edges[b + 1], right = edges[b + 2];
        for (int k = 0; k < bins; ++k) {
            const double f = static_cast<double>(k) * rate / o.window;
            const double weight = std::max(0.0, std::min((f - left) / (peak - left), (right - f) / (right - peak)));
            filters[b * static_cast<size_t>(bins) + static_cast<size_t>(k)] =
                weight * (o.unit_area ? 2 / (right - left) : 1);
        }
    }
    return filters;
}

Spectrogram log_mel(std::span<const float> samples, int rate, const MelOptions& o) {
    const std::vector<double> filters = mel_filters(rate, o);
    if (!(o.floor > 0)) throw Error("the floor of a spectrogram in dB must be above zero");
    const size_t bins = static_cast<size_t>(o.window / 2 + 1);
    // Triangles are narrow: only their support is summed.
    std::vector<std::pair<size_t, size_t>> support(static_cast<size_t>(o.bands));
    for (size_t b = 0; b < support.size(); ++b) {
        const auto row = std::span(filters).subspan(b * bins, bins);
        const auto positive = [](double w) { return w > 0; };
        const auto first = std::find_if(row.begin(), row.end(), positive);
        const auto last = std::find_if(row.rbegin(), row.rend(), positive);
        support[b] = {static_cast<size_t>(first - row.begin()), static_cast<size_t>(row.rend() - last)};
    }
    Spectrogram out;
    out.bands = o.bands;
    out.seconds_per_frame = static_cast<double>(o.hop) / rate;
    out.frames = each_power_spectrum(samples, o, [&](int64_t, std::span<const double> power) {
        for (size_t b = 0; b < support.size(); ++b) {
            double sum = 0;
            for (size_t k = support[b].first; k < support[b].second; ++k) sum += filters[b * bins + k] * power[k];
            out.values.push_back(static_cast<float>(10 * std::log10(std::max(o.floor, sum))));
        }
    });
    return out;
}

}  // namespace nigiri
