// What is really heard: the player plays on the default device, which tests/sound/with_speaker has made a PulseAudio
// sink; the sink's monitor is recorded and compared with what was to be heard.
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <numbers>
#include <thread>

#include "audio/player.h"
#include "audio/resample.h"
#include "tests/app/process.h"
#include "tests/audio/support.h"
#include "tests/sound/align.h"

namespace nigiri {
namespace {

using test::align;
using test::Alignment;

constexpr int rate = 16000, heard_rate = 48000;

// Notes with decaying, slightly stretched overtones, one every `step` seconds.
std::vector<float> piano(const std::vector<double>& notes, double step, double seconds) {
    std::vector<float> x(static_cast<size_t>(seconds * rate));
    for (size_t k = 0; k < notes.size(); ++k) {
        const double f = notes[k];
        for (size_t i = static_cast<size_t>(static_cast<double>(k) * step * rate); i < x.size(); ++i) {
            const double t = static_cast<double>(i) / rate - static_cast<double>(k) * step;
            double v = 0;
            for (int h = 1; h <= 8; ++h) {
                const double partial = f * h * std::sqrt(1 + 4e-4 * h * h);
                if (partial > 0.45 * rate) break;
                v += std::exp(-t * (1.5 + 0.8 * h)) / h * std::sin(2 * std::numbers::pi * partial * t);
            }
            x[i] += static_cast<float>(0.12 * (1 - std::exp(-t / 0.004)) * v);
        }
    }
    return x;
}

std::vector<float> melody() {
    return piano({261.6, 329.6, 392.0, 523.3, 440.0, 349.2, 293.7, 246.9, 261.6, 392.0, 329.6, 196.0, 220.0, 277.2},
                 0.4, 6);
}
std::vector<float> other_melody() {
    return piano({98.0, 146.8, 185.0, 233.1, 311.1, 155.6, 116.5, 207.7, 277.2, 174.6, 138.6, 103.8, 164.8, 246.9}, 0.4,
                 6);
}

// Records what the sink plays, from when it is made.
class Recording {
  public:
    explicit Recording(const test::TemporaryFolder& folder)
        : file_(folder / "recorded.raw"),
          parec_("/usr/bin/env",
                 {"parec", "-d", "speaker.monitor", "--raw", "--format=float32le", "--rate=48000", "--channels=1",
                  "--latency-msec=100", file_.string()},
                 folder.path().string()) {
        std::error_code error;
        for (int k = 0; k < 1000 && !(std::filesystem::exists(file_, error) && std::filesystem::file_size(file_) > 0);
             ++k)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ~Recording() {
        if (running_) stop();
    }
    std::vector<float> stop() {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));  // for what is still under way
        parec_.send(SIGTERM);
        parec_.wait();
        running_ = false;
        const std::string bytes = test::bytes_of(file_);
        std::vector<float> x(bytes.size() / 4);
        std::memcpy(x.data(), bytes.data(), x.size() * 4);
        return x;
    }

  private:
    std::filesystem::path file_;
    test::Process parec_;
    bool running_ = true;
};

class RealSound : public testing::Test {
  protected:
    void SetUp() override {
        if (!std::getenv("NIGIRI_SPEAKER_PID")) GTEST_SKIP() << "run me with tests/sound/with_speaker";
    }

    // A third of a second in the queue and in the device, so that a machine that does other things besides has time
    // enough; with NIGIRI_SOUND_QUEUE=default what the product itself takes. Every underrun counts in either case.
    static PlayerOptions options() {
        PlayerOptions o;
        const char* queue = std::getenv("NIGIRI_SOUND_QUEUE");
        if (queue && std::string(queue) == "default") {
            std::printf("with the product's own queue\n");
            return o;
        }
        o.queue_seconds = 0.3;
        o.open = [](const std::string&, int hertz, std::string&, double buffer_seconds) {
            return open_device_output(hertz, -1, buffer_seconds);
        };
        std::printf("with a queue and a device's buffer of 0.3 s each\n");
        return o;
    }
    // Waits until `condition`, or long enough to say that it will not come.
    template <class F>
    static bool eventually(F&& condition, int seconds = 20) {
        for (int k = 0; k < 200 * seconds; ++k) {
            if (condition()) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }
    // Opens the device with a moment of silence. Where a stream begins the server computes again what its sink was
    // about to play, but what the monitor has given of it cannot be called back: the first milliseconds would be
    // missing from the recording, not from the sound.
    void open(Player& player) {
        player.load(std::make_shared<Sound>(rate, std::vector<float>(rate / 2)));
        player.play();
        ASSERT_TRUE(eventually([&] { return player.status().ends == 1; }));
        before_ = player.status().underruns;
    }
    void expect_well(const Player& player) const {
        const PlayerStatus s = player.status();
        EXPECT_EQ(s.underruns, before_) << "while the clip was played";
        EXPECT_EQ(s.problem, "");
        std::printf("played on %s\n", s.device.c_str());
    }

    test::TemporaryFolder folder_;
    int64_t before_ = 0;
};

std::span<const float> seconds_of(const std::vector<float>& x, double begin, double end) {
    const size_t a = static_cast<size_t>(begin * heard_rate), b = static_cast<size_t>(end * heard_rate);
    return std::span(x).subspan(std::min(a, x.size()), std::min(b, x.size()) - std::min(a, x.size()));
}

double largest_corner(std::span<const float> x) {
    double largest = 0;
    for (size_t i = 2; i < x.size(); ++i)
        largest = std::max(largest, std::abs(static_cast<double>(x[i]) - 2.0 * x[i - 1] + x[i - 2]));
    return largest;
}

TEST_F(RealSound, AWholeClipIsHeardAsItIs) {
    const auto clip = melody();
    const auto expected = resample(clip, rate, heard_rate);
    std::vector<float> heard;
    {
        Recording recording(folder_);
        Player player(options());
        open(player);
        player.load(std::make_shared<Sound>(rate, clip));
        player.play();
        ASSERT_TRUE(eventually([&] { return player.status().ends == 2; }));
        expect_well(player);
        heard = recording.stop();
    }
    ASSERT_GT(heard.size(), expected.size());
    const Alignment found = align(heard, expected);
    std::printf("whole clip: correlation %.5f at %.3f s\n", found.correlation,
                static_cast<double>(found.lag) / heard_rate);
    EXPECT_GT(found.correlation, 0.99);
    // Nowhere a gap or a repetition: every half second by itself, at the same lag.
    for (double t = 0; t + 0.5 <= 6; t += 0.5)
        EXPECT_GT(test::correlation(seconds_of(expected, t, t + 0.5),
                                    std::span(heard).subspan(static_cast<size_t>(found.lag + t * heard_rate))),
                  0.99)
            << "at " << t << " s";
    EXPECT_LT(largest_corner(heard), 1.1 * largest_corner(expected) + 1e-3);
}

TEST_F(RealSound, ASwitchKeepsStep) {
    const auto a = melody(), b = other_melody();
    const auto expected_a = resample(a, rate, heard_rate), expected_b = resample(b, rate, heard_rate);
    std::vector<float> heard;
    {
        Recording recording(folder_);
        Player player(options());
        open(player);
        player.load({{std::make_shared<Sound>(rate, a), 1}, {std::make_shared<Sound>(rate, b), 1}});
        player.play();
        ASSERT_TRUE(eventually([&] { return player.status().position > 5 * rate / 2; }));
        player.select(1);
        ASSERT_TRUE(eventually([&] { return player.status().ends == 2; }));
        expect_well(player);
        heard = recording.stop();
    }
    // Asked for at 2.5 s or a little later, heard when what was queued is over; there is some time left for both.
    const Alignment first = align(heard, seconds_of(expected_a, 0, 2.4));
    const Alignment second = align(heard, seconds_of(expected_b, 4, 6));
    std::printf("first track %.5f, second %.5f\n", first.correlation, second.correlation);
    EXPECT_GT(first.correlation, 0.99);
    EXPECT_GT(second.correlation, 0.99);
    // In step to a sample of the device's, wherever the switch was.
    EXPECT_NEAR(static_cast<double>(second.lag - first.lag), 4 * heard_rate, 2);
    EXPECT_LT(largest_corner(heard), 1.1 * std::max(largest_corner(expected_a), largest_corner(expected_b)) + 1e-3);
}

TEST_F(RealSound, ASeekGoesWhereItShouldWithoutAClick) {
    const auto clip = melody();
    const auto expected = resample(clip, rate, heard_rate);
    std::vector<float> heard;
    double asked = 0;
    {
        Recording recording(folder_);
        Player player(options());
        open(player);
        player.load(std::make_shared<Sound>(rate, clip));
        player.play();
        ASSERT_TRUE(eventually([&] { return player.status().position > 2 * rate; }));
        player.seek(4 * rate);
        asked = static_cast<double>(player.status().position) / rate;
        ASSERT_TRUE(eventually([&] { return player.status().ends == 2; }));
        expect_well(player);
        heard = recording.stop();
    }
    const Alignment before = align(heard, seconds_of(expected, 0, 1.9));
    const Alignment after = align(heard, seconds_of(expected, 4.02, 6));
    std::printf("before the seek %.5f, after it %.5f\n", before.correlation, after.correlation);
    EXPECT_GT(before.correlation, 0.99);
    EXPECT_GT(after.correlation, 0.99);
    // When the sound went on from 4 s, as time of the clip: after the seek was asked for, by what was queued.
    const double jumped = static_cast<double>(after.lag - before.lag) / heard_rate - 0.02;
    std::printf("seek asked for at %.3f s, heard %.0f ms later\n", asked, 1e3 * (jumped - asked));
    EXPECT_GT(jumped, asked - 0.01);
    EXPECT_LT(jumped, asked + 1.5);
    EXPECT_LT(largest_corner(heard), 1.1 * largest_corner(expected) + 1e-3);
}

// Last: there is no sound afterwards.
TEST_F(RealSound, ZServerThatEndsIsSaidAndSurvived) {
    Player player(options());
    player.load(std::make_shared<Sound>(rate, std::vector<float>(60 * rate, 0.1f)));
    player.play();
    ASSERT_TRUE(eventually([&] { return player.status().position > rate / 2; }));
    ASSERT_EQ(player.status().problem, "");
    ASSERT_EQ(::kill(std::atoi(std::getenv("NIGIRI_SPEAKER_PID")), SIGTERM), 0);
    ASSERT_TRUE(eventually([&] { return !player.status().problem.empty(); }));
    std::printf("said: %s\n", player.status().problem.c_str());
    EXPECT_EQ(player.status().device, "null");
    const int64_t position = player.status().position;
    EXPECT_TRUE(eventually([&] { return player.status().position > position + rate / 4; })) << "it goes on, silently";
    player.stop();
}

}  // namespace
}  // namespace nigiri
