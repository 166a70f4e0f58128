// Teaching the digit classifier.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "audio/augment.h"
#include "audio/digits.h"
#include "model/checkpoint.h"
#include "model/classifier.h"

namespace nigiri::app {

// Four time-invariant Mamba blocks of width 64 at 64 frames a second: 0.13 M parameters.
ClassifierConfig digit_classifier_config();

struct ClassifierTrainingOptions {
    ClassifierConfig network = digit_classifier_config();
    Augmentation augmentation;
    double epochs = 30;  // of the training clips, all digits equally often
    int64_t batch = 64;
    double rate = 3e-3, weight_decay = 0.1;  // AdamW, cosine to a fiftieth after a tenth of warm-up
    // How unsure it shall be at best. Without, a good classifier is certain to thirty nats, and mIS is some 10^12;
    // three percent bring recordings to where the published classifier has them (AM 0.2, IS 8.3, mIS a few hundred).
    double smoothing = 0.03;
    uint64_t seed = 0;
    int threads = 0;  // for hearing what is only judged
};

struct ClassifierTrainingResult {
    std::unique_ptr<SequenceClassifier> classifier;
    int64_t steps = 0;
    double seconds = 0;
    double train_nats = 0;                                // mean of the last epoch, augmented
    std::optional<double> valid_accuracy, test_accuracy;  // none where there are no such clips
    double temperature = 1;  // by which its logits were divided, for the least cross-entropy on validation clips
    bool stopped = false;
};

struct ClassifierTrainingProgress {
    int64_t step = 0, steps = 0;
    double nats = 0;  // smoothed
    double seconds = 0;
};
// Returning false ends the training early; what was learned is judged and kept.
using ClassifierTrainingCallback = std::function<bool(const ClassifierTrainingProgress&)>;

// The same options on the same data and device give the same classifier: every draw depends on the seed and the number
// of the clip drawn. Throws Error where a digit has no training clip.
ClassifierTrainingResult train_digit_classifier(const DigitSet& data, const std::shared_ptr<Backend>& backend,
                                                const ClassifierTrainingOptions& options,
                                                const ClassifierTrainingCallback& callback = {});

// The share of clips whose likeliest class is their digit; none where there are no clips.
std::optional<double> accuracy(const Classification& said, const std::vector<DigitClip>& clips);

// What a file of the classifier says of its making.
ModelFacts classifier_facts(const ClassifierTrainingResult& result, const ClassifierTrainingOptions& options,
                            const DigitSet& data, const std::string& data_name, const std::string& licence);

}  // namespace nigiri::app
