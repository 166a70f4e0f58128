// The training loop: batches in, a better network out, with validation, checkpoints and exact resumption.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "model/checkpoint.h"
#include "model/training_step.h"

namespace nigiri {

// Where batches come from. The batch of a step must depend on (seed, step) only: that makes resuming exact.
class TrainingData {
  public:
    virtual ~TrainingData() = default;
    // Called from a thread of its own, one call at a time.
    virtual void draw(uint64_t seed, int64_t step, Batch& batch) = 0;
    // Held-out batches, always the same ones; may be empty.
    virtual std::vector<Batch> validation() = 0;
};

// One line of metrics.jsonl.
struct TrainingMetrics {
    int64_t step = 0, tokens = 0;
    double train_bits = 0;   // mean over the steps since the last line
    double valid_bits = -1;  // negative: not measured at this step
    double learning_rate = 0, gradient_norm = 0, tokens_per_second = 0, seconds = 0;
    double progress = 0;            // share of the run that is done, in [0, 1]; 0 where there is no limit
    double remaining_seconds = -1;  // negative: unknown
};

std::string to_json(const TrainingMetrics& metrics);

struct TrainingCallbacks {
    std::function<void(const TrainingMetrics&)> log;
    std::function<void(const TrainingState&)> step;  // after every update
    std::function<void(int64_t step, const std::filesystem::path&, bool best)> checkpoint;
    std::function<void(int64_t step, const Network&)> preview;
};

class RunLock;

enum class TrainingEnd : uint8_t { finished, stopped };

// A run folder: checkpoints/last.safetensors, checkpoints/best.safetensors, metrics.jsonl. One process at a time.
class Trainer {
  public:
    // A new run, or the continuation of the one in `run` (config then must be the run's own, apart from its limits and
    // intervals). Throws Error where the folder belongs to a run of another model.
    Trainer(std::shared_ptr<Backend> backend, const Config& config, const std::filesystem::path& run,
            TrainingData& data, ModelFacts facts);
    ~Trainer();

    // Before the first step of a new run: the network begins with these weights instead of random ones; the optimizer
    // begins afresh. Throws Error where the model is another network.
    void begin_with(const Checkpoint& model);

    bool resumed() const { return resumed_; }
    const Network& network() const { return *network_; }
    const TrainingState& state() const { return state_; }
    // Share of the run that is done, in [0, 1]; 0 where there is no limit.
    double progress() const;
    // For people: what makes this run slower than it should be; may come up while it runs, else empty.
    const std::string& note() const { return step_->note(); }

    // Trains until the limit of steps or minutes, or until `stop` becomes true; in either case the run is then saved.
    // Throws Diverged where the loss stops being a number; the checkpoints before that stay. Where a file cannot be
    // written (a full disk) it throws Error and may be called again: what was not written is written then.
    TrainingEnd run(const std::atomic<bool>& stop, const TrainingCallbacks& callbacks);

    std::filesystem::path last_checkpoint() const { return run_ / "checkpoints" / "last.safetensors"; }
    std::filesystem::path best_checkpoint() const { return run_ / "checkpoints" / "best.safetensors"; }

  private:
    double update(const Batch& batch);
    double schedule_factor() const;
    bool finished() const;
    double validate();
    void save(const std::filesystem::path& path, const TrainingCallbacks& callbacks, bool best);
    void log(const TrainingCallbacks& callbacks, bool validated);
    void write_log();
    void open_metrics();

    std::shared_ptr<Backend> backend_;
    Config config_;
    std::filesystem::path run_;
    TrainingData& data_;
    ModelFacts facts_;
    std::unique_ptr<RunLock> lock_;
    std::unique_ptr<Network> network_;
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<TrainingStep> step_;
    std::vector<Batch> validation_;
    TrainingState state_;
    bool resumed_ = false;
    int64_t saved_step_ = -1;    // of the last checkpoint; negative: there is none
    bool best_unsaved_ = false;  // the network as it stands is the best, and not yet saved as that
    std::string unlogged_;       // lines for the log
    double gradient_norm_ = 0;
    double seconds_before_ = 0;  // of earlier sessions and of this one up to `started_`
    double started_ = 0;
};

}  // namespace nigiri
