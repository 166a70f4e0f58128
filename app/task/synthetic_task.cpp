#include "app/task/synthetic_task.h"

#include <algorithm>

namespace nigiri::app {

namespace {

// Streams of the random generator: what is trained on, what measures the training, what is reported at the end.
constexpr uint64_t training_stream = uint64_t{1} << 60, validation_stream = uint64_t{2} << 60,
                   test_stream = uint64_t{3} << 60;

// Tokens of a pass without gradients: bounds its memory.
constexpr int64_t tokens_at_once = 65536;

Batch draw_batch(const TaskSetting& setting, Random& random, int64_t count) {
    Batch batch;
    batch.batch = count;
    batch.length = setting.sequence();
    const auto length = static_cast<size_t>(batch.length);
    batch.inputs.resize(static_cast<size_t>(count) * length);
    batch.targets.resize(batch.inputs.size());
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
        draw_sequence(setting, random, std::span(batch.inputs).subspan(i * length, length),
                      std::span(batch.targets).subspan(i * length, length));
    return batch;
}

int32_t draw_token(Random& random, int64_t first, int64_t count) {
    return static_cast<int32_t>(first + static_cast<int64_t>(random.below(static_cast<uint64_t>(count))));
}

// `count` different places below `places`, in order (Floyd's algorithm: one draw a place).
std::vector<int64_t> draw_places(Random& random, int64_t places, int64_t count) {
    std::vector<int64_t> chosen;
    for (int64_t last = places - count; last < places; ++last) {
        const auto at = static_cast<int64_t>(random.below(static_cast<uint64_t>(last) + 1));
        chosen.push_back(std::find(chosen.begin(), chosen.end(), at) == chosen.end() ? at : last);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
}

}  // namespace

std::string to_string(TaskKind kind) {
    return kind == TaskKind::selective_copying ? "selective-copying" : "induction-heads";
}

TaskKind task_by_name(const std::string& name) {
    for (const TaskKind kind : {TaskKind::selective_copying, TaskKind::induction_heads})
        if (to_string(kind) == name) return kind;
    throw Error("unknown task '" + name + "'", "choose selective-copying or induction-heads");
}

double TaskSetting::chance() const {
    return 1.0 / static_cast<double>(kind == TaskKind::selective_copying ? vocabulary - 2 : vocabulary - 1);
}

TaskSetting TaskSetting::with_length(int64_t other) const {
    TaskSetting setting = *this;
    setting.length = other;
    return setting;
}

TaskSetting published_setting(TaskKind kind) {
    TaskSetting setting;
    setting.kind = kind;
    setting.length = kind == TaskKind::selective_copying ? 4096 : 256;
    return setting;
}

void validate(const TaskSetting& s) {
    const auto check = [](bool holds, const std::string& what) {
        if (!holds) throw Error("a task needs " + what, "see nigiri task --help");
    };
    check(s.vocabulary >= 4 && s.vocabulary <= 65536, "a vocabulary of 4 to 65536 tokens");
    check(s.length >= 3 && s.length <= int64_t{1} << 24, "a length of 3 to 16777216 tokens");
    if (s.kind == TaskKind::selective_copying)
        check(s.data_tokens >= 1 && s.data_tokens <= s.length, "1 to as many data tokens as its length has places");
}

std::string describe(const TaskSetting& s) {
    std::string text = "length " + std::to_string(s.length) + ", vocabulary " + std::to_string(s.vocabulary);
    if (s.kind == TaskKind::selective_copying) text += ", " + std::to_string(s.data_tokens) + " data tokens";
    return text;
}

void draw_sequence(const TaskSetting& s, Random& random, std::span<int32_t> inputs, std::span<int32_t> targets) {
    std::fill(targets.begin(), targets.end(), -1);
    const auto length = static_cast<size_t>(s.length);
    const auto special = static_cast<int32_t>(s.vocabulary - 1);
    if (s.kind == TaskKind::selective_copying) {
        std::fill(inputs.begin(), inputs.end(), 0);
        size_t next = length;
        for (const int64_t place : draw_places(random, s.length, s.data_tokens)) {
            const int32_t token = draw_token(random, 1, s.vocabulary - 2);
            inputs[static_cast<size_t>(place)] = token;
            inputs[next] = special;
            targets[next++] = token;
        }
        return;
    }
    for (int32_t& token : inputs) token = draw_token(random, 0, s.vocabulary - 1);
    const auto place = static_cast<size_t>(random.below(length - 2));
    inputs[place] = inputs[length - 1] = special;
    targets[length - 1] = inputs[place + 1];
}

Batch test_sequences(const TaskSetting& setting, uint64_t seed, int64_t first, int64_t count) {
    Batch all;
    for (int64_t i = first; i < first + count; ++i) {
        Random random(seed, test_stream + (static_cast<uint64_t>(setting.length) << 30) + static_cast<uint64_t>(i));
        Batch one = draw_batch(setting, random, 1);
        all.inputs.insert(all.inputs.end(), one.inputs.begin(), one.inputs.end());
        all.targets.insert(all.targets.end(), one.targets.begin(), one.targets.end());
    }
    all.batch = count;
    all.length = setting.sequence();
    return all;
}

void TaskData::draw(uint64_t seed, int64_t step, Batch& batch) {
    Random random(seed, training_stream + static_cast<uint64_t>(step));
    batch = draw_batch(setting_, random, config_.batch);
}

std::vector<Batch> TaskData::validation() {
    std::vector<Batch> batches;
    const int64_t most = std::max<int64_t>(1, tokens_at_once / setting_.sequence());
    for (int64_t first = 0; first < config_.validation_segments; first += most) {
        Random random(config_.seed, validation_stream + static_cast<uint64_t>(first));
        batches.push_back(draw_batch(setting_, random, std::min(most, config_.validation_segments - first)));
    }
    return batches;
}

}  // namespace nigiri::app
