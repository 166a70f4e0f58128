#include "audio/playback_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/audio/support.h"

namespace nigiri {
namespace {

using test::sound_rate;

TEST(PlaybackClock, RunsEvenlyBetweenBlocks) {
    // A device of 16 kHz that takes 1000 samples at a time, every 62.5 ms, and plays them 0.1 s later.
    PlaybackClock clock;
    clock.start(0, sound_rate, 0.1);
    double last = 0, worst = 0;
    for (int ms = 0; ms < 5000; ++ms) {
        const double now = 50 + ms / 1000.0;
        const int64_t taken = 1000 * (ms * 16 / 1000 + 1);
        if (ms % 10 == 0) clock.update(now, taken, taken + 900);
        const double heard = clock.heard(now);
        ASSERT_GE(heard, last) << ms;
        // 16 samples a millisecond, and with every update a correction of at most 2 ms.
        if (ms > 1000) {
            ASSERT_NEAR(heard - last, 16, 32) << ms;
            worst = std::max(worst, std::abs(heard - (16.0 * ms - 1600 + 500)));
        }
        last = heard;
    }
    EXPECT_LT(worst, 1000) << "within a block of the truth";
}

TEST(PlaybackClock, HearsOutWhatTheDeviceHolds) {
    PlaybackClock clock;
    clock.start(5000, sound_rate, 0.1);
    EXPECT_EQ(clock.heard(1), 5000);
    clock.update(1.0, 5000, 6000);
    EXPECT_EQ(clock.heard(1.05), 5000) << "nothing before the device's own delay";
    clock.update(1.05, 6000, 6000);
    EXPECT_LT(clock.heard(1.1), 5900);
    clock.update(1.1, 6000, 6000);
    clock.update(1.2, 6000, 6000);
    EXPECT_EQ(clock.heard(1.25), 6000);
    EXPECT_EQ(clock.heard(9), 6000);
    clock.update(10, 6000, 7000);
    EXPECT_EQ(clock.heard(10.05), 6000);
    EXPECT_NEAR(clock.heard(10.15), 6800, 1);
}

}  // namespace
}  // namespace nigiri
