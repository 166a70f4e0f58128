#include "audio/baseline.h"

#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

// Samples whose linear code is the given one: the middle of its step.
std::vector<int16_t> samples_of(const std::vector<int>& codes) {
    std::vector<int16_t> x;
    for (const int c : codes) x.push_back(static_cast<int16_t>(c * 256 + 128 - 32768));
    return x;
}

Dataset codes(const std::vector<int>& train, const std::vector<int>& test) {
    const Dataset data =
        Dataset::from_samples({samples_of(train)}, {}, {samples_of(test)}, {.quantization = Quantization::linear});
    for (size_t i = 0; i < train.size(); ++i) EXPECT_EQ(data.recordings(Split::train)[0].codes[i], train[i]);
    return data;
}

double entropy(const std::vector<double>& p) {
    double h = 0;
    for (const double x : p) h -= x > 0 ? x * std::log2(x) : 0;
    return h;
}

TEST(ContextModel, OrderZeroFindsTheEntropy) {
    Random random(test::seed());
    std::vector<int> x[2];
    for (auto& v : x)
        for (int i = 0; i < 200000; ++i) {
            const double u = random.uniform();
            v.push_back(u < 0.5 ? 10 : u < 0.75 ? 20 : u < 0.875 ? 30 : 40);
        }
    const Dataset data = codes(x[0], x[1]);
    const auto model = ContextModel::fit(data, Split::train, 0);
    // Smoothing costs under 1e-3 bits here; the sample's own spread (deviation of -log2 p is 0.83) is 0.83 /
    // sqrt(2e5) = 0.002.
    EXPECT_NEAR(model.bits_per_sample(data, Split::test), entropy({0.5, 0.25, 0.125, 0.125}), 0.01)
        << "seed " << test::seed();
    // Independent samples: knowing the last ones helps nothing and costs little.
    EXPECT_NEAR(ContextModel::fit(data, Split::train, 1).bits_per_sample(data, Split::test), 1.75, 0.012);
    EXPECT_NEAR(ContextModel::fit(data, Split::train, 2).bits_per_sample(data, Split::test), 1.75, 0.02);
}

TEST(ContextModel, HigherOrdersFindWhatTheyCanKnow) {
    // A Markov chain on 8 codes: stay with 1/2, else any of the 8. Entropy rate of (1/2 + 1/16, 7 x 1/16).
    Random random(test::seed());
    std::vector<int> x[2];
    for (auto& v : x) {
        int c = 0;
        for (int i = 0; i < 200000; ++i)
            v.push_back(16 * (c = random.uniform() < 0.5 ? c : static_cast<int>(random.below(8))));
    }
    const Dataset data = codes(x[0], x[1]);
    const double rate = entropy({9.0 / 16, 1.0 / 16, 1.0 / 16, 1.0 / 16, 1.0 / 16, 1.0 / 16, 1.0 / 16, 1.0 / 16});
    EXPECT_NEAR(ContextModel::fit(data, Split::train, 0).bits_per_sample(data, Split::test), 3, 0.01);
    EXPECT_NEAR(ContextModel::fit(data, Split::train, 1).bits_per_sample(data, Split::test), rate, 0.02)
        << "seed " << test::seed();
    // The sum of the last two, modulo 16: two codes tell everything, one tells nothing.
    for (auto& v : x) {
        v = {3, 5};
        for (size_t i = 2; i < 100000; ++i)
            v.push_back(random.below(20) ? (v[i - 1] + v[i - 2]) % 16 : static_cast<int>(random.below(16)));
    }
    const Dataset sums = codes(x[0], x[1]);
    EXPECT_GT(ContextModel::fit(sums, Split::train, 1).bits_per_sample(sums, Split::test), 3.9);
    EXPECT_LT(ContextModel::fit(sums, Split::train, 2).bits_per_sample(sums, Split::test),
              0.65);  // 0.05 random: 0.286 + 0.05 * 4 and the start
}

TEST(ContextModel, IsADistributionEvenWhereItHasSeenNothing) {
    const Dataset data = codes({1, 2, 3, 250, 7}, {200, 0, 255});
    for (int order = 0; order <= 2; ++order) {
        const auto model = ContextModel::fit(data, Split::train, order);
        EXPECT_EQ(model.order(), order);
        for (const auto& [previous, before] : {std::pair{2, 1}, {9, 9}, {zero_code, zero_code}}) {
            double sum = 0;
            for (int c = 0; c < code_count; ++c) {
                EXPECT_GT(model.probability(c, previous, before), 0);
                sum += model.probability(c, previous, before);
            }
            EXPECT_NEAR(sum, 1, 1e-12);
        }
        EXPECT_TRUE(std::isfinite(model.bits_per_sample(data, Split::test)));
    }
    // By hand: five samples, 1/2 for each of 256 codes.
    EXPECT_DOUBLE_EQ(ContextModel::fit(data, Split::train, 0).probability(250), 1.5 / 133);
    // After 1 came 2, once; the prior of 16 samples has order 0's shape.
    EXPECT_DOUBLE_EQ(ContextModel::fit(data, Split::train, 1).probability(2, 1), (1 + 16 * 1.5 / 133) / 17);
}

TEST(ContextModel, StartsEverySegmentAfresh) {
    const Dataset data = codes({5, 6, 5, 6, 5, 6}, {5, 6});
    const auto model = ContextModel::fit(data, Split::train, 1,
                                         1);  // segments of one sample: all contexts are the zero code
    EXPECT_DOUBLE_EQ(model.probability(5, zero_code), (3 + 16 * 3.5 / 134) / 22);
    EXPECT_DOUBLE_EQ(model.probability(6, 5), 3.5 / 134) << "nothing was ever counted after 5";
}

TEST(ContextModel, RefusesWhatItCannotDo) {
    const Dataset data = codes({1, 2}, {3});
    EXPECT_THROW(ContextModel::fit(data, Split::train, 3), Error);
    EXPECT_THROW(ContextModel::fit(data, Split::valid, 1), Error);
    EXPECT_TRUE(std::isnan(ContextModel::fit(data, Split::train, 0).bits_per_sample(data, Split::valid)));
    EXPECT_THROW(ContextModel::fit(data, Split::train, 0, 0, [](double, const std::string&) { return false; }),
                 Cancelled);
}

}  // namespace
}  // namespace nigiri
