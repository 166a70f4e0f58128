// The studio's training session: a run beside the window that can be paused, stopped and continued without changing a
// single bit of what is learned, and that outlives whatever goes wrong around it.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/studio/sessions/run_log.h"
#include "app/studio/sessions/training_session.h"
#include "audio/write.h"
#include "kernels/random.h"
#include "tests/app/studio.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::patience;
using test::sound_rate;

// Three recordings of decaying tones and a little noise, one for each part.
void make_audio(const fs::path& folder) {
    uint64_t stream = 0;
    for (const char* part : {"train", "valid", "test"}) {
        fs::create_directories(folder / part);
        Random random(7, stream++);
        std::vector<float> samples(sound_rate);
        for (size_t i = 0; i < samples.size(); ++i) {
            const double t = static_cast<double>(i) / sound_rate;
            samples[i] = static_cast<float>(0.4 * std::exp(-2 * t) * std::sin(2 * M_PI * 330 * t) +
                                            0.01 * (random.uniform() - 0.5));
        }
        write_audio(folder / part / "tone.wav", samples, sound_rate);
    }
}

// All that a run learned, line by line, without what the clock says.
std::vector<std::string> losses(const fs::path& run) {
    std::vector<std::string> all;
    std::ifstream in(run / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
        nlohmann::json j = nlohmann::json::parse(line);
        j.erase("seconds");
        j.erase("tokens_per_second");
        all.push_back(j.dump());
    }
    return all;
}

class StudioTraining : public testing::Test {
  protected:
    void SetUp() override { make_audio(folder.path() / "audio"); }

    TrainingPlan plan(const std::string& run, int64_t steps) const {
        return {.data = folder.path() / "audio",
                .run = folder.path() / run,
                .config = test::tiny_run(steps),
                .device = "cpu",
                .threads = 1};
    }

    template <class Condition>
    static TrainingSnapshot wait(const TrainingSession& session, const Condition& condition) {
        const auto end = std::chrono::steady_clock::now() + patience;
        for (;;) {
            TrainingSnapshot s = session.snapshot();
            if (condition(s)) return s;
            if (std::chrono::steady_clock::now() > end) {
                ADD_FAILURE() << "still in stage " << static_cast<int>(s.stage) << " at step " << s.step << " "
                              << s.error;
                return s;
            }
            std::this_thread::sleep_for(1ms);
        }
    }
    static TrainingSnapshot wait_for(const TrainingSession& session, TrainingStage stage) {
        return wait(session, [&](const TrainingSnapshot& s) { return s.stage == stage; });
    }
    static TrainingSnapshot wait_for_step(const TrainingSession& session, int64_t step) {
        return wait(session, [&](const TrainingSnapshot& s) { return s.step >= step; });
    }

    test::TemporaryFolder folder;
};

TEST_F(StudioTraining, RunsToItsEndAndSaysWhatItDid) {
    std::atomic<int> wakes{0};
    TrainingSession session([&] { ++wakes; });
    EXPECT_EQ(session.snapshot().stage, TrainingStage::idle);
    ASSERT_TRUE(session.start(plan("run", 30)));
    EXPECT_FALSE(session.start(plan("other", 30))) << "one run at a time";
    const TrainingSnapshot s = wait_for(session, TrainingStage::finished);
    EXPECT_EQ(s.step, 30);
    EXPECT_EQ(s.tokens, 30 * 256);
    EXPECT_EQ(s.first_step, 0);
    EXPECT_DOUBLE_EQ(s.fraction, 1);
    EXPECT_DOUBLE_EQ(s.seconds_left, 0);
    ASSERT_TRUE(s.last.has_value());
    EXPECT_EQ(s.last->step, 30);
    EXPECT_EQ(s.valid_bits, s.last->valid_bits) << "the end is validated";
    EXPECT_LE(s.best_valid_bits, s.valid_bits);
    ASSERT_TRUE(s.baseline.has_value());
    EXPECT_GT(s.baseline->order0, s.baseline->order1) << "a tone is easier to foretell from the sample before";
    EXPECT_GT(s.memory.needed, 0);
    EXPECT_GT(s.parameters, 100);
    EXPECT_NEAR(s.train_seconds, 1, 0.01);
    EXPECT_FALSE(s.device.empty());
    EXPECT_FALSE(s.resumable);
    EXPECT_GT(wakes.load(), 0);
    EXPECT_TRUE(fs::exists(folder.path() / "run" / "checkpoints" / "last.safetensors"));
    EXPECT_EQ(losses(folder.path() / "run").size(), 30u);
    EXPECT_FALSE(fs::exists(folder.path() / "other"));
}

// Paused twice and stopped once, continued by another session: the same losses, bit for bit (they are printed with all
// their digits and compared as text).
TEST_F(StudioTraining, InterruptionsChangeNothing) {
    constexpr int64_t steps = 300;  // many, so that a busy machine does not get through before it is asked to pause
    {
        TrainingSession session({});
        session.start(plan("whole", steps));
        wait_for(session, TrainingStage::finished);
    }
    {
        TrainingSession session({});
        session.start(plan("parts", steps));
        for (const int64_t step : {5, 15}) {
            wait_for_step(session, step);
            session.pause();
            const TrainingSnapshot s = wait_for(session, TrainingStage::paused);
            EXPECT_TRUE(s.resumable);
            EXPECT_LT(s.step, steps) << "paused too late to tell";
            EXPECT_EQ(Checkpoint::read(folder.path() / "parts" / "checkpoints" / "last.safetensors").state().step,
                      s.step)
                << "a pause saves";
            session.resume();
        }
        wait_for_step(session, 25);
        session.stop();
        const TrainingSnapshot s = wait_for(session, TrainingStage::stopped);
        EXPECT_FALSE(s.resumable);
        EXPECT_LT(s.step, steps);
    }
    TrainingSession session({});
    session.start(plan("parts", steps));
    const TrainingSnapshot s = wait_for(session, TrainingStage::finished);
    EXPECT_GE(s.first_step, 25);
    EXPECT_EQ(losses(folder.path() / "parts"), losses(folder.path() / "whole"));
}

TEST_F(StudioTraining, AnExistingRunKeepsItsNetworkAndTakesTheNewLimit) {
    TrainingSession session({});
    session.start(plan("run", 10));
    wait_for(session, TrainingStage::finished);
    TrainingPlan more = plan("run", 20);
    more.config.model.width = 16;  // what the form says; the run knows better
    session.start(more);
    const TrainingSnapshot s = wait_for(session, TrainingStage::finished);
    EXPECT_EQ(s.first_step, 10);
    EXPECT_EQ(s.step, 20);
    ASSERT_TRUE(s.config.has_value());
    EXPECT_EQ(s.config->model.width, 8);
    const RunFacts facts = read_facts(folder.path() / "run");
    ASSERT_TRUE(facts.config.has_value()) << facts.problem;
    EXPECT_EQ(*facts.config, *s.config) << "the folder knows the new limit";
    EXPECT_EQ(facts.data, folder.path() / "audio");
    ASSERT_TRUE(facts.baseline.has_value());
    EXPECT_NEAR(facts.baseline->order1, s.baseline->order1, 5e-5) << "kept with four digits";
}

TEST_F(StudioTraining, BeginsWithTheWeightsOfAModel) {
    TrainingSession session({});
    TrainingPlan first = plan("first", 600);
    first.config.training.learning_rate = 1e-2;
    session.start(first);
    const double learned = wait_for(session, TrainingStage::finished).best_valid_bits;
    // A step that moves nothing leaves the model as it was, whatever network the form says.
    TrainingPlan still = plan("still", 1);
    still.from = folder.path() / "first";
    still.config.model.width = 16;
    still.config.training.learning_rate = still.config.training.state_space_rate = 1e-12;
    session.start(still);
    TrainingSnapshot s = wait_for(session, TrainingStage::finished);
    EXPECT_NEAR(s.valid_bits, learned, 1e-5) << "sums of the same float32 losses";
    EXPECT_EQ(s.first_step, 0);
    EXPECT_EQ(s.from, still.from);
    ASSERT_TRUE(s.config.has_value());
    EXPECT_EQ(s.config->model.width, 8);
    // The first step of a run from nothing is far from there.
    session.start(plan("nothing", 1));
    s = wait_for(session, TrainingStage::finished);
    EXPECT_GT(s.valid_bits, learned + 1);
    EXPECT_EQ(s.from, "");
    const RunFacts facts = read_facts(folder.path() / "still");
    ASSERT_TRUE(facts.config.has_value()) << facts.problem;
    EXPECT_EQ(facts.from, still.from);
    EXPECT_EQ(read_facts(folder.path() / "nothing").from, "");
}

// It goes on with itself, also when the model is gone, and still knows what it began with.
TEST_F(StudioTraining, ARunThatBeganWithAModelGoesOnWithItself) {
    TrainingSession session({});
    session.start(plan("first", 20));
    wait_for(session, TrainingStage::finished);
    const fs::path model = folder.path() / "model.safetensors";
    fs::copy_file(folder.path() / "first" / "checkpoints" / "last.safetensors", model);
    const auto tuned = [&](const std::string& run, int64_t steps) {
        TrainingPlan p = plan(run, steps);
        p.from = model;
        p.config.training.schedule = Schedule::constant;  // no step depends on where the end is
        session.start(p);
        return wait_for(session, TrainingStage::finished);
    };
    tuned("whole", 20);
    EXPECT_EQ(tuned("parts", 10).step, 10);
    fs::remove(model);
    const TrainingSnapshot s = tuned("parts", 20);
    EXPECT_EQ(s.first_step, 10);
    EXPECT_EQ(s.from, model);
    EXPECT_EQ(losses(folder.path() / "parts"), losses(folder.path() / "whole"));
    EXPECT_EQ(read_facts(folder.path() / "parts").from, model);
    const ModelFacts facts = Checkpoint::read(folder.path() / "parts" / "checkpoints" / "last.safetensors").facts();
    ASSERT_EQ(facts.count("from.data"), 1u) << "what the model was trained on";
    EXPECT_EQ(facts.at("from.data"), "audio");
    EXPECT_EQ(facts.at("from"), "model.safetensors");

    // One that began from nothing does not say otherwise, whatever it is asked to begin with.
    session.start(plan("plain", 5));
    wait_for(session, TrainingStage::finished);
    EXPECT_EQ(tuned("plain", 10).first_step, 5);
    EXPECT_EQ(read_facts(folder.path() / "plain").from, "");
}

TEST_F(StudioTraining, AModelThatCannotBeReadIsAMessage) {
    std::ofstream(folder.path() / "damaged.safetensors") << "this is no model";
    TrainingSession session({});
    for (const char* bad : {"damaged.safetensors", "nowhere", "audio"}) {
        TrainingPlan p = plan("run", 5);
        p.from = folder.path() / bad;
        ASSERT_TRUE(session.start(p));
        const TrainingSnapshot s = wait_for(session, TrainingStage::failed);
        EXPECT_NE(s.error.find(bad), std::string::npos) << s.error;
        EXPECT_FALSE(s.resumable);
        EXPECT_FALSE(fs::exists(folder.path() / "run")) << "nothing is left behind";
    }
    ASSERT_TRUE(session.start(plan("run", 5)));
    wait_for(session, TrainingStage::finished);
}

TEST_F(StudioTraining, StopsWhilePausedAndBeginsAnother) {
    TrainingSession session({});
    session.start(plan("run", 100000));
    wait_for_step(session, 3);
    session.pause();
    wait_for(session, TrainingStage::paused);
    EXPECT_FALSE(session.start(plan("other", 5))) << "the paused one would be lost from sight";
    session.stop();
    wait_for(session, TrainingStage::stopped);
    ASSERT_TRUE(session.start(plan("other", 5)));
    wait_for(session, TrainingStage::finished);
}

TEST_F(StudioTraining, StoppedWhileItReadsItLeavesNothingBehind) {
    TrainingSession session({});
    session.start(plan("run", 100000));
    session.stop();
    const TrainingSnapshot s = wait_for(session, TrainingStage::stopped);
    EXPECT_TRUE(s.error.empty()) << s.error;
    EXPECT_EQ(s.step, 0);
    EXPECT_FALSE(fs::exists(folder.path() / "run" / "checkpoints" / "last.safetensors"));
}

TEST_F(StudioTraining, DestroyedWhileItTrainsItSaves) {
    int64_t seen = 0;
    {
        TrainingSession session({});
        session.start(plan("run", 100000));
        seen = wait_for_step(session, 7).step;
    }
    EXPECT_GE(Checkpoint::read(folder.path() / "run" / "checkpoints" / "last.safetensors").state().step, seen);
}

TEST_F(StudioTraining, ADataFolderThatVanishesIsAMessageAndNoLoss) {
    TrainingSession session({});
    session.start(plan("run", 300));
    wait_for_step(session, 3);
    session.pause();
    wait_for(session, TrainingStage::paused);
    fs::remove_all(folder.path() / "audio");
    session.resume();  // the audio is in memory
    EXPECT_EQ(wait_for(session, TrainingStage::finished).step, 300);

    session.start(plan("run", 400));
    const TrainingSnapshot s = wait_for(session, TrainingStage::failed);
    EXPECT_NE(s.error.find("audio"), std::string::npos) << s.error;
    EXPECT_FALSE(s.resumable);
    EXPECT_EQ(Checkpoint::read(folder.path() / "run" / "checkpoints" / "last.safetensors").state().step, 300);
    make_audio(folder.path() / "audio");
    ASSERT_TRUE(session.start(plan("run", 305)));
    EXPECT_EQ(wait_for(session, TrainingStage::finished).step, 305);
}

TEST_F(StudioTraining, ARunFolderThatCannotBeWrittenIsAMessage) {
    std::ofstream(folder.path() / "file") << "not a folder";
    TrainingSession session({});
    session.start(plan("file/run", 5));
    const TrainingSnapshot s = wait_for(session, TrainingStage::failed);
    EXPECT_NE(s.error.find("cannot create"), std::string::npos) << s.error;
    EXPECT_FALSE(s.hint.empty());
    ASSERT_TRUE(session.start(plan("run", 5)));
    wait_for(session, TrainingStage::finished);
}

// As with a full disk: saving fails, the network stays in memory, and once there is room it is saved.
TEST_F(StudioTraining, WhatCannotBeSavedStaysInMemoryUntilItCan) {
    const fs::path checkpoints = folder.path() / "run" / "checkpoints", away = folder.path() / "run" / "away";
    TrainingSession session({});
    TrainingPlan lasting = plan("run", 100000);
    lasting.config.training.validate_every = 0;  // nothing is to be written before the session is told to stop
    session.start(lasting);
    wait_for_step(session, 3);
    session.pause();
    wait_for(session, TrainingStage::paused);
    fs::rename(checkpoints, away);
    std::ofstream(checkpoints) << "in the way";
    session.resume();
    const int64_t before = wait_for_step(session, session.snapshot().step + 5).step;
    session.stop();
    TrainingSnapshot s = wait_for(session, TrainingStage::failed);
    EXPECT_FALSE(s.error.empty());
    EXPECT_TRUE(s.resumable);
    EXPECT_GE(s.step, before);
    EXPECT_FALSE(session.start(plan("other", 5))) << "it would take the place of what is not saved";
    EXPECT_LT(Checkpoint::read(away / "last.safetensors").state().step, before) << "the old checkpoint is whole";

    session.stop();  // still in the way
    wait(session, [](const TrainingSnapshot& now) { return now.stage == TrainingStage::failed && now.resumable; });
    fs::remove(checkpoints);
    fs::rename(away, checkpoints);
    session.stop();
    wait_for(session, TrainingStage::stopped);
    EXPECT_EQ(Checkpoint::read(checkpoints / "last.safetensors").state().step, s.step);
}

TEST_F(StudioTraining, DivergingIsAMessageAndKeepsTheCheckpointBefore) {
    TrainingSession session({});
    session.start(plan("run", 5));
    wait_for(session, TrainingStage::finished);
    TrainingPlan wild = plan("wild", 100000);
    wild.config.training.learning_rate = wild.config.training.state_space_rate = 10;
    wild.config.training.weight_decay = 1;  // a step multiplies every weight by -9
    wild.config.training.clip = 0;
    wild.config.training.schedule = Schedule::constant;
    session.start(wild);
    const TrainingSnapshot s = wait_for(session, TrainingStage::failed);
    EXPECT_NE(s.error.find("diverged"), std::string::npos) << s.error;
    EXPECT_NE(s.hint.find("learning-rate"), std::string::npos) << s.hint;
    EXPECT_FALSE(s.resumable) << "a network without numbers is not worth keeping";
    ASSERT_TRUE(session.start(plan("run", 8)));
    EXPECT_EQ(wait_for(session, TrainingStage::finished).step, 8);
}

TEST_F(StudioTraining, TooLittleMemoryIsAMessageWithAWayOut) {
    TrainingSession session({});
    TrainingPlan huge = plan("run", 5);
    huge.config.training.batch = 4096;
    huge.config.training.length = 1 << 20;
    session.start(huge);
    const TrainingSnapshot s = wait_for(session, TrainingStage::failed);
    EXPECT_NE(s.error.find("memory"), std::string::npos) << s.error;
    EXPECT_NE(s.hint.find("smaller"), std::string::npos) << s.hint;
}

}  // namespace
}  // namespace nigiri::studio
