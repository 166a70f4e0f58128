#include "model/classifier.h"

#include <algorithm>
#include <cmath>

#include "model/checkpoint.h"

namespace nigiri {

namespace {

// Sequences at a time where nothing is learned.
constexpr int64_t judged_at_once = 128;

void check(int64_t value, int64_t low, int64_t high, const std::string& name) {
    if (value < low || value > high)
        throw Error("classifier: " + name + " must be between " + std::to_string(low) + " and " + std::to_string(high),
                    "correct the option or the file");
}

Config as_config(const ModelConfig& model) {
    Config config;
    config.model = model;
    return config;
}

Tensor upload(const SequenceClassifier& classifier, std::span<const float> x, int64_t count) {
    const ClassifierConfig& c = classifier.config();
    Backend& backend = classifier.backend();
    const Tensor t = backend.allocate({count, c.length, c.inputs}, classifier.parameters().dtype());
    if (t.size() != static_cast<int64_t>(x.size())) throw Error("sequences to classify have another length");
    if (t.dtype() == DType::f32)
        backend.upload(x.data(), t);
    else
        upload_values(backend, {x.begin(), x.end()}, t);
    return t;
}

// Cross-entropy of the smoothed labels with probabilities sharpened by the inverse temperature `beta`, in nats.
double loss_at(const Classification& said, std::span<const int32_t> labels, double smoothing, double beta) {
    const size_t n = labels.size(), classes = said.log_probabilities.size() / n;
    double loss = 0;
    for (size_t i = 0; i < n; ++i) {
        const auto row = std::span(said.log_probabilities).subspan(i * classes, classes);
        const double highest = *std::max_element(row.begin(), row.end());
        double sum = 0, mean = 0;
        for (const double l : row) {
            sum += std::exp(beta * (l - highest));
            mean += l / static_cast<double>(classes);
        }
        const double wanted = (1 - smoothing) * row[static_cast<size_t>(labels[i])] + smoothing * mean;
        loss += std::log(sum) - beta * (wanted - highest);
    }
    return loss / static_cast<double>(n);
}

}  // namespace

void validate(const ClassifierConfig& config) {
    check(config.inputs, 1, 4096, "inputs");
    check(config.length, 1, 1 << 20, "length");
    check(config.features, 1, 4096, "features");
    check(config.classes, 2, 4096, "classes");
    validate(as_config(config.model));
}

int64_t parameter_count(const ClassifierConfig& config) {
    // What an autoregressive model of the same blocks has besides: its embedding and its head.
    ModelConfig model = config.model;
    model.pools.clear();
    model.vocabulary = 2;
    model.tied_head = false;
    const int64_t d = model.width, f = config.features;
    const int64_t norm = model.norm == NormKind::rms ? d : model.norm == NormKind::scalar ? 2 : 2 * d;
    return parameter_count(model) - (2 * d + 2 * d + 2) + (config.inputs + 1) * d + norm + (d + 1) * f +
           (f + 1) * config.classes;
}

Var sum_over_time(Tape& tape, const Var& x) {
    const int64_t batch = x.shape()[0], width = x.shape()[2];
    int64_t steps = x.shape()[1];
    Var sum = functions::reshape(tape, x, {batch, steps * width});
    std::vector<Var> left_over;
    for (; steps > 1; steps /= 2) {
        std::vector<int64_t> columns(2, steps / 2 * width);
        if (steps % 2 != 0) columns.push_back(width);
        auto parts = tape.split(sum, columns);
        if (steps % 2 != 0) left_over.push_back(parts[2]);
        sum = functions::add(tape, parts[0], std::move(parts[1]));
    }
    for (Var& v : left_over) sum = functions::add(tape, sum, std::move(v));
    return sum;
}

SequenceClassifier::SequenceClassifier(std::shared_ptr<Backend> backend, const ClassifierConfig& config, DType dtype,
                                       uint64_t seed)
    : config_(config), store_(std::move(backend), dtype) {
    validate(config_);
    Random random(seed, 0x636c617373);  // a stream of its own: the seed also draws the training data
    const ModelConfig& m = config_.model;
    const int64_t d = m.width, f = config_.features;
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, Parameter*& weight, Parameter*& bias) {
        weight = &store_.add_linear(name + ".weight", {out, in}, fan_in_uniform(random, out * in, in));
        bias = &store_.add_linear(name + ".bias", {out}, fan_in_uniform(random, out, in));
    };
    linear("in", d, config_.inputs, in_weight_, in_bias_);
    for (int64_t i = 0; i < m.layers; ++i)
        for (auto& block :
             make_residual_blocks(store_, "layer." + std::to_string(i), d, m.centre, m, config_.length, random))
            blocks_.push_back(std::move(block));
    norm_ = std::make_unique<Norm>(store_, "norm", d, m.norm, m.norm_eps);
    pooled_norm_ = std::make_unique<Norm>(store_, "pooled_norm", d, m.norm, m.norm_eps);
    linear("features", f, d, features_weight_, features_bias_);
    linear("head", config_.classes, f, head_weight_, head_bias_);
}

SequenceClassifier::Output SequenceClassifier::forward(Tape& tape, const Tensor& x) const {
    Var y = functions::linear(tape, Var{x}, *in_weight_, in_bias_);
    for (const ResidualBlock& block : blocks_) y = block.forward(tape, y);
    y = pooled_norm_->forward(tape, sum_over_time(tape, norm_->forward(tape, y)));
    Output out;
    out.features = functions::gelu(tape, functions::linear(tape, y, *features_weight_, features_bias_));
    out.logits = functions::linear(tape, out.features, *head_weight_, head_bias_);
    return out;
}

void SequenceClassifier::cool(double temperature) {
    if (!(temperature > 0)) throw Error("a temperature must be above zero");
    for (Parameter* p : {head_weight_, head_bias_}) {
        std::vector<double> values = download_values(backend(), p->value);
        for (double& v : values) v /= temperature;
        upload_values(backend(), values, p->value);
    }
}

double classifier_step(SequenceClassifier& classifier, Optimizer& optimizer, std::span<const float> x,
                       std::span<const int32_t> labels, double factor, double smoothing) {
    Backend& backend = classifier.backend();
    const auto count = static_cast<int64_t>(labels.size());
    const Tensor input = upload(classifier, x, count);
    const Tensor targets = backend.allocate({count}, DType::i32);
    backend.upload(labels.data(), targets);
    const Tensor losses = backend.allocate({count}, classifier.parameters().dtype());
    Tape tape(backend, true);
    auto out = classifier.forward(tape, input);
    const Tensor gradient = backend.allocate(out.logits.shape(), losses.dtype());
    backend.cross_entropy({.logits = out.logits.value,
                           .targets = targets,
                           .losses = losses,
                           .dlogits = gradient,
                           .scale = 1.0 / static_cast<double>(count)});
    if (smoothing > 0) {
        const int64_t classes = classifier.config().classes;
        const double even = smoothing / static_cast<double>(count);
        std::vector<double> change(static_cast<size_t>(count * classes), -even / static_cast<double>(classes));
        for (int64_t i = 0; i < count; ++i)
            change[static_cast<size_t>(i * classes + labels[static_cast<size_t>(i)])] += even;
        const Tensor towards_even = backend.allocate(gradient.shape(), gradient.dtype());
        upload_values(backend, change, towards_even);
        backend.add({.x1 = gradient, .x2 = towards_even, .y = gradient});
    }
    tape.backward({{}, out.logits.node}, gradient);
    const double loss = backend.sum(losses) / static_cast<double>(count);
    if (!std::isfinite(loss)) throw Error("the classifier's loss is not a number any more", "use a lower --rate");
    optimizer.step(factor);
    return loss;
}

Classification classify(const SequenceClassifier& classifier, std::span<const float> x) {
    const ClassifierConfig& c = classifier.config();
    Backend& backend = classifier.backend();
    const int64_t size = c.length * c.inputs;
    if (static_cast<int64_t>(x.size()) % size != 0) throw Error("sequences to classify have another length");
    Classification said;
    said.count = static_cast<int64_t>(x.size()) / size;
    for (int64_t first = 0; first < said.count; first += judged_at_once) {
        const int64_t count = std::min(judged_at_once, said.count - first);
        Tape tape(backend, false);
        const auto out = classifier.forward(
            tape,
            upload(classifier, x.subspan(static_cast<size_t>(first * size), static_cast<size_t>(count * size)), count));
        const auto features = download_floats(backend, out.features.value);
        said.features.insert(said.features.end(), features.begin(), features.end());
        const auto logits = download_values(backend, out.logits.value);
        for (auto row = logits.begin(); row != logits.end(); row += c.classes) {
            const auto highest = std::max_element(row, row + c.classes);
            if (!std::all_of(row, row + c.classes, [](double l) { return std::isfinite(l); }))
                throw Error("the classifier's output is not a number", "the file is damaged; train another one");
            double sum = 0;
            for (auto l = row; l != row + c.classes; ++l) sum += std::exp(*l - *highest);
            for (auto l = row; l != row + c.classes; ++l)
                said.log_probabilities.push_back(*l - *highest - std::log(sum));
            said.classes.push_back(static_cast<int32_t>(highest - row));
        }
    }
    return said;
}

double calibration_temperature(const Classification& said, std::span<const int32_t> labels, double smoothing) {
    if (labels.empty() || said.count != static_cast<int64_t>(labels.size()))
        throw Error("a calibration needs a label for every sequence");
    // The loss is convex in the inverse temperature: golden section over its logarithm (unimodal there as well).
    const auto at = [&](double log_beta) { return loss_at(said, labels, smoothing, std::exp(log_beta)); };
    const double ratio = (std::sqrt(5.0) - 1) / 2;
    double low = -std::log(16.0), high = std::log(16.0);
    double a = high - ratio * (high - low), b = low + ratio * (high - low);
    double at_a = at(a), at_b = at(b);
    while (high - low > 1e-6) {
        if (at_a < at_b) {
            high = b, b = a, at_b = at_a;
            a = high - ratio * (high - low);
            at_a = at(a);
        } else {
            low = a, a = b, at_a = at_b;
            b = low + ratio * (high - low);
            at_b = at(b);
        }
    }
    return std::exp(-(low + high) / 2);
}

}  // namespace nigiri
