// A training run as the command line and the studio start it: audio, memory, run folder, trainer, previews.
#pragma once

#include <memory>
#include <optional>

#include "app/data_source.h"

namespace nigiri::app {

struct TrainingRequest {
    std::filesystem::path data;
    std::filesystem::path files = {};  // if set: the list of training files to keep
    std::filesystem::path run;         // run folder; one that exists is continued
    std::filesystem::path from = {};   // if set: the model (file or run folder) whose weights a new run begins with
    Config config;
    int threads = 0;
};

// What the run folder `run` was trained with; nothing where it holds no run yet. Throws Error where it is damaged.
std::optional<Config> config_of_run(const std::filesystem::path& run);
// "small-mamba-s4": a folder's name for runs of this kind.
std::string run_name(const std::string& preset, const ModelConfig& model);
// "small-mamba-s4-tuned": the same for runs that begin with the weights of `model`, a file or a run folder.
std::string tuned_name(const std::filesystem::path& model);
// What a model that goes on learning learns at, a share of the preset's rates: steps as large as at the beginning undo
// what it knows. The first small-mamba-s4 on other pianos, validation bits after 50 and 300 steps of 2 x 8192: 2.58
// and 2.43; with the preset's rates 3.29 and 2.45, with a tenth of them 2.52 and 2.44.
inline constexpr double tuning_rate = 0.25;
// `config` with the network and the signal of `model`, which only a run of the same network can begin with. Throws
// Error where it cannot be read.
Config tuned_config(Config config, const std::filesystem::path& model);

struct MemoryNeed {
    double needed = 0, available = 0;  // bytes; available 0: unknown

    bool fits() const { return available <= 0 || needed <= available; }
};
MemoryNeed training_memory(const std::shared_ptr<Backend>& backend, const Config& config);

// Bits per sample of the simplest models on the validation audio; a network should end far below.
struct Baseline {
    double order0 = 0;  // one distribution for all samples
    double order1 = 0;  // given the previous sample
};

class TrainingRun {
  public:
    // Checks the configuration; reads nothing yet.
    explicit TrainingRun(TrainingRequest request);
    TrainingRun(const TrainingRun&) = delete;
    TrainingRun& operator=(const TrainingRun&) = delete;

    const TrainingRequest& request() const { return request_; }
    const Config& config() const { return request_.config; }

    // Reads the audio. Throws Error where there is none to train on, and Cancelled.
    void load(const Progress& progress);
    // Instead of load(): audio that was read for several runs, coded as the configuration's signal says.
    void use(std::shared_ptr<const Dataset> data) { data_ = std::move(data); }
    const Dataset& data() const { return *data_; }
    // Nothing where there is no validation audio. Computed once; asked for before open(), config.toml keeps it.
    std::optional<Baseline> baseline();

    // Makes the network or continues the run's. Throws Error where memory does not suffice, with what would help.
    void open(const std::shared_ptr<Backend>& backend);
    Trainer& trainer() { return *trainer_; }
    const Trainer& trainer() const { return *trainer_; }
    const MemoryNeed& memory() const { return memory_; }

    // Trains until the end or until `stop`, and saves; may be called again after a stop.
    TrainingEnd run(const std::atomic<bool>& stop, const std::function<void(const TrainingMetrics&)>& log,
                    const std::function<void(const TrainingState&)>& step = {});

  private:
    void write_config() const;

    TrainingRequest request_;
    std::shared_ptr<const Dataset> data_;
    std::optional<Baseline> baseline_;
    std::unique_ptr<DatasetSource> source_;
    std::unique_ptr<Trainer> trainer_;
    MemoryNeed memory_;
};

}  // namespace nigiri::app
