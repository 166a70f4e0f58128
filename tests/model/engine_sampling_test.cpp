// The CUDA engine's way to draw codes, on the host, beside the sampler that defines it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/cuda/engine/host_lanes.h"

#include "kernels/cuda/engine/sampling.h"
#include "model/sampler.h"
#include "tests/support/emulated_engine.h"
#include "tests/support/recurrent_programs.h"

namespace nigiri {
namespace {

using cuda::engine::draw_code;
using cuda::engine::HostWarp;
using test::EmulatedEngine;

double log2_probability(std::span<const float> logits, int32_t code) {
    const double peak = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp(x - peak);
    return (logits[static_cast<size_t>(code)] - peak - std::log(sum)) / std::log(2.0);
}

uint64_t seed() {
    const char* text = std::getenv("NIGIRI_TEST_SEED");
    return text ? std::strtoull(text, nullptr, 10) : 1;
}

// Weights are float32 there and float64 here: a draw within 1e-5 of the edge between two codes may fall otherwise,
// which happens for some 256 * 1e-5 of all draws. Everything else must be equal.
TEST(EngineSampling, DrawsWhatTheSamplerDraws) {
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    Random random(seed(), 21);
    int64_t total = 0, other = 0;
    for (const int64_t vocabulary : {256, 200, 11, 1})
        for (const double temperature : {1.0, 0.7, 1.9, 0.0})
            for (const int64_t top_k : {0, 1, 5, 300})
                for (const double top_p : {1.0, 0.9, 0.3})
                    for (int i = 0; i < 25; ++i) {
                        const auto padded = static_cast<size_t>((vocabulary + 15) / 16 * 16);
                        std::vector<float> logits(padded, NAN);  // what is behind the vocabulary must not matter
                        for (int64_t c = 0; c < vocabulary; ++c)
                            logits[static_cast<size_t>(c)] = static_cast<float>(
                                i % 5 == 4 ? static_cast<double>(random.below(4)) : 3 * random.normal());  // ties too
                        const double uniform = i == 0 ? 0.0 : random.uniform();
                        Sampler sampler({temperature, top_k, top_p, 0});
                        const auto expected = sampler.draw({logits.data(), static_cast<size_t>(vocabulary)}, uniform);
                        const auto drawn = draw_code<HostWarp<2>>(
                            logits.data(), static_cast<int>(vocabulary),
                            {static_cast<float>(temperature), static_cast<float>(top_p), static_cast<int32_t>(top_k)},
                            uniform);
                        ASSERT_TRUE(drawn.is_valid);
                        ASSERT_GE(drawn.code, 0);
                        ASSERT_LT(drawn.code, vocabulary);
                        const double bits =
                            -log2_probability({logits.data(), static_cast<size_t>(vocabulary)}, drawn.code);
                        ASSERT_NEAR(drawn.bits, bits, 1e-5 * (1 + bits));
                        ++total;
                        other += drawn.code != expected.code;
                    }
    EXPECT_LE(other, total / 200);
}

TEST(EngineSampling, SaysWhenTheOutputIsNotANumber) {
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        std::vector<float> logits(256, 0.5f);
        logits[77] = bad;
        EXPECT_FALSE(draw_code<HostWarp<2>>(logits.data(), 256, {}, 0.5).is_valid) << bad;
    }
}

// draw() is advance() and the sampler, and can be interrupted and go on.
TEST(EngineSampling, DrawingIsAdvancingAndSampling) {
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    test::ProgramShape shape = test::odd_programs()[0];
    shape.vocabulary = 40;
    const RecurrentProgram program = test::random_program(shape, seed());
    EmulatedEngine drawing(program, WeightFormat::f32, 3, 2), plain(program, WeightFormat::f32, 3, 2);
    ASSERT_TRUE(drawing.can_draw());
    const SamplingOptions options{0.9, 20, 0.95, seed()};
    DrawRequest request;
    request.codes = {1, 2, 3};
    for (uint64_t s = 0; s < 3; ++s) request.dice.emplace_back(options.seed, s);
    request.controls = [&](int64_t) { return DrawControls{options.temperature, options.top_k, options.top_p}; };
    std::vector<int32_t> codes;
    std::vector<float> bits;
    const auto draw = [&](int64_t samples, int64_t stop_after) {
        request.samples = samples;
        int64_t got = 0;
        const int64_t drawn = drawing.draw(request, [&](int64_t count, const int32_t* c, const float* b) {
            codes.insert(codes.end(), c, c + 3 * count);
            bits.insert(bits.end(), b, b + 3 * count);
            got += count;
            return got < stop_after;
        });
        EXPECT_EQ(drawn, got);
        request.codes.assign(codes.end() - 3, codes.end());
        for (Random& r : request.dice) r = Random(r.seed(), r.stream(), r.position() + static_cast<uint64_t>(drawn));
    };
    draw(10, 100);
    draw(100, 9);
    ASSERT_EQ(codes.size(), 3u * 19);

    std::vector<Random> dice;
    for (uint64_t s = 0; s < 3; ++s) dice.emplace_back(options.seed, s);
    std::vector<int32_t> last = {1, 2, 3};
    std::vector<float> logits(3 * 40);
    Sampler sampler(options);
    for (size_t t = 0; t < 19; ++t) {
        plain.advance(last.data(), logits.data());
        for (size_t s = 0; s < 3; ++s) {
            const auto d = sampler.draw({logits.data() + 40 * s, 40}, dice[s].uniform());
            ASSERT_EQ(codes[3 * t + s], d.code) << "sample " << t << " of stream " << s;
            ASSERT_NEAR(bits[3 * t + s], -d.log2_probability, 1e-5);
            last[s] = d.code;
        }
    }
    EXPECT_EQ(drawing.state(2).position, 19);
}

}  // namespace
}  // namespace nigiri
