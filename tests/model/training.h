// A small training run: data, configuration, and what it writes.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/trainer.h"
#include "tests/model/networks.h"

namespace nigiri::test {

// Noisy saw-teeth: something to learn. Every step's batch depends on (seed, step) only.
class Saws final : public TrainingData {
  public:
    Saws(int64_t batch, int64_t length, int64_t vocabulary) : batch_(batch), length_(length), vocabulary_(vocabulary) {}
    void draw(uint64_t seed, int64_t step, Batch& b) override {
        Random random(seed, static_cast<uint64_t>(step) + 100);
        b.batch = batch_;
        b.length = length_;
        b.inputs.clear();
        b.targets.clear();
        for (int64_t i = 0; i < batch_; ++i) {
            auto value = static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary_)));
            for (int64_t t = 0; t < length_; ++t) {
                b.inputs.push_back(static_cast<int32_t>(value));
                value = (value + 1 + (random.below(10) == 0 ? 1 : 0)) % vocabulary_;
                b.targets.push_back(static_cast<int32_t>(value));
            }
        }
    }
    std::vector<Batch> validation() override {
        std::vector<Batch> all(1);
        draw(999, 0, all[0]);
        return all;
    }

  private:
    int64_t batch_, length_, vocabulary_;
};

inline Config small_config(const std::string& layer = "mamba-s4") {
    Config c;
    c.model = test::small_model(layer_by_name(layer));
    c.training.batch = 2;
    c.training.length = 30;  // no multiple of the pools: padded inside
    c.training.steps = 24;
    c.training.log_every = 1;
    c.training.validate_every = 5;
    c.training.checkpoint_every = 4;
    c.training.preview_every = 0;
    return c;
}

// The lines of metrics.jsonl without what depends on the clock.
inline std::vector<std::string> losses(const std::filesystem::path& run) {
    std::ifstream in(run / "metrics.jsonl");
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) {
        auto j = nlohmann::json::parse(line);
        j.erase("seconds");
        j.erase("tokens_per_second");
        out.push_back(j.dump());
    }
    return out;
}

inline TrainingEnd train(const std::filesystem::path& run, const Config& config, int64_t stop_after = 1 << 30,
                         const std::string& device = "cpu") {
    Saws data(config.training.batch, config.training.length, config.model.vocabulary);
    Trainer trainer(make_backend(device), config, run, data, {});
    std::atomic<bool> stop{false};
    TrainingCallbacks callbacks;
    callbacks.log = [&](const TrainingMetrics& m) {
        if (m.step >= stop_after) stop = true;
    };
    return trainer.run(stop, callbacks);
}

}  // namespace nigiri::test
