#include "audio/recorder.h"

#include <atomic>

#include "kernels/error.h"
#include "tests/audio/support.h"
#include "tests/support/wait.h"

namespace nigiri {
namespace {

using test::soon;
using State = RecorderStatus::State;

// Hears `samples` at once at `rate`, whatever is asked for; then nothing, or the device goes away.
RecorderOptions hearing(std::vector<float> samples, int rate) {
    RecorderOptions options;
    options.open = [samples = std::move(samples), rate](const std::string&, int) {
        return open_null_input(rate, samples, false);
    };
    return options;
}

TEST(Recorder, KeepsEverySampleInOrder) {
    const auto x = test::noise(40000, 0.1, 1);
    RecorderOptions options = hearing(x, 16000);
    std::atomic<int> told{0};
    options.on_change = [&] { ++told; };
    Recorder recorder(options);
    ASSERT_TRUE(soon([&] { return recorder.sound()->size() == 40000; }));
    EXPECT_EQ(recorder.status().state, State::recording);
    EXPECT_FALSE(recorder.sound()->final());
    EXPECT_GT(recorder.levels().peak, 0.1f);
    recorder.stop();
    EXPECT_EQ(recorder.sound()->copy(), x);
    EXPECT_TRUE(recorder.sound()->final());
    EXPECT_EQ(recorder.status().state, State::finished);
    EXPECT_EQ(recorder.status().problem, "");
    EXPECT_GE(told, 2);
    recorder.stop();  // once more is nothing
}

TEST(Recorder, ConvertsToTheSoundsRate) {
    Recorder recorder(hearing(test::sine(440, 1.5, 48000), 48000));
    ASSERT_TRUE(soon([&] { return recorder.sound()->size() > 23000; }));
    recorder.stop();
    const auto got = recorder.sound()->copy(), expected = test::sine(440, 1.5, 16000);
    ASSERT_EQ(got.size(), expected.size());
    // The converter's ends aside: a sine passes to 20 bits.
    for (size_t i = 200; i + 200 < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 2e-5) << i;
}

TEST(Recorder, EndsAtItsLength) {
    RecorderOptions options = hearing(test::noise(40000, 0.1, 1), 16000);
    options.longest_seconds = 0.5;
    Recorder recorder(options);
    EXPECT_TRUE(soon([&] { return recorder.status().state == State::finished; }));
    EXPECT_EQ(recorder.sound()->size(), 8000);
    EXPECT_TRUE(recorder.sound()->final());
    EXPECT_EQ(recorder.status().problem, "");
}

TEST(Recorder, RunsInRealTime) {
    RecorderOptions options;
    options.device = "null";
    Recorder recorder(options);
    EXPECT_TRUE(soon([&] { return recorder.sound()->size() >= 1600; }));
    recorder.stop();
    const auto x = recorder.sound()->copy();
    EXPECT_TRUE(std::all_of(x.begin(), x.end(), [](float v) { return v == 0; }));
}

TEST(Recorder, ADeviceThatGoesAwayLeavesWhatWasHeard) {
    class Failing final : public AudioInput {
      public:
        Failing() { rate_ = 16000; }
        std::string description() const override { return "failing"; }
        size_t read(std::span<float> samples) override {
            const size_t n = std::min<size_t>(samples.size(), 500 - given_);
            std::fill_n(samples.begin(), n, 0.5f);
            given_ += n;
            return n;
        }
        int64_t dropped() const override { return 7; }
        std::string failure() const override { return given_ == 500 ? "'failing' went away" : ""; }

      private:
        size_t given_ = 0;
    };
    RecorderOptions options;
    options.open = [](const std::string&, int) { return std::make_unique<Failing>(); };
    Recorder recorder(options);
    ASSERT_TRUE(soon([&] { return recorder.status().state == State::finished; }));
    EXPECT_EQ(recorder.status().problem, "'failing' went away");
    EXPECT_EQ(recorder.status().dropped, 7);
    EXPECT_EQ(recorder.sound()->size(), 500);
    EXPECT_TRUE(recorder.sound()->final());
}

TEST(Recorder, SaysWhyItCannotRecord) {
    RecorderOptions options;
    options.device = "no such microphone, surely";
    Recorder recorder(options);
    ASSERT_TRUE(soon([&] { return recorder.status().state == State::finished; }));
    EXPECT_NE(recorder.status().problem.find("no such microphone, surely"), std::string::npos);
    EXPECT_EQ(recorder.sound()->size(), 0);
    options.rate = 0;
    EXPECT_THROW(Recorder{options}, Error);
    options.rate = 16000;
    options.longest_seconds = 0;
    EXPECT_THROW(Recorder{options}, Error);
}

}  // namespace
}  // namespace nigiri
