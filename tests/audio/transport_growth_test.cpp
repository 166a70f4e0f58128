// Sounds that are still being made: when playing begins, and what is heard where they run dry.
#include "audio/transport.h"
#include "tests/audio/controlled_output.h"
#include "tests/audio/support.h"
#include "tests/audio/transport_support.h"

namespace nigiri {
namespace {

using test::fade_in;
using test::finished;
using test::render;
using test::render_all;
using test::sound_rate;

TEST(Transport, WaitsUntilWhatComesWillLast) {
    // 10 s that are made at half the speed of playing. What is there and what comes meanwhile must be 10 s in all:
    // with 0.95 of the measured growth trusted and 0.2 s to spare, playing starts at 10 (1 - 0.475) + 0.2 = 5.45 s of
    // sound, after 10.9 s.
    const auto sound = std::make_shared<Sound>(sound_rate, 10 * sound_rate);
    Transport t;
    t.load({{sound, 1}});
    t.play();
    EXPECT_EQ(t.state(), PlayState::buffering);
    double now = 100, started = 0;
    int64_t heard = 0;
    while (heard < 10 * sound_rate && now < 200) {
        now += 0.02;
        if (!sound->final()) sound->append(std::vector<float>(sound_rate / 100, 0.25f));
        t.tick(now);
        if (t.state() == PlayState::playing && started == 0) started = now - 100;
        if (t.state() == PlayState::buffering && now > 101) {
            ASSERT_TRUE(t.wait_seconds());
            EXPECT_NEAR(now - 100 + *t.wait_seconds(), 10.9, 0.2);
        }
        heard += static_cast<int64_t>(render(t, sound_rate / 50).size());
    }
    EXPECT_NEAR(started, 10.9, 0.1);
    EXPECT_EQ(t.dry_runs(), 0);
    EXPECT_TRUE(sound->final());
}

TEST(Transport, PlaysAtOnceWhatIsMadeFastEnough) {
    const auto sound = std::make_shared<Sound>(sound_rate, 10 * sound_rate);
    Transport t;
    t.load({{sound, 1}});
    t.play();
    double now = 0, started = 0;
    while (now < 20 && t.ends() == 0) {
        now += 0.02;
        if (!sound->final()) sound->append(std::vector<float>(sound_rate / 25, 0.25f));  // twice as fast
        t.tick(now);
        if (t.state() == PlayState::playing && started == 0) started = now;
        render(t, sound_rate / 50);
    }
    EXPECT_GT(started, 0.24) << "not before its growth is known";
    EXPECT_LT(started, 0.35);
    EXPECT_EQ(t.dry_runs(), 0);
    EXPECT_EQ(t.ends(), 1u);
}

TEST(Transport, RunsDryFadesAndGoesOn) {
    const auto x = test::sine(440, 4, sound_rate);
    const auto sound = std::make_shared<Sound>(sound_rate);
    Transport t;
    t.set_buffer(0.5);
    t.load({{sound, 1}});
    t.play();
    t.tick(0);
    EXPECT_EQ(t.state(), PlayState::buffering);
    sound->append(std::span(x).first(8159));
    t.tick(0.1);
    EXPECT_EQ(t.state(), PlayState::buffering) << "half a second and a fade are asked for";
    sound->append(std::span(x).subspan(8159, 1));
    t.tick(0.2);
    EXPECT_EQ(t.state(), PlayState::playing);
    auto all = render_all(t);
    EXPECT_EQ(t.state(), PlayState::buffering);
    EXPECT_EQ(t.dry_runs(), 1);
    EXPECT_EQ(t.position(), 8000);
    ASSERT_EQ(all.size(), 8160u + 960);
    for (int64_t i = 0; i < 8160; ++i)
        ASSERT_NEAR(all[static_cast<size_t>(i)], x[static_cast<size_t>(i)] * fade_in(i) * fade_in(8160 - i), 1e-6) << i;
    sound->append(std::span(x).subspan(8160, 20000));
    t.tick(0.3);
    EXPECT_EQ(t.state(), PlayState::playing);
    const auto more = render(t, 1000);
    for (int64_t i = 0; i < 1000; ++i)
        ASSERT_NEAR(more[static_cast<size_t>(i)], x[static_cast<size_t>(8000 + i)] * fade_in(i), 1e-6) << i;
    sound->finish();
    render_all(t);
    EXPECT_EQ(t.dry_runs(), 1);
    EXPECT_EQ(t.ends(), 1u);
}

TEST(Transport, ACancelledSoundEndsWhereItWas) {
    const auto sound = std::make_shared<Sound>(sound_rate, 10 * sound_rate);
    sound->append(std::vector<float>(4000, 0.5f));
    Transport t;
    t.load({{sound, 1}});
    t.play();
    EXPECT_EQ(render(t, 1000).size(), 0u);
    sound->finish();
    t.tick(1);
    const auto out = render_all(t);
    EXPECT_EQ(out.size(), 4000u + 960);
    EXPECT_LT(test::largest_corner(out), 0.001);
    EXPECT_EQ(t.ends(), 1u);
}

}  // namespace
}  // namespace nigiri
