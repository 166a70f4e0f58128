// The player and its device: how far ahead it sends, what is heard when the device is another, late, lost or missing.
#include "audio/player.h"

#include <algorithm>

#include "tests/audio/player_support.h"

namespace nigiri {
namespace {

using test::ahead;
using test::controlled;
using test::Device;
using test::finished;
using test::ramp;
using test::soon;
using test::sound_rate;

TEST(Player, KeepsOnlyALittleAhead) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(10 * sound_rate, 0.25f)));
    player.play();
    for (int k = 0; k < 20; ++k) {
        ASSERT_EQ(device->take(500).size(), 500u);
        EXPECT_LE(device->queue.queued(), ahead);
    }
}

TEST(Player, KeepsMoreAheadOfADeviceThatTakesMoreAtOnce) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(10 * sound_rate, 0.25f)));
    player.play();
    std::vector<float> block(960);
    for (int k = 0; k < 3; ++k) {
        ASSERT_TRUE(soon([&] { return device->queue.queued() >= block.size(); }));
        device->queue.fill(block.data(), block.size(), 1);
    }
    // Twice 60 ms, and 20 ms for itself.
    EXPECT_TRUE(soon([&] { return device->queue.queued() == 2240; })) << device->queue.queued();
    // One that ran empty gets half as much again.
    std::vector<float> gap(5000);
    device->queue.fill(gap.data(), gap.size(), 1);
    ASSERT_TRUE(soon([&] { return player.status().underruns == 1; }));
    EXPECT_TRUE(soon([&] { return device->queue.queued() == 8000; })) << "no more than half a second";
}

TEST(Player, OtherRateOpensTheDeviceAnew) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(ramp(2000)));
    player.play();
    device->take_all();
    EXPECT_EQ(device->opened, 1);
    player.play();
    device->take_all();
    EXPECT_EQ(device->opened, 1) << "kept for the next sound";
    const auto x = ramp(3000);
    player.load(finished(x, 22050));
    player.play();
    const auto heard = device->take_all();
    EXPECT_EQ(device->opened, 2);
    EXPECT_EQ(heard[1000], x[1000]);
    EXPECT_EQ(player.status().rate, 22050);
}

TEST(Player, LostDeviceFallsSilentAndComesBack) {
    const auto device = std::make_shared<Device>();
    std::atomic<int> told{0};
    PlayerOptions options = controlled(device);
    options.on_change = [&] { ++told; };
    Player player(options);
    player.load(finished(std::vector<float>(60 * sound_rate, 0.25f)));
    player.play();
    device->take(4000);
    const int before = told;
    device->missing = true;
    device->lost = true;
    ASSERT_TRUE(soon([&] { return !player.status().problem.empty(); }));
    EXPECT_EQ(player.status().problem, "'controlled' went away");
    EXPECT_EQ(player.status().device, "null");
    EXPECT_EQ(player.status().state, PlayState::playing) << "the position goes on, in silence";
    EXPECT_TRUE(soon([&] { return told > before; }));
    const int64_t position = player.status().position;
    EXPECT_TRUE(soon([&] { return player.status().position > position + 1000; }));
    // Asked for in vain, then with success.
    player.open_device("wrong");
    ASSERT_TRUE(soon([&] { return player.status().problem.find("wrong") != std::string::npos; }));
    device->missing = false;
    player.open_device("right");
    ASSERT_TRUE(soon([&] { return player.status().problem.empty(); }));
    EXPECT_EQ(player.status().device, "controlled");
    EXPECT_EQ(device->take(3000).size(), 3000u);
}

TEST(Player, MissingDeviceIsTriedAgainWithTheNextSound) {
    const auto device = std::make_shared<Device>();
    device->missing = true;
    Player player(controlled(device));
    player.load(finished(ramp(1600)));
    player.play();
    ASSERT_TRUE(soon([&] { return player.status().ends == 1; })) << "played in silence, in real time";
    EXPECT_NE(player.status().problem, "");
    device->missing = false;
    player.play();
    EXPECT_GT(device->take_all().size(), 1600u);
    EXPECT_EQ(player.status().problem, "");
}

TEST(Player, DeviceThatStandsStillIsLost) {
    const auto device = std::make_shared<Device>();
    PlayerOptions options = controlled(device);
    options.patience_seconds = 0.1;
    Player player(options);
    player.load(finished(std::vector<float>(60 * sound_rate, 0.25f)));
    player.play();
    ASSERT_TRUE(soon([&] { return !player.status().problem.empty(); }));
    EXPECT_EQ(player.status().problem, "controlled takes no more sound");
    EXPECT_EQ(player.status().device, "null");
}

TEST(Player, QueueAndDeviceHoldAsMuchAsIsAskedFor) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(60 * sound_rate, 0.25f)));
    player.play();
    EXPECT_TRUE(soon([&] { return device->queue.queued() == ahead; }));
    EXPECT_EQ(device->buffer_seconds, 0.06);
    // The last two are more and less than there can be.
    for (const auto& [asked, got] :
         std::vector<std::pair<double, double>>{{0.15, 0.15}, {0.3, 0.3}, {0.04, 0.04}, {7, 0.5}, {0, 0.02}}) {
        player.set_queue(asked);
        const double wanted = got;
        const auto full = static_cast<size_t>(std::llround(wanted * sound_rate));
        EXPECT_TRUE(soon([&] { return device->buffer_seconds == wanted && device->queue.queued() == full; }))
            << asked << ": " << device->buffer_seconds << " s, " << device->queue.queued() << " samples";
        EXPECT_EQ(player.status().queue_seconds, wanted);
    }
    const int opened = device->opened;
    player.set_queue(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(device->opened, opened) << "the same once more changes nothing";
    EXPECT_EQ(player.status().underruns, 0);
}

TEST(Player, AnotherQueueTakesEffectAtOnceAndSkipsNothing) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    const auto x = ramp(60000);
    player.load(finished(x));
    player.set_queue(0.5);
    player.play();
    constexpr size_t taken = 8000;
    EXPECT_EQ(device->take(taken).back(), x[taken - 1]);
    ASSERT_TRUE(soon([&] { return device->queue.queued() == 8000; }));  // which the device will forget
    player.set_queue(0.1);
    ASSERT_TRUE(soon([&] { return device->opened == 2; })) << "while it plays";
    const auto after = device->take(4000);
    ASSERT_EQ(after.size(), 4000u);
    // Past the fade every sample says where it is from. Nothing that was not taken is left out; what is heard again is
    // what the player believed to be still in the device, and that is less than the jump of its clock, 0.15 s, and some
    // of its steps. (This device takes as fast as it can, so the clock lags; of a real one it is right.)
    const auto begin = std::llround(after[1000] * 65536.0f) - 1 - 1000;
    EXPECT_LE(begin, static_cast<int64_t>(taken));
    EXPECT_GE(begin, static_cast<int64_t>(taken) - static_cast<int64_t>(0.2 * sound_rate));
    for (size_t i = 160; i < after.size(); ++i) ASSERT_EQ(after[i], x[static_cast<size_t>(begin) + i]) << i;
    EXPECT_EQ(player.status().state, PlayState::playing);
    EXPECT_EQ(player.status().underruns, 0);

    // At rest it waits for the next sound, and the position stays.
    player.pause();
    device->take_all();
    int64_t paused = -1;
    ASSERT_TRUE(soon([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        const int64_t now = player.status().position;
        return std::exchange(paused, now) == now;
    }));
    player.set_queue(0.3);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(device->opened, 2);
    EXPECT_EQ(player.status().position, paused);
    player.play();
    EXPECT_EQ(device->take(1000)[500], x[static_cast<size_t>(paused) + 500]);
    EXPECT_EQ(device->opened, 3);
}

TEST(Player, SaysThatItIsOftenLate) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(60 * sound_rate, 0.25f)));
    player.play();
    std::vector<float> gap(sound_rate);  // more than is ever queued
    for (int k = 1; k <= 3; ++k) {
        EXPECT_FALSE(player.status().often_late) << k;
        ASSERT_TRUE(soon([&] { return device->queue.queued() > 0; }));
        device->queue.fill(gap.data(), gap.size(), 1);
        ASSERT_TRUE(soon([&] { return player.status().underruns == k; }));
    }
    EXPECT_TRUE(player.status().often_late);
    player.set_queue(0.3);
    EXPECT_FALSE(player.status().often_late) << "it is tried anew";
}

}  // namespace
}  // namespace nigiri
