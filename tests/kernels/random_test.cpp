#include "kernels/random.h"

#include <gtest/gtest.h>

namespace nigiri {
namespace {

// The known answers published with the generator (Random123's kat_vectors, philox4x32 10 rounds).
TEST(Philox, GivesThePublishedKnownAnswers) {
    const std::array<uint32_t, 4> zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    EXPECT_EQ(philox(0, 0, 0), zeros);
    const std::array<uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    EXPECT_EQ(philox(~0ull, ~0ull, ~0ull), ones);
}

TEST(Random, ContinuesFromASavedPosition) {
    Random a(7, 3);
    for (int i = 0; i < 10; ++i) a.normal();
    Random b(a.seed(), a.stream(), a.position());
    for (int i = 0; i < 10; ++i) EXPECT_EQ(a.bits(), b.bits());
}

TEST(Random, HasTheMomentsOfItsDistributions) {
    Random r(1);
    const int n = 200000;
    double sum = 0, square = 0, uniform = 0;
    for (int i = 0; i < n; ++i) {
        const double x = r.normal();
        sum += x, square += x * x, uniform += r.uniform();
    }
    // Five standard errors of each mean.
    EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
    EXPECT_NEAR(square / n, 1, 5 * std::sqrt(2.0 / n));
    EXPECT_NEAR(uniform / n, 0.5, 5 / std::sqrt(12.0 * n));
}

}  // namespace
}  // namespace nigiri
