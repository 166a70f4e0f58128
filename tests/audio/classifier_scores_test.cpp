// Scores whose values are known.
#include "audio/metrics/classifier_scores.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

ClassProbabilities rows_of(const std::vector<std::vector<double>>& probabilities) {
    ClassProbabilities p{static_cast<int>(probabilities[0].size()), {}};
    for (const auto& row : probabilities)
        for (const double x : row) p.logs.push_back(std::log(x));
    return p;
}

ClassProbabilities repeated(const std::vector<std::vector<double>>& kinds, int times) {
    std::vector<std::vector<double>> rows;
    for (int i = 0; i < times; ++i) rows.insert(rows.end(), kinds.begin(), kinds.end());
    return rows_of(rows);
}

// Surely class c of n, as far as a logarithm says it: the others e^-40.
std::vector<std::vector<double>> sure_kinds(int n) {
    std::vector<std::vector<double>> kinds;
    for (int c = 0; c < n; ++c) {
        kinds.emplace_back(static_cast<size_t>(n), std::exp(-40.0));
        kinds.back()[static_cast<size_t>(c)] = 1 - (n - 1) * std::exp(-40.0);
    }
    return kinds;
}

double entropy(const std::vector<double>& p) {
    double h = 0;
    for (const double x : p) h -= x * std::log(x);
    return h;
}

double divergence(const std::vector<double>& p, const std::vector<double>& q) {
    double d = 0;
    for (size_t i = 0; i < p.size(); ++i) d += p[i] * std::log(p[i] / q[i]);
    return d;
}

TEST(ClassifierScores, AreOneWhereAllSoundsAreAlike) {
    const auto alike = repeated({{0.7, 0.2, 0.1}}, 20);
    EXPECT_NEAR(inception_score(alike), 1, 1e-12);
    EXPECT_NEAR(modified_inception_score(alike), 1, 1e-12);
    // AM: the entropy alone, where the real sounds are spread in the same way.
    EXPECT_NEAR(am_score(repeated({{0.9, 0.05, 0.05}, {0.5, 0.35, 0.15}}, 3), alike), entropy({0.7, 0.2, 0.1}), 1e-12);
}

TEST(ClassifierScores, OfSureAndEvenClassesIsTheirNumber) {
    // Every p_i is certain, and the other half's mean is nearly even: a class's share in 5000 of 10000 sounds that have
    // 1000 of each is 0.1 +- 0.003 (hypergeometric), whose effect on the mean logarithm is of second order, 5e-4.
    const auto sure = repeated(sure_kinds(10), 1000);
    EXPECT_NEAR(inception_score(sure), 10, 0.02);
    EXPECT_NE(inception_score(sure, 0), inception_score(sure, 1)) << "the seed shuffles";
    EXPECT_EQ(inception_score(sure, 5), inception_score(sure, 5));
    // Nine of ten pairs differ, each by 40 nats.
    EXPECT_NEAR(std::log(modified_inception_score(sure)), 0.9 * 40, 5 * 40 * std::sqrt(0.9 * 0.1 / 10000));
    EXPECT_NEAR(am_score(sure, sure), 0, 1e-12) << "sure and spread as the real ones";
}

TEST(ClassifierScores, InceptionTakesTheMeanOfTheOtherHalf) {
    // Two sounds: the one in the first half against the one in the second, whichever way the shuffle turns.
    const std::vector<double> p = {0.9, 0.1}, q = {0.3, 0.7};
    for (uint64_t seed = 0; seed < 8; ++seed) {
        const double score = std::log(inception_score(rows_of({p, q}), seed));
        EXPECT_TRUE(std::abs(score - divergence(p, q)) < 1e-12 || std::abs(score - divergence(q, p)) < 1e-12) << score;
    }
    // Three: one in the first half, two in the second.
    const double three = std::log(inception_score(rows_of({p, p, p})));
    EXPECT_NEAR(three, 0, 1e-12);
}

TEST(ClassifierScores, ModifiedInceptionIsTheMeanOverPairs) {
    // KL is 0.4 log 9 = 0.879 both ways; a pair differs with probability 1/2. Five standard deviations.
    const std::vector<double> p = {0.7, 0.3}, q = {0.3, 0.7};
    const double d = divergence(p, q);
    ASSERT_NEAR(d, divergence(q, p), 1e-12);
    const double score = std::log(modified_inception_score(repeated({p, q}, 100)));
    EXPECT_NEAR(score, d / 2, 5 * d * 0.5 / std::sqrt(10000.0));
    EXPECT_NEAR(std::log(modified_inception_score(repeated({p, q}, 100), 0, 100)), d / 2, 5 * d * 0.5 / 10);
}

TEST(ClassifierScores, AmIsTheDivergenceFromTheRealSpreadPlusTheEntropy) {
    // Real: even. Generated: sure, but three times as often the first class.
    const auto real = repeated(sure_kinds(2), 5);
    const auto kinds = sure_kinds(2);
    const auto generated = rows_of({kinds[0], kinds[0], kinds[0], kinds[1]});
    EXPECT_NEAR(am_score(real, generated), divergence({0.5, 0.5}, {0.75, 0.25}), 1e-12);
    EXPECT_NEAR(am_score(real, repeated({{0.5, 0.5}}, 4)), std::log(2.0), 1e-12);
    // A class that is never generated: some 40 nats times its share, not infinity.
    const double missing = am_score(real, rows_of({kinds[0], kinds[0]}));
    EXPECT_NEAR(missing, 0.5 * std::log(0.5) + 0.5 * (std::log(0.5) + 40), 1e-9);
}

TEST(ClassifierScores, StayFiniteWhereProbabilitiesUnderflow) {
    ClassProbabilities p{2, {-1e-300, -5000, -5000, -1e-300}};
    EXPECT_TRUE(std::isfinite(std::log(am_score(p, p) + 1)));
    EXPECT_NEAR(am_score(p, p), 0, 1e-12);
}

TEST(ClassifierScores, RefuseWhatHasNoScore) {
    EXPECT_THROW(inception_score(rows_of({{0.5, 0.5}})), Error);
    EXPECT_THROW(modified_inception_score(ClassProbabilities{2, {}}), Error);
    EXPECT_THROW(modified_inception_score(rows_of({{0.5, 0.5}}), 0, 0), Error);
    EXPECT_THROW(am_score(ClassProbabilities{2, {}}, rows_of({{0.5, 0.5}})), Error);
    EXPECT_THROW(am_score(rows_of({{0.5, 0.25, 0.25}}), rows_of({{0.5, 0.5}})), Error);
    EXPECT_THROW(am_score(ClassProbabilities{2, {0, 0, 0}}, rows_of({{0.5, 0.5}})), Error);
}

}  // namespace
}  // namespace nigiri
