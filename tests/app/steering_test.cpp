// The hand on a stream: what is heard after each of its wishes.
#include "app/steering.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "tests/support/check.h"
#include "tests/support/drawing_engine.h"
#include "tests/support/fake_engine.h"
#include "tests/support/steps.h"

namespace nigiri::app {
namespace {

using test::FakeEngine;
using test::Mode;

constexpr int fade = 320;  // 20 ms at 16 kHz

const SignalConfig steered_signal{.sample_rate = 16000, .quantization = "linear", .scaling = "full-scale"};

std::unique_ptr<GuardedStream> fake_stream(const Steering& steering, FakeEngine::Options engine = {},
                                           std::optional<GuardOptions> guard = std::nullopt) {
    return std::make_unique<GuardedStream>(
        std::make_unique<Stream>(std::make_unique<FakeEngine>(std::move(engine)), steering.controls(), 128),
        std::move(guard));
}

// The same by an engine that draws codes itself.
std::unique_ptr<GuardedStream> drawing_fake_stream(const Steering& steering, FakeEngine::Options engine = {},
                                                   std::optional<GuardOptions> guard = std::nullopt) {
    auto inner = std::make_unique<FakeEngine>(std::move(engine));
    return std::make_unique<GuardedStream>(
        std::make_unique<Stream>(
            std::make_unique<test::DrawingEngine>(std::move(inner), test::DrawingEngine::Options{}),
            steering.controls(), 128),
        std::move(guard));
}

std::shared_ptr<Steering> hand() { return std::make_shared<Steering>(SamplingOptions{.seed = test::seed()}); }

// What the stream gives without a hand.
std::vector<float> plain(int64_t samples, FakeEngine::Options engine = {}) {
    const auto steering = hand();
    const auto stream = fake_stream(*steering, std::move(engine));
    std::vector<float> out;
    for (int64_t i = 0; i < samples; ++i)
        out.push_back(decode_table(Quantization::linear)[static_cast<size_t>(test::next(*stream)[0].code)]);
    return out;
}

TEST(SteeredStream, IsTheStreamWhereNobodySteers) {
    const auto steering = hand();
    SteeredStream stream(fake_stream(*steering), nullptr, steered_signal, steering, 0);
    std::vector<float> out;
    for (int i = 0; i < 50; ++i) stream.make(100, out);
    EXPECT_EQ(out.size(), 5000u - fade) << "something to fade with is kept back";
    stream.finish(out);
    EXPECT_EQ(out, plain(5000));
    EXPECT_EQ(stream.samples(), 5000);
    EXPECT_NEAR(stream.bits(), 10000, 1e-3);
}

TEST(SteeredStream, GoesBackAndBranches) {
    const auto steering = hand();
    SteeredStream stream(fake_stream(*steering), nullptr, steered_signal, steering, 0);
    std::vector<float> out;
    steering->wish(Steering::Wish::back);
    stream.make(1000, out);
    EXPECT_EQ(stream.joins(), 0) << "there is no moment to go back to yet";
    EXPECT_LT(steering->frozen_at(), 0);
    steering->wish(Steering::Wish::freeze);
    stream.make(3000, out);
    EXPECT_EQ(steering->frozen_at(), 1000);
    steering->wish(Steering::Wish::back);
    stream.make(3000, out);
    steering->wish(Steering::Wish::branch);
    stream.make(3000, out);
    steering->wish(Steering::Wish::branch);
    stream.make(3000, out);
    stream.finish(out);
    EXPECT_EQ(stream.joins(), 3);
    EXPECT_EQ(stream.samples(), 13000);
    ASSERT_EQ(out.size(), 13000u - 3 * fade);
    const auto once = plain(4000);
    // After the freeze, after the return, after each branch: where what is drawn there is heard.
    const size_t first = 1000, again = 4000 - fade, branch = 7000 - 2 * fade, other = 10000 - 3 * fade;
    for (size_t i = fade; i < 3000 - fade; ++i) {
        ASSERT_EQ(out[first + i], once[1000 + i]);
        ASSERT_EQ(out[again + i], once[1000 + i]) << i;
    }
    const auto differences = [&](size_t a, size_t b) {
        int n = 0;
        for (size_t i = fade; i < 3000 - fade; ++i) n += out[a + i] != out[b + i];
        return n;
    };
    EXPECT_GT(differences(first, branch), 1000) << "of codes four of which are equally likely";
    EXPECT_GT(differences(branch, other), 1000);
    for (size_t i = 1; i < out.size(); ++i) ASSERT_LT(std::abs(out[i] - out[i - 1]), 0.16) << "a jump at " << i;
}

TEST(SteeredStream, MixesTwoModelsEachHearingItself) {
    const FakeEngine::Options quiet{.fate = [](int64_t, int64_t, int32_t) { return Mode::silence; }};
    const auto one = plain(4000);
    for (const double mix : {0.0, 0.5, 1.0}) {
        const auto steering = hand();
        steering->set_mix(mix);
        SteeredStream stream(fake_stream(*steering), fake_stream(*steering, quiet), steered_signal, steering, 0);
        std::vector<float> out;
        stream.make(4000, out);
        stream.finish(out);
        ASSERT_EQ(out.size(), 4000u);
        for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], std::cos(mix * M_PI / 2) * one[i], 1e-6) << mix;
    }
    // A hand that jumps from one to the other is followed without a jump.
    const auto steering = hand();
    SteeredStream stream(fake_stream(*steering), fake_stream(*steering, quiet), steered_signal, steering, 0);
    std::vector<float> out;
    stream.make(2000, out);
    steering->set_mix(1);
    stream.make(4000, out);
    stream.finish(out);
    const size_t from = 2000 - fade;
    for (size_t i = 0; i < from; ++i) ASSERT_EQ(out[i], one[i]);
    for (size_t i = from; i < from + 1600; ++i) {
        const double share = static_cast<double>(i - from + 1) / 1600;  // a tenth of a second
        ASSERT_NEAR(out[i], std::cos(share * M_PI / 2) * one[i], 2e-5) << i;
    }
    for (size_t i = from + 1600; i < out.size(); ++i) ASSERT_NEAR(out[i], 0, 1e-6);
}

TEST(SteeredStream, WaitsForTheOneThatWentBack) {
    GuardOptions guard;
    guard.value = decode_table(Quantization::linear);
    guard.expected_bits = 2;
    const FakeEngine::Options coin{.fate = [](int64_t, int64_t position, int32_t code) {
        return position == 3 * 16000 && code % 2 == 1 ? Mode::noise : Mode::healthy;
    }};
    bool met = false;
    for (uint64_t seed = test::seed(); !met; ++seed) {
        const auto steering = std::make_shared<Steering>(SamplingOptions{.seed = seed});
        SteeredStream stream(fake_stream(*steering, coin, guard), fake_stream(*steering), steered_signal, steering,
                             60000);
        steering->set_mix(1);
        std::vector<float> out;
        for (int i = 0; i < 20000 && out.size() < 5 * 16000; ++i) stream.make(128, out);
        stream.finish(out);
        met = !stream.take_events().empty();
        // The second goes on by itself whatever happens to the first; as both seeds are one, it is the plain stream.
        const auto alone = fake_stream(Steering({.seed = seed}));
        std::vector<float> expected;
        for (size_t i = 0; i < out.size(); ++i)
            expected.push_back(decode_table(Quantization::linear)[static_cast<size_t>(test::next(*alone)[0].code)]);
        for (size_t i = 2000; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 1e-6) << i << ", seed " << seed;
        EXPECT_GT(out.size(), 4u * 16000);
    }
}

// Two models, one of which goes wrong now and then, and a hand that freezes, returns, branches and mixes.
TEST(SteeredStream, EnginesThatDrawFollowTheSameHand) {
    GuardOptions guard;
    guard.value = decode_table(Quantization::linear);
    guard.expected_bits = 2;
    const FakeEngine::Options coin{.fate = [](int64_t, int64_t position, int32_t code) {
        return position % 30000 == 25000 && code % 2 == 1 ? Mode::noise : Mode::healthy;
    }};
    size_t events = 0;
    for (uint64_t seed = test::seed(); seed < test::seed() + 2 || events == 0; ++seed) {
        const auto play = [&](bool draws) {
            const auto steering = std::make_shared<Steering>(SamplingOptions{.seed = seed});
            const auto make = draws ? drawing_fake_stream : fake_stream;
            SteeredStream stream(make(*steering, coin, guard), make(*steering, {}, std::nullopt), steered_signal,
                                 steering, 60000);
            std::vector<float> out;
            const auto until = [&](int64_t samples) {
                while (stream.samples() < samples) stream.make(std::min<int64_t>(777, samples - stream.samples()), out);
            };
            until(10000);
            steering->wish(Steering::Wish::freeze);
            until(20001);
            steering->set_mix(0.5);
            steering->wish(Steering::Wish::back);
            until(50000);
            steering->controls()->set({.temperature = 0.8});
            steering->wish(Steering::Wish::branch);
            until(90000);
            stream.finish(out);
            events += stream.take_events().size();
            return std::tuple(out, stream.samples(), stream.bits(), stream.joins());
        };
        EXPECT_EQ(play(true), play(false)) << "seed " << seed;
    }
}

TEST(SteeredStream, GivesUpBetweenBlocks) {
    const auto steering = hand();
    SteeredStream stream(drawing_fake_stream(*steering), nullptr, steered_signal, steering, 0);
    std::vector<float> out;
    int asked = 0;
    stream.make(1'000'000, out, [&] { return ++asked < 3; });
    EXPECT_EQ(asked, 3);
    EXPECT_GT(stream.samples(), 1);
    EXPECT_LT(stream.samples(), 1'000'000);
}

TEST(Steering, RefusesWhatMakesNoSense) {
    EXPECT_THROW(Steering({.temperature = -1}), Error);
    const auto steering = hand();
    EXPECT_THROW(SteeredStream(nullptr, nullptr, steered_signal, steering, 0), Error);
    EXPECT_THROW(SteeredStream(fake_stream(*steering, {.streams = 2}), nullptr, steered_signal, steering, 0), Error);
}

}  // namespace
}  // namespace nigiri::app
