#include "model/generator.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/evaluation.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

Network small_network(const std::string& layer, uint64_t seed = 3) {
    ModelConfig c = test::small_model(layer_by_name(layer));
    c.vocabulary = 256;
    return Network(make_backend("cpu"), c, DType::f32, seed, 256);
}

TEST(Sampler, DrawsInProportionToTheProbabilities) {
    const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.3f), std::log(0.4f)};
    Random random(test::seed());
    const int n = 40000;
    const auto shares = [&](const SamplingOptions& options) {
        Sampler sampler(options);
        std::vector<double> counts(4, 0.0);
        for (int i = 0; i < n; ++i) counts[static_cast<size_t>(sampler.draw(logits, random.uniform()).code)] += 1.0 / n;
        return counts;
    };
    const double error = 5 * std::sqrt(0.25 / n);  // five standard deviations of a share, at most
    const auto expect = [&](const SamplingOptions& options, const std::vector<double>& expected) {
        const auto counts = shares(options);
        for (size_t i = 0; i < 4; ++i)
            EXPECT_NEAR(counts[i], expected[i], expected[i] == 0 ? 0 : error) << i << ", seed " << test::seed();
    };
    expect({}, {0.1, 0.2, 0.3, 0.4});
    expect({.temperature = 0.5}, {1.0 / 30, 4.0 / 30, 9.0 / 30, 16.0 / 30});  // squares, normalised
    expect({.temperature = 0}, {0, 0, 0, 1});
    expect({.top_k = 2}, {0, 0, 3.0 / 7, 4.0 / 7});
    expect({.top_p = 0.65}, {0, 0, 3.0 / 7, 4.0 / 7});
    expect({.top_p = 0.75}, {0, 2.0 / 9, 3.0 / 9, 4.0 / 9});
    expect({.top_k = 3, .top_p = 0.5}, {0, 0, 3.0 / 7, 4.0 / 7});  // of the three kept, two make up half
}

TEST(Sampler, ReportsTheUntemperedProbability) {
    const std::vector<float> logits = {0, std::log(3.0f)};
    EXPECT_NEAR(Sampler({.temperature = 0.1}).draw(logits, 0.5).log2_probability, std::log2(0.75),
                1e-7);  // float32 logits
    EXPECT_NEAR(Sampler({.temperature = 10, .top_k = 2}).draw(logits, 0.0).log2_probability, -2, 1e-7);
    EXPECT_THROW(Sampler({}).draw(std::vector<float>{NAN, NAN}, 0.5), Error);
    EXPECT_THROW(validate({.temperature = -1}), Error);
    EXPECT_THROW(validate({.top_k = -1}), Error);
    EXPECT_THROW(validate({.top_p = 0}), Error);
    EXPECT_THROW(validate({.temperature = NAN}), Error);
}

TEST(Generate, GivesTheLikelihoodThatEvaluationGives) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "s4-mlp-dplr"}) {
        const Network network = small_network(layer);
        for (const SamplingOptions options :
             {SamplingOptions{.seed = 1}, SamplingOptions{.temperature = 0.7, .top_k = 20, .top_p = 0.9, .seed = 2}}) {
            const auto clips = generate(network, 2, 200, {}, options);
            for (const Clip& clip : clips) {
                ASSERT_EQ(clip.generated(), 200);
                const Evaluation e = evaluate_sequence(network, clip.codes);
                // Two orders of float32 sums in the logits: 1e-5 a sample would be much.
                EXPECT_NEAR(-clip.log2_likelihood, e.bits, 200 * 1e-5) << layer;
            }
            EXPECT_NE(clips[0].codes, clips[1].codes);
        }
    }
}

TEST(Generate, RepeatsItselfFromASeedWhateverTheCount) {
    const Network network = small_network("mamba-s6");
    const auto one = generate(network, 1, 100, {}, {.seed = 9}), three = generate(network, 3, 100, {}, {.seed = 9});
    EXPECT_EQ(one[0].codes, three[0].codes);
    EXPECT_NE(generate(network, 1, 100, {}, {.seed = 10})[0].codes, one[0].codes);
}

TEST(Generate, TakesOnePromptAClip) {
    const Network network = small_network("mamba-s6");
    Random random(test::seed());
    std::vector<std::vector<uint8_t>> prompts(3);
    for (auto& p : prompts)
        for (int i = 0; i < 90; ++i) p.push_back(static_cast<uint8_t>(random.below(256)));
    const SamplingOptions greedy{.temperature = 0};
    const auto together = generate(network, prompts, 40, greedy);
    for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(together[i].prompt, 90);
        EXPECT_EQ(together[i].codes, generate(network, 1, 40, prompts[i], greedy)[0].codes)
            << i << ", seed " << test::seed();
    }
    prompts[1].pop_back();
    EXPECT_THROW(generate(network, prompts, 40, greedy), Error);
    EXPECT_THROW(generate(network, std::vector<std::vector<uint8_t>>{}, 40, greedy), Error);
}

TEST(Generate, ContinuesAPrompt) {
    const Network network = small_network("mamba-s4");
    const auto whole = generate(network, 1, 300, {}, {.temperature = 0});
    // At temperature 0 the continuation of a beginning is the rest.
    const std::vector<uint8_t> beginning(whole[0].codes.begin(), whole[0].codes.begin() + 137);
    const auto rest = generate(network, 2, 163, beginning, {.temperature = 0});
    EXPECT_EQ(rest[0].codes, whole[0].codes);
    EXPECT_EQ(rest[1].codes, whole[0].codes);
    EXPECT_EQ(rest[0].prompt, 137);
    EXPECT_EQ(rest[0].generated(), 163);
}

TEST(Generate, KeepsWhatWasMadeWhenCancelled) {
    const Network network = small_network("mamba-s4");
    const auto part = generate(network, 1, 1'000'000, {}, {.seed = 4},
                               [](const std::vector<Clip>& c) { return c[0].generated() < 20; });
    ASSERT_GE(part[0].generated(), 20);
    ASSERT_LT(part[0].generated(), 1'000'000);
    const auto whole = generate(network, 1, part[0].generated(), {}, {.seed = 4});
    EXPECT_EQ(part[0].codes, whole[0].codes);
    EXPECT_EQ(part[0].log2_likelihood, whole[0].log2_likelihood);
}

// What is told to be new is all of it, once.
TEST(Generate, TellsWhatIsNew) {
    const Network network = small_network("mamba-s4");
    const std::vector<uint8_t> prompt(30, 120);
    std::vector<uint8_t> heard;
    const auto clips = generate(network, 2, 3000, prompt, {.seed = 4}, [&](const std::vector<Clip>& c) {
        heard.insert(heard.end(), c[0].codes.end() - c[0].fresh, c[0].codes.end());
        return true;
    });
    EXPECT_EQ(heard, std::vector<uint8_t>(clips[0].codes.begin() + 30, clips[0].codes.end()));
    EXPECT_EQ(clips[0].fresh, 0);
}

TEST(Generate, TakesNoMoreMemoryForMoreSamples) {
    const Network network = small_network("mamba-s4");
    const auto peak = [&](int64_t samples) {
        network.backend().reset_peak();
        generate(network, 1, samples, {}, {});
        return network.backend().peak_bytes();
    };
    peak(10);
    EXPECT_EQ(peak(1000), peak(100));
}

TEST(Evaluate, AWholeRecordingIsOneSequence) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        const Network network = small_network(layer);
        Random random(test::seed());
        std::vector<uint8_t> codes(40003);  // three pieces and a tail
        for (auto& c : codes) c = static_cast<uint8_t>(128 + 10 * random.normal());
        const Evaluation whole = evaluate_sequence(network, codes);
        EXPECT_EQ(whole.samples, 40003);
        const Evaluation parallel = evaluate_segments(network, {codes});
        EXPECT_EQ(parallel.samples, 40003);
        EXPECT_NEAR(whole.bits_per_sample(), parallel.bits_per_sample(), 1e-5) << layer;  // float32, averaged over many
        // From a zero state at every 1000 samples it is another number.
        std::vector<std::span<const uint8_t>> segments;
        for (size_t at = 0; at < codes.size(); at += 1000)
            segments.push_back(std::span(codes).subspan(at, std::min<size_t>(1000, codes.size() - at)));
        const Evaluation cut = evaluate_segments(network, segments);
        EXPECT_EQ(cut.samples, 40003);
        EXPECT_NE(cut.bits, whole.bits);
    }
}

// What generates is judged by the same bits: segments of unlike lengths on fewer streams, in any order, twice.
TEST(Evaluate, AnEngineGivesTheParallelPassesBits) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        const Network network = small_network(layer);
        Random random(test::seed());
        std::vector<uint8_t> codes(3001);
        for (auto& c : codes) c = static_cast<uint8_t>(128 + 10 * random.normal());
        const std::span<const uint8_t> all(codes);
        const std::vector<std::span<const uint8_t>> segments = {all.subspan(0, 1), all.subspan(1, 1700),
                                                                all.subspan(9, 0), all.subspan(1701, 1300), all};
        const Evaluation parallel = evaluate_segments(network, segments);
        for (const int64_t streams : {1, 3}) {
            const auto engine = make_engine(network, streams, {});
            for (int turn = 0; turn < 2; ++turn) {
                const Evaluation e = evaluate_segments(*engine, segments);
                EXPECT_EQ(e.samples, parallel.samples);
                EXPECT_NEAR(e.bits_per_sample(), parallel.bits_per_sample(), 1e-5)
                    << layer;  // float32 in another order
            }
        }
    }
}

// With all weights of the head at zero every code is equally likely: exactly eight bits.
TEST(Evaluate, AUniformModelCostsEightBits) {
    Network network = small_network("mamba-s6");
    for (const std::string name : {"head.weight", "head.bias"})
        network.backend().fill({.y = network.parameters().find(name)->value, .value = 0});
    const std::vector<uint8_t> codes(777, 200);
    EXPECT_NEAR(evaluate_sequence(network, codes).bits_per_sample(), 8, 1e-6);
}

TEST(Selfcheck, PassesAGoodModelAndNotABrokenOne) {
    Network network = small_network("mamba-s6");
    const SelfCheck good = selfcheck(network, 300, 1);
    EXPECT_LT(good.step_difference, 1e-3);  // float32 through eight layers
    EXPECT_LT(good.piece_difference, 1e-3);
    EXPECT_EQ(good.length, 300);
    network.backend().fill({.y = network.parameters().find("head.bias")->value, .value = NAN});
    EXPECT_FALSE(selfcheck(network, 300, 1).step_difference <= 1e9);  // not a number never passes
}

}  // namespace
}  // namespace nigiri
