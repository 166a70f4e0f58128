#include "app/task/accuracy.h"

#include <algorithm>

namespace nigiri::app {

namespace {

constexpr int64_t tokens_a_pass = 65536;  // of all sequences of a pass together: bounds its memory
constexpr int64_t longest_piece = 8192;
constexpr int64_t usual_tokens = int64_t{1} << 23, fewest_sequences = 8, most_sequences = 256;

// The places of a piece where an answer is asked of any sequence: [first, last).
struct Asked {
    int64_t first = 0, last = 0;
};

Asked asked_places(const Batch& batch, int64_t at, int64_t count) {
    Asked asked{count, 0};
    for (int64_t b = 0; b < batch.batch; ++b)
        for (int64_t l = 0; l < count; ++l)
            if (batch.targets[static_cast<size_t>(b * batch.length + at + l)] >= 0)
                asked.first = std::min(asked.first, l), asked.last = std::max(asked.last, l + 1);
    return asked;
}

}  // namespace

bool count_answers(const Network& network, const Batch& batch, TaskResult& result, const TaskProgress& progress) {
    Backend& backend = network.backend();
    const int64_t vocabulary = network.config().vocabulary;
    const int64_t piece = std::clamp<int64_t>(tokens_a_pass / batch.batch, 1, longest_piece);
    NetworkState state = network.make_state(batch.batch);
    std::vector<int32_t> host;
    std::vector<float> values;
    for (int64_t at = 0; at < batch.length; at += piece) {
        const int64_t count = std::min(piece, batch.length - at);
        host.clear();
        for (int64_t b = 0; b < batch.batch; ++b) {
            const auto row = batch.inputs.begin() + b * batch.length + at;
            host.insert(host.end(), row, row + count);
        }
        const Tensor tokens = backend.allocate({batch.batch, count}, DType::i32);
        backend.upload(host.data(), tokens);
        const Tensor logits = network.advance(tokens, state);
        if (progress && !progress(batch.batch * (at + count))) return false;

        const Asked asked = asked_places(batch, at, count);
        if (asked.first >= asked.last) continue;
        const int64_t places = asked.last - asked.first;
        const Tensor wanted = backend.allocate({batch.batch, places * vocabulary}, logits.dtype());
        backend.copy({.x = logits.reshaped({batch.batch, count * vocabulary})
                               .columns(asked.first * vocabulary, places * vocabulary),
                      .y = wanted});
        values = download_floats(backend, wanted);
        for (int64_t b = 0; b < batch.batch; ++b)
            for (int64_t l = 0; l < places; ++l) {
                const int32_t target = batch.targets[static_cast<size_t>(b * batch.length + at + asked.first + l)];
                if (target < 0) continue;
                const auto row = values.begin() + (b * places + l) * vocabulary;
                ++result.answers;
                result.right += std::max_element(row, row + vocabulary) - row == target;
            }
    }
    result.sequences += batch.batch;
    return true;
}

int64_t test_sequence_count(const ModelConfig& model, const TaskSetting& setting, int64_t sequences) {
    const int64_t tokens = remembers_all(model.centre.ssm.kind) ? usual_tokens / 8 : usual_tokens;
    return sequences > 0 ? sequences : std::clamp(tokens / setting.sequence(), fewest_sequences, most_sequences);
}

std::optional<TaskResult> measure_task(const Network& network, const TaskSetting& setting, int64_t sequences,
                                       uint64_t seed, const TaskProgress& progress) {
    const int64_t total = test_sequence_count(network.config(), setting, sequences);
    // Long sequences a few at a time: eight million tokens on the host at most.
    const int64_t together = std::clamp<int64_t>(usual_tokens / setting.sequence(), 1, 64);
    TaskResult result;
    result.length = setting.length;
    for (int64_t first = 0; first < total; first += together) {
        const Batch batch = test_sequences(setting, seed, first, std::min(together, total - first));
        const int64_t before = first * setting.sequence();
        if (!count_answers(network, batch, result,
                           [&](int64_t tokens) { return !progress || progress(before + tokens); }))
            return std::nullopt;
    }
    return result;
}

}  // namespace nigiri::app
