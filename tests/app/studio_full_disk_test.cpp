// The studio on a disk that is full: settings, runs, generated and exported clips. Each says so, what was there stays,
// and with room again all goes on.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "app/studio/sessions/clip_library.h"
#include "app/studio/sessions/training_session.h"
#include "app/studio/settings.h"
#include "audio/write.h"
#include "model/checkpoint.h"
#include "model/trainer.h"
#include "tests/app/studio.h"
#include "tests/support/full_disk.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::FullDisk;
using test::soon;
using test::sound_rate;

std::vector<fs::path> files_in(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename());
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<float> tone(double seconds, double hertz = 330) { return test::sine(hertz, seconds, sound_rate, 0.4); }

class StudioOnAFullDisk : public testing::Test {
  protected:
    static Config long_run() {
        Config c = test::tiny_run(100000);
        c.training.validate_every = 5;
        return c;
    }
    static bool reaches(const TrainingSession& session, TrainingStage stage) {
        return soon([&] { return session.snapshot().stage == stage; });
    }

    test::TemporaryFolder folder;
};

TEST_F(StudioOnAFullDisk, SettingsStayAsTheyWere) {
    const fs::path file = folder / "studio.json";
    Settings s;
    s.page = "train";
    save_settings(s, file);
    const std::string before = bytes_of(file);
    s.page = "compare";
    {
        const FullDisk full(20);
        try {
            save_settings(s, file);
            ADD_FAILURE() << "the disk is full";
        } catch (const Error& e) {
            EXPECT_NE(std::string(e.what()).find("studio.json"), std::string::npos) << e.what();
            EXPECT_NE(e.hint().find("space"), std::string::npos) << e.hint();
        }
    }
    EXPECT_EQ(bytes_of(file), before);
    EXPECT_EQ(files_in(folder.path()), (std::vector<fs::path>{"studio.json"})) << "and nothing beside it";
    save_settings(s, file);
    std::string problem;
    EXPECT_EQ(load_settings(file, problem).page, "compare");
}

TEST_F(StudioOnAFullDisk, ARunSaysSoAndGoesOn) {
    double frequency = 220;  // another one for each part: the same recording twice would be left out
    for (const char* part : {"train", "valid", "test"}) {
        fs::create_directories(folder / "audio" / part);
        write_audio(folder / "audio" / part / "tone.wav", tone(1, frequency += 110), sound_rate);
    }
    const fs::path run = folder / "run", last = run / "checkpoints" / "last.safetensors";
    TrainingSession session({});
    ASSERT_TRUE(session.start(
        {.data = folder / "audio", .files = {}, .run = run, .config = long_run(), .device = "cpu", .threads = 1}));
    ASSERT_TRUE(soon([&] { return session.snapshot().step >= 7; }));
    session.pause();
    ASSERT_TRUE(reaches(session, TrainingStage::paused));
    const std::string before = bytes_of(last);
    const int64_t paused = session.snapshot().step;
    {
        // No room for half a line more in the log.
        const FullDisk full(fs::file_size(run / "metrics.jsonl") + 50);
        session.resume();
        ASSERT_TRUE(reaches(session, TrainingStage::failed));
        const TrainingSnapshot s = session.snapshot();
        EXPECT_NE(s.error.find("cannot write"), std::string::npos) << s.error;
        EXPECT_NE(s.hint.find("space"), std::string::npos) << s.hint;
        EXPECT_TRUE(s.resumable) << "the network is in memory";
        session.stop();  // in vain: there is no room for a checkpoint either
        ASSERT_TRUE(soon([&] {
            const TrainingSnapshot now = session.snapshot();
            return now.stage == TrainingStage::failed && now.resumable;
        }));
    }
    EXPECT_EQ(bytes_of(last), before) << "the checkpoint before is untouched";
    EXPECT_EQ(Checkpoint::read(last).state().step, paused);
    session.resume();
    ASSERT_TRUE(soon([&] { return session.snapshot().step >= paused + 10; }));
    session.stop();
    ASSERT_TRUE(reaches(session, TrainingStage::stopped));
    const int64_t end = session.snapshot().step;
    EXPECT_EQ(Checkpoint::read(last).state().step, end);
    // Every step is in the log, once and whole.
    std::ifstream in(run / "metrics.jsonl");
    int64_t step = 0;
    for (std::string line; std::getline(in, line);) {
        const nlohmann::json j = nlohmann::json::parse(line, nullptr, false);
        ASSERT_TRUE(j.is_object()) << line;
        EXPECT_EQ(j["step"], ++step);
    }
    EXPECT_EQ(step, end);
}

TEST_F(StudioOnAFullDisk, ClipsAreNotHalfWritten) {
    const Config c = long_run();
    const Network network(make_backend("cpu", 1), c.model, DType::f32, 3, 256);
    const fs::path model = folder / "model.safetensors", clips = folder / "clips";
    save_checkpoint(model, c, network, nullptr, {}, {});
    GenerationSession session({});
    GenerationRequest request{
        .model = model, .seconds = 0.3, .count = 1, .device = "cpu", .threads = 1, .folder = clips};
    const auto generate = [&] {
        const uint64_t ended = session.status().ended;
        ASSERT_TRUE(session.start(request));
        ASSERT_TRUE(soon([&] { return session.status().ended > ended; }));
    };
    {
        const FullDisk full(500);
        generate();
        EXPECT_NE(session.status().error.find("cannot write"), std::string::npos) << session.status().error;
        EXPECT_NE(session.status().hint.find("space"), std::string::npos) << session.status().hint;
        EXPECT_TRUE(session.take_made().empty());
        ASSERT_TRUE(session.sound());
        EXPECT_EQ(session.sound()->size(), 0.3 * sound_rate) << "it can still be heard";
    }
    EXPECT_TRUE(files_in(clips).empty()) << files_in(clips)[0];
    generate();
    EXPECT_EQ(session.status().error, "");
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(read_audio(made[0].file).samples.size(), 0.3 * sound_rate);

    // Exported over a file that is there.
    for (const char* name : {"mine.wav", "mine.flac"}) {
        const fs::path to = folder / name;
        write_audio(to, tone(0.1), sound_rate);
        const std::string before = bytes_of(to);
        const auto files = files_in(folder.path());
        {
            const FullDisk full(500);
            EXPECT_THROW(export_clip(made[0], to, SampleFormat::pcm16), Error);
        }
        EXPECT_EQ(bytes_of(to), before) << name;
        EXPECT_EQ(files_in(folder.path()), files) << name;
        export_clip(made[0], to, SampleFormat::pcm16);
        EXPECT_EQ(read_audio(to).samples.size(), 0.3 * sound_rate) << name;
    }
}

}  // namespace
}  // namespace nigiri::studio
