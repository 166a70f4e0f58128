// The training loop: exact resumption, schedules, what it writes, and whether it learns.
#include "model/trainer.h"

#include <gtest/gtest.h>

#include "audio/file.h"
#include "audio/quantize.h"
#include "tests/model/training.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::losses;
using test::Saws;
using test::small_config;
using test::train;

TEST(Trainer, ResumesBitForBit) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"})
        for (const Schedule schedule : {Schedule::cosine, Schedule::plateau}) {
            Config config = small_config(layer);
            config.training.schedule = schedule;
            config.training.plateau_patience = 0;
            const test::TemporaryFolder folder;
            EXPECT_EQ(train(folder.path() / "whole", config), TrainingEnd::finished);
            for (const int64_t stop : {1, 4, 7, 15, 23})
                EXPECT_EQ(train(folder.path() / "parts", config, stop), TrainingEnd::stopped);
            EXPECT_EQ(train(folder.path() / "parts", config), TrainingEnd::finished);
            EXPECT_EQ(losses(folder.path() / "parts"), losses(folder.path() / "whole")) << layer;
            EXPECT_EQ(losses(folder.path() / "whole").size(), 24u);
        }
}

TEST(Trainer, LogsTheMeanSinceTheLastLineAcrossAStop) {
    Config config = small_config();
    config.training.log_every = 6;
    config.training.validate_every = 0;
    const test::TemporaryFolder folder;
    train(folder.path() / "whole", config);
    config.training.steps = 8;
    train(folder.path() / "parts", config);  // ends between two lines, and at another point of the cosine
    Config constant = small_config();
    constant.training.log_every = 6;
    constant.training.validate_every = 0;
    constant.training.schedule = Schedule::constant;
    train(folder.path() / "a", constant);
    constant.training.steps = 8;
    train(folder.path() / "b", constant);
    constant.training.steps = 24;
    train(folder.path() / "b", constant);
    const auto a = losses(folder.path() / "a"), b = losses(folder.path() / "b");
    ASSERT_EQ(a.size(), 4u);
    // The stop at step 8 validated and logged there; lines that begin after the next common one are equal again.
    EXPECT_EQ(a.back(), b.back());
}

TEST(Trainer, LearnsAndKeepsItsBestModel) {
    Config config = small_config("mamba-s6");
    config.training.steps = 150;
    config.training.learning_rate = 1e-2;
    const test::TemporaryFolder folder;
    train(folder.path(), config);
    const Checkpoint best = Checkpoint::read(folder.path() / "checkpoints" / "best.safetensors");
    const Checkpoint last = Checkpoint::read(folder.path() / "checkpoints" / "last.safetensors");
    EXPECT_EQ(last.state().step, 150);
    EXPECT_EQ(last.state().tokens, 150 * 60);
    EXPECT_EQ(best.state().step, last.state().best_step);
    // The source has 0.469 bits a step (a coin of 9:1); the start is near log2(11) = 3.46.
    EXPECT_LT(last.state().best_valid_bits, 1.2);
    EXPECT_GT(last.state().best_valid_bits, 0.3);
}

TEST(Trainer, RefusesTheRunOfAnotherModelAndASecondProcess) {
    const test::TemporaryFolder folder;
    Config config = small_config();
    train(folder.path(), config);
    Config other = small_config("mamba-s6");
    EXPECT_THROW(train(folder.path(), other), Error);
    Saws data(2, 30, 11);
    const Trainer first(make_backend("cpu"), config, folder.path(), data, {});
    EXPECT_THROW(Trainer(make_backend("cpu"), config, folder.path(), data, {}), Error);
}

TEST(Trainer, StopsAtALossThatIsNoNumberAndKeepsTheCheckpoints) {
    const test::TemporaryFolder folder;
    Config config = small_config();
    config.training.steps = 8;
    train(folder.path(), config);
    const auto before = Checkpoint::read(folder.path() / "checkpoints" / "last.safetensors").state().step;
    config.training.steps = 2000;
    config.training.learning_rate = 10;
    config.training.clip = 0;
    config.training.schedule = Schedule::constant;
    config.training.checkpoint_every = 0;
    config.model.norm = NormKind::layer;
    try {
        train(folder.path(), config);
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find("diverged"), std::string::npos);
        EXPECT_EQ(Checkpoint::read(folder.path() / "checkpoints" / "last.safetensors").state().step, before);
    }
}

TEST(Trainer, DamagedMetricsDoNotStopARun) {
    const test::TemporaryFolder folder;
    Config config = small_config();
    train(folder.path(), config, 10);
    std::ofstream(folder.path() / "metrics.jsonl", std::ios::app) << "{\"step\": 3, \"tr\n\x01garbage\n[]\n";
    EXPECT_EQ(train(folder.path(), config), TrainingEnd::finished);
    EXPECT_EQ(losses(folder.path()).size(), 24u);
}

TEST(Trainer, EstimatesItsMemory) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        Config config = preset_by_name("tiny");
        config.model.outer = config.model.centre = layer_by_name(layer);
        config.training.batch = 2;
        config.training.length = 4096;
        const auto backend = make_backend("cpu");
        const auto estimate = static_cast<double>(estimate_training_bytes(backend, config));
        Network network(backend, config.model, DType::f32, 0, config.training.length);
        Optimizer optimizer(network.parameters(), config.training);
        Batch batch{2, 4096, std::vector<int32_t>(8192, 1), std::vector<int32_t>(8192, 2)};
        backend->reset_peak();
        training_step(network, optimizer, batch);
        // The pool rounds blocks up to an eighth; kernels' own scratch is not counted by either.
        EXPECT_NEAR(estimate / static_cast<double>(backend->peak_bytes()), 1, 0.15) << layer;
    }
}

TEST(Schedule, WarmsUpAndFollowsTheCosine) {
    TrainingConfig t;
    t.warmup = 0.1;
    t.final_rate = 0.02;
    EXPECT_DOUBLE_EQ(cosine_factor(t, 0.05), 0.5);
    EXPECT_DOUBLE_EQ(cosine_factor(t, 0.1), 1);
    EXPECT_NEAR(cosine_factor(t, 0.55), 0.51, 1e-12);  // half way: the mean of peak and end
    EXPECT_NEAR(cosine_factor(t, 1), 0.02, 1e-12);
    PlateauState plateau;
    t.plateau_patience = 2;
    t.plateau_factor = 0.2;
    for (const double loss : {3.0, 2.0, 2.5, 2.5}) plateau.observe(t, loss);
    EXPECT_EQ(plateau.factor, 1);
    plateau.observe(t, 2.5);  // the third time without a new best
    EXPECT_DOUBLE_EQ(plateau.factor, 0.2);
}

// The papers' groups: state-space parameters at their own rate without decay, no decay on norms, biases and skips.
TEST(Optimizer, TreatsEveryParameterAsItsGroupSays) {
    const auto backend = make_backend("cpu");
    const std::map<std::string, ParameterGroup> expected = {{"embedding.weight", ParameterGroup::decay},
                                                            {"head.bias", ParameterGroup::no_decay},
                                                            {"norm.weight", ParameterGroup::no_decay},
                                                            {"pool.0.down.weight", ParameterGroup::decay},
                                                            {"centre.0.mamba.ssm.inv_dt", ParameterGroup::state_space},
                                                            {"centre.0.mamba.ssm.A_real", ParameterGroup::state_space},
                                                            {"centre.0.mamba.ssm.A_imag", ParameterGroup::state_space},
                                                            {"centre.0.mamba.ssm.B", ParameterGroup::state_space},
                                                            {"centre.0.mamba.ssm.C", ParameterGroup::decay},
                                                            {"centre.0.mamba.ssm.D", ParameterGroup::no_decay},
                                                            {"centre.0.mamba.in_proj.weight", ParameterGroup::decay},
                                                            {"centre.0.mamba.conv1d.bias", ParameterGroup::no_decay}};
    Network network(backend, test::small_model(layer_by_name("mamba-s4")), DType::f64, 1, 64);
    for (const auto& [name, group] : expected) {
        ASSERT_NE(network.parameters().find(name), nullptr) << name;
        EXPECT_EQ(network.parameters().find(name)->group, group) << name;
    }
    // With no gradient only the decay moves a weight: by lr * decay of its value.
    TrainingConfig t;
    t.learning_rate = 0.1;
    t.weight_decay = 0.5;
    t.clip = 0;
    const double matrix = test::get(network.parameters().find("head.weight")->value, 0),
                 pole = test::get(network.parameters().find("centre.0.mamba.ssm.A_real")->value, 0);
    Optimizer optimizer(network.parameters(), t);
    optimizer.step(1);
    EXPECT_NEAR(test::get(network.parameters().find("head.weight")->value, 0), matrix * (1 - 0.05), 1e-15);
    EXPECT_EQ(test::get(network.parameters().find("centre.0.mamba.ssm.A_real")->value, 0), pole);
    // With a gradient of one, Adam's first step is the group's rate (here up to its eps): 1e-3 for state-space
    // parameters.
    for (const auto& p : network.parameters().all()) backend->fill({.y = p->gradient, .value = 1});
    Optimizer fresh(network.parameters(), t);
    fresh.step(1);
    EXPECT_NEAR(test::get(network.parameters().find("centre.0.mamba.ssm.A_real")->value, 0), pole - 1e-3, 1e-9);
}

// Half a second of piano by heart: under 0.3 bits a sample, far below what a listener could tell apart.
class Overfit : public testing::TestWithParam<std::string> {};

TEST_P(Overfit, LearnsHalfASecondOfPianoByHeart) {
    const Audio audio = read_audio(fs::path(NIGIRI_SOURCE_DIR) / "tests/data/piano.flac", 16000);
    ASSERT_EQ(audio.samples.size(), 8000u);
    std::vector<uint8_t> codes(8000);
    encode(audio.samples, Quantization::mu_law, codes);
    Batch batch{1, 8000, {128}, {codes.begin(), codes.end()}};
    batch.inputs.insert(batch.inputs.end(), codes.begin(), codes.end() - 1);

    Config config = preset_by_name("tiny");
    config.model.outer = config.model.centre = layer_by_name(GetParam());
    config.training.batch = 1;
    config.training.length = 8000;
    config.training.learning_rate = 1e-2;
    config.training.weight_decay = 0;
    Network network(make_backend("cpu"), config.model, DType::f32, 1, 8000);
    Optimizer optimizer(network.parameters(), config.training);
    double bits = 8;
    int step = 0;
    for (constexpr int limit = 1500; step < limit && bits > 0.29; ++step)
        bits =
            training_step(network, optimizer, batch, std::min(1.0, (step + 1) / 50.0) * (step > 600 ? 0.3 : 1.0)).nats /
            std::log(2.0);
    std::cout << GetParam() << ": " << bits << " bits after " << step << " steps\n";
    EXPECT_LT(bits, 0.3);
}

INSTANTIATE_TEST_SUITE_P(Layers, Overfit, testing::Values("mamba-s4", "mamba-s6", "s4-mlp"), [](const auto& test) {
    std::string name = test.param;
    for (char& c : name)
        if (c == '-') c = '_';
    return name;
});

}  // namespace
}  // namespace nigiri
