#include "app/task/task_run.h"

#include <charconv>

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

constexpr int64_t longest_test = int64_t{1} << 20, longest_of_growing_states = int64_t{1} << 14;

int64_t fact(const ModelFacts& facts, const std::string& name, const fs::path& file) {
    const auto it = facts.find(name);
    int64_t value = 0;
    if (it != facts.end()) {
        const char* const end = it->second.data() + it->second.size();
        if (const auto r = std::from_chars(it->second.data(), end, value); r.ec == std::errc() && r.ptr == end)
            return value;
    }
    throw Error(file.string() + " does not say its " + name, "the file is damaged; choose another --run");
}

// Steps after which the paper reports the task.
int64_t published_steps(TaskKind kind, const LayerConfig& layer) {
    if (kind == TaskKind::selective_copying) return 400'000;
    constexpr int64_t epoch = 8192;
    if (layer.ssm.kind == SsmKind::attention) return 50 * epoch;
    return layer.block == BlockKind::h3 ? 10 * epoch : 25 * epoch;
}

}  // namespace

std::string task_layer(const std::string& block, const std::string& sequence) {
    return block == "plain" && sequence == "attention" ? sequence : block + "-" + sequence;
}

Config task_config(const TaskSetting& setting, const LayerConfig& layer) {
    const bool copying = setting.kind == TaskKind::selective_copying;
    const bool mamba = layer.block == BlockKind::mamba;
    Config c;
    c.model.vocabulary = setting.vocabulary;
    c.model.width = copying || mamba ? 64 : 128;
    c.model.layers = 2;
    c.model.pools = {};
    c.model.outer = c.model.centre = layer;
    TrainingConfig& t = c.training;
    t.batch = copying ? 64 : 8;
    t.length = setting.sequence();
    t.steps = published_steps(setting.kind, layer);
    t.learning_rate = copying ? 1e-4 : mamba ? 1e-3 : 2e-4;
    t.state_space_rate = t.learning_rate;
    t.beta1 = 0.9, t.beta2 = 0.999;
    t.weight_decay = 0;
    t.precision = Precision::f32;
    t.graph = true;
    t.schedule = Schedule::constant;
    t.warmup = 0;
    t.log_every = 100;
    t.validate_every = copying ? 500 : 1000;
    t.validation_segments = copying ? 64 : 256;
    t.checkpoint_every = 2000;
    t.preview_every = 0;
    return c;
}

std::vector<int64_t> test_lengths(const TaskSetting& setting, const LayerConfig& layer) {
    if (setting.kind == TaskKind::selective_copying) return {setting.length};
    const bool grows = remembers_all(layer.ssm.kind);
    std::vector<int64_t> lengths;
    for (int64_t length = 64; length <= (grows ? longest_of_growing_states : longest_test); length *= 2)
        lengths.push_back(length);
    return lengths;
}

ModelFacts task_facts(const TaskSetting& setting) {
    return {{"task", to_string(setting.kind)},
            {"task_length", std::to_string(setting.length)},
            {"task_data_tokens", std::to_string(setting.data_tokens)}};
}

std::optional<TaskOfRun> task_of_run(const fs::path& run) {
    const fs::path last = run / "checkpoints" / "last.safetensors";
    if (!fs::exists(last)) return std::nullopt;
    const Checkpoint checkpoint = Checkpoint::read(last);
    const ModelFacts& facts = checkpoint.facts();
    const auto name = facts.find("task");
    if (name == facts.end()) throw Error(run.string() + " holds a run that is no task's", "choose another --run");
    TaskSetting setting;
    setting.kind = task_by_name(name->second);
    setting.vocabulary = checkpoint.config().model.vocabulary;
    setting.length = fact(facts, "task_length", last);
    setting.data_tokens = fact(facts, "task_data_tokens", last);
    validate(setting);
    return TaskOfRun{setting, checkpoint.config()};
}

}  // namespace nigiri::app
