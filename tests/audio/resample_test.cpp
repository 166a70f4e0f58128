#include "audio/resample.h"

#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

// Root mean square of a - b over the samples away from the ends, where the filter sees silence beyond the
// signal.
double rms_difference(const std::vector<float>& a, const std::vector<float>& b, size_t margin) {
    double sum = 0;
    for (size_t i = margin; i + margin < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum / static_cast<double>(a.size() - 2 * margin));
}

TEST(Resampler, KeepsASineAndItsPhase) {
    for (const int from : {8000, 11025, 22050, 44100, 48000, 96000, 192000}) {
        const auto out = resample(test::sine(440, 2.0, from), from, 16000);
        const auto expected = test::sine(440, 2.0, 16000);
        ASSERT_EQ(out.size(), expected.size()) << from;
        // Quality "20 bits" promises -120 dB; float32 samples leave a little less. -100 dB of the sine's RMS
        // (0.354).
        EXPECT_LT(rms_difference(out, expected, 1000), 3.5e-6) << from;
    }
}

TEST(Resampler, RemovesWhatTheLowerRateCannotHold) {
    const auto out = resample(test::sine(11000, 1.0, 48000), 48000, 16000);
    EXPECT_LT(rms_difference(out, std::vector<float>(out.size()), 500), 1e-5);
}

TEST(Resampler, GivesTheExactLength) {
    for (const int from : {1000, 8000, 11025, 16000, 44100, 47999, 192000})
        for (const int64_t n : {0, 1, 2, 3, 10, 441, 1000, 44100, 100003}) {
            const auto out = resample(std::vector<float>(static_cast<size_t>(n), 0.25f), from, 16000);
            EXPECT_EQ(static_cast<int64_t>(out.size()), (2 * n * 16000 + from) / (2 * from))
                << n << " samples from " << from;
        }
}

TEST(Resampler, DoesNotDependOnTheBlocks) {
    const auto x = test::noise(50000, 0.3, test::seed());
    const auto whole = resample(x, 44100, 16000);
    Resampler resampler(44100, 16000);
    for (int round = 0; round < 2; ++round) {  // the second round: ready for another signal after finish()
        Random random(test::seed() + 9);
        std::vector<float> out;
        for (size_t at = 0; at < x.size();) {
            const size_t n = std::min<size_t>(x.size() - at, random.below(3000));
            resampler.process(std::span(x).subspan(at, n), out);
            at += n;
        }
        resampler.finish(out);
        ASSERT_EQ(out.size(), whole.size());
        for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], whole[i]) << i << ", seed " << test::seed();
    }
}

TEST(Resampler, PassesEqualRatesUnchanged) {
    const auto x = test::noise(777, 2.0, test::seed());
    EXPECT_EQ(resample(x, 16000, 16000), x);
}

TEST(Resampler, RefusesImpossibleRates) {
    EXPECT_THROW(Resampler(0, 16000), Error);
    EXPECT_THROW(Resampler(16000, -1), Error);
}

}  // namespace
}  // namespace nigiri
