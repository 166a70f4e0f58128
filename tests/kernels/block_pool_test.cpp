// The pool of a backend's memory: reuse, statistics, and blocks that are kept for repeated work.
#include "kernels/block_pool.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/support/check.h"

namespace nigiri {
namespace {

// A system of so many bytes.
struct System {
    explicit System(size_t most) : room(most) {}
    BlockPool::System functions() {
        return {[this](size_t bytes) -> void* {
                    if (bytes > room) return nullptr;
                    room -= bytes;
                    void* data = std::malloc(bytes);
                    sizes[data] = bytes;
                    return data;
                },
                [this](void* data) {
                    room += sizes.at(data);
                    sizes.erase(data);
                    std::free(data);
                }};
    }

    size_t room;
    std::map<void*, size_t> sizes;
};

TEST(BlockPool, HandsBlocksOutAgainAndCountsThem) {
    System system(1 << 20);
    {
        BlockPool pool(64, system.functions());
        void* const a = pool.acquire(1000);
        EXPECT_EQ(pool.in_use(), 1024u);  // whole units of 64
        void* const b = pool.acquire(1000);
        EXPECT_NE(a, b);
        pool.release(a, 1000);
        EXPECT_EQ(pool.in_use(), 1024u);
        EXPECT_EQ(pool.peak(), 2048u);
        EXPECT_EQ(pool.unused(), 1024u);
        EXPECT_EQ(pool.acquire(999), a);
        pool.reset_peak();
        EXPECT_EQ(pool.peak(), 2048u);
        EXPECT_EQ(pool.acquire(2 << 20), nullptr);
        EXPECT_EQ(pool.in_use(), 2048u);
        pool.release(a, 999);
        pool.release(b, 1000);
        EXPECT_EQ(system.sizes.size(), 2u);
        pool.trim();
        EXPECT_EQ(system.sizes.size(), 0u);
        pool.release(pool.acquire(10), 10);
    }
    EXPECT_EQ(system.sizes.size(), 0u) << "what is left is given back at the end";
}

TEST(BlockPool, KeepsWhatAReservationUsed) {
    System system(1 << 20);
    BlockPool pool(64, system.functions());
    void* const before = pool.acquire(64);
    void* const unused = pool.acquire(640);
    void* const found = pool.acquire(128);
    pool.release(unused, 640);
    pool.release(found, 128);
    pool.reset_peak();
    std::unique_ptr<BlockPool::Reservation> kept;
    void* made = nullptr;
    {
        pool.begin_reservation();
        void* const a = pool.acquire(128);
        EXPECT_EQ(a, found) << "blocks that are there are used";
        made = pool.acquire(256);
        pool.release(a, 128);
        EXPECT_EQ(pool.acquire(128), found) << "and come and go as always";
        pool.trim();
        pool.release(found, 128);
        pool.release(made, 256);
        kept = pool.end_reservation();
    }
    EXPECT_EQ(kept->missing(), 0u);
    EXPECT_EQ(kept->bytes(), 128u + 256u);
    EXPECT_EQ(pool.in_use(), 64u);
    EXPECT_EQ(pool.peak(), 64u + 128u + 256u) << "the work's own peak counts";
    EXPECT_EQ(pool.unused(), 0u) << "the block that was not used went back in trim, the others are kept";
    void* const other = pool.acquire(128);
    EXPECT_NE(other, found);
    pool.reset_peak();
    kept->count_use();
    EXPECT_EQ(pool.peak(), 64u + 128u + 128u + 256u) << "as if the blocks had been taken again beside the others";
    kept = nullptr;
    EXPECT_EQ(pool.unused(), 128u + 256u);
    EXPECT_EQ(pool.acquire(256), made);
    pool.release(made, 256);
    pool.release(other, 128);
    pool.release(before, 64);
    EXPECT_EQ(pool.in_use(), 0u);
}

TEST(BlockPool, ReportsBlocksThatAReservationIsMissing) {
    System system(1 << 20);
    BlockPool pool(64, system.functions());
    pool.begin_reservation();
    void* const a = pool.acquire(100);
    auto kept = pool.end_reservation();
    EXPECT_EQ(kept->missing(), 1u);
    EXPECT_EQ(kept->bytes(), 0u);
    pool.release(a, 100);
    EXPECT_EQ(pool.unused(), 128u) << "it belongs to the pool";
}

// Any order of requests: nothing is handed out twice at a time, and what is kept is handed out to nobody.
TEST(BlockPool, NeverHandsOutWhatIsTaken) {
    System system(size_t{1} << 30);
    BlockPool pool(64, system.functions());
    Random random(test::seed());
    std::map<void*, size_t> taken;
    std::set<void*> reserved;
    std::unique_ptr<BlockPool::Reservation> kept;
    for (int round = 0; round < 200; ++round) {
        const bool reserves = round % 10 == 5;
        if (round % 20 == 0) kept = nullptr, reserved.clear();
        if (reserves) {
            for (const auto& [data, bytes] : taken) pool.release(data, bytes);
            taken.clear();
            kept = nullptr;
            reserved.clear();
            pool.begin_reservation();
        }
        std::set<void*> seen;
        for (int i = 0; i < 100; ++i) {
            if (taken.empty() || random.below(2) == 0) {
                const size_t bytes = 1 + random.below(5000);
                void* const data = pool.acquire(bytes);
                EXPECT_FALSE(taken.contains(data)) << "seed " << test::seed();
                EXPECT_FALSE(reserved.contains(data)) << "seed " << test::seed();
                taken[data] = bytes;
                seen.insert(data);
            } else {
                const auto it = std::next(taken.begin(), static_cast<int64_t>(random.below(taken.size())));
                pool.release(it->first, it->second);
                taken.erase(it);
            }
        }
        if (!reserves) continue;
        for (const auto& [data, bytes] : taken) pool.release(data, bytes);
        taken.clear();
        kept = pool.end_reservation();
        EXPECT_EQ(kept->missing(), 0u);
        reserved = seen;
    }
    for (const auto& [data, bytes] : taken) pool.release(data, bytes);
}

}  // namespace
}  // namespace nigiri
