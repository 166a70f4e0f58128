// Models on disk: one safetensors file holds the weights (`model.NAME`), the optimizer's moments (`opt.m.NAME`,
// `opt.v.NAME`) and, in its metadata, the configuration and the training state as JSON. Such a file is all that
// generating needs.
#pragma once

#include <filesystem>
#include <map>
#include <memory>

#include "model/config.h"
#include "model/network.h"
#include "model/optimizer.h"
#include "model/safetensors.h"

namespace nigiri {

inline constexpr int checkpoint_version = 1;

// Where a training run stands. Random draws depend on the seed and the step only, so the step is the data position.
struct TrainingState {
    int64_t step = 0;
    int64_t tokens = 0;
    double seconds = 0;  // spent training, over all sessions
    double best_valid_bits = 1e300;
    int64_t best_step = 0;
    double valid_bits = -1;  // of the last validation; negative: none yet
    double train_bits = 0;   // of the last log line
    double bits_sum = 0;     // training bits since the last log line, and over how many steps
    int64_t bits_steps = 0;
    double log_seconds = 0;  // `seconds` and tokens at the last log line
    int64_t log_tokens = 0;
    PlateauState plateau;
};

// Facts about where a model comes from, kept with it ("data", "licence", ...).
using ModelFacts = std::map<std::string, std::string>;

// float32, or sixteen bits where that costs hardly any digits: matrices (ParameterGroup::decay, nearly all there are)
// as bfloat16, state-space parameters, whose poles and steps need more of them, as IEEE half; norms and biases stay
// float32.
enum class StoredAs : uint8_t { f32, half };

// Replaces `path` atomically. Without an optimizer the file holds a model only; with one, everything is float32.
void save_checkpoint(const std::filesystem::path& path, const Config& config, const Network& network,
                     const Optimizer* optimizer, const TrainingState& state, const ModelFacts& facts,
                     StoredAs stored = StoredAs::f32);

class Checkpoint {
  public:
    // Reads and checks the file: kind, version, configuration, and that it holds all the weights of that configuration.
    static Checkpoint read(const std::filesystem::path& path);
    // The same from memory; `name` stands for the file in messages.
    static Checkpoint parse(std::vector<uint8_t> bytes, const std::string& name);

    const Config& config() const { return config_; }
    const TrainingState& state() const { return state_; }
    const ModelFacts& facts() const { return facts_; }
    bool has_optimizer() const { return has_optimizer_; }
    int64_t parameters() const { return parameters_; }

    std::unique_ptr<Network> make_network(std::shared_ptr<Backend> backend, DType dtype = DType::f32) const;
    // Overwrites values of a network built from this configuration; throws Error where names or shapes differ.
    void restore(Network& network) const;
    void restore(Optimizer& optimizer, const ParameterStore& store) const;

  private:
    void interpret();
    void upload(Backend& backend, const std::string& name, const Tensor& to) const;

    std::string name_;
    SafeTensorsFile file_;
    Config config_;
    TrainingState state_;
    ModelFacts facts_;
    bool has_optimizer_ = false;
    int64_t parameters_ = 0;
};

// Scalars of the network that `config` describes, without building it.
int64_t parameter_count(const ModelConfig& config);

}  // namespace nigiri
