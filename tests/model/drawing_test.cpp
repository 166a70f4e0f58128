// Streams of engines that draw codes themselves, beside the same engines without that: the same codes, whatever happens
// in the middle of a block.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "audio/quantize.h"
#include "model/generator.h"
#include "model/plain_engine.h"
#include "model/recurrent_program.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"
#include "tests/support/drawing_engine.h"
#include "tests/support/fake_engine.h"

namespace nigiri {
namespace {

using test::DrawingEngine;
using test::FakeEngine;
using test::Mode;

std::unique_ptr<Network> network(const std::string& layer = "mamba-s4") {
    ModelConfig c = test::small_model(layer_by_name(layer));
    c.vocabulary = 256;
    return std::make_unique<Network>(make_backend("cpu"), c, DType::f32, 3, 256);
}

using Record = std::shared_ptr<DrawingEngine::Record>;

// The processor's engine, drawing or not.
EngineChoice engine(bool draws, Record record = {}, DrawingEngine::Options options = {}) {
    EngineChoice choice;
    choice.threads = 1;
    if (draws)
        choice.make = [=](const RecurrentProgram& program, int64_t streams, WeightFormat weights) {
            return std::make_unique<DrawingEngine>(
                make_cpu_engine(program, {.streams = streams, .weights = weights, .threads = 1}), options, record);
        };
    return choice;
}

std::unique_ptr<GuardedStream> open(const Network& n, size_t streams, const SamplingOptions& sampling, bool draws,
                                    std::vector<uint8_t> prompt = {}) {
    return open_stream(n, std::vector<std::vector<uint8_t>>(streams, prompt),
                       std::make_shared<SamplingControls>(sampling), {.engine = engine(draws), .guard = {}});
}

// What the streams draw, without what they took back, and what that costs.
struct Course {
    std::vector<std::vector<int32_t>> codes;
    std::vector<double> bits;
    std::vector<GuardEvent> events;
};

// Until the first has `samples`, in blocks of different sizes.
Course run(GuardedStream& stream, int64_t samples, uint64_t seed = test::seed(), Course r = {}) {
    r.codes.resize(static_cast<size_t>(stream.streams()));
    Random random(seed, 99);
    while (static_cast<int64_t>(r.codes[0].size()) < samples) {
        const int64_t left = samples - static_cast<int64_t>(r.codes[0].size());
        const int64_t most = std::min(left, 1 + static_cast<int64_t>(random.below(random.below(3) ? 40 : 3000)));
        const StreamSteps steps = stream.next(most);
        EXPECT_GE(steps.block.samples, 1);
        EXPECT_LE(steps.block.samples, most);
        for (size_t i = 0; i < r.codes.size(); ++i) {
            EXPECT_LE(steps.positions[i], static_cast<int64_t>(r.codes[i].size())) << "a sample is missing";
            r.codes[i].resize(static_cast<size_t>(steps.positions[i]));
            for (int64_t t = 0; t < steps.block.samples; ++t)
                r.codes[i].push_back(steps.block.at(t, static_cast<int64_t>(i)).code);
        }
        r.bits.assign(steps.total_bits.begin(), steps.total_bits.end());
        for (const GuardEvent& e : stream.take_events()) r.events.push_back(e);
    }
    return r;
}

TEST(Drawing, DrawsWhatTheHostDraws) {
    const std::vector<uint8_t> prompt(77, 130);
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "s4-mlp-dplr"}) {
        const auto n = network(layer);
        for (const SamplingOptions& o : {SamplingOptions{.seed = test::seed()},
                                         SamplingOptions{0.8, 50, 0.9, test::seed() + 1}, SamplingOptions{0}})
            for (const size_t streams : {1, 3}) {
                const auto drawing = open(*n, streams, o, true, prompt), stepping = open(*n, streams, o, false, prompt);
                const Course a = run(*drawing, 400, 1), b = run(*stepping, 400, 2);
                EXPECT_EQ(a.codes, b.codes) << layer << ", seed " << o.seed;
                EXPECT_EQ(a.bits, b.bits) << layer << ", seed " << o.seed;
            }
    }
}

// One launch a block, nothing sample by sample, and blocks of a length in time once the speed is known.
TEST(Drawing, BlocksAreAsLongAsTheirTime) {
    const Record record = std::make_shared<DrawingEngine::Record>();
    DrawingEngine::Options slow;
    slow.a_sample = std::chrono::microseconds(100);
    Stream stream(std::make_unique<DrawingEngine>(std::make_unique<FakeEngine>(FakeEngine::Options{}), slow, record),
                  std::make_shared<SamplingControls>(SamplingOptions{}), 128);
    int64_t drawn = 0;
    for (int i = 0; i < 10; ++i) {
        const StreamBlock block = stream.draw(1'000'000);
        drawn += block.samples;
        EXPECT_LE(block.samples, 200 + 32) << "20 ms, of which a sample takes a tenth at least";
    }
    EXPECT_EQ(record->launches, 10);
    EXPECT_EQ(record->drawn, drawn);
    EXPECT_EQ(record->advanced, 0);
    EXPECT_GT(drawn, 20) << "on any machine";
}

// Somebody else has taken the device: a block ends far before it is done, and nothing of it is lost.
TEST(Drawing, AnEngineThatBecomesSlowIsEndedInTime) {
    const auto reference = open(*network(), 1, {.seed = 5}, false);
    const Record record = std::make_shared<DrawingEngine::Record>();
    DrawingEngine::Options options;
    options.before = [](int64_t drawn) {
        if (drawn >= 1000) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    };
    const auto n = network();
    const auto stream = open_stream(*n, std::vector<std::vector<uint8_t>>(1),
                                    std::make_shared<SamplingControls>(SamplingOptions{.seed = 5}),
                                    {.engine = engine(true, record, options), .guard = {}});
    std::vector<int32_t> codes;
    const auto draw = [&](int64_t most) {
        const StreamSteps steps = stream->next(most);
        for (int64_t t = 0; t < steps.block.samples; ++t) codes.push_back(steps.block.at(t, 0).code);
        return steps.block.samples;
    };
    while (codes.size() < 990) draw(990 - static_cast<int64_t>(codes.size()));
    const auto begin = std::chrono::steady_clock::now();
    draw(1'000'000);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    // 50 ms, seven samples of 10 ms until the sink is asked, five under way. The rest is for a busy machine.
    EXPECT_LT(seconds, 0.5);
    draw(1'000'000);
    EXPECT_EQ(record->drawn, static_cast<int64_t>(codes.size()));
    const Course expected = run(*reference, static_cast<int64_t>(codes.size()));
    EXPECT_EQ(codes, expected.codes[0]);
}

TEST(Drawing, ControlsChangeInTheMiddleOfABlock) {
    const auto n = network();
    const SamplingOptions first{.seed = 7}, then{.temperature = 0.3, .top_k = 20, .top_p = 0.8};
    constexpr int64_t when = 150, samples = 400;
    const auto controls = std::make_shared<SamplingControls>(first);
    DrawingEngine::Options options;
    options.before = [&](int64_t drawn) {
        if (drawn == when) controls->set(then);
    };
    const std::vector<std::vector<uint8_t>> prompts(2);
    const auto drawing = open_stream(*n, prompts, controls, {.engine = engine(true, {}, options), .guard = {}});
    const Course a = run(*drawing, samples);
    const auto others = std::make_shared<SamplingControls>(first);
    const auto stepping = open_stream(*n, prompts, others, {.engine = engine(false), .guard = {}});
    const Course before = run(*stepping, when);
    others->set(then);
    EXPECT_EQ(a.codes, run(*stepping, samples, 1, before).codes) << "at the very sample";
}

TEST(Drawing, GoesBackAndBranchesAtAnySample) {
    const auto n = network("mamba-s6");
    const SamplingOptions o{.seed = test::seed()};
    const auto drawing = open(*n, 1, o, true), stepping = open(*n, 1, o, false);
    const auto draw = [](GuardedStream& stream, int64_t samples) {
        std::vector<int32_t> codes;
        while (static_cast<int64_t>(codes.size()) < samples) {
            const StreamSteps steps = stream.next(samples - static_cast<int64_t>(codes.size()));
            for (int64_t t = 0; t < steps.block.samples; ++t) codes.push_back(steps.block.at(t, 0).code);
        }
        return codes;
    };
    draw(*drawing, 37), draw(*stepping, 37);  // within a coarse step
    const FrozenStream frozen = drawing->freeze(0), same = stepping->freeze(0);
    EXPECT_EQ(frozen.snapshot.random.position(), 37u);
    EXPECT_EQ(frozen.snapshot.code, same.snapshot.code);
    const auto went_on = draw(*drawing, 300);
    EXPECT_EQ(went_on, draw(*stepping, 300));
    for (const bool other_dice : {false, true, true}) {
        drawing->resume(0, frozen, other_dice), stepping->resume(0, same, other_dice);
        const auto again = draw(*drawing, 300);
        EXPECT_EQ(again == went_on, !other_dice);
        EXPECT_EQ(again, draw(*stepping, 300)) << "seed " << o.seed;
    }
    // A moment of the one is a moment of the other.
    stepping->resume(0, frozen, false);
    EXPECT_EQ(draw(*stepping, 300), went_on);
}

TEST(Drawing, TellsOfAFailureAfterWhatCameBefore) {
    const auto n = network();
    for (const bool draws : {true, false}) {
        bool lost = false;
        std::unique_ptr<RecurrentEngine> inner =
            make_cpu_engine(recurrent_program(*n), {.streams = 2, .weights = WeightFormat::f32, .threads = 1});
        DrawingEngine::Options options;
        options.before = [&](int64_t drawn) {
            if (lost && drawn >= 20) throw Error("the device is lost");
        };
        if (draws)
            inner = std::make_unique<DrawingEngine>(std::move(inner), options);
        else
            options.before = {};
        Stream stream(std::move(inner), std::make_shared<SamplingControls>(SamplingOptions{}), 128);
        if (!draws) {
            stream.set_code(0, 256);  // the engine declines that at once
            EXPECT_THROW(stream.draw(10), Error);
            continue;
        }
        const StreamSnapshot begin = stream.freeze(0), other = stream.freeze(1);
        lost = true;
        int64_t made = 0;
        while (made < 20) made += stream.draw(100).samples;
        EXPECT_EQ(made, 20);
        EXPECT_THROW(stream.draw(100), Error);
        EXPECT_THROW(stream.draw(100), Error) << "as long as nobody goes back";
        stream.restore(0, begin), stream.restore(1, other);
        lost = false;
        EXPECT_GE(stream.draw(30).samples, 1);
    }
}

GuardOptions guard(int64_t period = 1) {
    GuardOptions o;
    o.period = period;
    o.value = decode_table(Quantization::linear);
    o.expected_bits = 2;
    return o;
}

std::unique_ptr<GuardedStream> guarded(const FakeEngine::Options& options, bool draws, uint64_t seed,
                                       int64_t period = 1) {
    std::unique_ptr<RecurrentEngine> engine = std::make_unique<FakeEngine>(options);
    if (draws) engine = std::make_unique<DrawingEngine>(std::move(engine), DrawingEngine::Options{});
    return std::make_unique<GuardedStream>(
        std::make_unique<Stream>(std::move(engine),
                                 std::make_shared<SamplingControls>(SamplingOptions{.temperature = 0.9, .seed = seed}),
                                 128),
        guard(period));
}

void expect_equal(const Course& a, const Course& b, uint64_t seed) {
    EXPECT_EQ(a.codes, b.codes) << "seed " << seed;
    EXPECT_EQ(a.bits, b.bits) << "seed " << seed;
    ASSERT_EQ(a.events.size(), b.events.size()) << "seed " << seed;
    for (size_t i = 0; i < a.events.size(); ++i) {
        EXPECT_EQ(a.events[i].stream, b.events[i].stream);
        EXPECT_EQ(a.events[i].trouble, b.events[i].trouble);
        EXPECT_EQ(a.events[i].noticed, b.events[i].noticed);
        EXPECT_EQ(a.events[i].resumed, b.events[i].resumed);
        EXPECT_EQ(a.events[i].warmth, b.events[i].warmth);
    }
}

// The guard takes the same course: it looks, saves, goes back, cools and warms at the same samples.
TEST(Drawing, TheGuardGoesBackAtTheSameSamples) {
    for (const Mode mode : {Mode::noise, Mode::silence, Mode::offset}) {
        int64_t events = 0;
        for (uint64_t seed = test::seed(); seed < test::seed() + 2 || events == 0; ++seed) {
            const FakeEngine::Options coin{.fate = [=](int64_t, int64_t position, int32_t code) {
                return position % 40000 == 33333 && code % 2 == 1 ? mode : Mode::healthy;
            }};
            const Course a = run(*guarded(coin, true, seed), 6 * 16000, 1),
                         b = run(*guarded(coin, false, seed), 6 * 16000, 2);
            expect_equal(a, b, seed);
            events += static_cast<int64_t>(a.events.size());
        }
    }
    // One that cannot be helped: all attempts, each cooler.
    const FakeEngine::Options doomed{
        .fate = [](int64_t, int64_t position, int32_t) { return position >= 20000 ? Mode::noise : Mode::healthy; }};
    const Course a = run(*guarded(doomed, true, 1), 5 * 16000, 1), b = run(*guarded(doomed, false, 1), 5 * 16000, 2);
    expect_equal(a, b, 1);
    EXPECT_EQ(a.events.size(), 7u);
}

TEST(Drawing, TheGuardSendsStreamsBackEachForItself) {
    const FakeEngine::Options engine{
        .streams = 3, .period = 48, .fate = [](int64_t stream, int64_t position, int32_t code) {
            return stream != 1 && position == 30000 + 5000 * stream && code % 2 == 1 ? Mode::noise : Mode::healthy;
        }};
    int64_t events = 0;
    for (uint64_t seed = test::seed(); seed < test::seed() + 2 || events == 0; ++seed) {
        const Course a = run(*guarded(engine, true, seed, 48), 5 * 16000, 1),
                     b = run(*guarded(engine, false, seed, 48), 5 * 16000, 2);
        events += static_cast<int64_t>(a.events.size());
        ASSERT_EQ(a.events.size(), b.events.size()) << "seed " << seed;
        // Where the first is done the others may be further or behind, by blocks.
        for (size_t i = 0; i < 3; ++i) {
            const size_t both = std::min(a.codes[i].size(), b.codes[i].size()) - 16000;
            EXPECT_TRUE(
                std::equal(a.codes[i].begin(), a.codes[i].begin() + static_cast<int64_t>(both), b.codes[i].begin()))
                << "stream " << i << ", seed " << seed;
        }
    }
}

TEST(Drawing, MakesTheSameClips) {
    const auto n = network("mamba-s4");
    Random random(test::seed());
    std::vector<std::vector<uint8_t>> prompts(20);
    for (auto& p : prompts)
        for (int i = 0; i < 50; ++i) p.push_back(static_cast<uint8_t>(random.below(256)));
    for (const bool with_guard : {false, true}) {
        const auto make = [&](bool draws) {
            GenerationSetup setup{.engine = engine(draws), .guard = {}};
            if (with_guard) setup.guard = guard(), setup.guard->expected_bits = 3;
            return generate(*n, prompts, with_guard ? 30000 : 500, {.seed = test::seed()}, {}, setup);
        };
        if (with_guard) prompts.resize(2);
        const auto a = make(true), b = make(false);
        for (size_t i = 0; i < a.size(); ++i) {
            EXPECT_EQ(a[i].codes, b[i].codes) << "clip " << i << ", seed " << test::seed();
            EXPECT_EQ(a[i].log2_likelihood, b[i].log2_likelihood);
            EXPECT_EQ(a[i].events.size(), b[i].events.size());
        }
        EXPECT_EQ(!a[0].events.empty(), with_guard) << "a network without training makes noise";
    }
}

TEST(Drawing, CancellingIsQuickAndKeepsWhatWasMade) {
    const auto n = network("mamba-s6");
    DrawingEngine::Options options;
    options.a_sample = std::chrono::microseconds(200);
    std::chrono::steady_clock::time_point asked;
    std::atomic<bool> stop{false};
    std::jthread hand([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        asked = std::chrono::steady_clock::now();
        stop = true;
    });
    const auto clips =
        generate(*n, 2, 1'000'000, {}, {.seed = 3}, [&](const std::vector<Clip>&) { return !stop.load(); },
                 {.engine = engine(true, {}, options), .guard = {}});
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
    // A tenth is wanted and 20 ms are usual; the rest is for a machine that has other things to do.
    EXPECT_LT(seconds, 0.5);
    EXPECT_GT(clips[0].generated(), 10);
    const auto whole = generate(*n, 2, clips[0].generated(), {}, {.seed = 3});
    EXPECT_EQ(clips[1].codes, whole[1].codes);
}

TEST(Drawing, AFailureEndsTheClipsWithItsReason) {
    const auto n = network();
    DrawingEngine::Options options;
    options.before = [](int64_t drawn) {
        if (drawn >= 5000) throw Error("the device is lost");
    };
    int64_t made = 0, rescued = 0;
    try {
        generate(*n, 1, 1'000'000, {}, {},
                 [&](const std::vector<Clip>& c) {
                     made = c[0].generated();
                     return true;
                 },
                 {.engine = engine(true, {}, options), .guard = {}, .rescue = [&](const std::vector<Clip>& c) {
                      rescued = c[0].generated();
                  }});
        FAIL() << "it goes on without an engine";
    } catch (const Error& e) {
        EXPECT_STREQ(e.what(), "the device is lost");
    }
    EXPECT_EQ(made, 5000) << "what was drawn before was told";
    EXPECT_EQ(rescued, 5000);
}

TEST(MakeEngine, SaysWhatRunsAndWhyItIsSlow) {
    const auto n = network();
    EngineReport report;
    const auto make = [&](EngineChoice choice) {
        choice.report = [&](const EngineReport& r) { report = r; };
        return make_engine(*n, 2, choice);
    };
    EXPECT_EQ(make({})->description(), report.engine);
    EXPECT_EQ(report.weights, WeightFormat::f32);
    EXPECT_EQ(report.plain_because, "");
    make({.weights = WeightFormat::int8});
    EXPECT_EQ(report.weights, WeightFormat::int8);
    EXPECT_NE(dynamic_cast<PlainEngine*>(make({.plain = true}).get()), nullptr);
    EXPECT_EQ(report.plain_because, "") << "it was wanted";
    EXPECT_THROW(make({.weights = WeightFormat::bf16, .plain = true}), Error);
    const auto declines = [](const RecurrentProgram&, int64_t, WeightFormat) -> std::unique_ptr<RecurrentEngine> {
        throw Error("this model does not fit");
    };
    EXPECT_NE(dynamic_cast<PlainEngine*>(make({.make = declines}).get()), nullptr);
    EXPECT_EQ(report.plain_because, "this model does not fit");
    EXPECT_THROW(make({.weights = WeightFormat::bf16, .make = declines}), Error) << "not what was asked for";
    EXPECT_NE(make({.weights = WeightFormat::f32, .make = declines}), nullptr);
}

}  // namespace
}  // namespace nigiri
