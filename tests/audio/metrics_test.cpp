// Distances of sets whose answers are known: by formula, by hand, or because the sets are the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "audio/metrics/bins.h"
#include "audio/metrics/distribution.h"
#include "audio/metrics/frechet.h"
#include "audio/metrics/mel_features.h"
#include "kernels/random.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(JensenShannon, HasItsKnownValues) {
    using V = std::vector<double>;
    EXPECT_EQ(jensen_shannon_bits(V{1, 0}, V{0, 1}), 1.0);
    EXPECT_EQ(jensen_shannon_bits(V{3, 1, 2}, V{6, 2, 4}), 0.0) << "weights are normalised";
    // H(3/4, 1/4) - (0 + 1) / 2, by hand.
    EXPECT_NEAR(*jensen_shannon_bits(V{1, 0}, V{1, 1}), 0.8112781244591328 - 0.5, 1e-12);
    EXPECT_EQ(jensen_shannon_bits(V{1, 0}, V{1, 1}), jensen_shannon_bits(V{1, 1}, V{1, 0}));
    EXPECT_FALSE(jensen_shannon_bits(V{0, 0}, V{1, 1}));
    EXPECT_THROW(jensen_shannon_bits(V{1}, V{1, 1}), Error);
    EXPECT_NEAR(*entropy_bits(V{1, 1, 1, 1}), 2, 1e-12);
    EXPECT_EQ(entropy_bits(V{5, 0}), 0.0);
    EXPECT_FALSE(entropy_bits(V{0, 0}));
}

TEST(Quantile, InterpolatesBetweenNeighbours) {
    EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
    EXPECT_EQ(quantile({4, 1, 2, 3}, 0), 1);
    EXPECT_EQ(quantile({4, 1, 2, 3}, 1), 4);
    EXPECT_DOUBLE_EQ(quantile({10, 20}, 0.25), 12.5);
    EXPECT_EQ(quantile({-infinity, -infinity, 5}, 0.25), -infinity);
    EXPECT_THROW(quantile({}, 0.5), Error);
}

TEST(Frechet, FitsMeanAndCovariance) {
    // Four corners of a rectangle: by hand.
    const Features corners{2, {0, 0, 4, 0, 0, 2, 4, 2}};
    const Gaussian g = fit_gaussian(corners);
    EXPECT_EQ(g.mean, (std::vector<double>{2, 1}));
    const std::vector<double> expected = {16.0 / 3, 0, 0, 4.0 / 3};
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(g.covariance[i], expected[i], 1e-12) << i;
    EXPECT_THROW(fit_gaussian(Features{2, {1, 2}}), Error);
}

TEST(Frechet, IsTheFormulaOfDiagonalCovariances) {
    // sum (m1 - m2)^2 + (s1 - s2)^2.
    const Gaussian a{{1, 2, 3}, {4, 0, 0, 0, 9, 0, 0, 0, 1}}, b{{0, 2, 5}, {1, 0, 0, 0, 25, 0, 0, 0, 0}};
    EXPECT_NEAR(frechet_distance(a, b), 1 + 0 + 4 + (2 - 1) * (2 - 1) + (3 - 5) * (3 - 5) + 1, 1e-9);
    EXPECT_NEAR(frechet_distance(b, a), 11, 1e-9);
    EXPECT_NEAR(frechet_distance(a, a), 0, 1e-9);
    EXPECT_THROW(frechet_distance(a, {{1}, {1}}), Error);
}

TEST(Frechet, IsTheFormulaOfTwoDimensions) {
    // Of 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), M = S1 S2: no eigenvalues needed. These do not
    // commute.
    Random random(test::seed());
    for (int round = 0; round < 50; ++round) {
        const auto covariance = [&] {
            const double a = random.normal(), b = random.normal(), c = random.normal(), d = random.normal();
            return std::vector<double>{a * a + b * b, a * c + b * d, a * c + b * d, c * c + d * d};
        };
        const Gaussian p{{random.normal(), random.normal()}, covariance()},
            q{{random.normal(), random.normal()}, covariance()};
        const auto &s = p.covariance, &t = q.covariance;
        const double trace = s[0] * t[0] + s[1] * t[2] + s[2] * t[1] + s[3] * t[3];
        const double det = (s[0] * s[3] - s[1] * s[2]) * (t[0] * t[3] - t[1] * t[2]);
        const double shift = std::pow(p.mean[0] - q.mean[0], 2) + std::pow(p.mean[1] - q.mean[1], 2);
        const double expected =
            shift + s[0] + s[3] + t[0] + t[3] - 2 * std::sqrt(trace + 2 * std::sqrt(std::max(0.0, det)));
        // Roots of eigenvalues near zero lose half of the digits.
        EXPECT_NEAR(frechet_distance(p, q), expected, 1e-6) << "seed " << test::seed();
    }
}

TEST(Frechet, SeesTheLevelOfNoise) {
    // White noise 10 dB louder: every band's mean moves by 10 dB, the covariances stay. 40 bands: 40 * 100 dB^2.
    const SoundSet quiet{16000, {test::noise(160000, 0.02, test::seed())}};
    const SoundSet loud{16000, {test::noise(160000, 0.02 * std::sqrt(10), test::seed() + 1)}};
    const MelFeatureOptions options;
    const double d =
        frechet_distance(fit_gaussian(mel_features(quiet, options)), fit_gaussian(mel_features(loud, options)));
    EXPECT_NEAR(d, 4000, 200) << "seed " << test::seed();  // means of 311 frames, off by 0.3 dB at most
    const double same =
        frechet_distance(fit_gaussian(mel_features(quiet, options)), fit_gaussian(mel_features(quiet, options)));
    EXPECT_NEAR(same, 0, 1e-6);
}

TEST(MelFeatures, CutsSoundsIntoPatches) {
    // 1024 samples a frame, 512 on: 10240 samples have 19 frames, so two whole patches of eight.
    const SoundSet set{16000, {test::noise(10240, 0.1, 1), test::noise(10240, 0.1, 2), std::vector<float>(100)}};
    const Features patches = mel_features(set, {.bands = 16, .frames = 8});
    EXPECT_EQ(patches.dimensions, 128);
    EXPECT_EQ(patches.count(), 4);
    const Features frames = mel_features(set, {.bands = 16, .frames = 1});
    EXPECT_EQ(frames.count(), 38);
    for (int i = 0; i < 128; ++i) {
        EXPECT_EQ(patches.at(1)[static_cast<size_t>(i)], frames.at(8 + i / 16)[static_cast<size_t>(i % 16)]);
        EXPECT_EQ(patches.at(2)[static_cast<size_t>(i)], frames.at(19 + i / 16)[static_cast<size_t>(i % 16)]);
    }
    const SoundSet silent{16000, {std::vector<float>(4096)}};
    for (const float v : mel_features(silent, {}).values) EXPECT_EQ(v, -50.0f);
    auto broken = test::sine(440, 0.5, 16000);
    broken[7] = std::nanf("");
    for (const float v : mel_features({16000, {broken}}, {}).values) EXPECT_TRUE(std::isfinite(v));
    EXPECT_THROW(mel_features(set, {.bands = 0}), Error);
}

// Points around known centres.
Features clouds(const std::vector<std::vector<float>>& centres, int each, double spread, Random& random) {
    Features points;
    points.dimensions = static_cast<int>(centres[0].size());
    for (int i = 0; i < each; ++i)
        for (const auto& c : centres)
            for (const float x : c) points.values.push_back(x + static_cast<float>(spread * random.normal()));
    return points;
}

TEST(KMeans, FindsSeparateClouds) {
    Random random(test::seed());
    const std::vector<std::vector<float>> truth = {{0, 0, 0}, {100, 0, 0}, {0, 100, 50}, {-80, 40, 0}};
    const Features points = clouds(truth, 100, 1, random);
    const Features centres = k_means(points, 4, 5);
    ASSERT_EQ(centres.count(), 4);
    for (const auto& t : truth) {
        double nearest = infinity;
        for (int64_t c = 0; c < 4; ++c) {
            double d = 0;
            for (size_t k = 0; k < 3; ++k) d += std::pow(centres.at(c)[k] - t[k], 2);
            nearest = std::min(nearest, std::sqrt(d));
        }
        EXPECT_LT(nearest, 0.6) << "means of 100 points of deviation 1, seed " << test::seed();
    }
    EXPECT_EQ(count_nearest(points, centres), (std::vector<int64_t>{100, 100, 100, 100}));
    EXPECT_EQ(k_means(points, 4, 5).values, centres.values) << "the same seed";
}

TEST(KMeans, TakesWhatThereIs) {
    const Features same{2, {1, 2, 1, 2, 1, 2}};
    EXPECT_EQ(k_means(same, 5, 1).count(), 1);
    const Features two{1, {1, 1, 9, 9, 1}};
    EXPECT_EQ(k_means(two, 5, 1).count(), 2);
    EXPECT_EQ(k_means(Features{2, {}}, 5, 1).count(), 0);
    EXPECT_TRUE(count_nearest(two, Features{1, {}}).empty());
    EXPECT_THROW(k_means(two, 0, 1), Error);
    EXPECT_THROW(count_nearest(two, Features{2, {1, 2}}), Error);
}

TEST(Bins, TestsTwoProportions) {
    const auto different = [](std::vector<int64_t> a, std::vector<int64_t> b) {
        const BinComparison c = compare_bins(a, b);
        return std::pair(c.different, c.bins);
    };
    EXPECT_EQ(different({50, 50}, {5, 5}), std::pair(0, 2));
    EXPECT_EQ(different({90, 10}, {10, 90}), std::pair(2, 2));
    // By hand: 60 and 47 of 100 have z = 1.843, 60 and 46 have z = 1.984; the limit is 1.960.
    EXPECT_EQ(different({60, 40}, {47, 53}), std::pair(0, 2));
    EXPECT_EQ(different({60, 40}, {46, 54}), std::pair(2, 2));
    EXPECT_EQ(different({100, 0, 0}, {100, 0, 0}), std::pair(0, 1)) << "bins that nobody uses do not count";
    EXPECT_THROW(compare_bins(std::vector<int64_t>{1}, std::vector<int64_t>{0}), Error);
    EXPECT_THROW(compare_bins(std::vector<int64_t>{1, 2}, std::vector<int64_t>{1}), Error);
}

TEST(Bins, FindsFivePercentByChance) {
    // Two samples of one distribution over 50 bins, 40 times: of 2000 tests 5 % are significant, give or take. The
    // exact share of a test of counts is a little off 5 %, and tests of one pair depend on each other.
    Random random(test::seed());
    int different = 0, bins = 0;
    for (int round = 0; round < 40; ++round) {
        std::vector<int64_t> a(50, 0), b(50, 0);
        for (int i = 0; i < 4000; ++i) ++a[random.below(50)], ++b[random.below(50)];
        const BinComparison c = compare_bins(a, b);
        different += c.different;
        bins += c.bins;
    }
    EXPECT_NEAR(static_cast<double>(different) / bins, 0.05, 0.025) << "seed " << test::seed();
}

}  // namespace
}  // namespace nigiri
