// Training on a disk that fills up: at whatever file it happens, the run says so, keeps what it had, and goes on later
// as if nothing had been.
#include <gtest/gtest.h>

#include "tests/model/training.h"
#include "tests/support/full_disk.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::FullDisk;
using test::losses;
using test::Saws;
using test::small_config;
using test::train;

constexpr int64_t first_steps = 8;

std::string contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> files_below(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

class TrainerOnAFullDisk : public testing::Test {
  protected:
    TrainerOnAFullDisk() {
        train(whole(), config);
        const Checkpoint end = last_of(whole());
        best_step = end.state().best_step;
        checkpoint_bytes = fs::file_size(whole() / "checkpoints" / "last.safetensors");
        log_bytes = fs::file_size(whole() / "metrics.jsonl");
    }

    // Less than any checkpoint: their headers differ by some digits.
    uintmax_t checkpoint_limit() const { return checkpoint_bytes - 1000; }
    fs::path whole() const { return folder / "whole"; }
    static Checkpoint last_of(const fs::path& run) {
        return Checkpoint::read(run / "checkpoints" / "last.safetensors");
    }

    void expect_as_whole(const fs::path& run) const {
        EXPECT_EQ(losses(run), losses(whole()));  // every line is there once, and is JSON
        EXPECT_EQ(last_of(run).state().best_valid_bits, last_of(whole()).state().best_valid_bits);
        EXPECT_EQ(Checkpoint::read(run / "checkpoints" / "best.safetensors").state().step, best_step)
            << "the best network is the one that was saved as the best";
    }

    test::TemporaryFolder folder;
    Config config = small_config();
    int64_t best_step = 0;
    uintmax_t checkpoint_bytes = 0, log_bytes = 0;
};

// The trainer lives on, as in the studio, and is run again where there is room again.
TEST_F(TrainerOnAFullDisk, GoesOnFromMemory) {
    ASSERT_GT(checkpoint_limit(), log_bytes) << "or the limits below do not do what they are meant to";
    // Within the first line of the log, within one of the next, and within a checkpoint.
    for (const uintmax_t limit : {uintmax_t{0}, uintmax_t{50}, log_bytes / 8 + 40, checkpoint_limit()}) {
        SCOPED_TRACE(limit);
        const fs::path run = folder / std::to_string(limit);
        Saws data(config.training.batch, config.training.length, config.model.vocabulary);
        Trainer trainer(make_backend("cpu"), config, run, data, {});
        const std::atomic<bool> go{false}, at_once{true};
        std::string why;
        {
            const FullDisk full(limit);
            try {
                trainer.run(go, {});
            } catch (const Error& e) {
                why = e.what();
            }
            EXPECT_THROW(trainer.run(at_once, {}), Error) << "nor can it be saved now";
        }
        EXPECT_NE(why.find("cannot write"), std::string::npos) << why;
        const auto left = files_below(run);
        EXPECT_TRUE(std::none_of(left.begin(), left.end(), [](const fs::path& p) { return p.extension() == ".tmp"; }));
        EXPECT_EQ(trainer.run(go, {}), TrainingEnd::finished);
        expect_as_whole(run);
    }
}

// The process ends with the error, as on the command line, and the run is opened again.
TEST_F(TrainerOnAFullDisk, GoesOnFromTheCheckpointBefore) {
    for (const bool at_checkpoint : {false, true}) {
        const fs::path run = folder / (at_checkpoint ? "checkpoint" : "log");
        train(run, config, first_steps);
        const fs::path last = run / "checkpoints" / "last.safetensors";
        const std::string before = contents(last);
        const auto files = files_below(run);
        for (int k = 0; k < 2; ++k) {  // in vain, and in vain once more
            const FullDisk full(at_checkpoint ? checkpoint_limit() : fs::file_size(run / "metrics.jsonl") + 50);
            EXPECT_THROW(train(run, config), Error);
        }
        EXPECT_EQ(contents(last), before);
        EXPECT_EQ(files_below(run), files);
        EXPECT_EQ(train(run, config), TrainingEnd::finished);
        expect_as_whole(run);
    }
}

// Stopped where nothing was left to do but to save: a run that was continued is saved as well.
TEST_F(TrainerOnAFullDisk, AContinuedRunIsSavedLater) {
    const fs::path run = folder / "run";
    train(run, config, first_steps);
    config.training.checkpoint_every = 0;  // so that only the end saves
    config.training.validate_every = 0;
    Saws data(config.training.batch, config.training.length, config.model.vocabulary);
    Trainer trainer(make_backend("cpu"), config, run, data, {});
    std::atomic<bool> stop{false};
    TrainingCallbacks callbacks;
    callbacks.log = [&](const TrainingMetrics& m) { stop = m.step >= first_steps + 3; };
    {
        const FullDisk full(checkpoint_limit());
        EXPECT_THROW(trainer.run(stop, callbacks), Error);
    }
    EXPECT_EQ(last_of(run).state().step, first_steps);
    EXPECT_EQ(trainer.run(stop, callbacks), TrainingEnd::stopped);
    EXPECT_EQ(last_of(run).state().step, first_steps + 3);
}

}  // namespace
}  // namespace nigiri
