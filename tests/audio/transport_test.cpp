// Play, pause, seek, loop and switch, compared sample by sample with what they ought to give.
#include "audio/transport.h"

#include "kernels/error.h"
#include "tests/audio/controlled_output.h"
#include "tests/audio/support.h"
#include "tests/audio/transport_support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::fade_in;
using test::finished;
using test::render;
using test::render_all;
using test::sound_rate;

constexpr int fade = test::fade_samples;

// The sum of a fade's corner on a constant and the sine's own: what no join may exceed. 440 Hz at amplitude 0.5 has
// corners of 0.0149; a cut at full level would have one of about 1.
constexpr double smooth = 0.0149 * 1.1 + 0.002;

TEST(Transport, PlaysTheSamplesWithFadesAtBothEnds) {
    const auto x = test::sine(440, 0.5, sound_rate);
    Transport t;
    t.load({{finished(x), 1}});
    EXPECT_EQ(render(t, 100).size(), 0u) << "nothing plays by itself";
    t.play();
    EXPECT_EQ(t.state(), PlayState::playing);
    const auto out = render_all(t);
    ASSERT_EQ(out.size(), x.size() + 960) << "the sound and a rest of 60 ms";
    for (size_t i = 0; i < x.size(); ++i) {
        const int64_t at = static_cast<int64_t>(i), n = static_cast<int64_t>(x.size());
        ASSERT_NEAR(out[i], x[i] * fade_in(at) * fade_in(n - at), 1e-6) << i;
    }
    for (size_t i = x.size(); i < out.size(); ++i) ASSERT_EQ(out[i], 0.0f);
    EXPECT_EQ(t.state(), PlayState::stopped);
    EXPECT_EQ(t.ends(), 1u);
    EXPECT_EQ(t.last_end(), static_cast<int64_t>(x.size()));
    EXPECT_EQ(t.position(), 0);
    EXPECT_FALSE(t.active());
}

TEST(Transport, PausesAndGoesOnWithoutAClick) {
    const auto x = test::sine(440, 1, sound_rate);
    Transport t;
    t.load({{finished(x), 1}});
    t.play();
    auto all = render(t, 3001);
    t.pause();
    EXPECT_EQ(t.state(), PlayState::paused);
    EXPECT_EQ(t.position(), 3001);
    const auto rest = render_all(t);
    for (int64_t i = 0; i < fade; ++i)
        ASSERT_NEAR(rest[static_cast<size_t>(i)], x[static_cast<size_t>(3001 + i)] * fade_in(fade - i), 1e-6) << i;
    for (size_t i = fade; i < rest.size(); ++i) ASSERT_EQ(rest[i], 0.0f);
    all.insert(all.end(), rest.begin(), rest.end());
    t.play();
    const auto more = render(t, 2000);
    for (int64_t i = 0; i < 2000; ++i)
        ASSERT_NEAR(more[static_cast<size_t>(i)], x[static_cast<size_t>(3001 + i)] * fade_in(i), 1e-6) << i;
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_LT(test::largest_corner(all), smooth);
    t.stop();
    EXPECT_EQ(t.state(), PlayState::stopped);
    EXPECT_EQ(t.position(), 0);
}

TEST(Transport, SeeksWithACrossfade) {
    const auto x = test::sine(440, 2, sound_rate);
    Transport t;
    t.load({{finished(x), 1}});
    t.play();
    auto all = render(t, 4000);
    t.seek(20007);  // another phase: a jump of more than half the amplitude
    const auto after = render(t, 1000);
    for (int64_t i = 0; i < 1000; ++i)
        ASSERT_NEAR(
            after[static_cast<size_t>(i)],
            x[static_cast<size_t>(20007 + i)] * fade_in(i) + x[static_cast<size_t>(4000 + i)] * (1 - fade_in(i)), 1e-6)
            << i;
    all.insert(all.end(), after.begin(), after.end());
    EXPECT_LT(test::largest_corner(all), smooth);
    EXPECT_EQ(t.position(), 21007);
    t.seek(-5);
    EXPECT_EQ(t.position(), 0);
    t.seek(1'000'000);
    EXPECT_EQ(t.position(), 32000);
}

TEST(Transport, ManySeeksInOneInstantAreOne) {
    const auto x = test::sine(440, 2, sound_rate);
    Transport t;
    t.load({{finished(x), 1}});
    t.play();
    render(t, 4000);
    for (int64_t p = 0; p < 50; ++p) t.seek(100 * p);
    const auto out = render(t, 500);
    for (int64_t i = 0; i < 500; ++i)
        ASSERT_NEAR(out[static_cast<size_t>(i)],
                    x[static_cast<size_t>(4900 + i)] * fade_in(i) + x[static_cast<size_t>(4000 + i)] * (1 - fade_in(i)),
                    1e-6);
}

TEST(Transport, SwitchesInStep) {
    const auto a = test::sine(440, 1, sound_rate), b = test::sine(660, 1, sound_rate, 0.4);
    Transport t;
    t.load({{finished(a), 1}, {finished(b), 0.5f}});
    t.play();
    auto all = render(t, 5000);
    t.select(1);
    const auto after = render(t, 1000);
    for (int64_t i = 0; i < 1000; ++i) {
        const size_t at = static_cast<size_t>(5000 + i);
        ASSERT_NEAR(after[static_cast<size_t>(i)], 0.5 * b[at] * fade_in(i) + a[at] * (1 - fade_in(i)), 1e-6) << i;
    }
    all.insert(all.end(), after.begin(), after.end());
    EXPECT_LT(test::largest_corner(all), smooth);
    EXPECT_EQ(t.position(), 6000);
    EXPECT_EQ(t.track(), 1u);
    EXPECT_THROW(t.select(2), Error);
}

TEST(Transport, SwitchingBetweenEqualSoundsChangesNothing) {
    const auto x = test::sine(440, 1, sound_rate);
    Transport one, two;
    one.load({{finished(x), 1}});
    two.load({{finished(x), 1}, {finished(x), 1}});
    one.play();
    two.play();
    for (size_t k = 0; k < 20; ++k) {
        const auto expected = render(one, 700), got = render(two, 700);
        for (size_t i = 0; i < 700; ++i) ASSERT_NEAR(got[i], expected[i], 1e-6) << k << ' ' << i;
        two.select(1 - two.track());
    }
}

TEST(Transport, TracksOfUnequalLengthEndTogether) {
    Transport t;
    t.load({{finished(std::vector<float>(1000, 0.5f)), 1}, {finished(std::vector<float>(3000, 0.25f)), 1}});
    EXPECT_EQ(t.length(), 3000);
    t.play();
    const auto out = render(t, 2000);
    EXPECT_EQ(out[800], 0.5f);
    EXPECT_NEAR(out[999], 0, 0.001);
    EXPECT_EQ(out[1500], 0.0f) << "silence after the end of the short one";
    EXPECT_EQ(t.state(), PlayState::playing);
    t.select(1);
    EXPECT_EQ(render(t, 500)[400], 0.25f);
    EXPECT_LT(test::largest_corner(out), 0.001);
}

TEST(Transport, ChangesGainAndVolumeSmoothly) {
    Transport t;
    t.load({{finished(std::vector<float>(16000, 0.5f)), 1}});
    t.play();
    auto all = render(t, 1000);
    t.set_gain(0, 0.25f);
    auto part = render(t, 1000);
    EXPECT_EQ(part.back(), 0.125f);
    all.insert(all.end(), part.begin(), part.end());
    t.set_volume(0.5f);
    part = render(t, 1000);
    EXPECT_EQ(part.back(), 0.0625f);
    all.insert(all.end(), part.begin(), part.end());
    EXPECT_LT(test::largest_corner(all), 0.002) << "a jump would be 0.06 or more";
    EXPECT_EQ(t.position(), 3000);
}

TEST(Transport, LoopsARangeWithoutLosingASample) {
    const auto x = test::sine(440, 1, sound_rate);
    Transport t;
    t.load({{finished(x), 1}});
    t.set_range(SoundRange{1000, 3005});
    t.set_loop(true);
    t.seek(1000);
    t.play();
    const auto out = render(t, 3 * 2005 + 5);
    for (int64_t i = 0; i < 3 * 2005; ++i) {
        const int64_t at = i % 2005;
        double expected = x[static_cast<size_t>(1000 + at)] * fade_in(at);
        if (i >= 2005) expected += x[static_cast<size_t>(3005 + at)] * (1 - fade_in(at));
        ASSERT_NEAR(out[static_cast<size_t>(i)], expected, 1e-6) << i;
    }
    EXPECT_LT(test::largest_corner(out), smooth);
    t.set_loop(false);
    const auto last = render_all(t);
    EXPECT_EQ(last.size(), 2000u + 160 + 960) << "to the range's end, a fade, a rest";
    EXPECT_EQ(t.position(), 1000);
    EXPECT_EQ(t.state(), PlayState::stopped);
}

TEST(Transport, LoopsTheWhole) {
    const std::vector<float> x(1000, 0.5f);
    Transport t;
    t.load({{finished(x), 1}});
    t.set_loop(true);
    t.play();
    const auto out = render(t, 5000);
    ASSERT_EQ(out.size(), 5000u);
    for (int64_t i = 0; i < 5000; ++i) {
        const int64_t at = i % 1000;
        ASSERT_NEAR(out[static_cast<size_t>(i)], 0.5 * fade_in(at) * fade_in(1000 - at), 1e-6) << i;
    }
    EXPECT_LT(test::largest_corner(out), 0.001);
    EXPECT_EQ(t.ends(), 0u);
}

TEST(Transport, PlayingThatBeginsBehindTheRangeIgnoresIt) {
    Transport t;
    t.load({{finished(std::vector<float>(4000, 0.5f)), 1}});
    t.set_range(SoundRange{1000, 2000});
    t.seek(2500);
    t.play();
    EXPECT_EQ(render_all(t).size(), 1500u + 960);
    EXPECT_EQ(t.position(), 1000) << "next time from the beginning of the range";
    t.set_range(SoundRange{100, 101});
    EXPECT_EQ(*t.range(), (SoundRange{100, 420})) << "no shorter than two fades";
}

TEST(Transport, SendsAgainWhatAnOutputForgot) {
    const auto x = test::sine(440, 3, sound_rate);
    const auto expect_from = [&](Transport& t, int64_t position) {
        const auto out = render(t, 600);
        ASSERT_EQ(out.size(), 600u);
        for (int64_t i = 0; i < 600; ++i)
            ASSERT_NEAR(out[static_cast<size_t>(i)], x[static_cast<size_t>(position + i)] * fade_in(i), 1e-6) << i;
    };
    Transport t;
    t.load({{finished(x), 1}});
    t.play();
    render(t, 5000);
    t.send_again(4000);
    expect_from(t, 4000);
    EXPECT_EQ(t.position(), 4600);
    EXPECT_EQ(t.position_at(5000), 4000) << "the stream goes on, the position goes back";
    t.send_again(5000);
    expect_from(t, 4000);
    // What was asked for after the sample last heard is not undone.
    t.seek(20000);
    render(t, 300);
    t.send_again(5100);
    expect_from(t, 20000);
    // In a loop it goes back to the last jump at most.
    t.set_range(SoundRange{30000, 32000});
    t.set_loop(true);
    t.seek(31500);
    render(t, 700);  // 31500 to 32000, then 30000 to 30200
    t.send_again(0);
    expect_from(t, 30000);
    t.pause();
    t.send_again(0);
    EXPECT_EQ(t.position(), 30600) << "nothing plays";
    EXPECT_EQ(t.state(), PlayState::paused);
}

TEST(Transport, KnowsWhichPositionIsHeard) {
    Transport t;
    t.load({{finished(std::vector<float>(4000, 0.5f)), 1}});
    t.play();
    render(t, 1000);
    t.seek(3000);
    render(t, 100);
    t.pause();
    render_all(t);
    EXPECT_EQ(t.position_at(0), 0);
    EXPECT_EQ(t.position_at(999), 999);
    EXPECT_EQ(t.position_at(1000), 3000);
    EXPECT_EQ(t.position_at(1099), 3099);
    EXPECT_EQ(t.position_at(1150), 3100) << "it stays where it was paused";
    t.forget_before(1050);
    EXPECT_EQ(t.position_at(1060), 3060);
    t.seek(10);
    EXPECT_EQ(t.position_at(t.rendered()), 10);
}

TEST(Transport, AnyDecisionsAnyTimeMakeNoClick) {
    Random random(test::seed());
    const auto a = test::sine(440, 3, sound_rate), b = test::sine(330, 2, sound_rate);
    Transport t;
    t.load({{finished(a), 1}, {finished(b), 0.8f}});
    std::vector<float> all;
    for (int k = 0; k < 3000; ++k) {
        switch (random.below(9)) {
            case 0:
                t.play();
                break;
            case 1:
                t.pause();
                break;
            case 2:
                t.stop();
                break;
            case 3:
                t.seek(static_cast<int64_t>(random.below(50000)));
                break;
            case 4:
                t.select(random.below(2));
                break;
            case 5:
                t.set_loop(random.below(2) == 0);
                break;
            case 6:
                t.set_gain(random.below(2), static_cast<float>(random.uniform()));
                break;
            case 7: {
                const int64_t begin = static_cast<int64_t>(random.below(48000));
                t.set_range(SoundRange{begin, begin + static_cast<int64_t>(random.below(5000))});
                break;
            }
            default:
                t.play();
                break;
        }
        const auto part = render(t, random.below(1500));
        all.insert(all.end(), part.begin(), part.end());
    }
    ASSERT_GT(all.size(), 500000u);
    EXPECT_LT(test::largest_corner(all), smooth) << "seed " << test::seed();
    for (const float v : all) ASSERT_LE(std::abs(v), 1.0f);
}

TEST(Transport, RefusesWhatDoesNotFitTogether) {
    Transport t;
    EXPECT_THROW(t.load({{nullptr, 1}}), Error);
    EXPECT_THROW(t.load({{finished({0.0f}), 1}, {finished({0.0f}, 8000), 1}}), Error);
    t.play();
    EXPECT_EQ(t.state(), PlayState::stopped) << "there is nothing to play";
    t.load({{finished({}), 1}});
    t.set_loop(true);
    t.play();
    EXPECT_EQ(render(t, 100).size(), 0u);
    EXPECT_EQ(t.state(), PlayState::stopped);
    EXPECT_EQ(t.ends(), 1u);
}

}  // namespace
}  // namespace nigiri
