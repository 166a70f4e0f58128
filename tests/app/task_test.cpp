// The synthetic tasks: sequences are what they claim to be, the same ones every time, and answers are counted rightly
// at any length.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "app/task/accuracy.h"
#include "app/task/task_run.h"
#include "model/parameter.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::app {
namespace {

TaskSetting copying(int64_t length, int64_t vocabulary, int64_t data_tokens) {
    return {TaskKind::selective_copying, vocabulary, length, data_tokens};
}
TaskSetting induction(int64_t length, int64_t vocabulary) {
    return {TaskKind::induction_heads, vocabulary, length, 16};
}

struct Sequence {
    std::vector<int32_t> inputs, targets;
};

Sequence draw(const TaskSetting& setting, Random& random) {
    Sequence s;
    s.inputs.assign(static_cast<size_t>(setting.sequence()), -7);
    s.targets = s.inputs;
    draw_sequence(setting, random, s.inputs, s.targets);
    return s;
}

TEST(SelectiveCopying, AsksForTheDataTokensInOrder) {
    Random random(test::seed());
    for (const TaskSetting& setting : {copying(64, 16, 16), copying(5, 4, 5), copying(100, 8, 1)}) {
        std::set<int32_t> seen;
        double places = 0;
        for (int i = 0; i < 300; ++i) {
            const Sequence s = draw(setting, random);
            std::vector<int32_t> data, answers;
            for (int64_t l = 0; l < setting.sequence(); ++l) {
                const int32_t input = s.inputs[static_cast<size_t>(l)], target = s.targets[static_cast<size_t>(l)];
                if (l < setting.length) {
                    EXPECT_EQ(target, -1);
                    EXPECT_LT(input, setting.vocabulary - 1);
                    if (input != 0) data.push_back(input), places += static_cast<double>(l);
                } else {
                    EXPECT_EQ(input, setting.vocabulary - 1) << "a marker";
                    answers.push_back(target);
                }
            }
            ASSERT_EQ(static_cast<int64_t>(data.size()), setting.data_tokens);
            EXPECT_EQ(answers, data);
            seen.insert(data.begin(), data.end());
        }
        EXPECT_EQ(static_cast<int64_t>(seen.size()), setting.vocabulary - 2) << "every token occurs";
        const double count = 300.0 * static_cast<double>(setting.data_tokens), n = static_cast<double>(setting.length);
        // The mean of `count` places drawn evenly, within five of its standard deviations.
        EXPECT_NEAR(places / count, (n - 1) / 2, 5 * n / std::sqrt(12 * count) + 1e-9) << "seed " << test::seed();
    }
}

TEST(InductionHeads, AsksForWhatFollowedTheSpecialToken) {
    Random random(test::seed());
    for (const TaskSetting& setting : {induction(64, 16), induction(3, 4), induction(257, 5)}) {
        std::set<int64_t> places;
        for (int i = 0; i < 400; ++i) {
            const Sequence s = draw(setting, random);
            const auto special = static_cast<int32_t>(setting.vocabulary - 1);
            ASSERT_EQ(std::count(s.inputs.begin(), s.inputs.end(), special), 2);
            EXPECT_EQ(s.inputs.back(), special);
            const auto first = std::find(s.inputs.begin(), s.inputs.end(), special);
            EXPECT_EQ(s.targets.back(), first[1]);
            EXPECT_EQ(std::count(s.targets.begin(), s.targets.end(), -1), setting.length - 1);
            places.insert(first - s.inputs.begin());
        }
        EXPECT_EQ(*places.begin(), 0);
        EXPECT_LE(*places.rbegin(), setting.length - 3);
        EXPECT_GE(static_cast<int64_t>(places.size()), std::min<int64_t>(setting.length - 2, 150));
    }
}

TEST(TaskData, DependsOnSeedAndStepOnly) {
    TrainingConfig config;
    config.batch = 3;
    config.validation_segments = 5;
    for (const TaskSetting& setting : {copying(20, 8, 4), induction(20, 8)}) {
        TaskData one(setting, config), two(setting, config);
        Batch a, b;
        two.draw(1, 3, b);
        one.draw(1, 7, a), two.draw(1, 7, b);
        EXPECT_EQ(a.inputs, b.inputs);
        EXPECT_EQ(a.targets, b.targets);
        EXPECT_EQ(a.batch, 3);
        EXPECT_EQ(a.length, setting.sequence());
        two.draw(1, 8, b);
        EXPECT_NE(a.inputs, b.inputs);
        two.draw(2, 7, b);
        EXPECT_NE(a.inputs, b.inputs);
        const auto first = one.validation(), second = two.validation();
        ASSERT_EQ(first.size(), 1u);
        EXPECT_EQ(first[0].batch, 5);
        EXPECT_EQ(first[0].inputs, second[0].inputs);
        // Test sequences are numbered: a part of them is a part of all.
        const Batch all = test_sequences(setting, 1, 0, 4), part = test_sequences(setting, 1, 2, 2);
        EXPECT_TRUE(std::equal(part.inputs.begin(), part.inputs.end(), all.inputs.begin() + 2 * part.length));
        EXPECT_NE(test_sequences(setting, 2, 0, 4).inputs, all.inputs);
    }
}

Network network_of(const TaskSetting& setting, const std::string& layer, int64_t width = 16) {
    Config c = task_config(setting, layer_by_name(layer));
    c.model.width = width;
    return Network(make_backend("cpu", 2), c.model, DType::f32, test::seed(), setting.sequence());
}

// A network that always says the same token is right as often as that token is asked for.
TEST(Accuracy, OfAConstantAnswerIsKnown) {
    for (const TaskSetting& setting : {copying(30, 6, 7), induction(40, 6)}) {
        Network network = network_of(setting, "mamba-s6");
        Backend& backend = network.backend();
        backend.fill({.y = network.parameters().find("head.weight")->value, .value = 0});
        upload_values(backend, {0, 0, 0, 9, 0, 0}, network.parameters().find("head.bias")->value);
        const Batch batch = test_sequences(setting, 5, 0, 50);
        TaskResult result;
        ASSERT_TRUE(count_answers(network, batch, result));
        EXPECT_EQ(result.sequences, 50);
        EXPECT_EQ(result.answers, 50 * setting.answers());
        EXPECT_EQ(result.right, std::count(batch.targets.begin(), batch.targets.end(), 3));
        EXPECT_GT(result.right, 0);
        EXPECT_EQ(measure_task(network, setting, 50, 5)->right, result.right);
    }
}

// Longer than a piece, and answers that lie on both sides of the end of one: as the parallel pass has it.
TEST(Accuracy, CarriesTheStateFromPieceToPiece) {
    for (const std::string layer : {"mamba-s6", "h3-s4", "attention"})
        for (const TaskSetting& setting : {induction(9000, 6), copying(8190, 6, 5)}) {
            if (layer == "attention" && setting.kind == TaskKind::induction_heads) continue;  // takes seconds
            const Network network = network_of(setting, layer, 8);
            const Batch batch = test_sequences(setting, test::seed(), 0, 1);
            TaskResult result;
            ASSERT_TRUE(count_answers(network, batch, result));
            const Tensor tokens = network.backend().allocate({1, batch.length}, DType::i32);
            network.backend().upload(batch.inputs.data(), tokens);
            const std::vector<float> logits = download_floats(network.backend(), network.logits(tokens));
            int64_t right = 0;
            for (size_t l = 0; l < batch.targets.size(); ++l) {
                const auto row = logits.begin() + static_cast<std::ptrdiff_t>(6 * l);
                right += batch.targets[l] >= 0 && std::max_element(row, row + 6) - row == batch.targets[l];
            }
            EXPECT_EQ(result.answers, setting.answers());
            EXPECT_EQ(result.right, right) << layer << ", seed " << test::seed();
        }
}

TEST(Accuracy, StopsWhenAsked) {
    const TaskSetting setting = induction(100, 6);
    const Network network = network_of(setting, "mamba-s6");
    EXPECT_FALSE(measure_task(network, setting, 10, 1, [](int64_t) { return false; }));
    EXPECT_EQ(test_sequence_count(network.config(), induction(256, 16), 0), 256);
    EXPECT_EQ(test_sequence_count(network.config(), induction(1 << 20, 16), 0), 8);
    EXPECT_EQ(test_sequence_count(network.config(), induction(1 << 20, 16), 3), 3);
}

TEST(TaskConfig, HasThePublishedNetworks) {
    for (const TaskKind kind : {TaskKind::selective_copying, TaskKind::induction_heads})
        for (const std::string block : {"plain", "h3", "mamba"})
            for (const std::string sequence : {"s4", "s6", "hyena", "attention"}) {
                const LayerConfig layer = layer_by_name(task_layer(block, sequence));
                const Config c = task_config(published_setting(kind), layer);
                EXPECT_NO_THROW(validate(c));
                EXPECT_EQ(to_string(layer.block), block);
                EXPECT_EQ(c.model.vocabulary, 16);
                EXPECT_EQ(c.model.layers, 2);
                EXPECT_TRUE(c.model.pools.empty());
                EXPECT_EQ(c.training.weight_decay, 0);
                EXPECT_EQ(c.training.schedule, Schedule::constant);
                const std::vector<int64_t> lengths = test_lengths(published_setting(kind), layer);
                if (kind == TaskKind::selective_copying) {
                    EXPECT_EQ(lengths, std::vector<int64_t>{4096});
                    EXPECT_EQ(c.model.width, 64);
                    EXPECT_EQ(c.training.learning_rate, 1e-4);
                    EXPECT_EQ(c.training.batch, 64);
                    EXPECT_EQ(c.training.steps, 400000);
                } else {
                    EXPECT_EQ(lengths.front(), 64);
                    EXPECT_EQ(lengths.back(), remembers_all(layer.ssm.kind) ? 1 << 14 : 1 << 20);
                    EXPECT_EQ(c.model.width, block == "mamba" ? 64 : 128);
                    EXPECT_EQ(c.training.batch, 8);
                }
            }
    // The paper counts 74 thousand for Mamba and 137 thousand for attention, which has absolute positions.
    const auto count = [](const std::string& layer) {
        return parameter_count(task_config(published_setting(TaskKind::induction_heads), layer_by_name(layer)).model);
    };
    EXPECT_NEAR(static_cast<double>(count("mamba-s6")), 74e3, 8e3);
    EXPECT_NEAR(static_cast<double>(count("attention")), 137e3, 5e3);
}

TEST(TaskSettings, RefuseWhatCannotBe) {
    EXPECT_THROW(validate(induction(2, 16)), Error);
    EXPECT_THROW(validate(induction(64, 3)), Error);
    EXPECT_THROW(validate(copying(10, 16, 11)), Error);
    EXPECT_THROW(validate(copying(10, 16, 0)), Error);
    EXPECT_THROW(validate(copying(int64_t{1} << 40, 16, 1)), Error);
    EXPECT_NO_THROW(validate(copying(10, 16, 10)));
    EXPECT_THROW(task_by_name("juggling"), Error);
}

TEST(TaskRun, IsReadFromItsFolder) {
    const test::TemporaryFolder folder;
    EXPECT_FALSE(task_of_run(folder.path()));
    const TaskSetting setting = copying(30, 6, 7);
    Config c = task_config(setting, layer_by_name("h3-s6"));
    c.model.width = 8;
    const Network network(make_backend("cpu", 2), c.model, DType::f32, 1, 37);
    std::filesystem::create_directories(folder.path() / "checkpoints");
    const auto save = [&](const ModelFacts& facts) {
        save_checkpoint(folder.path() / "checkpoints" / "last.safetensors", c, network, nullptr, {}, facts);
    };
    save(task_facts(setting));
    const auto found = task_of_run(folder.path());
    ASSERT_TRUE(found);
    EXPECT_EQ(found->setting, setting);
    EXPECT_EQ(found->config, c);
    save({});
    EXPECT_THROW(task_of_run(folder.path()), Error) << "no task's";
    for (const char* const field : {"task", "task_length", "task_data_tokens"})
        for (const char* const wrong : {"", "-3", "ten", "99999999999999999999"}) {
            ModelFacts facts = task_facts(setting);
            facts[field] = wrong;
            save(facts);
            EXPECT_THROW(task_of_run(folder.path()), Error) << field << " " << wrong;
        }
}

}  // namespace
}  // namespace nigiri::app
