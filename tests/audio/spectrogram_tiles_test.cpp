#include "audio/spectrogram_tiles.h"

#include <atomic>
#include <chrono>

#include "audio/spectrogram.h"
#include "kernels/error.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

bool wait_for(const SpectrogramTiles& tiles) {
    for (int k = 0; k < 20000 && !tiles.complete(); ++k) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return tiles.complete();
}

// dB of a column's band as it is shown.
double decibels(const SpectrogramTile& tile, int64_t column, int band, double floor = -100) {
    return floor * (1 - tile.values[static_cast<size_t>(column * tile.bands + band)] / 255.0);
}

int loudest(const SpectrogramTile& tile, int64_t column) {
    const auto begin = tile.values.begin() + column * tile.bands;
    return static_cast<int>(std::max_element(begin, begin + tile.bands) - begin);
}

TEST(SpectrogramTiles, ASineIsWhereItBelongsAsLoudAsItIs) {
    for (const FrequencyScale scale : {FrequencyScale::logarithmic, FrequencyScale::mel}) {
        SpectrogramTilesOptions options;
        options.scale = scale;
        SpectrogramTiles tiles(std::make_shared<Sound>(16000, test::sine(1000, 4, 16000, 0.5)), options);
        tiles.show(2, 0, 64000);
        ASSERT_TRUE(wait_for(tiles));
        const auto tile = tiles.find(2, 1);
        ASSERT_NE(tile, nullptr);
        EXPECT_EQ(tile->hop, 128);
        EXPECT_EQ(tile->known, 128);
        const int band = loudest(*tile, 50);
        EXPECT_NEAR(tiles.frequency(band), 1000, 40);
        // -6 dB; triangles and interpolation lose or gain up to 2 dB, a step of the picture is 0.4 dB.
        EXPECT_NEAR(decibels(*tile, 50, band), -6, 2.5);
        EXPECT_EQ(decibels(*tile, 50, 5), -100) << "nothing far away";
        for (int64_t c = 0; c < 128; ++c) ASSERT_NEAR(loudest(*tile, c), band, 1);
    }
}

// Against the whole spectrogram, made by other code: 1 window a column at the finest levels, the mean of 4 at coarse.
TEST(SpectrogramTiles, ColumnsAreThoseOfTheWholeSpectrogram) {
    const auto x = test::noise(200000, 0.1, test::seed());
    SpectrogramTilesOptions options;
    options.window = 512;
    options.bands = 257;
    options.scale = FrequencyScale::mel;
    options.lowest = 1;
    options.highest = 900;  // there mel is linear, and bands are narrower than bins: interpolation between bins
    SpectrogramTiles tiles(std::make_shared<Sound>(16000, x), options);
    for (const int level : {3, 6}) {
        const int64_t hop = SpectrogramTiles::hop(level), frames = hop > 512 ? 4 : 1;
        // Frames at every multiple of half the distance between windows.
        std::vector<std::vector<double>> spectra;
        SpectrumOptions whole;
        whole.window = 512;
        whole.hop = static_cast<int>(hop / (2 * frames));
        each_power_spectrum(x, whole,
                            [&](int64_t, std::span<const double> p) { spectra.emplace_back(p.begin(), p.end()); });
        tiles.show(level, 0, 200000);
        ASSERT_TRUE(wait_for(tiles));
        const auto tile = tiles.find(level, 0);
        ASSERT_NE(tile, nullptr);
        const int64_t columns = std::min<int64_t>(128, 200000 / hop);
        for (int64_t c = 0; c < columns; c += 7)
            for (int b = 0; b < 257; b += 16) {
                const double bin = tiles.frequency(b) * 512 / 16000;
                const size_t k = static_cast<size_t>(bin);
                double power = 0;
                for (int64_t f = 0; f < frames; ++f) {
                    const auto& s = spectra[static_cast<size_t>(2 * frames * c + 2 * f + 1)];
                    power += (s[k] + (s[k + 1] - s[k]) * (bin - static_cast<double>(k))) / static_cast<double>(frames);
                }
                // Half a step of the picture is 0.2 dB.
                const double expected = 10 * std::log10(power * 16 / (512.0 * 512.0));
                ASSERT_NEAR(decibels(*tile, c, b), std::max(-100.0, expected), 0.21)
                    << "level " << level << ", column " << c << ", band " << b << ", seed " << test::seed();
            }
    }
}

TEST(SpectrogramTiles, FollowsASoundThatGrows) {
    const auto sound = std::make_shared<Sound>(16000);
    std::atomic<int> told{0};
    SpectrogramTilesOptions options;
    options.on_change = [&] { ++told; };
    SpectrogramTiles tiles(sound, options);
    tiles.show(0, 0, 100000);
    EXPECT_TRUE(tiles.complete()) << "nothing is there";
    const auto x = test::sine(440, 1, 16000);
    sound->append(std::span(x).first(3000));
    tiles.show(0, 0, 100000);
    ASSERT_TRUE(wait_for(tiles));
    EXPECT_EQ(tiles.find(0, 0)->known, (3000 - 1024) / 32);
    sound->append(std::span(x).subspan(3000));
    sound->finish();
    tiles.show(0, 0, 100000);
    ASSERT_TRUE(wait_for(tiles));
    EXPECT_EQ(tiles.find(0, 0)->known, 128);
    EXPECT_EQ(tiles.find(0, 3)->known, 500 - 3 * 128);
    EXPECT_EQ(tiles.find(0, 4), nullptr);
    EXPECT_GE(told, 4);
    // What was made piece by piece is what is made at once.
    SpectrogramTiles whole(std::make_shared<Sound>(16000, x));
    whole.show(0, 0, 16000);
    ASSERT_TRUE(wait_for(whole));
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(whole.find(0, i)->values, tiles.find(0, i)->values) << i;
}

TEST(SpectrogramTiles, GivesUpWhatIsNoLongerLookedAt) {
    // An hour: at the finest level 1.8 million columns. Looking elsewhere must not wait for them.
    const auto sound = std::make_shared<Sound>(16000, std::vector<float>(3600 * 16000, 0.1f));
    SpectrogramTilesOptions options;
    options.cache_bytes = 4 << 20;
    SpectrogramTiles tiles(sound, options);
    tiles.show(0, 0, sound->size());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const int level = SpectrogramTiles::level_for(3600.0 * 16000 / 1000);
    tiles.show(level, 0, sound->size());
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(wait_for(tiles));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("an hour in %d columns: %.2f s\n", static_cast<int>(sound->size() / SpectrogramTiles::hop(level)),
                seconds);
    EXPECT_LT(seconds, 15) << "about 0.3 s; instrumented or on a busy machine more";
    EXPECT_LE(SpectrogramTiles::hop(level), 57600);
    EXPECT_GT(SpectrogramTiles::hop(level + 1), 57600);
}

TEST(SpectrogramTiles, ForgetsTheLeastRecentlySeen) {
    SpectrogramTilesOptions options;
    options.window = 256;
    options.cache_bytes = 10 * 128 * 160;
    SpectrogramTiles tiles(std::make_shared<Sound>(16000, std::vector<float>(64 * 4096, 0.1f)), options);
    for (int64_t i = 0; i < 20; ++i) {
        tiles.show(0, i * 4096, i * 4096 + 1);
        ASSERT_TRUE(wait_for(tiles));
        ASSERT_NE(tiles.find(0, i), nullptr);
        ASSERT_NE(tiles.find(0, 0), nullptr) << "seen again and again";
    }
    int there = 0;
    for (int64_t i = 0; i < 64; ++i) there += tiles.find(0, i) != nullptr;
    EXPECT_EQ(there, 10);
    EXPECT_EQ(tiles.find(0, 5), nullptr);
}

TEST(SpectrogramTiles, RefusesNonsense) {
    const auto sound = std::make_shared<Sound>(16000, std::vector<float>(100));
    EXPECT_THROW(SpectrogramTiles(nullptr), Error);
    EXPECT_THROW(SpectrogramTiles(sound, {.window = 1000}), Error);
    EXPECT_THROW(SpectrogramTiles(sound, {.bands = 0}), Error);
    EXPECT_THROW(SpectrogramTiles(sound, {.lowest = 9000}), Error);
}

}  // namespace
}  // namespace nigiri
