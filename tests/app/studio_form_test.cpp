// What is chosen before a training: the form, the model that the run begins with, the memory that it would need.
#include <gtest/gtest.h>

#include <fstream>

#include "app/studio/sessions/memory_estimate.h"
#include "app/studio/sessions/model_list.h"
#include "app/studio/sessions/training_form.h"
#include "tests/app/studio.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using test::soon;

fs::path shipped_model(const std::string& name) { return model_places({}).shipped / name; }

TEST(StudioForm, ProposesFreeNames) {
    const test::TemporaryFolder folder;
    const fs::path runs = folder / "runs";
    TrainingForm form;
    EXPECT_EQ(form.preset, "small");
    EXPECT_EQ(form.free_name(runs), "small-mamba-s4");
    fs::create_directories(runs / "small-mamba-s4");
    EXPECT_EQ(form.free_name(runs), "small-mamba-s4-2");
    fs::create_directories(runs / "small-mamba-s4-2");
    EXPECT_EQ(form.free_name(runs), "small-mamba-s4-3");
    for (const char* bad : {"", ".", "..", "a/b", "small-mamba-s4"}) {
        form.name = bad;
        EXPECT_FALSE(form.name_problem(runs).empty()) << bad;
    }
    form.name = "Klavier, Opus 2";
    EXPECT_EQ(form.name_problem(runs), "");

    form.choose_preset("tiny");
    form.layer = "mamba-s6";
    form.minutes = 3;
    const TrainingPlan plan = form.plan(runs, "/data");
    EXPECT_EQ(plan.run, runs / "Klavier, Opus 2");
    EXPECT_EQ(plan.data, "/data");
    EXPECT_EQ(layer_name(plan.config.model), "mamba-s6");
    EXPECT_EQ(plan.config.training.batch, preset_by_name("tiny").training.batch);
    EXPECT_EQ(plan.config.training.minutes, 3);
    EXPECT_EQ(plan.config.training.steps, 0);
    EXPECT_GT(plan.config.training.preview_every, 0) << "one wants to hear it";
    form.by_steps = true;
    EXPECT_EQ(form.config().training.steps, form.steps);
    EXPECT_EQ(form.config().training.minutes, 0);
    for (const std::string& preset : preset_names()) EXPECT_FALSE(preset_explained(preset).empty()) << preset;
    for (const std::string& layer : layer_names()) EXPECT_FALSE(layer_explained(layer).empty()) << layer;
}

TEST(StudioForm, GoingOnKeepsTheRunsOwnEndUnlessAskedForMore) {
    const test::TemporaryFolder folder;
    RunEntry entry{.path = folder / "runs" / "piano", .name = "piano", .summary = RunSummary{}};
    entry.summary->last.step = 300;
    entry.summary->last.seconds = 90;
    RunDetails details;
    details.facts.config = preset_by_name("tiny");
    details.facts.config->training.minutes = 10;
    details.facts.data = folder.path();
    details.facts.files = "/list";
    details.facts.from = "/model";
    Continuation c(entry, details, "/other");
    EXPECT_EQ(c.data, folder.path());
    EXPECT_EQ(c.plan().files, "/list");
    EXPECT_EQ(c.plan().from, "/model") << "the run's folder goes on saying what it began with";
    EXPECT_EQ(c.left(), 8.5);
    EXPECT_EQ(c.more, 8.5);
    EXPECT_EQ(c.plan().config.training.minutes, 0) << "as it was planned";
    c.more = 20;
    EXPECT_EQ(c.plan().config.training.minutes, 21.5);

    details.facts.config->training.minutes = 0;
    details.facts.config->training.steps = 300;
    details.facts.data = folder.path() / "gone";
    const Continuation done(entry, details, "/other");
    EXPECT_EQ(done.data, "/other");
    EXPECT_EQ(done.plan().files, "") << "the list is of the folder that is gone";
    EXPECT_EQ(done.left(), 0);
    EXPECT_EQ(done.plan().config.training.steps, 300 + static_cast<int64_t>(done.more));
    EXPECT_GT(done.more, 0);
}

// The network is the model's; how it is trained is proposed by the preset of its size, in smaller steps.
TEST(StudioForm, TakesTheNetworkOfTheModelItBeginsWith) {
    const test::TemporaryFolder folder;
    TrainingForm form;
    form.choose_preset("tiny");
    form.layer = "s4-mlp";
    form.batch = 7;
    const fs::path base = shipped_model("base-mamba-s4.safetensors");
    form.choose_model(base);
    EXPECT_FALSE(form.ready()) << "not read yet";
    EXPECT_EQ(form.free_name(folder.path()), "base-mamba-s4-tuned") << "the name can be shown at once";
    form.take_model(read_network(base));
    EXPECT_TRUE(form.ready());
    EXPECT_EQ(form.size(), "base");
    const Config own = Checkpoint::read(base).config(), usual = preset_by_name("base"), config = form.config();
    EXPECT_EQ(config.model, own.model);
    EXPECT_EQ(config.signal, own.signal);
    EXPECT_EQ(layer_name(config.model), "mamba-s4");
    EXPECT_EQ(config.training.batch, usual.training.batch) << "not that of the machine that made it";
    EXPECT_EQ(config.training.length, usual.training.length);
    EXPECT_EQ(config.training.learning_rate, usual.training.learning_rate / 4);
    EXPECT_EQ(config.training.state_space_rate, usual.training.state_space_rate / 4);
    fs::create_directories(folder / "base-mamba-s4-tuned");
    EXPECT_EQ(form.free_name(folder.path()), "base-mamba-s4-tuned-2");
    form.name = "mine";
    EXPECT_EQ(form.plan(folder.path(), "/data").from, base);

    // Chosen again it stays; another one is read anew.
    form.batch = 3;
    form.choose_model(base);
    EXPECT_TRUE(form.ready());
    EXPECT_EQ(form.batch, 3);
    form.choose_model(shipped_model("small-mamba-s6.safetensors"));
    EXPECT_FALSE(form.ready());
    form.take_model(read_network(form.from));
    EXPECT_EQ(form.size(), "small");
    EXPECT_EQ(layer_name(form.config().model), "mamba-s6");

    // From nothing again: what was chosen before.
    form.choose_model({});
    EXPECT_TRUE(form.ready());
    EXPECT_EQ(form.size(), "tiny");
    EXPECT_EQ(layer_name(form.config().model), "s4-mlp");
    EXPECT_EQ(form.config().training.learning_rate, preset_by_name("tiny").training.learning_rate);
    EXPECT_EQ(form.batch, preset_by_name("tiny").training.batch);
    EXPECT_EQ(form.plan(folder.path(), "/data").from, "");
}

TEST(StudioForm, AModelOfNoPresetsSizeIsTrainedAsThePresetChosen) {
    TrainingForm form;
    form.choose_preset("tiny");
    form.choose_model("/somewhere/piano/checkpoints/best.safetensors");
    ModelNetwork own{.config = test::tiny_training(), .preset = "", .parameters = 12345, .licence = ""};
    own.config.signal.quantization = "linear";
    form.take_model(own);
    EXPECT_EQ(form.size(), "12.3 k parameters");
    EXPECT_EQ(form.config().model, own.config.model);
    EXPECT_EQ(form.config().signal, own.config.signal);
    EXPECT_EQ(form.config().training.length, preset_by_name("tiny").training.length);
    EXPECT_EQ(form.free_name("/nowhere"), "piano-tuned") << "a run's checkpoint goes by the run's name";
    form.choose_model("/somewhere/v1.5/");
    EXPECT_EQ(form.free_name("/nowhere"), "v1.5-tuned");
}

TEST(StudioForm, AModelBringsTheLicencesOfThoseItBeganWith) {
    const test::TemporaryFolder folder;
    const Config config = test::tiny_training();
    const Network network(make_backend("cpu", 1), config.model, DType::f32, 1, config.training.length);
    const auto licence = [&](const ModelFacts& facts) {
        save_checkpoint(folder / "model.safetensors", config, network, nullptr, {}, facts);
        return read_network(folder / "model.safetensors").licence;
    };
    EXPECT_EQ(licence({{"data", "piano"}}), "");
    EXPECT_EQ(licence({{"from.licence", "CC BY 4.0"}}), "CC BY 4.0");
    EXPECT_EQ(licence({{"licence", "CC0"}, {"from.licence", "CC BY 4.0"}, {"from.from.licence", "CC0"}}),
              "CC BY 4.0; CC0");
    EXPECT_LE(licence({{"licence", std::string(100000, 'x')}}).size(), 200u);
}

TEST(StudioForm, AModelIsReadBesideTheWindow) {
    const test::TemporaryFolder folder;
    std::ofstream(folder / "damaged.safetensors") << "this is no model";
    std::atomic<int> wakes{0};
    StartingModel starting([&] { ++wakes; });
    EXPECT_FALSE(starting.result().has_value());
    std::optional<StartingModel::Result> result;
    const auto reads = [&](const fs::path& model) {
        return soon([&] {
            starting.want(model);  // as a window does with every frame
            return (result = starting.result()).has_value();
        });
    };
    // Another one is chosen while the first is read: what comes is the last one's.
    starting.want(shipped_model("base-mamba-s4.safetensors"));
    ASSERT_TRUE(reads(shipped_model("small-mamba-s6.safetensors")));
    ASSERT_TRUE(result->network.has_value()) << result->error;
    EXPECT_EQ(result->network->preset, "small");
    EXPECT_EQ(layer_name(result->network->config.model), "mamba-s6");
    EXPECT_EQ(result->network->licence, "CC BY-SA 4.0");
    EXPECT_EQ(result->network->parameters, parameter_count(result->network->config.model));
    EXPECT_TRUE(soon([&] { return wakes >= 1; }));

    for (const char* bad : {"damaged.safetensors", "nowhere"}) {
        ASSERT_TRUE(reads(folder / bad));
        EXPECT_FALSE(result->network.has_value());
        EXPECT_NE(result->error.find(bad), std::string::npos) << result->error;
    }
    EXPECT_FALSE(result->hint.empty());
    starting.want({});
    EXPECT_FALSE(starting.result().has_value());
    // Mended in the meantime, and chosen again.
    fs::copy_file(shipped_model("small-mamba-s4.safetensors"), folder / "nowhere");
    ASSERT_TRUE(reads(folder / "nowhere"));
    EXPECT_TRUE(result->network.has_value()) << result->error;
}

TEST(StudioMemory, IsMeasuredForWhatIsWantedLast) {
    std::atomic<int> wakes{0};
    MemoryEstimate estimate([&] { ++wakes; });
    EXPECT_FALSE(estimate.result().has_value());
    Config config = test::tiny_training();
    estimate.want(config, "cpu", 1);
    config.training.batch = 2;
    std::optional<MemoryEstimate::Result> result;
    ASSERT_TRUE(soon([&] {
        estimate.want(config, "cpu", 1);  // as a window does with every frame
        return (result = estimate.result()).has_value();
    }));
    EXPECT_EQ(result->error, "");
    EXPECT_EQ(result->need.needed, app::training_memory(make_backend("cpu", 1), config).needed);
    EXPECT_TRUE(result->need.fits());
    EXPECT_EQ(result->advice, "");
    EXPECT_GT(wakes.load(), 0);
    config.training.minutes = 77;  // no memory depends on it
    estimate.want(config, "cpu", 1);
    EXPECT_TRUE(estimate.result().has_value());
}

TEST(StudioMemory, SaysWhatToMakeSmaller) {
    MemoryEstimate estimate({});
    Config config = test::tiny_training();
    config.training.batch = 4096;
    config.training.length = 1 << 20;
    std::optional<MemoryEstimate::Result> result;
    ASSERT_TRUE(soon([&] {
        estimate.want(config, "cpu", 1);
        return (result = estimate.result()).has_value();
    }));
    EXPECT_FALSE(result->need.fits());
    EXPECT_NE(result->advice.find("batch of"), std::string::npos) << result->advice;
    config = test::tiny_training();
    config.training.batch = -1;
    ASSERT_TRUE(soon([&] {
        estimate.want(config, "cpu", 1);
        return (result = estimate.result()).has_value();
    }));
    EXPECT_NE(result->error.find("batch"), std::string::npos) << "what cannot be measured is said";
}

}  // namespace
}  // namespace nigiri::studio
