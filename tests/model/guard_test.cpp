// The runaway guard on streams whose troubles are known to the sample.
#include <gtest/gtest.h>

#include "audio/analysis.h"
#include "audio/file.h"
#include "audio/quantize.h"
#include "model/guarded_stream.h"
#include "tests/support/check.h"
#include "tests/support/fake_engine.h"
#include "tests/support/steps.h"

namespace nigiri {
namespace {

using test::FakeEngine;
using test::Mode;

GuardOptions options(int64_t period = 1) {
    GuardOptions o;
    o.period = period;
    o.value = decode_table(Quantization::linear);
    o.flatness = [](std::span<const float> samples) { return spectral_flatness(samples, 16000); };
    o.expected_bits = 2;
    return o;
}

std::unique_ptr<GuardedStream> stream_of(FakeEngine::Options engine, std::optional<GuardOptions> guard,
                                         SamplingOptions sampling = {.seed = test::seed()}) {
    return std::make_unique<GuardedStream>(std::make_unique<Stream>(std::make_unique<FakeEngine>(std::move(engine)),
                                                                    std::make_shared<SamplingControls>(sampling), 128),
                                           std::move(guard));
}

struct Course {
    std::vector<std::vector<uint8_t>> codes;
    std::vector<double> bits;
    std::vector<GuardEvent> events;
    int64_t draws = 0;
};

// Until every stream has `samples`.
Course run(GuardedStream& stream, int64_t samples, int64_t most = INT64_MAX) {
    Course r;
    const auto n = static_cast<size_t>(stream.streams());
    r.codes.resize(n), r.bits.resize(n);
    const auto done = [&](const auto& c) { return static_cast<int64_t>(c.size()) >= samples; };
    while (!std::all_of(r.codes.begin(), r.codes.end(), done) && r.draws < most) {
        const auto steps = test::next(stream);
        ++r.draws;
        for (size_t i = 0; i < n; ++i) {
            if (done(r.codes[i])) continue;
            EXPECT_LE(steps[i].position, static_cast<int64_t>(r.codes[i].size())) << "a sample is missing";
            r.codes[i].resize(static_cast<size_t>(steps[i].position));
            r.codes[i].push_back(static_cast<uint8_t>(steps[i].code));
            r.bits[i] = steps[i].total_bits;
        }
        for (const GuardEvent& e : stream.take_events()) r.events.push_back(e);
    }
    return r;
}

// Goes wrong at sample `when` if the code there is odd: with other dice it may go well.
FakeEngine::Options coin(Mode mode, int64_t when) {
    return {.fate = [=](int64_t, int64_t position, int32_t code) {
        return position == when && code % 2 == 1 ? mode : Mode::healthy;
    }};
}

// A seed whose stream goes wrong at `when`, as found by letting it.
uint64_t unlucky_seed(Mode mode, int64_t when) {
    for (uint64_t seed = test::seed();; ++seed) {
        const auto stream = stream_of(coin(mode, when), std::nullopt, {.seed = seed});
        const Course r = run(*stream, when + 2);
        // The code that decides is the one drawn before.
        if (r.codes[0][static_cast<size_t>(when) - 1] % 2 == 1) return seed;
    }
}

TEST(RunawayGuard, NoticesEachTroubleInItsTimeAndGoesBackBeforeIt) {
    struct Case {
        Mode mode;
        Trouble trouble;
        double seconds;  // until it is noticed, at most
    };
    for (const Case& c : {Case{Mode::noise, Trouble::noise, 1.1}, Case{Mode::silence, Trouble::silence, 2.2},
                          Case{Mode::offset, Trouble::offset, 1.1}})
        for (const int64_t when : {5 * 16000, 5 * 16000 + 777}) {
            const uint64_t seed = unlucky_seed(c.mode, when);
            SCOPED_TRACE(std::string(name_of(c.trouble)) + ", seed " + std::to_string(seed));
            const auto stream = stream_of(coin(c.mode, when), options(), {.seed = seed});
            const Course r = run(*stream, 12 * 16000);
            ASSERT_FALSE(r.events.empty());
            const GuardEvent& e = r.events[0];
            EXPECT_EQ(e.trouble, c.trouble);
            EXPECT_GT(e.noticed, when);
            EXPECT_LE(e.noticed, when + static_cast<int64_t>(c.seconds * 16000));
            EXPECT_LE(e.noticed - when, RunawayGuard::latency(options()));
            EXPECT_LE(e.began, when + 1600) << "to a tenth of a second";
            EXPECT_LT(e.resumed, when);
            EXPECT_GE(e.resumed, e.began - 2 * 16000) << "no further than needed";
            EXPECT_EQ(e.attempt, 1);
            // Every attempt has an even chance, and six are made.
            EXPECT_LE(r.events.size(), 6u);
            EXPECT_GE(r.events.back().resumed, 0);
            for (size_t i = static_cast<size_t>(when) + 16000; i < r.codes[0].size(); ++i) {
                const test::Chances healthy = FakeEngine::healthy(static_cast<int64_t>(i));
                ASSERT_GE(r.codes[0][i], healthy.first) << i;
                ASSERT_LT(r.codes[0][i], healthy.first + healthy.spread) << i;
            }
            // Only what counts is counted: two bits for each sample.
            EXPECT_NEAR(r.bits[0], 2.0 * static_cast<double>(r.codes[0].size()), 1e-3);
            // What was there before is still there.
            int64_t kept = e.resumed;
            for (const GuardEvent& other : r.events) kept = std::min(kept, other.resumed);
            const auto free = stream_of(coin(c.mode, when), std::nullopt, {.seed = seed});
            const Course without = run(*free, kept);
            EXPECT_TRUE(std::equal(without.codes[0].begin(), without.codes[0].end(), r.codes[0].begin()));
        }
}

TEST(RunawayGuard, IsTheSameForASeed) {
    const uint64_t seed = unlucky_seed(Mode::noise, 40000);
    const auto once = [&] { return run(*stream_of(coin(Mode::noise, 40000), options(), {.seed = seed}), 6 * 16000); };
    const Course a = once(), b = once();
    EXPECT_EQ(a.codes, b.codes);
    ASSERT_EQ(a.events.size(), b.events.size());
    for (size_t i = 0; i < a.events.size(); ++i) EXPECT_EQ(a.events[i].resumed, b.events[i].resumed);
}

TEST(RunawayGuard, NeverTouchesAHealthyStream) {
    const auto guarded = stream_of({}, options()), free = stream_of({}, std::nullopt);
    const Course with = run(*guarded, 30 * 16000), without = run(*free, 30 * 16000);
    EXPECT_TRUE(with.events.empty());
    EXPECT_EQ(with.codes, without.codes);
    EXPECT_EQ(with.draws, 30 * 16000);
}

TEST(RunawayGuard, LeavesWhatCannotBeHelpedAfterAllAttempts) {
    FakeEngine::Options doomed{
        .fate = [](int64_t, int64_t position, int32_t) { return position >= 5 * 16000 ? Mode::noise : Mode::healthy; }};
    const GuardOptions o = options();
    const auto stream = stream_of(doomed, o);
    const Course r = run(*stream, 20 * 16000, 100 * 16000);
    ASSERT_EQ(r.codes[0].size(), 20u * 16000) << "it goes on";
    ASSERT_EQ(r.events.size(), static_cast<size_t>(o.attempts) + 1);
    for (int i = 0; i < o.attempts; ++i) {
        const GuardEvent& e = r.events[static_cast<size_t>(i)];
        EXPECT_EQ(e.attempt, i + 1);
        EXPECT_NEAR(e.warmth, std::pow(o.cooling, i), 1e-12);
        if (i > 0) {
            EXPECT_LE(e.resumed, r.events[static_cast<size_t>(i) - 1].resumed) << "further back each time";
        }
    }
    EXPECT_LT(r.events[3].resumed, r.events[0].resumed);
    EXPECT_EQ(r.events.back().resumed, -1);
    EXPECT_NE(to_text(r.events.back(), 16000).find("left as it is after 6 attempts"), std::string::npos);
    EXPECT_TRUE(to_text(r.events[0], 16000).starts_with("noise at ")) << to_text(r.events[0], 16000);
}

TEST(RunawayGuard, ComesBackAfterALongWhile) {
    // Trouble at two places is two troubles.
    FakeEngine::Options twice{.fate = [](int64_t, int64_t position, int32_t code) {
        return (position == 4 * 16000 || position == 14 * 16000) && code % 2 == 1 ? Mode::noise : Mode::healthy;
    }};
    uint64_t seed = test::seed();
    Course r;
    const auto at = [](const GuardEvent& e, int64_t when) { return std::abs(e.noticed - when) < 20000; };
    const auto both = [&] {
        return std::any_of(r.events.begin(), r.events.end(), [&](auto& e) { return at(e, 4 * 16000); }) &&
               std::any_of(r.events.begin(), r.events.end(), [&](auto& e) { return at(e, 14 * 16000); });
    };
    for (int tries = 0; tries < 60 && !both(); ++tries, ++seed)
        r = run(*stream_of(twice, options(), {.seed = seed}), 16 * 16000);
    ASSERT_TRUE(both()) << "one seed in four meets both";
    const auto second = std::find_if(r.events.begin(), r.events.end(), [&](auto& e) { return at(e, 14 * 16000); });
    EXPECT_EQ(second->attempt, 1);
}

TEST(RunawayGuard, StreamsGoBackEachForItself) {
    // The second of three goes wrong; periods must be kept.
    const int64_t when = 3 * 16000;
    FakeEngine::Options engine{.streams = 3, .period = 48, .fate = [=](int64_t stream, int64_t position, int32_t code) {
                                   return stream == 1 && position == when && code % 2 == 1 ? Mode::noise
                                                                                           : Mode::healthy;
                               }};
    for (uint64_t seed = test::seed(), met = 0; met < 2; ++seed) {
        const Course with = run(*stream_of(engine, options(48), {.seed = seed}), 6 * 16000);
        if (with.events.empty()) continue;
        ++met;
        const Course without = run(*stream_of(engine, std::nullopt, {.seed = seed}), 6 * 16000);
        EXPECT_EQ(with.codes[0], without.codes[0]);
        EXPECT_EQ(with.codes[2], without.codes[2]);
        EXPECT_NE(with.codes[1], without.codes[1]);
        for (const GuardEvent& e : with.events) EXPECT_EQ(e.stream, 1);
        EXPECT_GT(with.draws, 6 * 16000);
    }
}

TEST(RunawayGuard, SilenceThatWasAskedForIsNone) {
    FakeEngine::Options quiet{.fate = [](int64_t, int64_t, int32_t) { return Mode::silence; }};
    const auto without_prompt = stream_of(quiet, options());
    EXPECT_FALSE(run(*without_prompt, 5 * 16000, 20 * 16000).events.empty());
    const auto after_silence = stream_of(quiet, options());
    after_silence->hear(0, std::vector<uint8_t>(40000, 128));
    EXPECT_TRUE(run(*after_silence, 10 * 16000).events.empty());
    const auto after_sound = stream_of(quiet, options());
    std::vector<uint8_t> tone(40000);
    for (size_t i = 0; i < tone.size(); ++i)
        tone[i] = static_cast<uint8_t>(FakeEngine::healthy(static_cast<int64_t>(i)).first);
    after_sound->hear(0, tone);
    EXPECT_FALSE(run(*after_sound, 5 * 16000, 20 * 16000).events.empty());
}

// A recording, and not only sines: neither its onsets nor its quiet ends are troubles, even where every sample is a
// surprise.
TEST(RunawayGuard, FindsNothingInARecording) {
    const Audio piano = read_audio(NIGIRI_SOURCE_DIR "/tests/data/piano.flac", 16000);
    std::vector<uint8_t> codes(piano.samples.size());
    encode(piano.samples, Quantization::mu_law, codes);
    GuardOptions o = options();
    o.value = decode_table(Quantization::mu_law);
    for (const double bits : {2.0, 6.0}) {
        RunawayGuard guard(std::make_shared<const GuardOptions>(o));
        for (int round = 0; round < 3; ++round)
            for (const uint8_t c : codes) {
                const auto alarm = guard.take(c, bits);
                EXPECT_FALSE(alarm) << name_of(alarm->trouble) << " at " << alarm->noticed;
            }
    }
}

// A stream that is guarded is frozen with its guard, and sent back goes on as it did.
TEST(GuardedStream, GoesOnFromWhereItWasFrozen) {
    const auto stream = stream_of({}, options());
    const Course before = run(*stream, 20000);
    const FrozenStream frozen = stream->freeze(0);
    std::vector<int32_t> first, again, other;
    const auto draw = [&](std::vector<int32_t>& into) {
        for (int i = 0; i < 500; ++i) into.push_back(test::next(*stream)[0].code);
    };
    draw(first);
    stream->resume(0, frozen, false);
    draw(again);
    EXPECT_EQ(first, again);
    stream->resume(0, frozen, true);
    draw(other);
    EXPECT_NE(first, other);
    EXPECT_EQ(test::next(*stream)[0].position, 20000 + 1500) << "positions go on";
}

TEST(RunawayGuard, RefusesOptionsThatMakeNoSense) {
    const auto with = [](auto&& change) {
        GuardOptions o = options();
        change(o);
        return std::make_shared<const GuardOptions>(o);
    };
    EXPECT_THROW(RunawayGuard(with([](GuardOptions& o) { o.snapshots = 0; })), Error);
    EXPECT_THROW(RunawayGuard(with([](GuardOptions& o) { o.cooling = 0; })), Error);
    EXPECT_THROW(RunawayGuard(with([](GuardOptions& o) { o.period = 0; })), Error);
    EXPECT_THROW(RunawayGuard(with([](GuardOptions& o) { o.silence_seconds = NAN; })), Error);
}

}  // namespace
}  // namespace nigiri
