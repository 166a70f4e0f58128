#include "audio/output.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "audio/file.h"
#include "audio/playback_queue.h"
#include "audio/ring.h"
#include "tests/audio/allocations.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::TemporaryFolder;

TEST(Ring, KeepsOrderAndCapacity) {
    Ring<int> ring(5);
    EXPECT_EQ(ring.capacity(), 8u);
    std::vector<int> out(20);
    int written = 0, read = 0;
    Random random(test::seed());
    for (int round = 0; round < 2000; ++round) {
        std::vector<int> in(random.below(10));
        for (size_t i = 0; i < in.size(); ++i) in[i] = written + static_cast<int>(i);
        const size_t room = ring.room();
        const size_t n = ring.write(in);
        EXPECT_EQ(n, std::min(in.size(), room));
        written += static_cast<int>(n);
        EXPECT_EQ(ring.size(), static_cast<size_t>(written - read));
        const size_t m = ring.read(std::span(out).first(random.below(10)));
        for (size_t i = 0; i < m; ++i) ASSERT_EQ(out[i], read++) << "seed " << test::seed();
    }
    EXPECT_GT(read, 5000);
}

TEST(Ring, DropSkipsWhatWasWrittenBefore) {
    Ring<int> ring(8);
    ring.write(std::vector<int>{1, 2, 3});
    ring.drop();
    EXPECT_EQ(ring.size(), 0u);
    ring.write(std::vector<int>{4, 5});
    std::vector<int> out(8);
    ASSERT_EQ(ring.read(out), 2u);
    EXPECT_EQ(out[0], 4);
    EXPECT_EQ(out[1], 5);
    EXPECT_EQ(ring.room(), 8u);
}

TEST(Ring, PassesEverythingBetweenThreads) {
    Ring<uint32_t> ring(64);
    constexpr uint32_t count = 200000;
    std::jthread producer([&] {
        std::vector<uint32_t> block(37);
        for (uint32_t next = 0; next < count;) {
            const uint32_t n = std::min<uint32_t>(37, count - next);
            for (uint32_t i = 0; i < n; ++i) block[i] = next + i;
            const size_t written = ring.write(std::span(block).first(n));
            next += static_cast<uint32_t>(written);
            if (written == 0) std::this_thread::yield();
        }
    });
    std::vector<uint32_t> out(50);
    for (uint32_t expected = 0; expected < count;) {
        const size_t n = ring.read(out);
        if (n == 0) std::this_thread::yield();
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], expected++);
    }
}

TEST(PlaybackQueue, FillNeverAllocates) {
    PlaybackQueue queue(4096);
    const std::vector<float> x(4096, 0.5f);
    std::vector<float> out(2 * 1000);
    queue.write(x);
    auto allocations = test::allocations_of([&] {
        for (int i = 0; i < 8; ++i) {
            queue.fill(out.data(), 1000, 2);
            if (i == 2) queue.set_paused(true);
            if (i == 5) queue.set_paused(false);
        }
    });
    if (!allocations) GTEST_SKIP() << "the thread sanitizer's allocator is not counted";
    EXPECT_EQ(allocations, 0);
    std::unique_ptr<int> control;
    allocations = test::allocations_of([&] { control = std::make_unique<int>(1); });
    EXPECT_EQ(allocations, 1) << "the counter itself works";
}

TEST(PlaybackQueue, PlaysWhatWasWrittenAfterAFadeIn) {
    PlaybackQueue queue(8192);
    std::vector<float> x(2000);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1) / 4000.0f;
    EXPECT_EQ(queue.write(x), 2000u);
    queue.set_finished(true);
    std::vector<float> out(2 * 2500, 9.0f);
    queue.fill(out.data(), 2500, 2);
    for (size_t i = 0; i < 2500; ++i) {
        const float expected = i >= 2000 ? 0.0f : x[i] * std::min(1.0f, static_cast<float>(i + 1) / 256.0f);
        ASSERT_FLOAT_EQ(out[2 * i], expected) << i;
        ASSERT_EQ(out[2 * i], out[2 * i + 1]) << "both channels alike";
    }
    EXPECT_EQ(queue.played(), 2000u);
    EXPECT_EQ(queue.underruns(), 0u) << "an announced end is none";
}

TEST(PlaybackQueue, CountsUnderruns) {
    PlaybackQueue queue(1024);
    std::vector<float> out(100);
    queue.fill(out.data(), 100, 1);
    EXPECT_EQ(queue.underruns(), 0u) << "nothing has begun";
    queue.write(std::vector<float>(150, 0.1f));
    queue.fill(out.data(), 100, 1);
    EXPECT_EQ(queue.underruns(), 0u);
    queue.fill(out.data(), 100, 1);
    queue.fill(out.data(), 100, 1);
    EXPECT_EQ(queue.underruns(), 1u) << "one gap, however long";
    queue.write(std::vector<float>(10, 0.1f));
    queue.fill(out.data(), 100, 1);
    EXPECT_EQ(queue.underruns(), 2u);
}

TEST(PlaybackQueue, PauseFadesAndLosesNothing) {
    PlaybackQueue queue(8192);
    queue.write(std::vector<float>(8000, 0.5f));
    std::vector<float> out(1000);
    queue.fill(out.data(), 1000, 1);
    queue.set_paused(true);
    queue.fill(out.data(), 1000, 1);
    for (size_t i = 1; i < 1000; ++i)
        ASSERT_LE(std::abs(out[i] - out[i - 1]), 0.5f / 256 + 1e-6f) << "a click at " << i;
    EXPECT_EQ(out.back(), 0.0f);
    const uint64_t played = queue.played();
    EXPECT_LE(played, 2000u);
    queue.fill(out.data(), 1000, 1);
    EXPECT_EQ(queue.played(), played) << "nothing is taken while paused";
    EXPECT_EQ(queue.underruns(), 0u);
    queue.set_paused(false);
    queue.fill(out.data(), 1000, 1);
    EXPECT_EQ(queue.played(), played + 1000);
    EXPECT_EQ(out.back(), 0.5f);
    queue.set_volume(0.5f);
    queue.fill(out.data(), 1000, 1);
    EXPECT_EQ(out.back(), 0.25f);
}

TEST(NullOutput, TakesRealTime) {
    const auto output = open_null_output(16000);
    const auto x = test::sine(440, 0.3, 16000);
    const auto begin = std::chrono::steady_clock::now();
    double last = 0;
    EXPECT_TRUE(play(*output, x, [&](double f, const std::string&) {
        EXPECT_GE(f, last);
        last = f;
        return true;
    }));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    // A device's block of 10 ms may be ahead; a busy machine may be late.
    EXPECT_GT(seconds, 0.27);
    EXPECT_LT(seconds, 5);
    EXPECT_EQ(output->played(), 4800);
    EXPECT_EQ(output->queued(), 0);
    EXPECT_EQ(last, 1);
}

TEST(NullOutput, PausesDropsAndCancels) {
    const auto output = open_null_output(16000);
    output->set_paused(true);
    EXPECT_EQ(output->write(test::sine(440, 1, 16000)), 16000u);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    EXPECT_EQ(output->played(), 0);
    EXPECT_EQ(output->queued(), 16000);
    output->drop();
    EXPECT_EQ(output->queued(), 0);
    output->set_paused(false);
    EXPECT_FALSE(play(*output, test::sine(440, 60, 16000), [](double, const std::string&) { return false; }));
}

TEST(NullOutput, AtOnceTakesNoTime) {
    const auto output = open_null_output(16000, false);
    EXPECT_TRUE(play(*output, test::sine(440, 600, 16000)));
    EXPECT_EQ(output->played(), 600 * 16000);
}

TEST(FileOutput, HoldsTheSamplesExactly) {
    const TemporaryFolder folder;
    std::string message;
    const auto x = test::sine(440, 0.5, 16000);
    {
        const auto output = open_output("file:" + (folder / "x.wav").string(), 16000, message);
        EXPECT_TRUE(message.empty());
        EXPECT_TRUE(play(*output, x));
        EXPECT_EQ(output->played(), 8000);
        EXPECT_THROW(output->write(x), Error);
    }
    const Audio back = read_audio(folder / "x.wav");
    ASSERT_EQ(back.samples.size(), x.size());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(back.samples[i], x[i], 0x1p-16 * 1.0001);
    { const auto unfinished = open_file_output(folder / "y.wav", 16000); }
    EXPECT_FALSE(std::filesystem::exists(folder / "y.wav"));
    EXPECT_THROW(open_file_output(folder / "missing/y.wav", 16000), Error);
}

TEST(OpenOutput, NeverFailsOnAutoAndSaysWhatItDid) {
    std::string message;
    const auto output = open_output("auto", 16000, message);
    ASSERT_NE(output, nullptr);
    EXPECT_EQ(output->rate(), 16000);
    if (output->description() == "null")
        EXPECT_NE(message.find("null"), std::string::npos);
    else
        EXPECT_TRUE(message.empty());
    EXPECT_TRUE(play(*output, test::sine(440, 0.05, 16000)));
}

TEST(OpenOutput, AskedForDeviceThatIsMissingIsAnError) {
    std::string message;
    EXPECT_THROW(open_output("no such device, surely", 16000, message), Error);
    EXPECT_THROW(open_output("99999", 16000, message), Error);
    EXPECT_THROW(open_output("null", 0, message), Error);
}

TEST(OpenOutput, KeepsQuietOnStderr) {
    const TemporaryFolder folder;
    const int saved = ::dup(STDERR_FILENO);
    FILE* file = std::fopen((folder / "stderr").c_str(), "w");
    ASSERT_NE(file, nullptr);
    ::dup2(::fileno(file), STDERR_FILENO);
    output_devices();
    std::string message;
    open_output("auto", 16000, message).reset();
    std::fputs("still here\n", stderr);
    ::dup2(saved, STDERR_FILENO);
    ::close(saved);
    std::fclose(file);
    EXPECT_EQ(test::bytes_of(folder / "stderr"), "still here\n")
        << "nothing of PortAudio's, and stderr works afterwards";
}

}  // namespace
}  // namespace nigiri
