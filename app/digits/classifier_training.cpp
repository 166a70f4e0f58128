#include "app/digits/classifier_training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>

#include "app/digits/front_end.h"
#include "app/text.h"
#include "audio/quantize.h"

namespace nigiri::app {

namespace {

constexpr uint64_t clip_stream = uint64_t{3} << 40;  // apart from the streams of initial values and of batches

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Lesson {
    std::vector<float> frames;
    std::vector<int32_t> labels;
};

// Draws clips, all digits equally often whatever the set has of each.
class Lessons {
  public:
    Lessons(const std::vector<DigitClip>& clips, const ClassifierTrainingOptions& options)
        : clips_(clips), options_(options) {
        for (size_t i = 0; i < clips.size(); ++i) by_digit_[static_cast<size_t>(clips[i].digit)].push_back(i);
        for (int d = 0; d < digit_classes; ++d)
            if (by_digit_[static_cast<size_t>(d)].empty())
                throw Error("no training clip says " + std::to_string(d), "a classifier needs clips of all ten digits");
    }

    Lesson draw(int64_t step) const {
        Lesson lesson;
        for (int64_t i = 0; i < options_.batch; ++i) {
            Random random(options_.seed, clip_stream + static_cast<uint64_t>(step * options_.batch + i));
            const auto digit = static_cast<size_t>(random.below(digit_classes));
            const DigitClip& clip = clips_[by_digit_[digit][random.below(by_digit_[digit].size())]];
            std::vector<float> sound = augmented(digit_waveform(clip.codes), digit_rate, options_.augmentation, random);
            // Whatever will be judged comes as 256 codes.
            std::vector<uint8_t> codes(sound.size());
            encode(std::span<const float>(sound), Quantization::mu_law, codes);
            append_frames(digit_waveform(codes), lesson.frames);
            lesson.labels.push_back(clip.digit);
        }
        return lesson;
    }

  private:
    const std::vector<DigitClip>& clips_;
    const ClassifierTrainingOptions& options_;
    std::array<std::vector<size_t>, digit_classes> by_digit_;
};

std::vector<int32_t> labels_of(const std::vector<DigitClip>& clips) {
    std::vector<int32_t> labels;
    for (const DigitClip& c : clips) labels.push_back(c.digit);
    return labels;
}

TrainingConfig optimizer_config(const ClassifierTrainingOptions& options) {
    TrainingConfig config;
    config.learning_rate = options.rate;
    config.state_space_rate = std::min(options.rate, 1e-3);
    config.weight_decay = options.weight_decay;
    config.beta2 = 0.99;  // the runs are short
    return config;
}

}  // namespace

ClassifierConfig digit_classifier_config() {
    ClassifierConfig config;
    config.inputs = front_end_bands;
    config.length = front_end_frames;
    config.features = 64;
    config.classes = digit_classes;
    config.model.width = 64;
    config.model.layers = 4;
    config.model.pools = {};
    config.model.centre = layer_by_name("mamba-s4");
    config.model.centre.ssm.state = 16;
    config.model.outer = config.model.centre;
    return config;
}

std::optional<double> accuracy(const Classification& said, const std::vector<DigitClip>& clips) {
    if (clips.empty()) return std::nullopt;
    int64_t right = 0;
    for (size_t i = 0; i < clips.size(); ++i) right += said.classes[i] == clips[i].digit;
    return static_cast<double>(right) / static_cast<double>(clips.size());
}

ClassifierTrainingResult train_digit_classifier(const DigitSet& data, const std::shared_ptr<Backend>& backend,
                                                const ClassifierTrainingOptions& options,
                                                const ClassifierTrainingCallback& callback) {
    const auto started = std::chrono::steady_clock::now();
    const auto& clips = data.of(Split::train);
    const Lessons lessons(clips, options);
    if (options.batch < 1 || !(options.epochs > 0)) throw Error("training needs a batch and a part of an epoch");
    const auto an_epoch = static_cast<double>(clips.size()) / static_cast<double>(options.batch);
    const auto steps = std::max<int64_t>(1, std::llround(options.epochs * an_epoch));

    ClassifierTrainingResult result;
    result.classifier = std::make_unique<SequenceClassifier>(backend, options.network, DType::f32, options.seed);
    const TrainingConfig config = optimizer_config(options);
    Optimizer optimizer(result.classifier->parameters(), config);
    const double forget = 1 / std::max(1.0, std::min(an_epoch, 100.0));
    // The next lesson is prepared while this one is learned.
    const auto prepare = [&](int64_t step) {
        return std::async(std::launch::async, [&lessons, step] { return lessons.draw(step); });
    };
    std::future<Lesson> next = prepare(0);
    while (result.steps < steps) {
        const Lesson lesson = next.get();
        if (result.steps + 1 < steps) next = prepare(result.steps + 1);
        const double progress = static_cast<double>(result.steps + 1) / static_cast<double>(steps);
        const double nats = classifier_step(*result.classifier, optimizer, lesson.frames, lesson.labels,
                                            cosine_factor(config, progress), options.smoothing);
        result.train_nats = result.steps == 0 ? nats : result.train_nats + forget * (nats - result.train_nats);
        ++result.steps;
        if (callback && !callback({result.steps, steps, result.train_nats, seconds_since(started)})) {
            result.stopped = result.steps < steps;
            break;
        }
    }
    if (next.valid()) next.wait();

    const auto judge = [&](Split split) {
        return classify(*result.classifier, frames_of(codes_of(data.of(split)), options.threads));
    };
    const Classification valid = judge(Split::valid), test = judge(Split::test);
    result.valid_accuracy = accuracy(valid, data.of(Split::valid));
    result.test_accuracy = accuracy(test, data.of(Split::test));
    if (!data.of(Split::valid).empty()) {
        result.temperature = calibration_temperature(valid, labels_of(data.of(Split::valid)), options.smoothing);
        result.classifier->cool(result.temperature);
    }
    result.seconds = seconds_since(started);
    return result;
}

ModelFacts classifier_facts(const ClassifierTrainingResult& result, const ClassifierTrainingOptions& options,
                            const DigitSet& data, const std::string& data_name, const std::string& licence) {
    ModelFacts facts = {{"data", data_name},
                        {"train_clips", std::to_string(data.of(Split::train).size())},
                        {"steps", std::to_string(result.steps)},
                        {"batch", std::to_string(options.batch)},
                        {"seed", std::to_string(options.seed)},
                        {"smoothing", fixed(options.smoothing, 4)},
                        {"temperature", fixed(result.temperature, 4)}};
    if (!licence.empty()) facts["licence"] = licence;
    if (result.valid_accuracy) facts["valid_accuracy"] = fixed(*result.valid_accuracy, 4);
    if (result.test_accuracy) facts["test_accuracy"] = fixed(*result.test_accuracy, 4);
    if (result.stopped) facts["stopped"] = "before its end";
    return facts;
}

}  // namespace nigiri::app
