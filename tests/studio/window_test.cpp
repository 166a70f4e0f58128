// The studio in a real window on a virtual display, driven by a pointer and keys from outside; what it writes is
// checked. Screenshots go to the folder NIGIRI_PICTURES names, or to studio-pictures beside the program.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "audio/file.h"
#include "audio/write.h"
#include "kernels/random.h"
#include "tests/studio/desktop.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::StudioUser;

std::string shipped(const std::string& name) { return std::string(NIGIRI_SOURCE_DIR) + "/assets/models/" + name; }

json read_json(const fs::path& path) {
    std::ifstream in(path);
    return json::parse(in, nullptr, false);
}

class StudioWindow : public testing::Test {
  protected:
    void SetUp() override {
        const std::string missing = test::Desktop::missing();
        if (!missing.empty()) GTEST_SKIP() << missing << " (Debian: xvfb xdotool x11-apps imagemagick)";
        desktop_ = std::make_unique<test::Desktop>(folder_.path());
    }

    fs::path at(const std::string& name) const { return folder_.path() / name; }
    std::string text(const std::string& name) const { return at(name).string(); }

    // Decaying tones, enough of them for training, validation and test; and one file that is no sound.
    void make_recordings(const std::string& name, int files = 5, double seconds = 3) {
        fs::create_directories(at(name));
        for (int i = 0; i < files; ++i) {
            Random random(7, static_cast<uint64_t>(i));
            std::vector<float> samples(static_cast<size_t>(seconds * 16000));
            double phase = 0, frequency = 220;
            for (size_t t = 0; t < samples.size(); ++t) {
                if (t % 4000 == 0) frequency = 110 * std::pow(2.0, static_cast<double>(random.below(25)) / 12);
                phase += 2 * M_PI * frequency / 16000;
                samples[t] =
                    static_cast<float>(0.5 * std::sin(phase) * std::exp(-static_cast<double>(t % 4000) / 2000));
            }
            write_audio(at(name) / ("tones-" + std::to_string(i) + ".wav"), samples, 16000);
        }
        std::ofstream(at(name) / "notes.txt") << "no sound in here";
    }

    void picture(const std::string& name) const {
        const char* folder = std::getenv("NIGIRI_PICTURES");
        const fs::path pictures = folder != nullptr ? folder : NIGIRI_PICTURES_DIR;
        fs::create_directories(pictures);
        desktop_->picture((pictures / (name + ".png")).string());
    }

    // Processor time of a process so far, in seconds.
    static double cpu_seconds(int pid) {
        std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
        std::string text;
        std::getline(in, text);
        std::istringstream fields(text.substr(text.rfind(')') + 2));
        std::string field;
        double ticks = 0;
        for (int i = 3; i <= 15 && fields >> field; ++i)
            if (i >= 14) ticks += std::stod(field);
        return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
    }

    test::TemporaryFolder folder_;
    std::unique_ptr<test::Desktop> desktop_;
};

TEST_F(StudioWindow, OpensAFolderAndPlaysAFile) {
    make_recordings("tones");
    StudioUser user(folder_.path(), {});
    EXPECT_EQ(user.state("page"), "data");
    user.press("data/Choose a folder");
    user.wait_for("dialog/path");
    user.key("ctrl+a");
    user.type(text("tones"));
    user.key("Return");
    user.wait_for("dialog/entry/notes.txt");
    picture("file-dialog");
    user.press("dialog/Choose this folder");
    user.wait_number("data.used", 5, 0);
    EXPECT_EQ(user.number("data.skipped"), 1);
    user.press("data/file/tones-2.wav");
    user.wait_state("deck.name", "tones-2.wav");
    user.wait_state("deck.state", "playing");
    EXPECT_EQ(user.state("deck.seconds"), "0:03.00");
    picture("data");
    user.key("space");
    user.wait_state("deck.state", "paused");
    // A press in the waveform seeks there; a drag selects; L repeats what is selected.
    user.right_of("deck/wave", 0.5);
    user.wait_number("deck.position", 1.5, 0.02);
    user.drag("deck/wave", 0.25, 0.75);
    user.wait_number("deck.selection.begin", 0.75, 0.02);
    user.wait_number("deck.selection.end", 2.25, 0.02);
    user.key("l");
    user.wait_state("deck.loop", "1");
    user.key("Home");
    user.wait_number("deck.position", 0, 0);
    // The wheel zooms at the pointer: what is under it stays.
    user.wheel("deck/wave", 10, 0.5);
    EXPECT_NEAR(user.number("deck.view.end") - user.number("deck.view.begin"), 3 * std::pow(0.8, 10), 0.01);
    EXPECT_NEAR((user.number("deck.view.begin") + user.number("deck.view.end")) / 2, 1.5, 0.01);
    user.choose("deck/##picture", "Both");
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    picture("spectrogram");
    // Another sound buffer while it plays.
    user.press("deck/play");
    user.wait_state("deck.state", "playing");
    user.press("side/settings");
    user.choose("settings/##buffer", "Long, 300 ms");
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    user.wait_state("deck.state", "playing");
    EXPECT_EQ(user.close(), 0);
    const json settings = read_json(at("config") / "nigiri" / "studio.json");
    EXPECT_EQ(settings["last_data"], text("tones"));
    EXPECT_EQ(settings["picture"], 2);
    EXPECT_EQ(settings["sound_buffer_ms"], 300);
}

TEST_F(StudioWindow, GeneratesPlaysAndExports) {
    StudioUser user(folder_.path(), {});
    user.key("ctrl+2");
    user.wait_state("page", "train");
    user.key("ctrl+3");
    user.wait_state("page", "generate");
    user.press("generate/Open another model");
    user.wait_for("dialog/path");
    user.key("ctrl+a");
    user.type(shipped("small-mamba-s4.safetensors"));
    user.key("Return");
    user.wait_for("generate/Generate");
    user.fill("generate/##seed", "77");
    user.press("generate/keep");
    user.right_of("generate/##seconds", 0.02);
    user.press("generate/Generate");
    user.wait_until("a clip", [&] { return user.shows("generate/clip/0"); });
    picture("generate");
    user.press("generate/clip/0");
    user.press("generate/Export");
    user.wait_for("dialog/##name");
    user.press("dialog/path");
    user.key("ctrl+a");
    user.type(folder_.path().string());
    user.key("Return");
    user.fill("dialog/##name", "mine.wav");
    user.press("dialog/Save");
    user.wait_until("the exported file", [&] { return fs::exists(at("mine.wav")) && fs::exists(at("mine.wav.json")); });
    const json facts = read_json(at("mine.wav.json"));
    EXPECT_EQ(facts["seed"], 77);
    EXPECT_EQ(facts["model"], "small-mamba-s4.safetensors");
    const Audio exported = read_audio(at("mine.wav"));
    EXPECT_EQ(exported.rate, 16000);
    EXPECT_EQ(static_cast<int64_t>(exported.samples.size()), facts["samples"].get<int64_t>());
    // The same seed on the command line gives the same sound.
    const double seconds = static_cast<double>(exported.samples.size()) / 16000;
    const auto again = test::run(NIGIRI_BINARY,
                                 {"generate", "--model", shipped("small-mamba-s4.safetensors"), "--seconds",
                                  std::to_string(seconds + 1e-5), "--seed", "77", "-o", text("again.wav")},
                                 folder_.path());
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(read_audio(at("again.wav")).samples, exported.samples);
    EXPECT_EQ(user.close(), 0);
}

TEST_F(StudioWindow, TrainsListensAndGenerates) {
    make_recordings("tones", 6, 2);
    StudioUser user(folder_.path(), {text("tones")});
    user.wait_number("data.used", 6, 0);
    user.press("data/Train on this");
    user.choose("train/##preset", "tiny");
    user.choose("train/##unit", "steps");
    user.fill("train/##amount", "100000");
    user.fill("train/##name", "first try");
    user.press("train/Advanced");
    user.fill("train/##length", "256");
    user.fill("train/##batch", "1");
    user.press("train/Start training");
    user.wait_state("training.stage", "training");
    // The curve moves: what is drawn comes from the file that the training writes.
    user.wait_until("steps", [&] { return user.number("training.step") > 20; });
    user.wait_until("a curve", [&] { return user.number("plot.points.curves") > 1; });
    const double step = user.number("training.step"), points = user.number("plot.points.curves");
    user.wait_until("more steps", [&] { return user.number("training.step") > step + 20; });
    user.wait_until("the curve to move", [&] { return user.number("plot.points.curves") > points; });
    picture("train");
    user.press("train/Pause");
    user.wait_state("training.stage", "paused");
    const fs::path run = at("Nigiri") / "runs" / "first try";
    EXPECT_TRUE(fs::exists(run / "checkpoints" / "last.safetensors"));
    user.press("train/Resume");
    user.wait_state("training.stage", "training");
    user.wait_until("more steps", [&] { return user.number("training.step") > step + 60; });
    user.press("train/Stop");
    user.wait_state("training.stage", "stopped");
    // Every step is in the file once, in order, through the pause.
    std::ifstream in(run / "metrics.jsonl");
    int64_t last = 0;
    for (std::string line; std::getline(in, line);) {
        const json metrics = json::parse(line, nullptr, false);
        ASSERT_TRUE(metrics.is_object()) << line;
        EXPECT_GT(metrics["step"], last);
        last = metrics["step"];
        EXPECT_TRUE(std::isfinite(metrics["train_bits_per_sample"].get<double>()));
    }
    EXPECT_GT(last, step);
    user.press("train/Generate with this");
    user.wait_state("page", "generate");
    user.right_of("generate/##seconds", 0.02);
    user.press("generate/Generate");
    user.wait_until("a clip", [&] { return user.shows("generate/clip/0"); });
    EXPECT_EQ(user.close(), 0);
    // What the window trained, the command line reads.
    const auto info = test::run(NIGIRI_BINARY, {"info", run.string(), "--json"}, folder_.path());
    ASSERT_EQ(info.code, 0) << info.err;
    EXPECT_GT(json::parse(info.out)["step"], 0);
}

TEST_F(StudioWindow, RunsABlindTest) {
    make_recordings("tones", 6, 20);
    StudioUser user(folder_.path(), {text("tones")});
    user.press("side/compare");
    user.press("compare/model/base-mamba-s4 (comes with Nigiri)");
    user.press("compare/model/small-mamba-s4 (comes with Nigiri)");
    user.fill("compare/##clips", "2");
    user.right_of("compare/##seconds", 0.02);
    user.press("compare/Exact bits per sample");
    user.press("compare/Make clips");
    user.press("compare/tab/Blind test");
    user.choose("compare/##kind", "ABX: can I tell them apart?");
    user.fill("compare/##trials", "5");
    user.press("compare/Begin the test");
    for (int trial = 0; trial < 5; ++trial) {
        user.wait_number("blind.answered", trial, 0);
        EXPECT_EQ(user.state("blind.verdict"), "") << "nothing is told before the end";
        EXPECT_EQ(user.state("blind.ready"), "no") << "X was not heard yet";
        user.key("1");  // too early: it does not count
        for (const char* sound : {"a", "b", "x"}) {
            user.key(sound);
            std::this_thread::sleep_for(std::chrono::milliseconds(700));
        }
        user.wait_state("blind.ready", "yes");
        EXPECT_FALSE(user.shows("deck/wave")) << "the picture would tell";
        if (trial == 2) picture("blind-test");
        user.key(trial % 2 == 0 ? "1" : "2");
    }
    user.wait_state("blind.finished", "yes");
    picture("result");
    const fs::path file = user.state("blind.file");
    const json result = read_json(file);
    ASSERT_TRUE(result.is_object()) << file;
    EXPECT_EQ(result["test"], "abx");
    EXPECT_EQ(result["finished"], true);
    ASSERT_EQ(result["answers"].size(), 5u);
    int right = 0;
    for (size_t i = 0; i < 5; ++i) {
        const json& trial = result["answers"][i];
        EXPECT_EQ(trial["answer"], i % 2) << "the keys that were pressed";
        EXPECT_EQ(trial["correct"], trial["answer"] == trial["x"]);
        right += trial["correct"].get<bool>() ? 1 : 0;
    }
    EXPECT_EQ(result["correct"], right);
    // So many of the 32 ways to guess are at least as good.
    const int ways[] = {32, 31, 26, 16, 6, 1};
    EXPECT_NEAR(result["p_value"].get<double>(), ways[right] / 32.0, 1e-12);
    fs::path table = file;
    EXPECT_TRUE(fs::exists(table.replace_extension(".csv")));
    EXPECT_EQ(user.close(), 0);
}

TEST_F(StudioWindow, ShowsEveryPageInEveryDress) {
    make_recordings("tones", 4, 2);
    const fs::path settings = at("config") / "nigiri" / "studio.json";
    fs::create_directories(settings.parent_path());
    for (const auto& [dress, extra] : std::vector<std::pair<std::string, std::string>>{
             {"dark", ""}, {"light", R"(, "light_theme": true)"}, {"large", R"(, "ui_scale": 1.5)"}}) {
        std::ofstream(settings) << R"({"output_device": "null")" << extra << "}";
        StudioUser user(folder_.path(), {text("tones")});
        user.wait_number("data.used", 4, 0);
        for (const std::string page : {"data", "train", "generate", "compare", "inspect", "settings"}) {
            user.press("side/" + page);
            user.wait_state("page", page);
            std::this_thread::sleep_for(std::chrono::milliseconds(400));
            picture("page-" + page + "-" + dress);
        }
        EXPECT_EQ(user.close(), 0);
    }
}

TEST_F(StudioWindow, LivesOnWhenThingsAreMissing) {
    make_recordings("tones", 3, 1);
    std::ofstream(at("damaged.safetensors")) << "this is no model";
    StudioUser user(folder_.path(), {text("tones")});
    user.wait_number("data.used", 3, 0);
    // A folder that vanishes while it is open.
    fs::remove_all(at("tones"));
    user.press("data/Read again");
    user.wait_until("a message", [&] { return user.state("message0").find("tones") != std::string::npos; });
    EXPECT_TRUE(user.running());
    // A damaged model.
    user.press("side/generate");
    user.press("generate/Open another model");
    user.wait_for("dialog/path");
    user.key("ctrl+a");
    user.type(text("damaged.safetensors"));
    user.key("Return");
    user.press("generate/Generate");
    user.wait_until("a message",
                    [&] { return user.state("message0").find("damaged.safetensors") != std::string::npos; });
    picture("message");
    EXPECT_TRUE(user.running());
    EXPECT_EQ(user.close(), 0);
}

// Not a test of speed: what it costs is printed. A window that never sleeps or never draws fails it all the same.
TEST_F(StudioWindow, SleepsWhenNothingMoves) {
    make_recordings("long", 1, 600);
    StudioUser user(folder_.path(), {text("long")});
    user.wait_number("data.used", 1, 0);
    user.press("data/file/tones-0.wav");
    user.wait_state("deck.state", "playing");
    const double frames = user.number("frames");
    std::this_thread::sleep_for(std::chrono::seconds(4));
    const double rate = (user.number("frames") - frames) / 4;
    for (int i = 0; i < 40; ++i) user.wheel("deck/wave", 1, 0.4);
    const double slowest = user.number("slowest_ms");
    // The same beside a training on all processors.
    user.press("side/train");
    user.press("train/Start training");
    user.wait_state("training.stage", "training");
    const double beside = user.number("frames");
    std::this_thread::sleep_for(std::chrono::seconds(6));
    const double rate_beside = (user.number("frames") - beside) / 6;
    picture("training-and-playing");
    user.press("train/Stop");
    user.wait_state("training.stage", "stopped");
    user.press("deck/wave");
    user.wait_state("deck.state", "playing");
    user.key("space");
    user.wait_state("deck.state", "paused");
    std::this_thread::sleep_for(std::chrono::seconds(8));  // messages and meters come to rest
    const double before = cpu_seconds(user.pid()), idle = 5;
    const double drawn = user.number("frames");
    std::this_thread::sleep_for(std::chrono::duration<double>(idle));
    const double share = (cpu_seconds(user.pid()) - before) / idle;
    std::cout << "[ measured ] ten minutes of sound playing: " << rate << " frames a second, " << rate_beside
              << " beside a training; slowest frame while zooming " << slowest << " ms; idle: " << 100 * share
              << " % of a processor\n";
    RecordProperty("frames_per_second", std::to_string(rate));
    RecordProperty("idle_share", std::to_string(share));
    EXPECT_GT(rate, 1);
    EXPECT_LE(user.number("frames") - drawn, 3) << "it goes on drawing although nothing moves";
    EXPECT_EQ(user.close(), 0);
}

}  // namespace
}  // namespace nigiri
