// Recorded training steps, on a CPU backend that records as a GPU does.
#include "model/training_step.h"

#include <gtest/gtest.h>

#include "model/trainer.h"
#include "tests/model/recorded_steps.h"
#include "tests/support/recording_backend.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

using test::RecordingBackend;

class RecordedSteps : public testing::TestWithParam<test::NamedModel> {};

TEST_P(RecordedSteps, AreThePlainOnesBitForBit) {
    Config config = test::small_config();
    config.model = GetParam().config;
    for (const bool recompute : {false, true}) {
        config.training.recompute = recompute;
        config.training.recompute_cheap = !recompute;
        const auto backend = std::make_shared<RecordingBackend>();
        const auto plain = test::stretch_of_training(backend, config, false);
        EXPECT_EQ(backend->recorded, 0);
        const auto recorded = test::stretch_of_training(backend, config, true);
        test::expect_same_training(recorded, plain);
        EXPECT_EQ(recorded.peak, plain.peak) << "a replay counts as the step that it is";
        // Two plain steps of a shape, then a recording: 2 x 30, 1 x 48, 3 x 33 and, having made place, 2 x 30 again; of
        // 1 x 48 there is but one step the second time.
        EXPECT_EQ(backend->recorded, 4);
        EXPECT_EQ(backend->replayed, 3 + 2 + 3 + 2 + 2);
        EXPECT_TRUE(recorded.settled);
        EXPECT_EQ(recorded.note, "");
    }
}

INSTANTIATE_TEST_SUITE_P(Models, RecordedSteps, testing::ValuesIn(test::all_models()), test::name_of_case);

TEST(TrainingStep, GoesOnPlainlyWhereRecordingFails) {
    const Config config = test::small_config();
    const auto backend = std::make_shared<RecordingBackend>();
    const auto plain = test::stretch_of_training(backend, config, false);
    backend->refuses = true;
    const auto refused = test::stretch_of_training(backend, config, true);
    test::expect_same_training(refused, plain);
    EXPECT_NE(refused.note.find("this backend refuses to record"), std::string::npos) << refused.note;
    EXPECT_TRUE(refused.settled);
}

TEST(TrainingStep, RecordsAgainWhatWasGivenUpAndStopsAfterTheSecondTime) {
    const Config config = test::small_config();
    const auto backend = std::make_shared<RecordingBackend>();
    const auto plain = test::stretch_of_training(backend, config, false);
    // The first phase replays from its third step on, the second from step 7.
    const auto once = test::stretch_of_training(backend, config, true, [&](int64_t at) {
        if (at == 4) backend->gives_up = true;
    });
    test::expect_same_training(once, plain);
    EXPECT_EQ(once.note, "");
    EXPECT_TRUE(once.settled);
    EXPECT_EQ(backend->recorded, 5);
    const auto twice = test::stretch_of_training(backend, config, true, [&](int64_t at) {
        if (at == 4 || at == 8) backend->gives_up = true;
    });
    test::expect_same_training(twice, plain);
    EXPECT_NE(twice.note.find("memory is too short"), std::string::npos) << twice.note;
    EXPECT_TRUE(twice.settled);
}

TEST(TrainingStep, DoesNotRecordWhereTheBackendCannot) {
    const auto backend = make_backend("cpu", 2);
    EXPECT_FALSE(backend->can_record());
    EXPECT_THROW(backend->record([] {}), Error);
    const auto run = test::stretch_of_training(backend, test::small_config(), true);
    EXPECT_TRUE(run.settled);
    EXPECT_EQ(run.note, "");
}

TEST(TrainingStep, AShapeThatCannotRunLeavesTheOthersRecorded) {
    const auto backend = std::make_shared<RecordingBackend>();
    const Config config = test::small_config("mamba-s4-dplr");
    Network network(backend, config.model, DType::f32, 3, 32);  // its kernels are tied to 32 samples
    Optimizer optimizer(network.parameters(), config.training);
    TrainingStep step(network, optimizer, true);
    Batch batch;
    test::Saws(1, 32, config.model.vocabulary).draw(5, 0, batch);
    for (int i = 0; i < 3; ++i) step.run(batch);
    EXPECT_TRUE(step.settled());
    Batch longer;
    test::Saws(1, 64, config.model.vocabulary).draw(5, 0, longer);
    EXPECT_THROW(step.run(longer), Error);
    EXPECT_EQ(step.note(), "");
    step.run(batch);
    EXPECT_EQ(backend->replayed, 2);
}

// A run whose steps are recorded is the run whose steps are not, also in parts.
TEST(Trainer, RecordsItsStepsAndResumesBitForBit) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        const test::TemporaryFolder folder;
        const auto run = [&](const std::string& name, bool graph, int64_t stop_after) {
            Config config = test::small_config(layer);
            config.training.graph = graph;
            const auto backend = std::make_shared<RecordingBackend>();
            test::Saws data(config.training.batch, config.training.length, config.model.vocabulary);
            Trainer trainer(backend, config, folder.path() / name, data, {});
            std::atomic<bool> stop{false};
            TrainingCallbacks callbacks;
            callbacks.log = [&](const TrainingMetrics& m) { stop = stop || m.step >= stop_after; };
            trainer.run(stop, callbacks);
            EXPECT_EQ(trainer.note(), "");
            return backend->replayed;
        };
        EXPECT_EQ(run("plain", false, 1 << 30), 0);
        EXPECT_EQ(run("whole", true, 1 << 30), 22);
        EXPECT_EQ(test::losses(folder.path() / "whole"), test::losses(folder.path() / "plain")) << layer;
        for (const int64_t stop : {1, 7, 15}) run("parts", true, stop);
        run("parts", true, 1 << 30);
        EXPECT_EQ(test::losses(folder.path() / "parts"), test::losses(folder.path() / "plain")) << layer;
    }
}

}  // namespace
}  // namespace nigiri
