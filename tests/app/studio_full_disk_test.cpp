// The studio on a disk that is full: settings, runs, generated and exported clips. Each says so, what was there stays,
// and with room again all goes on.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/studio/sessions/clip_library.h"
#include "app/studio/sessions/training_session.h"
#include "app/studio/settings.h"
#include "audio/write.h"
#include "model/checkpoint.h"
#include "model/trainer.h"
#include "tests/support/full_disk.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::FullDisk;

constexpr int rate = 16000;
constexpr auto patience = 60s;  // only a hang reaches it

std::string contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> files_in(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename());
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<float> tone(double seconds, double frequency = 330) {
    std::vector<float> samples(static_cast<size_t>(seconds * rate));
    for (size_t i = 0; i < samples.size(); ++i)
        samples[i] = static_cast<float>(0.4 * std::sin(2 * M_PI * frequency * static_cast<double>(i) / rate));
    return samples;
}

class StudioOnAFullDisk : public testing::Test {
  protected:
    static Config tiny_config() {
        Config c = preset_by_name("tiny");
        c.model.width = 8;
        c.model.layers = 1;
        c.model.pools = {4};
        c.training.batch = 1;
        c.training.length = 256;
        c.training.steps = 100000;
        c.training.minutes = 0;
        c.training.log_every = 1;
        c.training.validate_every = 5;
        c.training.validation_segments = 2;
        c.training.checkpoint_every = 0;
        c.training.preview_every = 0;
        return c;
    }

    template <class Condition>
    static bool soon(const Condition& condition) {
        for (const auto end = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < end;) {
            if (condition()) return true;
            std::this_thread::sleep_for(1ms);
        }
        return false;
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
    const std::string before = contents(file);
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
    EXPECT_EQ(contents(file), before);
    EXPECT_EQ(files_in(folder.path()), (std::vector<fs::path>{"studio.json"})) << "and nothing beside it";
    save_settings(s, file);
    std::string problem;
    EXPECT_EQ(load_settings(file, problem).page, "compare");
}

TEST_F(StudioOnAFullDisk, ARunSaysSoAndGoesOn) {
    double frequency = 220;  // another one for each part: the same recording twice would be left out
    for (const char* part : {"train", "valid", "test"}) {
        fs::create_directories(folder / "audio" / part);
        write_audio(folder / "audio" / part / "tone.wav", tone(1, frequency += 110), rate);
    }
    const fs::path run = folder / "run", last = run / "checkpoints" / "last.safetensors";
    TrainingSession session({});
    ASSERT_TRUE(session.start(
        {.data = folder / "audio", .files = {}, .run = run, .config = tiny_config(), .device = "cpu", .threads = 1}));
    ASSERT_TRUE(soon([&] { return session.snapshot().step >= 7; }));
    session.pause();
    ASSERT_TRUE(reaches(session, TrainingStage::paused));
    const std::string before = contents(last);
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
    EXPECT_EQ(contents(last), before) << "the checkpoint before is untouched";
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
    const Config c = tiny_config();
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
        EXPECT_EQ(session.sound()->size(), 0.3 * rate) << "it can still be heard";
    }
    EXPECT_TRUE(files_in(clips).empty()) << files_in(clips)[0];
    generate();
    EXPECT_EQ(session.status().error, "");
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(read_audio(made[0].file).samples.size(), 0.3 * rate);

    // Exported over a file that is there.
    for (const char* name : {"mine.wav", "mine.flac"}) {
        const fs::path to = folder / name;
        write_audio(to, tone(0.1), rate);
        const std::string before = contents(to);
        const auto files = files_in(folder.path());
        {
            const FullDisk full(500);
            EXPECT_THROW(export_clip(made[0], to, SampleFormat::pcm16), Error);
        }
        EXPECT_EQ(contents(to), before) << name;
        EXPECT_EQ(files_in(folder.path()), files) << name;
        export_clip(made[0], to, SampleFormat::pcm16);
        EXPECT_EQ(read_audio(to).samples.size(), 0.3 * rate) << name;
    }
}

}  // namespace
}  // namespace nigiri::studio
