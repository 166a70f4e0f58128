// Playing what is still being made, in simulated time: a maker of a known speed, an output that takes samples as the
// clock goes on.
#include "audio/live_player.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::sound_rate;

// What a device does, when the test says that time has passed.
struct Speaker {
    std::vector<float> queue;
    int64_t played = 0;
    int64_t gaps = 0;  // times it ran empty though it had not been told that nothing comes
    bool sounding = false, finished = false;

    void pass(double seconds) {
        const auto n = static_cast<size_t>(std::lround(seconds * sound_rate));
        const size_t there = std::min(n, queue.size());
        queue.erase(queue.begin(), queue.begin() + static_cast<ptrdiff_t>(there));
        played += static_cast<int64_t>(there);
        if (there < n && sounding) {
            sounding = false;
            gaps += !finished;
        }
    }
};

class SimulatedOutput final : public AudioOutput {
  public:
    explicit SimulatedOutput(std::shared_ptr<Speaker> s) : AudioOutput(sound_rate), s_(std::move(s)) {}
    std::string description() const override { return "simulated"; }
    size_t write(std::span<const float> samples) override {
        const size_t n = std::min(samples.size(), room());
        s_->queue.insert(s_->queue.end(), samples.begin(), samples.begin() + static_cast<ptrdiff_t>(n));
        s_->finished = false;
        s_->sounding = s_->sounding || n > 0;
        return n;
    }
    size_t room() const override { return sound_rate / 2 - s_->queue.size(); }
    int64_t queued() const override { return static_cast<int64_t>(s_->queue.size()); }
    int64_t played() const override { return s_->played; }
    int64_t underruns() const override { return s_->gaps; }
    void finish() override { s_->finished = true; }
    void drop() override { s_->queue.clear(); }
    void set_paused(bool) override {}
    bool paused() const override { return false; }
    void set_volume(float) override {}

  private:
    std::shared_ptr<Speaker> s_;
};

struct Played {
    double began = -1, ended = -1;
    int64_t dry_runs = 0, gaps = 0, heard = 0;
    double lasts = -1, wait = -1;  // as told when speed was first known
};

// `speed` times real time, for `seconds` of sound (0: for an hour of the clock).
Played simulate(double speed, double seconds, LiveOptions options = {}) {
    const auto speaker = std::make_shared<Speaker>();
    const auto total = static_cast<int64_t>(seconds * sound_rate);
    options.samples = total;
    LivePlayer player(std::make_unique<SimulatedOutput>(speaker), options);
    Played p;
    double made = 0;
    int64_t written = 0;
    const std::vector<float> block(sound_rate, 0.5f);
    constexpr double tick = 0.01;
    for (double now = 0; now < (total > 0 ? 100 * seconds + 100 : 3600); now += tick) {
        made += speed * tick * sound_rate;
        auto n = std::min({static_cast<size_t>(made), player.room(), block.size()});
        if (total > 0) n = std::min(n, static_cast<size_t>(total - written));
        written += static_cast<int64_t>(player.write(std::span<const float>(block).first(n)));
        made = std::min(made - static_cast<double>(n), 1000.0);  // a maker that must wait does not catch up
        if (total > 0 && written == total) player.finish();
        player.pump(now);
        if (player.speed() && p.wait < 0) {
            p.wait = player.wait_seconds().value_or(0);
            p.lasts = player.lasts_seconds().value_or(-1);
        }
        if (player.playing() && p.began < 0) p.began = now;
        speaker->pass(tick);
        if (player.done()) {
            p.ended = now;
            break;
        }
    }
    p.dry_runs = player.dry_runs();
    p.gaps = speaker->gaps;
    p.heard = speaker->played;
    return p;
}

TEST(LivePlayer, BeginsAtOnceWhereItIsFastEnough) {
    for (const double speed : {1.1, 3.0, 50.0}) {
        const Played p = simulate(speed, 20);
        EXPECT_LT(p.began, 0.6) << speed;
        EXPECT_EQ(p.dry_runs, 0) << speed;
        EXPECT_EQ(p.gaps, 0) << speed;
        EXPECT_EQ(p.heard, 20 * sound_rate) << speed;
        EXPECT_NEAR(p.ended, p.began + 20, 0.1) << "heard without a stop";
    }
}

TEST(LivePlayer, WaitsAsLongAsItMustAndSaysSo) {
    for (const double speed : {0.2, 0.7, 0.9}) {
        const double seconds = 30;
        const Played p = simulate(speed, seconds);
        EXPECT_EQ(p.dry_runs, 0) << speed;
        EXPECT_EQ(p.gaps, 0) << speed;
        EXPECT_EQ(p.heard, 30 * sound_rate) << speed;
        // All of it takes seconds / speed to make; it must not be heard to the end before that. The margin is 5 % of
        // the speed and 0.2 s.
        const double least = seconds / speed - seconds;
        EXPECT_GE(p.began, least - 0.1) << speed;
        EXPECT_LE(p.began, least + 0.05 * seconds / speed + 1.5) << speed;
        EXPECT_NEAR(p.wait, p.began, 0.15 * p.began + 0.5) << "what was said at first";
        EXPECT_EQ(p.lasts, -1) << "it lasts to the end";
    }
}

TEST(LivePlayer, GoesOnWithoutAnEnd) {
    const Played p = simulate(1.2, 0);
    EXPECT_LT(p.began, 1.2);
    EXPECT_EQ(p.dry_runs, 0);
    EXPECT_EQ(p.gaps, 0);
    EXPECT_NEAR(static_cast<double>(p.heard) / sound_rate, 3600 - p.began, 1);
}

TEST(LivePlayer, GathersAgainWhereItCannotLast) {
    const Played p = simulate(0.5, 0);
    EXPECT_NEAR(p.wait, 20, 2) << "ten seconds at half speed";
    EXPECT_NEAR(p.lasts, 20, 1);
    EXPECT_NEAR(static_cast<double>(p.dry_runs), 3600 / 40.0, 10);
    EXPECT_LE(p.gaps, p.dry_runs) << "a stop is heard once";
}

TEST(LivePlayer, TakesNoMoreThanItsMemory) {
    const auto speaker = std::make_shared<Speaker>();
    LivePlayer player(std::make_unique<SimulatedOutput>(speaker), {.samples = 0, .endless_seconds = 2});
    std::vector<float> block(100000, 0.1f);
    EXPECT_LE(player.write(block), 32000u);
    EXPECT_EQ(player.room(), 0u);
    EXPECT_EQ(player.write(block), 0u);
    player.pump(0);
    EXPECT_TRUE(player.playing()) << "a full memory is reason enough";
    EXPECT_GT(player.room(), 0u);
}

TEST(LivePlayer, FallsSilentAtOnce) {
    const auto speaker = std::make_shared<Speaker>();
    LivePlayer player(std::make_unique<SimulatedOutput>(speaker), {});
    player.write(std::vector<float>(200000, 0.1f));
    player.pump(0);
    EXPECT_GT(speaker->queue.size(), 0u);
    player.stop();
    EXPECT_EQ(speaker->queue.size(), 0u);
    EXPECT_TRUE(player.done());
    player.pump(1);
    EXPECT_EQ(speaker->queue.size(), 0u);
}

TEST(LivePlayer, WhatIsThereBeforehandSaysNothingAboutSpeed) {
    const auto speaker = std::make_shared<Speaker>();
    LivePlayer player(std::make_unique<SimulatedOutput>(speaker), {.samples = 20 * sound_rate});
    const std::vector<float> block(5 * sound_rate, 0.1f);
    player.write(block);
    player.measure_from_here();
    double now = 0;
    for (; now < 0.5; now += 0.01) {
        player.write(std::span<const float>(block).first(sound_rate / 200));
        player.pump(now);
    }
    ASSERT_TRUE(player.speed());
    EXPECT_NEAR(*player.speed(), 0.5, 0.05);
    EXPECT_FALSE(player.playing());
}

TEST(LivePlayer, HearsAShortSoundToItsEnd) {
    const Played p = simulate(0.3, 0.05);
    EXPECT_EQ(p.heard, sound_rate / 20);
    EXPECT_EQ(p.gaps, 0);
}

}  // namespace
}  // namespace nigiri
