// The player with a device that takes samples when the test says so: what is heard is compared with what was asked for.
#include "audio/player.h"

#include <algorithm>

#include "tests/audio/player_support.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::ahead;
using test::controlled;
using test::Device;
using test::finished;
using test::ramp;
using test::soon;
using test::sound_rate;

TEST(Player, SendsASoundToItsEndAndSaysSo) {
    const auto device = std::make_shared<Device>();
    std::atomic<int> told{0};
    PlayerOptions options = controlled(device);
    options.on_change = [&] { ++told; };
    Player player(options);
    EXPECT_EQ(player.status().device, "") << "a device is opened when it is needed";
    const auto x = ramp(20000);
    player.load(finished(x));
    EXPECT_EQ(player.status().length, 20000);
    player.play();
    EXPECT_EQ(player.status().state, PlayState::playing);
    const auto heard = device->take_all();
    ASSERT_EQ(heard.size(), x.size() + 960);
    for (size_t i = 256; i < x.size() - 160; ++i) ASSERT_EQ(heard[i], x[i]) << i;
    ASSERT_TRUE(soon([&] { return player.status().ends == 1; }));
    const PlayerStatus s = player.status();
    EXPECT_EQ(s.state, PlayState::stopped);
    EXPECT_EQ(s.position, 0);
    EXPECT_EQ(s.underruns, 0);
    EXPECT_EQ(s.device, "controlled");
    EXPECT_EQ(s.problem, "");
    EXPECT_TRUE(soon([&] { return told >= 2; })) << "that it plays, and that it ended";
    // At rest the thread sleeps and says nothing.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const int before = told;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(told, before);
}

TEST(Player, EndCountsOnlyWhenItIsHeard) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(ramp(500)));  // all of it fits into the queue
    player.play();
    ASSERT_TRUE(soon([&] { return device->queue.queued() >= 500; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(player.status().ends, 0u);
    EXPECT_EQ(player.status().state, PlayState::playing);
    device->take_all();
    EXPECT_TRUE(soon([&] { return player.status().ends == 1; }));
    EXPECT_EQ(player.status().state, PlayState::stopped);
}

TEST(Player, SeekIsHeardAfterWhatWasQueued) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto x = ramp(60000);
    player.load(finished(x));
    player.play();
    auto heard = device->take(5000);
    player.seek(40000);
    const auto after = device->take(5000);
    // Somewhere within the queue's length the ramp goes on from 40000, having been crossfaded over 160 samples.
    const auto jump = std::find(after.begin(), after.end(), x[40160]);
    ASSERT_NE(jump, after.end());
    const size_t at = static_cast<size_t>(jump - after.begin());
    EXPECT_GE(at, 160u);
    EXPECT_LE(at, ahead + 160);
    for (size_t i = 0; i + 160 < at; ++i) ASSERT_EQ(after[i], x[5000 + i]) << i;
    for (size_t i = at; i < after.size(); ++i) ASSERT_EQ(after[i], x[40160 + i - at]) << i;
    heard.insert(heard.end(), after.begin(), after.end());
    // A jump of 0.5 within 160 samples, by a raised cosine: 0.5 (pi / 160)^2 / 2; at once it would be 0.5.
    EXPECT_LT(test::largest_corner(heard), 2e-4);
}

TEST(Player, PositionIsThatOfWhatIsHeard) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(ramp(60000)));
    player.play();
    device->take(8000);
    player.pause();
    EXPECT_EQ(player.status().state, PlayState::paused);
    const auto rest = device->take_all();
    ASSERT_TRUE(soon([&] { return player.status().position >= 8000; }));
    ASSERT_TRUE(soon([&] {
        const int64_t p = player.status().position;
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        return p == player.status().position;
    }));
    const int64_t paused = player.status().position;
    EXPECT_LE(paused, 8000 + static_cast<int64_t>(ahead));
    player.play();
    const auto again = device->take(1000);
    EXPECT_EQ(again[300], static_cast<float>(paused + 301) / 65536.0f) << "it goes on where it said that it was";
    player.stop();
    device->take_all();
    EXPECT_TRUE(soon([&] { return player.status().position == 0; }));
    player.seek(1234);
    EXPECT_EQ(player.status().position, 1234) << "at rest at once";
}

TEST(Player, SwitchesTracksInStep) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto a = ramp(60000);
    auto b = a;
    for (float& v : b) v = -v;
    player.load({{finished(a), 1}, {finished(b), 0.5f}});
    player.play();
    device->take(3000);
    player.select(1);
    const auto heard = device->take(3000);
    bool negative = false;
    for (size_t i = 0; i < heard.size(); ++i) {
        negative = negative || heard[i] == 0.5f * b[3000 + i];
        if (!negative && i > ahead + 160) FAIL() << "not switched within the queue's length";
        if (negative) {
            ASSERT_EQ(heard[i], 0.5f * b[3000 + i]) << i;
        }
    }
    EXPECT_EQ(player.status().track, 1u);
}

TEST(Player, LoopsUntilItIsToldNotTo) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto x = ramp(20000);
    player.load(finished(x));
    player.set_range(SoundRange{5000, 7000});
    player.set_loop(true);
    player.seek(5000);
    player.play();
    const auto heard = device->take(11000);
    ASSERT_EQ(heard.size(), 11000u);
    for (size_t i = 256; i < heard.size(); ++i)
        if (i % 2000 >= 160) {
            ASSERT_EQ(heard[i], x[5000 + i % 2000]) << i;
        }
    EXPECT_EQ(player.status().ends, 0u);
    player.set_loop(false);
    device->take_all();
    EXPECT_TRUE(soon([&] { return player.status().ends == 1; }));
}

TEST(Player, GrowingSoundStartsBuffersAndGoesOn) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto x = ramp(60000);
    const auto sound = std::make_shared<Sound>(sound_rate);
    player.set_buffer(0.25);
    player.load(sound);
    player.play();
    EXPECT_EQ(player.status().state, PlayState::buffering);
    sound->append(std::span(x).first(10000));
    const auto first = device->take_all();
    ASSERT_GE(first.size(), 10000u);
    for (size_t i = 256; i < 9840; ++i) ASSERT_EQ(first[i], x[i]) << i;
    EXPECT_EQ(player.status().state, PlayState::buffering);
    EXPECT_EQ(player.status().dry_runs, 1);
    EXPECT_EQ(player.status().underruns, 0) << "the device had all that it was promised";
    sound->append(std::span(x).subspan(10000, 10000));
    sound->finish();
    const auto second = device->take_all();
    ASSERT_EQ(second.size(), 20000u - 9840 + 960);
    for (size_t i = 160; i + 1120 < second.size(); ++i) ASSERT_EQ(second[i], x[9840 + i]) << i;
    EXPECT_EQ(player.status().dry_runs, 1);
}

TEST(Player, ToggleVolumeAndStop) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(5 * sound_rate, 0.5f)));
    player.set_volume(0.5f);
    player.toggle();
    EXPECT_EQ(device->take(2000).back(), 0.25f);
    player.toggle();
    EXPECT_EQ(player.status().state, PlayState::paused);
    const auto rest = device->take_all();
    EXPECT_EQ(rest.back(), 0.0f);
    EXPECT_LE(rest.size(), ahead + 160 + 960);
    EXPECT_LT(test::largest_corner(rest), 0.001);
}

TEST(Player, MeterShowsWhatIsHeard) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    auto x = test::sine(1000, 2, sound_rate, 0.5);  // 16 samples a period: its peak is met
    x[20000] = 1.0f;
    player.load(finished(x));
    EXPECT_EQ(player.levels().peak, 0);
    player.play();
    device->take(8000);
    ASSERT_TRUE(soon([&] { return player.levels().peak > 0.49f; }));
    EXPECT_NEAR(player.levels().peak, 0.5, 1e-4);
    EXPECT_NEAR(player.levels().rms, 0.5 / std::sqrt(2.0), 1e-3);
    EXPECT_FALSE(player.levels().clipped);
    device->take(13500);
    ASSERT_TRUE(soon([&] { return player.levels().held > 0.99f; }));
    EXPECT_TRUE(player.levels().clipped);
    player.reset_clipped();
    EXPECT_FALSE(player.levels().clipped);
    player.stop();
    device->take_all();
    EXPECT_TRUE(soon([&] { return player.levels().peak == 0 && player.levels().rms == 0; })) << "it falls to rest";
}

TEST(Player, CallbackNeverAllocatesNorLocks) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto sound = std::make_shared<Sound>(sound_rate);
    sound->append(test::sine(440, 5, sound_rate));
    player.load({{sound, 1}, {finished(test::sine(660, 4, sound_rate)), 1}});
    player.set_buffer(0.1);
    player.set_loop(true);
    player.play();
    Random random(test::seed());
    std::atomic<bool> done{false};
    // The interface's calls and a sound that grows, while another thread is the device.
    std::jthread interface([&] {
        for (int k = 0; k < 300; ++k) {
            switch (random.below(6)) {
                case 0:
                    player.seek(static_cast<int64_t>(random.below(60000)));
                    break;
                case 1:
                    player.select(random.below(2));
                    break;
                case 2:
                    player.pause();
                    break;
                case 3:
                    player.set_gain(0, static_cast<float>(random.uniform()));
                    break;
                case 4:
                    sound->append(std::vector<float>(1000, 0.1f));
                    break;
                default:
                    player.set_volume(static_cast<float>(random.uniform()));
                    break;
            }
            player.play();
            (void)player.levels();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        done = true;
    });
    while (!done) device->take(400, 100);
    EXPECT_GT(device->callbacks, 100);
    EXPECT_EQ(device->allocations, 0) << "seed " << test::seed();
    EXPECT_EQ(device->locks, 0);
    // The counters work.
    std::mutex mutex;
    const auto locks = test::locks_of([&] { const std::lock_guard lock(mutex); });
    if (locks) {
        EXPECT_EQ(*locks, 1);
    }
}

TEST(Player, CanBeDestroyedAtAnyTime) {
    for (int k = 0; k < 20; ++k) {
        const auto device = std::make_shared<Device>();
        Player player(controlled(device));
        if (k % 4 == 0) continue;
        player.load(finished(ramp(30000)));
        player.play();
        if (k % 4 == 1) continue;
        device->take(100 * static_cast<size_t>(k));
    }
}

}  // namespace
}  // namespace nigiri
