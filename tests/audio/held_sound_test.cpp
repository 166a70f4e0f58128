#include "audio/held_sound.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

std::vector<float> all_of(HeldSound& sound) {
    std::vector<float> all, block(37);
    while (const size_t n = sound.take(block))
        all.insert(all.end(), block.begin(), block.begin() + static_cast<long>(n));
    return all;
}

TEST(HeldSound, KeepsTheLastOfItBack) {
    HeldSound sound(100, 10);
    for (int i = 0; i < 250; ++i) sound.put(i, static_cast<float>(i));
    auto out = all_of(sound);
    ASSERT_EQ(out.size(), 150u);
    sound.finish();
    const auto rest = all_of(sound);
    out.insert(out.end(), rest.begin(), rest.end());
    ASSERT_EQ(out.size(), 250u);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], static_cast<float>(i));
    EXPECT_EQ(sound.taken(), 250);
    EXPECT_EQ(sound.joins(), 0);
}

// Whatever is replaced before it leaves was never there: for any sequence of going back within what is held.
TEST(HeldSound, ReplacesWhatHasNotLeftWithoutASeam) {
    Random random(test::seed());
    HeldSound sound(100, 10);
    std::vector<float> out;
    int64_t next = 0;
    for (int round = 0; round < 300; ++round) {
        const auto n = static_cast<int>(random.below(150));
        for (int i = 0; i < n; ++i, ++next) sound.put(next, static_cast<float>(next));
        const auto part = all_of(sound);
        out.insert(out.end(), part.begin(), part.end());
        const int64_t there = next - sound.taken();
        for (int64_t i = next; i < next + 5; ++i) sound.put(i, -1);  // to be taken back
        next -= static_cast<int64_t>(random.below(static_cast<uint64_t>(there) + 1));
    }
    EXPECT_EQ(sound.joins(), 0);
    ASSERT_GT(out.size(), 1000u);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], static_cast<float>(i)) << "seed " << test::seed();
}

TEST(HeldSound, CrossfadesWhereItWasHeardAlready) {
    constexpr int fade = 64;
    HeldSound sound(200, fade);
    for (int i = 0; i < 1000; ++i) sound.put(i, 0.5f);
    const auto before = all_of(sound);
    ASSERT_EQ(before.size(), 800u);
    for (int i = 300; i < 1000; ++i) sound.put(i, -0.5f);  // from another moment, heard as what comes next
    EXPECT_EQ(sound.joins(), 1);
    sound.finish();
    const auto after = all_of(sound);
    ASSERT_EQ(after.size(), 700u);
    float last = before.back();
    for (size_t i = 0; i < after.size(); ++i) {
        // Gains of an equal-power fade change by pi / 2 / fade a sample, two of them at once.
        ASSERT_LT(std::abs(after[i] - last), 0.5 * std::sqrt(2.0) * 1.6 / fade + 1e-6) << i;
        last = after[i];
    }
    EXPECT_GT(after[0], 0.45f);
    for (size_t i = fade; i < after.size(); ++i) ASSERT_EQ(after[i], -0.5f);
    // Equal power: sin^2 + cos^2 of what is faded in and out.
    for (size_t i = 0; i < fade; ++i) {
        const double angle = (static_cast<double>(i) + 0.5) / fade * std::acos(-1.0) / 2;
        EXPECT_NEAR(after[i], 0.5 * std::cos(angle) - 0.5 * std::sin(angle), 1e-6);
    }
}

TEST(HeldSound, JoinsWhatComesFromElsewhere) {
    constexpr int fade = 32;
    HeldSound sound(0, fade);
    for (int i = 0; i < 100; ++i) sound.put(i, 1.0f);
    auto out = all_of(sound);
    EXPECT_EQ(out.size(), 100u - fade) << "something to fade out with is always kept";
    sound.join();
    for (int i = 100; i < 200; ++i) sound.put(i, 0.0f);
    sound.finish();
    const auto rest = all_of(sound);
    out.insert(out.end(), rest.begin(), rest.end());
    // The fade takes the place of what fades out, so it is that much shorter.
    ASSERT_EQ(out.size(), 200u - fade);
    for (size_t i = 0; i < 68; ++i) ASSERT_EQ(out[i], 1.0f) << i;
    for (size_t i = 68; i < 100; ++i) ASSERT_LT(out[i], out[i - 1]) << i;
    for (size_t i = 100; i < out.size(); ++i) ASSERT_EQ(out[i], 0.0f) << i;
}

TEST(HeldSound, LeavesNothingOut) {
    HeldSound sound(10, 5);
    sound.put(0, 0);
    EXPECT_THROW(sound.put(2, 0), Error);
}

}  // namespace
}  // namespace nigiri
