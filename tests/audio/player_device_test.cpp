// The player and its device: how far ahead it sends, what is heard when the device is another, late, lost or missing.
#include "audio/player.h"

#include <algorithm>

#include "tests/audio/player_support.h"

namespace nigiri {
namespace {

using test::controlled;
using test::Device;
using test::finished;
using test::ramp;
using test::soon;

constexpr int rate = test::player_rate;
constexpr size_t ahead = test::player_ahead;

TEST(Player, KeepsOnlyALittleAhead) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(10 * rate, 0.25f)));
    player.play();
    for (int k = 0; k < 20; ++k) {
        ASSERT_EQ(device->take(500).size(), 500u);
        EXPECT_LE(device->queue.queued(), ahead);
    }
}

TEST(Player, KeepsMoreAheadOfADeviceThatTakesMoreAtOnce) {
    const auto device = std::make_shared<Device>();
    Player player(controlled(device));
    player.load(finished(std::vector<float>(10 * rate, 0.25f)));
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
    player.load(finished(std::vector<float>(60 * rate, 0.25f)));
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
    player.load(finished(std::vector<float>(60 * rate, 0.25f)));
    player.play();
    ASSERT_TRUE(soon([&] { return !player.status().problem.empty(); }));
    EXPECT_EQ(player.status().problem, "controlled takes no more sound");
    EXPECT_EQ(player.status().device, "null");
}

}  // namespace
}  // namespace nigiri
