// Playing through PortAudio and ALSA into a file, by ALSA's own plug-ins: the whole path but the loudspeaker.
// In a program of its own, because ALSA reads its configuration once.
#include <algorithm>
#include <cstdlib>

#include "audio/output.h"
#include "tests/audio/support.h"

namespace nigiri {
namespace {

using test::TemporaryFolder;

class DeviceOutput : public testing::Test {
  protected:
    void SetUp() override {
        test::write_bytes(folder_ / "asound.conf",
                          "pcm.nothing { type null }\npcm.!default { type null }\nctl.!default { type hw card 0 }\n"
                          "pcm.nigiri_test { type file slave.pcm nothing file \"" +
                              recorded().string() + "\" format raw }\n");
        ::setenv("ALSA_CONFIG_PATH", (folder_ / "asound.conf").c_str(), 1);
        bool there = false;
        for (const SoundDevice& d : output_devices()) there = there || d.name.find("nigiri_test") != std::string::npos;
        if (!there) GTEST_SKIP() << "PortAudio has no ALSA here";
    }

    std::filesystem::path recorded() const { return folder_ / "recorded.raw"; }

    // The device's samples from the first that is not silence.
    std::vector<float> heard() const {
        const std::string bytes = test::bytes_of(recorded());
        std::vector<float> all(bytes.size() / 4);
        std::memcpy(all.data(), bytes.data(), all.size() * 4);
        return {std::find_if(all.begin(), all.end(), [](float x) { return x != 0; }), all.end()};
    }

    TemporaryFolder folder_;
};

TEST_F(DeviceOutput, PlaysEverySampleInOrder) {
    std::vector<float> x(30000);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1) / 32768.0f;
    {
        std::string message;
        const auto output = open_output("nigiri_test", 16000, message);
        EXPECT_NE(output->description().find("nigiri_test"), std::string::npos);
        EXPECT_TRUE(play(*output, x));
        EXPECT_EQ(output->played(), 30000);
        EXPECT_EQ(output->queued(), 0);
    }
    // The null device takes samples faster than they are made, so gaps of silence may lie between, each
    // followed by a fade in.
    const auto got = heard();
    ASSERT_GE(got.size(), x.size());
    size_t next = 0, exact = 0, gap = 0;
    for (const float v : got) {
        if (v == 0) {
            gap = 256;
            continue;
        }
        ASSERT_LT(next, x.size());
        const bool fading = next < 256 || gap > 0;
        EXPECT_TRUE(fading ? v <= x[next] : v == x[next]) << next;
        exact += !fading;
        gap -= gap > 0;
        ++next;
    }
    EXPECT_EQ(next, x.size());
    EXPECT_GT(exact, x.size() / 2);
}

TEST_F(DeviceOutput, ConvertsToTheDevicesRate) {
    // PortAudio asks ALSA for rates up to 192000 only; what is higher is converted to the device's own 44100.
    std::string message;
    const auto output = open_output("nigiri_test", 400000, message);
    EXPECT_NE(output->description().find("44100 Hz, from 400000 Hz"), std::string::npos) << output->description();
    EXPECT_TRUE(play(*output, test::sine(440, 1.0, 400000)));
    EXPECT_NEAR(static_cast<double>(output->played()), 400000, 10);
}

}  // namespace
}  // namespace nigiri
