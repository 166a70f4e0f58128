// A network that names sequences: what hears which digit was said, from this project's own layers. One rate, no pools;
// the blocks see the past only, the mean over time sees everything.
//
//   (B, L, inputs) -> linear -> blocks -> norm -> sum over time -> norm -> linear, GELU: features -> linear: logits
//
// The norm behind the sum makes a mean of it, whatever L is.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/block.h"
#include "model/optimizer.h"

namespace nigiri {

struct ClassifierConfig {
    int64_t inputs = 32;    // numbers a step
    int64_t length = 64;    // steps
    int64_t features = 64;  // numbers before the last linear map, by which sets of sequences are compared
    int64_t classes = 10;
    ModelConfig model;  // width, layers, centre and norm; nothing else of it counts

    bool operator==(const ClassifierConfig&) const = default;
};

// Throws Error naming the first field that makes no sense or exceeds its limit.
void validate(const ClassifierConfig& config);
// Scalars of the network that `config` describes, without building it.
int64_t parameter_count(const ClassifierConfig& config);

// The sum over the steps, (B, L, D) -> (B, D), halves onto halves: log2 L additions, and rounding that grows like log L
// too.
Var sum_over_time(Tape& tape, const Var& x);

class SequenceClassifier {
  public:
    // Draws initial values from `seed`.
    SequenceClassifier(std::shared_ptr<Backend> backend, const ClassifierConfig& config, DType dtype, uint64_t seed);
    SequenceClassifier(const SequenceClassifier&) = delete;
    SequenceClassifier& operator=(const SequenceClassifier&) = delete;

    const ClassifierConfig& config() const { return config_; }
    ParameterStore& parameters() { return store_; }
    const ParameterStore& parameters() const { return store_; }
    Backend& backend() const { return store_.backend(); }

    struct Output {
        Var features, logits;  // (B, F), (B, C)
    };
    // x: (B, L, inputs) of the parameters' type.
    Output forward(Tape& tape, const Tensor& x) const;

    // Divides the logits by `temperature` for good: the last linear map is what changes.
    void cool(double temperature);

  private:
    ClassifierConfig config_;
    ParameterStore store_;
    Parameter *in_weight_, *in_bias_;
    std::vector<ResidualBlock> blocks_;
    std::unique_ptr<Norm> norm_, pooled_norm_;
    Parameter *features_weight_, *features_bias_, *head_weight_, *head_bias_;
};

// One update: forward, backward, AdamW with the rates times `factor`. `x` holds labels.size() sequences of length x
// inputs. What is learned is the label with probability 1 - smoothing and every class with smoothing / classes (Szegedy
// et al. 2016, arXiv:1512.00567). Returns the mean cross-entropy with the labels themselves in nats, before the update.
// Throws Error where it is not a number.
double classifier_step(SequenceClassifier& classifier, Optimizer& optimizer, std::span<const float> x,
                       std::span<const int32_t> labels, double factor, double smoothing = 0);

// What a classifier says of sequences, row by row.
struct Classification {
    int64_t count = 0;
    std::vector<float> features;            // (count, features)
    std::vector<double> log_probabilities;  // (count, classes), natural, from float32 logits; always finite
    std::vector<int32_t> classes;           // the likeliest, the first of several
};
// `x` holds whole sequences; they are taken in batches.
Classification classify(const SequenceClassifier& classifier, std::span<const float> x);

// The temperature by which logits must be divided for the least cross-entropy with the labels, smoothed as above,
// between 1/16 and 16 (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599). Scores that
// exponentiate divergences depend on how sure a classifier is; this makes it sure to a stated degree.
double calibration_temperature(const Classification& said, std::span<const int32_t> labels, double smoothing = 0);

}  // namespace nigiri
