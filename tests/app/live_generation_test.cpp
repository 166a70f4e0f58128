// Sound on its way to a file and to the ear, from an engine without a network.
#include "app/live_generation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "audio/file.h"
#include "audio/quantize.h"
#include "tests/support/check.h"
#include "tests/support/drawing_engine.h"
#include "tests/support/fake_engine.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::app {
namespace {

using test::FakeEngine;
using test::Mode;

const SignalConfig signal_config{.sample_rate = 16000, .quantization = "linear", .scaling = "full-scale"};

GuardOptions guard() {
    GuardOptions o;
    o.value = decode_table(Quantization::linear);
    o.expected_bits = 2;
    return o;  // without flatness: surprise alone says that it is noise
}

std::unique_ptr<GuardedStream> stream_of(std::optional<GuardOptions> guard, FakeEngine::Options engine = {},
                                         uint64_t seed = test::seed()) {
    return std::make_unique<GuardedStream>(
        std::make_unique<Stream>(std::make_unique<FakeEngine>(std::move(engine)),
                                 std::make_shared<SamplingControls>(SamplingOptions{.seed = seed}), 128),
        std::move(guard));
}

// The same by an engine that draws codes itself.
std::unique_ptr<GuardedStream> drawing_stream(std::optional<GuardOptions> guard, FakeEngine::Options engine = {},
                                              uint64_t seed = test::seed(), test::DrawingEngine::Options drawing = {}) {
    auto inner = std::make_unique<FakeEngine>(std::move(engine));
    return std::make_unique<GuardedStream>(
        std::make_unique<Stream>(std::make_unique<test::DrawingEngine>(std::move(inner), std::move(drawing)),
                                 std::make_shared<SamplingControls>(SamplingOptions{.seed = seed}), 128),
        std::move(guard));
}

std::vector<float> waveform_of(const Clip& clip) {
    std::vector<float> samples(clip.codes.size());
    decode(clip.codes, Quantization::linear, samples);
    return samples;
}

std::unique_ptr<AudioWriter> growing(const std::filesystem::path& path) {
    return std::make_unique<AudioWriter>(path, 16000, SampleFormat::pcm16, Tags{}, FileLife::growing);
}

TEST(LiveGeneration, WritesAndPlaysWhatIsDrawn) {
    const test::TemporaryFolder folder;
    const std::vector<uint8_t> prompt(3000, 150);
    for (const bool guarded : {false, true}) {
        const auto stream = stream_of(guarded ? std::optional(guard()) : std::nullopt);
        const GuardOptions options = guard();
        LiveRequest request;
        request.samples = 40000;
        request.output = open_null_output(16000, /*real_time=*/false);
        request.file = growing(folder / (guarded ? "guarded.wav" : "free.wav"));
        request.keep_codes = true;
        int made = 0;
        request.on_made = [&](const LiveResult& r) { made += r.samples == 40000; };
        std::atomic<bool> stop{false};
        int64_t told = 0;
        const LiveResult r = generate_live(*stream, prompt, signal_config, guarded ? &options : nullptr,
                                           std::move(request), stop, [&](const LiveStatus& s) { told = s.samples; });
        EXPECT_EQ(r.samples, 40000);
        EXPECT_EQ(told, 40000);
        EXPECT_EQ(made, 1);
        EXPECT_FALSE(r.stopped);
        EXPECT_EQ(r.clip.generated(), 40000);
        EXPECT_NEAR(r.bits, 80000, 1e-2) << "two bits a sample";
        EXPECT_EQ(r.event_count, 0);
        EXPECT_NEAR(r.heard_seconds, 43000.0 / 16000, 1e-9);
        EXPECT_TRUE(r.began_to_play);
        EXPECT_EQ(read_audio(folder / (guarded ? "guarded.wav" : "free.wav")).samples, waveform_of(r.clip));
        for (size_t i = 0; i < prompt.size(); ++i) ASSERT_EQ(r.clip.codes[i], 150);
    }
}

// What is heard is what counts in the end, as long as trouble comes alone: it is kept back long enough.
TEST(LiveGeneration, TroubleIsReplacedBeforeItIsHeard) {
    const test::TemporaryFolder folder;
    const FakeEngine::Options coin{.fate = [](int64_t, int64_t position, int32_t code) {
        return position == 5 * 16000 && code % 2 == 1 ? Mode::noise : Mode::healthy;
    }};
    const GuardOptions options = guard();
    for (uint64_t seed = test::seed(), once = 0; once < 2; ++seed) {
        const auto stream = stream_of(options, coin, seed);
        LiveRequest request;
        request.samples = 9 * 16000;
        request.output = open_null_output(16000, false);
        request.file = growing(folder / (std::to_string(seed) + ".wav"));
        request.keep_codes = true;
        std::atomic<bool> stop{false};
        const LiveResult r = generate_live(*stream, {}, signal_config, &options, std::move(request), stop);
        const auto heard = read_audio(folder / (std::to_string(seed) + ".wav")).samples;
        if (r.event_count == 1) {
            ++once;
            EXPECT_EQ(r.joins, 0) << "seed " << seed;
            EXPECT_EQ(heard, waveform_of(r.clip)) << "seed " << seed;
        } else if (r.event_count > 1) {
            // It went back behind what was heard: longer, and joined without a jump.
            EXPECT_GE(heard.size(), r.clip.codes.size()) << "seed " << seed;
        }
        // A tone of 40 / 128 with four codes' noise moves by 0.054 + 0.024 a sample, twice that where two are mixed.
        for (size_t i = 1; i < heard.size(); ++i)
            ASSERT_LT(std::abs(heard[i] - heard[i - 1]), 0.16) << i << ", seed " << seed;
    }
}

TEST(LiveGeneration, StopsAtOnceAndKeepsWhatWasMade) {
    const test::TemporaryFolder folder;
    const auto stream = stream_of(std::nullopt);
    LiveRequest request;
    request.output = open_null_output(16000);
    request.file = growing(folder / "x.wav");
    std::atomic<bool> stop{false};
    std::chrono::steady_clock::time_point asked;
    std::jthread hand([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(700));
        asked = std::chrono::steady_clock::now();
        stop = true;
    });
    const LiveResult r = generate_live(*stream, {}, signal_config, nullptr, std::move(request), stop);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
    // A tenth is wanted and some milliseconds are usual; the rest is for a machine that has other things to do.
    EXPECT_LT(seconds, 0.5);
    EXPECT_GT(r.samples, 1000);
    EXPECT_EQ(static_cast<int64_t>(read_audio(folder / "x.wav").samples.size()), r.samples);
    EXPECT_EQ(r.clip.codes.size(), 0u);
    EXPECT_TRUE(r.began_to_play);
    EXPECT_LT(*r.began_to_play, 2);
    // The ear is ten seconds and a queue behind at most: a maker a hundred times as fast has to wait for it.
    EXPECT_LT(r.samples, 20 * 16000);
}

TEST(LiveGeneration, EnginesThatDrawGiveTheSame) {
    const test::TemporaryFolder folder;
    const FakeEngine::Options coin{.fate = [](int64_t, int64_t position, int32_t code) {
        return position == 3 * 16000 && code % 2 == 1 ? Mode::noise : Mode::healthy;
    }};
    const GuardOptions options = guard();
    int64_t events = 0;
    for (uint64_t seed = test::seed(); seed < test::seed() + 2 || events == 0; ++seed)
        for (const bool guarded : {false, true}) {
            LiveResult results[2];
            std::vector<float> files[2];
            for (const size_t draws : {0u, 1u}) {
                const auto given = guarded ? std::optional(guard()) : std::nullopt;
                const auto stream = draws ? drawing_stream(given, coin, seed) : stream_of(given, coin, seed);
                LiveRequest request;
                request.samples = 6 * 16000;
                request.output = open_null_output(16000, false);
                request.file = growing(folder / "x.wav");
                request.keep_codes = true;
                std::atomic<bool> stop{false};
                results[draws] =
                    generate_live(*stream, {}, signal_config, guarded ? &options : nullptr, std::move(request), stop);
                files[draws] = read_audio(folder / "x.wav").samples;
            }
            EXPECT_EQ(results[0].clip.codes, results[1].clip.codes) << "seed " << seed;
            EXPECT_EQ(results[0].bits, results[1].bits);
            EXPECT_EQ(results[0].event_count, results[1].event_count);
            EXPECT_EQ(results[0].joins, results[1].joins);
            EXPECT_EQ(files[0], files[1]) << "seed " << seed;
            if (guarded) events += results[1].event_count;
        }
}

TEST(LiveGeneration, StopsAnEngineThatDraws) {
    const test::TemporaryFolder folder;
    test::DrawingEngine::Options slow;
    slow.a_sample = std::chrono::microseconds(20);
    const auto stream = drawing_stream(std::nullopt, {}, 1, slow);
    LiveRequest request;
    request.file = growing(folder / "x.wav");
    std::atomic<bool> stop{false};
    std::chrono::steady_clock::time_point asked;
    std::jthread hand([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        asked = std::chrono::steady_clock::now();
        stop = true;
    });
    const LiveResult r = generate_live(*stream, {}, signal_config, nullptr, std::move(request), stop);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count(), 0.5) << "as above";
    EXPECT_GT(r.samples, 100);
    EXPECT_EQ(static_cast<int64_t>(read_audio(folder / "x.wav").samples.size()), r.samples);
}

TEST(LiveGeneration, AFailureKeepsTheFile) {
    const test::TemporaryFolder folder;
    test::DrawingEngine::Options failing;
    failing.before = [](int64_t drawn) {
        if (drawn >= 30000) throw Error("the device is lost");
    };
    for (const bool guarded : {false, true}) {
        const GuardOptions options = guard();
        const auto stream = drawing_stream(guarded ? std::optional(guard()) : std::nullopt, {}, 1, failing);
        LiveRequest request;
        request.output = open_null_output(16000, false);
        request.file = growing(folder / "x.wav");
        std::atomic<bool> stop{false};
        EXPECT_THROW(generate_live(*stream, {}, signal_config, guarded ? &options : nullptr, std::move(request), stop),
                     Error);
        EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 30000u);
    }
}

// A sanitizer keeps what was given back.
#ifndef NIGIRI_SANITIZED
size_t resident_bytes() {
    std::ifstream in("/proc/self/statm");
    size_t total = 0, resident = 0;
    in >> total >> resident;
    return resident * 4096;
}

TEST(LiveGeneration, NothingGrows) {
    const test::TemporaryFolder folder;
    // Trouble twice a minute, so that it goes back again and again.
    const auto stream =
        stream_of(guard(), {.fate = [](int64_t, int64_t position, int32_t code) {
                      return position % (30 * 16000) == 5000 && code % 2 == 1 ? Mode::noise : Mode::healthy;
                  }});
    const GuardOptions options = guard();
    LiveRequest request;
    request.output = open_null_output(16000, false);
    request.file = growing(folder / "x.wav");
    std::atomic<bool> stop{false};
    size_t early = 0, late = 0;
    generate_live(*stream, {}, signal_config, &options, std::move(request), stop, [&](const LiveStatus& s) {
        if (early == 0 && s.samples >= 40 * 16000) early = resident_bytes();
        if (s.samples >= 160 * 16000) late = resident_bytes(), stop = true;
    });
    // Two minutes of sound are 7.7 MB as floats.
    EXPECT_LT(late, early + (1 << 20));
}
#endif

TEST(LiveGeneration, HoldsBackAsLongAsItMust) {
    const GuardOptions o = guard();
    EXPECT_NEAR(held_seconds(o, true), 2.4 + 1, 0.01);
    EXPECT_NEAR(held_seconds(o, false), 2.4 + 7, 0.01);
    const auto two = stream_of(std::nullopt, {.streams = 2});
    std::atomic<bool> stop{false};
    EXPECT_THROW(generate_live(*two, {}, signal_config, nullptr, {}, stop), Error);
}

}  // namespace
}  // namespace nigiri::app
