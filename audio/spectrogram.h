// Short-time spectra.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace nigiri {

enum class MelScale {
    slaney,  // linear below 1 kHz (15 mel = 1000 Hz), logarithmic above: mel = 15 + 27 ln(f / 1000) / ln 6.4
             // (Slaney's Auditory Toolbox)
    htk,     // mel = 2595 log10(1 + f / 700)
};
double hertz_to_mel(double hertz, MelScale scale);
double mel_to_hertz(double mel, MelScale scale);

struct SpectrumOptions {
    int window = 1024;    // samples, a power of two; the window is a periodic Hann
    int hop = 256;        // samples
    bool centred = true;  // frame t is centred at sample t * hop, with zeros beyond the ends (1 + n / hop
                          // frames); otherwise frame t begins there, and only whole windows count ((n -
                          // window) / hop + 1 frames, none if n < window)
};

struct MelOptions : SpectrumOptions {
    int bands = 80;
    double lowest = 0;   // Hz
    double highest = 0;  // Hz; 0: half the sample rate
    MelScale scale = MelScale::slaney;
    // Triangles scaled to unit area over Hz (Slaney's), so that bands of all widths show white noise alike;
    // otherwise of height 1.
    bool unit_area = true;
    double floor = 1e-10;  // power below which nothing is shown
};

// Values of frame t are values[t * bands] to values[(t + 1) * bands - 1], low to high.
struct Spectrogram {
    int64_t frames = 0;
    int bands = 0;
    double seconds_per_frame = 0;
    std::vector<float> values;

    float at(int64_t frame, int band) const { return values[static_cast<size_t>(frame * bands + band)]; }
};

// Calls f(frame, |X_k|^2 for k = 0 .. window / 2) for every frame in turn; returns how many there were.
int64_t each_power_spectrum(std::span<const float> samples, const SpectrumOptions& options,
                            const std::function<void(int64_t, std::span<const double>)>& f);
// 10 log10(max(floor, filterbank * |X|^2)), in dB. Throws Error on options that make no sense.
Spectrogram log_mel(std::span<const float> samples, int rate, const MelOptions& options = {});
// The filterbank, bands rows of window / 2 + 1 weights.
std::vector<double> mel_filters(int rate, const MelOptions& options);

}  // namespace nigiri
