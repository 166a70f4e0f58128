#include "audio/sound.h"

#include <thread>

#include "kernels/error.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::sound_rate;

TEST(Sound, GrowsAcrossItsBlocks) {
    Sound sound(sound_rate);
    const auto x = test::noise(200000, 0.1, test::seed());
    Random random(test::seed());
    for (size_t at = 0; at < x.size();) {
        const size_t n = std::min<size_t>(random.below(30000), x.size() - at);
        sound.append(std::span(x).subspan(at, n));
        at += n;
        ASSERT_EQ(sound.size(), static_cast<int64_t>(at));
    }
    EXPECT_EQ(sound.copy(), x) << "seed " << test::seed();
    EXPECT_EQ(sound.expected(), 0) << "unknown";
    std::vector<float> out(10, 9);
    EXPECT_EQ(sound.read(-4, out), 6u);
    EXPECT_EQ(out[3], 0);
    EXPECT_EQ(out[4], x[0]);
    EXPECT_EQ(sound.read(199997, out), 3u);
    EXPECT_EQ(out[2], x.back());
    EXPECT_EQ(out[3], 0);
    EXPECT_EQ(sound.read(500000, out), 0u);
    EXPECT_EQ(sound.read(-500000, out), 0u);
    EXPECT_TRUE(sound.piece(200000).empty());
    EXPECT_TRUE(sound.piece(-1).empty());
    sound.finish();
    EXPECT_TRUE(sound.final());
    EXPECT_EQ(sound.expected(), 200000);
    EXPECT_THROW(sound.append(x), Error);
    EXPECT_THROW(Sound(0), Error);
}

TEST(Sound, AsLongAsAnnouncedIsFinal) {
    Sound sound(sound_rate, 100);
    EXPECT_EQ(sound.expected(), 100);
    sound.append(std::vector<float>(60));
    EXPECT_FALSE(sound.final());
    EXPECT_THROW(sound.append(std::vector<float>(41)), Error);
    sound.append(std::vector<float>(40));
    EXPECT_TRUE(sound.final());
}

TEST(Sound, IsReadWhileItGrows) {
    constexpr int64_t total = 300000;
    Sound sound(sound_rate, total);
    std::jthread writer([&] {
        std::vector<float> block(777);
        for (int64_t at = 0; at < total;) {
            const int64_t n = std::min<int64_t>(777, total - at);
            for (int64_t i = 0; i < n; ++i) block[static_cast<size_t>(i)] = static_cast<float>(at + i);
            sound.append(std::span(block).first(static_cast<size_t>(n)));
            at += n;
        }
    });
    for (int64_t at = 0; at < total;) {
        const auto part = sound.piece(at);
        for (const float v : part) ASSERT_EQ(v, static_cast<float>(at++));
        if (part.empty()) std::this_thread::yield();
    }
    EXPECT_TRUE(sound.final());
}

}  // namespace
}  // namespace nigiri
