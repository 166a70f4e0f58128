#include "kernels/cpu/engine/pace.h"

#include <gtest/gtest.h>

namespace nigiri::cpu {
namespace {

using std::chrono::microseconds;

// Samples together among the next `samples`, where they take so long alone and together.
int64_t together(Pace& pace, int64_t samples, microseconds alone, microseconds shared) {
    int64_t count = 0;
    for (int64_t i = 0; i < samples; ++i) {
        count += pace.together();
        pace.took(pace.together() ? shared : alone);
    }
    return count;
}

TEST(Pace, KeepsToTheFasterWay) {
    Pace good(16);
    EXPECT_FALSE(good.together());
    EXPECT_GT(together(good, 100'000, microseconds(60), microseconds(35)), 98'000);
    Pace bad(16);
    EXPECT_LT(together(bad, 100'000, microseconds(60), microseconds(90)), 2'000);
    Pace hardly(16);  // not worth a second processor
    EXPECT_LT(together(hardly, 100'000, microseconds(60), microseconds(55)), 2'000);
}

TEST(Pace, NoticesThatThingsHaveChanged) {
    Pace pace(16);
    together(pace, 50'000, microseconds(60), microseconds(100));
    EXPECT_GT(together(pace, 100'000, microseconds(60), microseconds(35)), 80'000);
    EXPECT_LT(together(pace, 100'000, microseconds(60), microseconds(100)), 20'000);
}

// Another program takes a processor: a sample together costs milliseconds, and there are few of them.
TEST(Pace, GivesWayAtOnce) {
    Pace pace(256);
    together(pace, 20'000, microseconds(60), microseconds(35));
    ASSERT_TRUE(pace.together());
    EXPECT_LE(together(pace, 100'000, microseconds(60), microseconds(4000)), 20);
}

// The trials last whole periods, since samples of different phases cost differently.
TEST(Pace, ComparesWholePeriods) {
    Pace pace(256);
    int64_t count = 0;
    while (!pace.together()) pace.took(microseconds(count++ % 256 == 0 ? 10'000 : 30));
    EXPECT_EQ(count % 256, 0);
}

}  // namespace
}  // namespace nigiri::cpu
