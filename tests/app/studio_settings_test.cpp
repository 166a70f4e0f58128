// What the studio remembers, and what it makes of a settings file that somebody else wrote; when it advises a longer
// sound buffer.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "app/studio/player/gap_advice.h"
#include "app/studio/settings.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;

class StudioSettings : public testing::Test {
  protected:
    Settings loaded(const std::string& text) {
        std::ofstream(file, std::ios::trunc) << text;
        return load();
    }
    Settings load() {
        problem.clear();
        return load_settings(file, problem);
    }

    test::TemporaryFolder folder;
    fs::path file = folder / "studio.json";
    std::string problem;
};

TEST_F(StudioSettings, AreKept) {
    EXPECT_EQ(load().sound_buffer_ms, 60) << "without a file";
    Settings s;
    s.sound_buffer_ms = 300;
    s.volume = 0.25f;
    s.light_theme = true;
    s.page = "train";
    s.threads = 3;
    s.output_device = "null";
    s.recent_models = {"/a/model", "/b/model"};
    const fs::path below = folder / "not" / "there" / "yet" / "studio.json";
    save_settings(s, below);
    const Settings again = load_settings(below, problem);
    EXPECT_EQ(again.sound_buffer_ms, 300);
    EXPECT_EQ(again.volume, 0.25f);
    EXPECT_TRUE(again.light_theme);
    EXPECT_EQ(again.page, "train");
    EXPECT_EQ(again.threads, 3);
    EXPECT_EQ(again.output_device, "null");
    EXPECT_EQ(again.recent_models, s.recent_models);
    EXPECT_EQ(problem, "");
}

TEST_F(StudioSettings, WhatIsOutOfRangeIsBroughtBack) {
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 200})").sound_buffer_ms, 200) << "what the page does not offer is allowed";
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 0})").sound_buffer_ms, 40);
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": -7})").sound_buffer_ms, 40);
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 401})").sound_buffer_ms, 400);
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 1e300})").sound_buffer_ms, 400);
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": -1e300})").sound_buffer_ms, 40);
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 18446744073709551615})").sound_buffer_ms, 400);
    EXPECT_EQ(loaded(R"({"threads": 99999999999})").threads, 1024);
    EXPECT_EQ(loaded(R"({"window_width": -1e18})").window_width, 960);
    EXPECT_EQ(problem, "");
}

TEST_F(StudioSettings, WhatIsOfAnotherKindKeepsItsDefault) {
    const Settings s = loaded(R"({"sound_buffer_ms": "long", "volume": [1], "recent_models": 5, "threads": null,
                                  "page": "train"})");
    EXPECT_EQ(s.sound_buffer_ms, 60);
    EXPECT_EQ(s.volume, 1);
    EXPECT_TRUE(s.recent_models.empty());
    EXPECT_EQ(s.threads, 0);
    EXPECT_EQ(s.page, "train") << "the rest is taken";
}

TEST_F(StudioSettings, ADamagedFileIsKeptBeside) {
    EXPECT_EQ(loaded(R"({"sound_buffer_ms": 300)").sound_buffer_ms, 60);
    EXPECT_NE(problem.find("studio.json.damaged"), std::string::npos) << problem;
    EXPECT_FALSE(fs::exists(file));
    EXPECT_TRUE(fs::exists(folder / "studio.json.damaged"));
}

TEST(GapAdvice, IsGivenOnceAndNotBeforeGapsGoOn) {
    GapAdvice advice;
    PlayerStatus status;
    status.queue_seconds = 0.06;
    EXPECT_EQ(advice.update(status), "");
    status.underruns = 2;
    EXPECT_EQ(advice.update(status), "") << "a gap or two may happen";
    status.underruns = 3;
    status.often_late = true;
    EXPECT_NE(advice.update(status).find("choose a longer sound buffer"), std::string::npos);
    EXPECT_EQ(advice.update(status), "");
    status.often_late = false;
    EXPECT_EQ(advice.update(status), "");
    status.often_late = true;
    EXPECT_EQ(advice.update(status), "") << "nor is it repeated later";
}

TEST(GapAdvice, DoesNotAskForALongerBufferThanThereIs) {
    GapAdvice advice;
    PlayerStatus status;
    status.queue_seconds = 0.3;
    status.often_late = true;
    EXPECT_NE(advice.update(status).find("close other programs"), std::string::npos);
}

}  // namespace
}  // namespace nigiri::studio
