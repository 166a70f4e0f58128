// The plain engine, and with it generation with layers that the fast engine does not know: those that remember all of
// their inputs, and H3 blocks.
#include "model/plain_engine.h"

#include <gtest/gtest.h>

#include "model/evaluation.h"
#include "model/generator.h"
#include "model/recurrent_program.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using Logits = std::vector<std::vector<float>>;

class EveryUnknownLayer : public testing::TestWithParam<std::string> {
  protected:
    static ModelConfig config() {
        ModelConfig c = test::small_model(layer_by_name(GetParam()));
        c.vocabulary = 256;
        return c;
    }
    Logits run(RecurrentEngine& engine, const std::vector<int32_t>& codes) const {
        Logits all;
        for (size_t at = 0; at < codes.size(); at += static_cast<size_t>(engine.streams())) {
            all.emplace_back(static_cast<size_t>(engine.streams() * engine.vocabulary()));
            engine.advance(codes.data() + at, all.back().data());
        }
        return all;
    }
    std::vector<int32_t> codes(int64_t count) {
        std::vector<int32_t> c(static_cast<size_t>(count));
        for (int32_t& x : c) x = static_cast<int32_t>(random.below(256));
        return c;
    }

    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Network network{backend, config(), DType::f32, test::seed(), 64};
    Random random{test::seed()};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};
};

TEST_P(EveryUnknownLayer, IsRunByPlainSteps) {
    EXPECT_FALSE(has_recurrent_program(network.config()));
    EXPECT_EQ(make_engine(network, 1, {})->description().find("plain steps"), 0u);
    EXPECT_THROW(recurrent_program(network), Error);
    try {
        make_engine(network, 1, {.weights = WeightFormat::int8});
        ADD_FAILURE() << "weights of 8 bits were promised";
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(GetParam()), std::string::npos) << e.what();
        EXPECT_NE(e.hint().find("f32"), std::string::npos) << e.hint();
    }
}

TEST_P(EveryUnknownLayer, GeneratesWithTheLikelihoodThatEvaluationGives) {
    const auto clips = generate(network, 2, 150, {}, {.seed = 1});
    for (const Clip& clip : clips) {
        ASSERT_EQ(clip.generated(), 150);
        // Two orders of float32 sums in the logits: 1e-5 a sample would be much.
        EXPECT_NEAR(-clip.log2_likelihood, evaluate_sequence(network, clip.codes).bits, 150 * 1e-5);
    }
    EXPECT_NE(clips[0].codes, clips[1].codes);
    EXPECT_EQ(generate(network, 1, 150, {}, {.seed = 1})[0].codes, clips[0].codes);
}

TEST_P(EveryUnknownLayer, ContinuesAPrompt) {
    const auto whole = generate(network, 1, 200, {}, {.temperature = 0});
    const std::vector<uint8_t> beginning(whole[0].codes.begin(), whole[0].codes.begin() + 101);
    for (const Clip& clip : generate(network, 2, 99, beginning, {.temperature = 0}))
        EXPECT_EQ(clip.codes, whole[0].codes);
}

// A stream that goes back, beside one that does not: what they remember then differs in length.
TEST_P(EveryUnknownLayer, TakesAStreamBackToAnEarlierState) {
    const int64_t period = network.config().pool_product();
    const auto known = codes(2 * 5 * period), more = codes(2 * 3 * period), next = codes(2 * 4 * period);
    PlainEngine engine(network, 2);
    run(engine, known);
    const StreamState early = engine.state(1);
    EXPECT_EQ(early.position, 5 * period);
    run(engine, more);
    engine.set_state(1, early);
    const Logits both = run(engine, next);

    const auto alone = [&](size_t stream, std::initializer_list<const std::vector<int32_t>*> parts) {
        PlainEngine one(network, 1);
        Logits last;
        for (const auto* part : parts) {
            std::vector<int32_t> mine;
            for (size_t i = stream; i < part->size(); i += 2) mine.push_back((*part)[i]);
            last = run(one, mine);
        }
        return last;
    };
    const Logits straight = alone(0, {&known, &more, &next}), back = alone(1, {&known, &next});
    for (size_t t = 0; t < both.size(); ++t) {
        // The same sums in float32, with one or two streams side by side.
        for (size_t v = 0; v < 256; ++v) {
            ASSERT_NEAR(both[t][v], straight[t][v], 1e-4) << t;
            ASSERT_NEAR(both[t][256 + v], back[t][v], 1e-4) << t;
        }
    }
}

TEST_P(EveryUnknownLayer, RefusesAStateThatDoesNotFit) {
    PlainEngine engine(network, 2);
    StreamState state = engine.state(0);
    EXPECT_THROW(engine.state(2), Error);
    state.blocks[0].ssm.push_back(0);
    EXPECT_THROW(engine.set_state(0, state), Error);
}

INSTANTIATE_TEST_SUITE_P(Layers, EveryUnknownLayer,
                         testing::Values("attention-mlp", "attention", "mamba-attention", "mamba-hyena", "plain-hyena",
                                         "h3-hyena", "h3-attention", "h3-s4", "h3-s6"),
                         [](const auto& test) {
                             std::string name = test.param;
                             for (char& c : name)
                                 if (c == '-') c = '_';
                             return name;
                         });

// Rows of one state are equally long: a stream of another length needs a state of its own.
TEST(GrowingState, SideBySideTakesStreamsOfItsOwnLengthOnly) {
    const auto backend = make_backend("cpu", 2);
    const Network network(backend, test::small_model(layer_by_name("attention-mlp")), DType::f32, 1, 64);
    NetworkState two = network.make_state(2), one = network.make_state(1);
    network.advance(backend->zeros({2, 16}, DType::i32), two);
    network.advance(backend->zeros({1, 16}, DType::i32), one);
    EXPECT_NO_THROW(set_network_state(network, two, 0, stream_state(network, one, 0)));
    network.advance(backend->zeros({1, 8}, DType::i32), one);
    EXPECT_THROW(set_network_state(network, two, 0, stream_state(network, one, 0)), Error);
}

}  // namespace
}  // namespace nigiri
