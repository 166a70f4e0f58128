#include "audio/analysis.h"

#include <complex>
#include <limits>
#include <nlohmann/json.hpp>

#include "audio/fft.h"
#include "audio/spectrogram.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::sound_rate;

TEST(RealFft, AgreesWithTheSum) {
    Random random(test::seed());
    for (const int size : {2, 4, 6, 8, 30, 64, 250, 256}) {
        RealFft fft(size);
        std::vector<double> x(static_cast<size_t>(size));
        for (double& v : x) v = random.normal();
        std::vector<std::complex<double>> out(static_cast<size_t>(fft.bins()));
        fft.forward(x, out);
        for (int k = 0; k < fft.bins(); ++k) {
            std::complex<double> sum = 0;
            for (int n = 0; n < size; ++n)
                sum += x[static_cast<size_t>(n)] * std::polar(1.0, -2 * std::numbers::pi * k * n / size);
            EXPECT_LT(std::abs(out[static_cast<size_t>(k)] - sum), 1e-11 * size) << size << ", bin " << k;
        }
    }
    EXPECT_THROW(RealFft(13), Error);
    EXPECT_THROW(RealFft(1), Error);
}

TEST(Level, OfASineIsKnown) {
    const auto x = test::sine(400, 1, sound_rate, 1.0);  // a whole number of periods, and of samples a period
    const Level level = measure_level(x, sound_rate);
    EXPECT_NEAR(level.peak_dbfs, 0, 1e-6);
    EXPECT_NEAR(level.rms_dbfs, -3.0103, 1e-4);
    EXPECT_NEAR(level.dc, 0, 1e-7);
    EXPECT_EQ(level.silent_share, 0);
    EXPECT_NEAR(measure_level(test::sine(400, 1, sound_rate, 0.1), sound_rate).rms_dbfs, -23.0103, 1e-4);
}

TEST(Level, CountsOffsetClippingAndSilence) {
    std::vector<float> x(16000, 0.25f);
    EXPECT_NEAR(measure_level(x, sound_rate).dc, 0.25, 1e-9);
    for (size_t i = 0; i < 160; ++i) x[100 * i] = i % 2 ? 1.0f : -1.0f;
    EXPECT_DOUBLE_EQ(measure_level(x, sound_rate).clipped_share, 0.01);
    auto half = test::sine(440, 1, sound_rate);
    std::fill(half.begin(), half.begin() + 8000, 0.0f);
    EXPECT_DOUBLE_EQ(measure_level(half, sound_rate).silent_share, 0.5);
    const Level none = measure_level({}, sound_rate);
    EXPECT_EQ(none.peak_dbfs, -std::numeric_limits<double>::infinity());
    EXPECT_EQ(none.silent_share, 0);
    const std::vector<float> nan(100, std::nanf(""));
    EXPECT_EQ(measure_level(nan, sound_rate).rms_dbfs, -std::numeric_limits<double>::infinity());
}

TEST(Loudness, OfTheStandardsReferenceSine) {
    // BS.1770: a 997-Hz sine of 0 dBFS peak in one front channel has -3.01 LKFS. The standard grants 0.1.
    EXPECT_NEAR(integrated_loudness(test::sine(997, 5, 48000, 1.0), 48000), -3.01, 0.1);
    EXPECT_NEAR(integrated_loudness(test::sine(997, 5, sound_rate, 0.1), sound_rate), -23.01, 0.2);
    EXPECT_EQ(integrated_loudness(std::vector<float>(48000), 48000), -std::numeric_limits<double>::infinity());
    EXPECT_EQ(integrated_loudness({}, sound_rate), -std::numeric_limits<double>::infinity());
}

TEST(Flatness, TellsNoiseFromTones) {
    // The power in a bin of white noise is exponentially distributed: flatness exp(-gamma) = 0.5615 in the
    // mean of the logarithms. One of 500 bins, averaged over 120 frames (half independent): a spread below
    // 0.01; a frame's ratio is biased upwards by about a hundredth.
    EXPECT_NEAR(spectral_flatness(test::noise(4 * sound_rate, 0.2, test::seed()), sound_rate), 0.5615, 0.02)
        << "seed " << test::seed();
    EXPECT_LT(spectral_flatness(test::sine(440, 2, sound_rate), sound_rate), 1e-3);
    EXPECT_EQ(spectral_flatness(std::vector<float>(sound_rate), sound_rate), 0);
    EXPECT_EQ(spectral_flatness({}, sound_rate), 0);
}

TEST(Mel, ScalesAreTheNamedOnes) {
    EXPECT_NEAR(hertz_to_mel(1000, MelScale::slaney), 15, 1e-12);
    EXPECT_NEAR(hertz_to_mel(6400, MelScale::slaney), 42, 1e-12);  // 27 steps to 6.4 times 1 kHz
    EXPECT_NEAR(hertz_to_mel(500, MelScale::slaney), 7.5, 1e-12);
    EXPECT_NEAR(hertz_to_mel(1000, MelScale::htk), 999.9855, 1e-3);
    EXPECT_NEAR(hertz_to_mel(700, MelScale::htk), 2595 * std::log10(2.0), 1e-9);
    for (const MelScale scale : {MelScale::slaney, MelScale::htk})
        for (const double f : {0.0, 20.0, 999.0, 1000.0, 4000.0, 8000.0})
            EXPECT_NEAR(mel_to_hertz(hertz_to_mel(f, scale), scale), f, 1e-9 * (1 + f));
}

TEST(Mel, FiltersCoverTheBand) {
    MelOptions options;
    options.unit_area = false;
    const auto filters = mel_filters(sound_rate, options);
    const size_t bins = 513;
    ASSERT_EQ(filters.size(), 80 * bins);
    // Triangles of height 1 overlapping by half sum to 1 between the first and the last peak.
    const double first = mel_to_hertz(hertz_to_mel(8000, MelScale::slaney) / 81, MelScale::slaney);
    const double last = mel_to_hertz(hertz_to_mel(8000, MelScale::slaney) * 80 / 81, MelScale::slaney);
    for (size_t k = 0; k < bins; ++k) {
        const double f = static_cast<double>(k) * sound_rate / 1024;
        double sum = 0;
        for (size_t b = 0; b < 80; ++b) sum += filters[b * bins + k];
        if (f > first && f < last) {
            EXPECT_NEAR(sum, 1, 1e-9) << f;
        }
    }
    options.highest = 9000;
    EXPECT_THROW(mel_filters(sound_rate, options), Error);
    options.highest = 0;
    options.bands = 0;
    EXPECT_THROW(mel_filters(sound_rate, options), Error);
}

TEST(LogMel, ShowsASineInItsBandAtItsLevel) {
    MelOptions options;
    options.unit_area = false;
    const auto x = test::sine(1000, 1, sound_rate, 0.5);  // bin 64 of 1024 exactly
    const Spectrogram s = log_mel(x, sound_rate, options);
    EXPECT_EQ(s.frames, 1 + 16000 / 256);
    EXPECT_EQ(s.bands, 80);
    EXPECT_DOUBLE_EQ(s.seconds_per_frame, 0.016);
    // |X| = amplitude / 2 * sum of the Hann window (512), in bins 63 and 65 half of it.
    const double peak = 0.5 / 2 * 512;
    const auto filters = mel_filters(sound_rate, options);
    for (int band = 0; band < 80; ++band) {
        const size_t row = static_cast<size_t>(band) * 513;
        const double power = peak * peak * (filters[row + 64] + (filters[row + 63] + filters[row + 65]) / 4);
        if (power > 1)
            EXPECT_NEAR(s.at(30, band), 10 * std::log10(power), 1e-3) << band;
        else
            EXPECT_LT(s.at(30, band), 0) << band;
    }
    const Spectrogram silence = log_mel(std::vector<float>(5000), sound_rate);
    for (const float v : silence.values) EXPECT_EQ(v, -100.0f);
}

TEST(LogMel, CountsFramesAsPromised) {
    MelOptions whole;
    whole.centred = false;
    for (const size_t n :
         {size_t{0}, size_t{1}, size_t{1023}, size_t{1024}, size_t{1279}, size_t{1280}, size_t{5000}}) {
        const std::vector<float> x(n, 0.1f);
        EXPECT_EQ(log_mel(x, sound_rate).frames, 1 + static_cast<int64_t>(n) / 256);
        EXPECT_EQ(log_mel(x, sound_rate, whole).frames, n < 1024 ? 0 : (static_cast<int64_t>(n) - 1024) / 256 + 1);
    }
}

TEST(Onsets, FindsStruckNotes) {
    // Decaying tones at known times, as of a piano; the quietest 20 dB below the loudest.
    const std::vector<double> begins = {0.5, 0.8, 1.5, 1.7, 2.6};
    std::vector<float> x(3 * sound_rate, 0.0f);
    for (size_t k = 0; k < begins.size(); ++k)
        for (size_t i = static_cast<size_t>(begins[k] * sound_rate); i < x.size(); ++i) {
            const double t = static_cast<double>(i) / sound_rate - begins[k];
            x[i] +=
                static_cast<float>((k == 1 ? 0.04 : 0.3) * std::exp(-6 * t) *
                                   std::sin(2 * std::numbers::pi * 220 * std::pow(1.5, static_cast<double>(k)) * t));
        }
    const auto found = onsets(x, sound_rate);
    ASSERT_EQ(found.size(), begins.size());
    for (size_t k = 0; k < begins.size(); ++k) EXPECT_NEAR(found[k], begins[k], 0.035) << k;
}

TEST(Onsets, FindsNoneWhereThereAreNone) {
    EXPECT_TRUE(onsets(test::sine(440, 2, sound_rate), sound_rate).empty());
    EXPECT_TRUE(onsets(std::vector<float>(2 * sound_rate), sound_rate).empty());
    EXPECT_TRUE(onsets({}, sound_rate).empty());
    EXPECT_LE(onsets(test::noise(5 * sound_rate, 0.1, test::seed()), sound_rate).size(), 2u)
        << "steady noise, seed " << test::seed();
}

TEST(Analysis, WarnsOfWhatIsWrong) {
    const auto has = [](const std::vector<float>& x, const std::string& word) {
        const Analysis a = analyse(x, sound_rate);
        EXPECT_NO_THROW(to_json(a).dump());
        EXPECT_FALSE(to_text(a).empty());
        return std::count(a.warnings.begin(), a.warnings.end(), word) == 1;
    };
    EXPECT_TRUE(has(std::vector<float>(sound_rate), "silent"));
    EXPECT_TRUE(has(test::noise(sound_rate, 0.1, 1), "noise"));
    auto loud = test::sine(440, 1, sound_rate, 2.0);
    for (float& v : loud) v = std::clamp(v, -1.0f, 1.0f);
    EXPECT_TRUE(has(loud, "clipped"));
    EXPECT_TRUE(has(std::vector<float>(sound_rate, 0.2f), "constant offset"));
    auto broken = test::sine(440, 1, sound_rate);
    broken[5] = std::nanf("");
    EXPECT_TRUE(has(broken, "not a number"));
    EXPECT_TRUE(analyse(test::sine(440, 1, sound_rate), sound_rate).warnings.empty());
    EXPECT_TRUE(to_json(analyse(std::vector<float>(sound_rate), sound_rate))["rms_dbfs"].is_null());
    EXPECT_NO_THROW(analyse({}, sound_rate));
}

}  // namespace
}  // namespace nigiri
