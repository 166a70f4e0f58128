#include "audio/overview.h"

#include <chrono>

#include "kernels/error.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

SampleSummary by_hand(const std::vector<float>& x, int64_t begin, int64_t end) {
    SampleSummary s;
    double energy = 0;
    begin = std::max<int64_t>(begin, 0);
    end = std::min(end, static_cast<int64_t>(x.size()));
    if (begin >= end) return s;
    s.lowest = s.highest = x[static_cast<size_t>(begin)];
    for (int64_t i = begin; i < end; ++i) {
        const float v = x[static_cast<size_t>(i)];
        s.lowest = std::min(s.lowest, v);
        s.highest = std::max(s.highest, v);
        energy += static_cast<double>(v) * v;
    }
    s.rms = static_cast<float>(std::sqrt(energy / static_cast<double>(end - begin)));
    return s;
}

// Lowest and highest are exact. Energies of 64 samples are added up in float32, 8 at a time: 1e-6 relative.
void expect_equal(const SampleSummary& got, const SampleSummary& expected) {
    EXPECT_EQ(got.lowest, expected.lowest);
    EXPECT_EQ(got.highest, expected.highest);
    EXPECT_NEAR(got.rms, expected.rms, 1e-6 * expected.rms);
}

TEST(Overview, IsExactForAnyRange) {
    const auto x = test::noise(150000, 0.2, test::seed());
    Overview overview(std::make_shared<Sound>(16000, x));
    EXPECT_TRUE(overview.update());
    Random random(test::seed());
    for (int k = 0; k < 1500; ++k) {
        SCOPED_TRACE("seed " + std::to_string(test::seed()) + ", range " + std::to_string(k));
        const int64_t begin = static_cast<int64_t>(random.below(150000));
        const int64_t most = k % 3 == 0 ? 150000 : k % 3 == 1 ? 3000 : 100;
        const int64_t end = std::min<int64_t>(150000, begin + 1 + static_cast<int64_t>(random.below(most)));
        expect_equal(overview.summary(begin, end), by_hand(x, begin, end));
    }
}

TEST(Overview, ColumnsTileTheRange) {
    const auto x = test::noise(100003, 0.2, test::seed());
    Overview overview(std::make_shared<Sound>(16000, x));
    overview.update();
    for (const auto& [begin, end, n] : {std::tuple<int64_t, int64_t, int>{0, 100003, 997},
                                        {17, 90001, 640},
                                        {5000, 5100, 300},  // a sample over several columns
                                        {-3000, 103003, 100},
                                        {99990, 100200, 50}}) {
        std::vector<SampleSummary> columns(static_cast<size_t>(n));
        overview.query(begin, end, columns);
        for (int64_t c = 0; c < n; ++c) {
            SCOPED_TRACE(std::to_string(begin) + " column " + std::to_string(c));
            const int64_t a = begin + (end - begin) * c / n, b = begin + (end - begin) * (c + 1) / n;
            expect_equal(columns[static_cast<size_t>(c)], by_hand(x, a, std::max(b, a + 1)));
        }
    }
    std::vector<SampleSummary> none(3);
    EXPECT_THROW(overview.query(5, 5, none), Error);
    EXPECT_GT(overview.summary(100003, 100010).lowest, overview.summary(100003, 100010).highest);
}

TEST(Overview, GrowsWithTheSound) {
    const auto x = test::noise(120000, 0.2, test::seed());
    const auto sound = std::make_shared<Sound>(16000);
    Overview overview(sound);
    EXPECT_TRUE(overview.update());
    EXPECT_EQ(overview.size(), 0);
    Random random(test::seed());
    for (size_t at = 0; at < x.size();) {
        const size_t n = std::min<size_t>(1 + random.below(5000), x.size() - at);
        sound->append(std::span(x).subspan(at, n));
        at += n;
        while (!overview.update(1777)) {
        }
        ASSERT_EQ(overview.size(), static_cast<int64_t>(at));
        const int64_t begin = static_cast<int64_t>(random.below(at));
        expect_equal(overview.summary(begin, static_cast<int64_t>(at)), by_hand(x, begin, static_cast<int64_t>(at)));
        expect_equal(overview.summary(0, 1 << 30), by_hand(x, 0, static_cast<int64_t>(at)));
    }
}

// Prints how long it takes; the machine, not the test, decides what is quick.
TEST(Overview, OfTenMinutes) {
    using Clock = std::chrono::steady_clock;
    const auto milliseconds = [](Clock::time_point since) {
        return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
    };
    Overview overview(std::make_shared<Sound>(16000, test::sine(440, 600, 16000)));
    auto begin = Clock::now();
    overview.update();
    const double build = milliseconds(begin);
    std::vector<SampleSummary> columns(2000);
    begin = Clock::now();
    overview.query(0, 9'600'000, columns);
    const double draw = milliseconds(begin);
    for (const SampleSummary& column : columns) ASSERT_NEAR(column.rms, 0.5 / std::sqrt(2.0), 1e-3);
    std::printf("10 minutes at 16 kHz: made in %.1f ms, drawn in %.2f ms\n", build, draw);
}

}  // namespace
}  // namespace nigiri
