// The sampler against a plain one in double precision, and the properties that hold for any.
#include "model/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/random.h"
#include "kernels/softmax_weights.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

std::vector<float> random_logits(Random& random, size_t n, double scale) {
    std::vector<float> x(n);
    for (float& v : x) v = static_cast<float>(scale * random.normal());
    return x;
}

// The distribution that is drawn from, by sorting, in double; 0 where a code is cut off.
std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& o) {
    const double peak = *std::max_element(logits.begin(), logits.end());
    std::vector<double> w(logits.size());
    for (size_t i = 0; i < w.size(); ++i) w[i] = std::exp((static_cast<double>(logits[i]) - peak) / o.temperature);
    std::vector<size_t> order(w.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return w[a] > w[b]; });
    if (o.top_k > 0)
        for (size_t i = static_cast<size_t>(o.top_k); i < order.size(); ++i) w[order[i]] = 0;
    if (o.top_p < 1) {
        const double total = std::accumulate(w.begin(), w.end(), 0.0);
        double sum = 0;
        for (const size_t i : order) {
            if (sum >= o.top_p * total) w[i] = 0;
            sum += w[i];
        }
    }
    const double total = std::accumulate(w.begin(), w.end(), 0.0);
    for (double& x : w) x /= total;
    return w;
}

TEST(Sampler, DrawsAsAPlainOneInDoubleDoes) {
    Random random(test::seed());
    int near = 0, draws = 0;
    for (const size_t n : {1u, 5u, 16u, 17u, 100u, 256u})
        for (const double scale : {0.1, 2.0, 8.0})
            for (const SamplingOptions& o : {SamplingOptions{},
                                             {.temperature = 0.7},
                                             {.temperature = 3},
                                             {.top_k = 1},
                                             {.top_k = 20},
                                             {.top_p = 0.9},
                                             {.top_p = 1e-6},
                                             {.temperature = 1.2, .top_k = 30, .top_p = 0.5}}) {
                const auto logits = random_logits(random, n, scale);
                const auto p = distribution(logits, o);
                Sampler sampler(o);
                for (int i = 0; i < 50; ++i) {
                    const double u = random.uniform();
                    const auto drawn = static_cast<size_t>(sampler.draw(logits, u).code);
                    ASSERT_LT(drawn, n);
                    ++draws;
                    // The boundaries are sums of float32 weights: some 1e-6 away from those of double at most.
                    const double above = std::accumulate(p.begin(), p.begin() + static_cast<ptrdiff_t>(drawn) + 1, 0.0);
                    const double below = above - p[drawn];
                    EXPECT_GT(u, below - 2e-6) << "seed " << test::seed();
                    EXPECT_LT(u, above + 2e-6) << "seed " << test::seed();
                    near += u < below || u > above;
                }
            }
    EXPECT_LE(near, draws / 1000);
}

TEST(Sampler, LikelihoodIsExactToSinglePrecision) {
    Random random(test::seed());
    double worst = 0;
    for (int i = 0; i < 200; ++i) {
        const auto logits = random_logits(random, 256, 0.05 * i);
        const auto p = distribution(logits, {});
        const auto draw = Sampler({.temperature = 0.8, .top_p = 0.99}).draw(logits, random.uniform());
        worst = std::max(worst, std::abs(draw.log2_probability - std::log2(p[static_cast<size_t>(draw.code)])));
    }
    EXPECT_LT(worst, 5e-7) << "seed " << test::seed();
}

TEST(Sampler, TiesFallToTheFirstCodes) {
    const std::vector<float> equal(256, 1.5f);
    Sampler top({.top_k = 10});
    for (int i = 0; i < 1000; ++i) EXPECT_LT(top.draw(equal, i / 1000.0).code, 10);
    Sampler nucleus({.top_p = 0.25});
    for (int i = 0; i < 1000; ++i) EXPECT_LT(nucleus.draw(equal, i / 1000.0).code, 64);
    EXPECT_EQ(Sampler({.temperature = 0}).draw(equal, 0.7).code, 0);
    EXPECT_EQ(Sampler({}).draw(equal, 0.0).code, 0);
    EXPECT_EQ(Sampler({}).draw(equal, 1 - 0x1p-53).code, 255);
}

TEST(Sampler, NeverDrawsWhatHasNoWeight) {
    std::vector<float> logits(256, -INFINITY);
    for (const size_t i : {40u, 41u, 200u}) logits[i] = 0;
    Random random(test::seed());
    for (const SamplingOptions& o : {SamplingOptions{}, {.temperature = 1e-12}, {.top_k = 250}, {.top_p = 0.999999}})
        for (int i = 0; i < 300; ++i) {
            const double u = i < 2 ? i * (1 - 0x1p-53) : random.uniform();
            const int32_t code = Sampler(o).draw(logits, u).code;
            EXPECT_TRUE(code == 40 || code == 41 || code == 200) << code << ", seed " << test::seed();
        }
}

TEST(Sampler, RefusesWhatIsNotANumber) {
    for (const size_t at : {0u, 7u, 255u}) {
        std::vector<float> logits(256, 0.0f);
        logits[at] = NAN;
        EXPECT_THROW(Sampler({}).draw(logits, 0.5), Error) << at;
        logits[at] = INFINITY;
        EXPECT_THROW(Sampler({.temperature = 0.5, .top_k = 3}).draw(logits, 0.5), Error) << at;
    }
    EXPECT_THROW(Sampler({}).draw(std::vector<float>(256, -INFINITY), 0.5), Error);
}

TEST(SoftmaxWeights, SumsItsBlocks) {
    Random random(test::seed());
    for (size_t n = 1; n < 70; ++n) {
        const auto x = random_logits(random, n, 3);
        std::vector<float> w(n), blocks(weight_blocks(n));
        const float peak = largest(x);
        EXPECT_EQ(peak, *std::max_element(x.begin(), x.end()));
        const double total = softmax_weights(x, peak, 0.5f, w, blocks);
        double sum = 0;
        for (size_t i = 0; i < n; ++i) {
            sum += w[i];
            EXPECT_NEAR(w[i], std::exp(0.5 * (static_cast<double>(x[i]) - peak)), 5e-7) << "seed " << test::seed();
        }
        EXPECT_NEAR(total, sum, 1e-6 * sum);
        for (size_t b = 0; b < blocks.size(); ++b) {
            double block = 0;
            for (size_t i = b * weight_block; i < std::min(n, (b + 1) * weight_block); ++i) block += w[i];
            EXPECT_NEAR(blocks[b], block, 1e-6 * block);
        }
    }
}

}  // namespace
}  // namespace nigiri
