// Streams of real, small networks: determinism, live controls, freezing and branching.
#include "model/stream.h"

#include <gtest/gtest.h>

#include <thread>

#include "model/generator.h"
#include "model/plain_engine.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"
#include "tests/support/steps.h"

namespace nigiri {
namespace {

std::unique_ptr<Network> network(const std::string& layer = "mamba-s4") {
    ModelConfig c = test::small_model(layer_by_name(layer));
    c.vocabulary = 256;
    return std::make_unique<Network>(make_backend("cpu"), c, DType::f32, 3, 256);
}

std::unique_ptr<GuardedStream> open(const Network& n, size_t streams, std::shared_ptr<SamplingControls> controls,
                                    std::vector<uint8_t> prompt = {}, bool plain = false) {
    return open_stream(n, std::vector<std::vector<uint8_t>>(streams, prompt), std::move(controls),
                       {.engine = {.plain = plain}, .guard = {}});
}

std::vector<std::vector<int32_t>> draw(GuardedStream& stream, int count) {
    std::vector<std::vector<int32_t>> codes(static_cast<size_t>(stream.streams()));
    for (int i = 0; i < count; ++i) {
        const auto steps = test::next(stream);
        for (size_t s = 0; s < codes.size(); ++s) codes[s].push_back(steps[s].code);
    }
    return codes;
}

// The loop written out: the network step by step, a sampler, a random stream.
TEST(Stream, DrawsWhatThePlainLoopDraws) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "s4-mlp-dplr"}) {
        const auto n = network(layer);
        const SamplingOptions o{.temperature = 0.9, .top_p = 0.97, .seed = test::seed()};
        const auto stream = open(*n, 2, std::make_shared<SamplingControls>(o), {}, /*plain=*/true);
        const auto codes = draw(*stream, 150);
        NetworkState state = n->make_state(2);
        Sampler sampler(o);
        std::vector<Random> random = {Random(o.seed, 0), Random(o.seed, 1)};
        std::vector<int32_t> next(2, start_code(n->config()));
        std::vector<float> logits(2 * 256);
        const Tensor tokens = n->backend().allocate({2, 1}, DType::i32);
        for (size_t t = 0; t < 150; ++t) {
            n->backend().upload(next.data(), tokens);
            n->backend().download(n->advance(tokens, state), logits.data());
            for (size_t s = 0; s < 2; ++s) {
                next[s] = sampler.draw(std::span(logits).subspan(s * 256, 256), random[s].uniform()).code;
                ASSERT_EQ(next[s], codes[s][t]) << layer << " at " << t << ", seed " << o.seed;
            }
        }
    }
}

TEST(Stream, FreezesReturnsAndBranches) {
    for (const bool plain : {false, true}) {
        const auto n = network("mamba-s6");
        const auto stream = open(*n, 1, std::make_shared<SamplingControls>(SamplingOptions{.seed = 7}), {}, plain);
        draw(*stream, 37);  // within a coarse step
        const FrozenStream frozen = stream->freeze(0);
        const auto went_on = draw(*stream, 100);
        stream->resume(0, frozen, false);
        EXPECT_EQ(draw(*stream, 100), went_on);
        stream->resume(0, frozen, true);
        const auto branch = draw(*stream, 100);
        EXPECT_NE(branch, went_on);
        stream->resume(0, frozen, true);
        EXPECT_NE(draw(*stream, 100), branch) << "every branch has dice of its own";

        // From one engine to another, and to two.
        const auto other = open(*n, 2, std::make_shared<SamplingControls>(SamplingOptions{.seed = 7}), {}, plain);
        for (int64_t i = 0; i < 2; ++i) other->resume(i, frozen, i == 1);
        const auto both = draw(*other, 100);
        EXPECT_EQ(both[0], went_on[0]);
        EXPECT_NE(both[1], went_on[0]);
    }
}

TEST(Stream, BranchesShareNoDraws) {
    const StreamSnapshot s{.state = {}, .code = 0, .random = Random(5, 3, 100)};
    const StreamSnapshot a = branch(s, 1), b = branch(s, 2), again = branch(a, 2);
    EXPECT_EQ(branch(s, 0).random.position(), 100u);
    EXPECT_NE(a.random.stream(), b.random.stream());
    EXPECT_NE(a.random.stream(), s.random.stream());
    EXPECT_EQ(again.random.stream(), b.random.stream());
    EXPECT_GE(a.random.stream(), uint64_t{1} << 32) << "beyond the streams of clips";
}

TEST(Stream, HearsItsPromptThroughTheParallelPass) {
    const auto n = network("mamba-s4");
    Random random(test::seed());
    std::vector<uint8_t> prompt(5003);  // several pieces and a tail
    for (uint8_t& c : prompt) c = static_cast<uint8_t>(random.below(256));
    const auto stream = open(*n, 1, std::make_shared<SamplingControls>(SamplingOptions{.temperature = 0}), prompt);
    NetworkState state = n->make_state(1);
    std::vector<float> logits(256);
    const Tensor token = n->backend().allocate({1, 1}, DType::i32);
    int32_t code = start_code(n->config());
    for (size_t i = 0; i <= prompt.size(); ++i) {
        n->backend().upload(&code, token);
        n->backend().download(n->advance(token, state), logits.data());
        if (i < prompt.size()) code = prompt[i];
    }
    for (int i = 0; i < 50; ++i) {
        code = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        ASSERT_EQ(test::next(*stream)[0].code, code) << i << ", seed " << test::seed();
        n->backend().upload(&code, token);
        n->backend().download(n->advance(token, state), logits.data());
    }
    int asked = 0;
    EXPECT_EQ(open_stream(*n, std::vector<std::vector<uint8_t>>{prompt},
                          std::make_shared<SamplingControls>(SamplingOptions{}), {}, [&] { return ++asked < 2; }),
              nullptr);
    EXPECT_EQ(asked, 2);
}

TEST(Stream, ControlsAreLive) {
    const auto n = network();
    const auto controls = std::make_shared<SamplingControls>(SamplingOptions{.seed = 4});
    const auto stream = open(*n, 1, controls);
    draw(*stream, 50);
    const FrozenStream frozen = stream->freeze(0);
    const auto free = draw(*stream, 50);
    stream->resume(0, frozen, false);
    controls->set({.temperature = 0});
    const auto greedy = draw(*stream, 50);
    EXPECT_NE(free, greedy);
    stream->resume(0, frozen, true);
    EXPECT_EQ(draw(*stream, 50), greedy) << "at temperature 0 dice do not matter";
    stream->resume(0, frozen, false);
    controls->set({.top_k = 1});
    EXPECT_EQ(draw(*stream, 50), greedy);
    controls->set({});
    EXPECT_EQ(controls->get().seed, 4u) << "the seed stays";
    EXPECT_THROW(controls->set({.temperature = -1}), Error);
    EXPECT_EQ(controls->get().temperature, 1) << "what makes no sense changes nothing";
}

// For the thread sanitizer, and for the sense of it: whatever is set while a stream runs, every code is one.
TEST(Stream, ControlsMayBeTurnedWhileItRuns) {
    const auto n = network();
    const auto controls = std::make_shared<SamplingControls>(SamplingOptions{.seed = 1});
    const auto stream = open(*n, 1, controls);
    std::jthread hand([&](const std::stop_token& stop) {
        for (int i = 0; !stop.stop_requested(); ++i) {
            controls->set(
                {.temperature = 0.5 + 0.001 * (i % 1000), .top_k = i % 3 * 100, .top_p = 0.5 + 0.0005 * (i % 1000)});
            std::this_thread::yield();
        }
    });
    const auto codes = draw(*stream, 500);
    for (const int32_t c : codes[0]) ASSERT_TRUE(c >= 0 && c < 256);
}

TEST(PlainEngine, KeepsStreamsInStep) {
    const auto n = network("mamba-s6");  // pools 2 and 4
    PlainEngine engine(*n, 2);
    std::vector<int32_t> codes = {3, 4};
    std::vector<float> logits(2 * 256), again(2 * 256);
    const StreamState zero = engine.state(0);
    for (int i = 0; i < 8; ++i) engine.advance(codes.data(), logits.data());
    const StreamState eight = engine.state(1);
    EXPECT_EQ(eight.position, 8);
    engine.advance(codes.data(), logits.data());
    engine.set_state(1, zero);
    EXPECT_THROW(engine.advance(codes.data(), logits.data()), Error) << "9 and 0";
    engine.set_state(0, eight);
    engine.advance(codes.data(), logits.data());  // 8 and 0: whole periods apart
    EXPECT_EQ(engine.state(0).position, 9);
    EXPECT_EQ(engine.state(1).position, 1);
    PlainEngine fresh(*n, 2);
    fresh.advance(codes.data(), again.data());
    for (size_t i = 256; i < 512; ++i) EXPECT_EQ(logits[i], again[i]) << "the second began anew";
    codes[0] = 256;
    EXPECT_THROW(engine.advance(codes.data(), logits.data()), Error);
    EXPECT_THROW(PlainEngine(*n, 0), Error);
}

}  // namespace
}  // namespace nigiri
