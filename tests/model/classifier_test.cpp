#include "model/classifier.h"

#include <gtest/gtest.h>

#include <fstream>

#include "model/classifier_file.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

ClassifierConfig small_classifier(const LayerConfig& layer = layer_by_name("mamba-s4")) {
    ClassifierConfig config;
    config.inputs = 3;
    config.length = 11;
    config.features = 5;
    config.classes = 4;
    config.model = test::small_model(layer);
    config.model.pools = {};
    config.model.layers = 2;
    return config;
}

std::vector<float> random_sequences(const ClassifierConfig& config, int64_t count, Random& random) {
    std::vector<float> x(static_cast<size_t>(count * config.length * config.inputs));
    for (float& v : x) v = static_cast<float>(random.normal());
    return x;
}

TEST(SumOverTime, AddsEveryStepOnceAndGivesEachItsGradient) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    for (const int64_t length : {1, 2, 3, 5, 7, 8, 11, 64, 65}) {
        const Tensor x = test::random_tensor(*backend, {2, length, 3}, DType::f64, random);
        Tensor gradient;
        Tape tape(*backend, true);
        const Var leaf = tape.record(x, [&](const Tensor& dy) {
            gradient = backend->allocate(dy.shape(), dy.dtype());
            backend->copy({.x = dy, .y = gradient});
        });
        const Var sum = sum_over_time(tape, leaf);
        ASSERT_EQ(sum.shape(), (Shape{2, 3}));
        for (int64_t b = 0; b < 2; ++b)
            for (int64_t c = 0; c < 3; ++c) {
                double expected = 0;
                for (int64_t l = 0; l < length; ++l) expected += test::get(x, (b * length + l) * 3 + c);
                // 65 numbers of order one in another order.
                EXPECT_NEAR(test::get(sum.value, b * 3 + c), expected, 1e-13) << length;
            }
        const Tensor dy = test::random_tensor(*backend, {2, 3}, DType::f64, random);
        const Tensor copy = test::converted(*backend, dy, DType::f64);
        tape.backward(sum, dy);
        ASSERT_EQ(gradient.size(), x.size());
        for (int64_t i = 0; i < x.size(); ++i)
            EXPECT_EQ(test::get(gradient, i), test::get(copy, i / (length * 3) * 3 + i % 3)) << length << ", " << i;
    }
}

TEST(Classifier, HasTheGradientsOfFiniteDifferences) {
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    for (const char* name : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        SCOPED_TRACE(name);
        const ClassifierConfig config = small_classifier(layer_by_name(name));
        SequenceClassifier classifier(backend, config, DType::f64, test::seed());
        classifier.parameters().allocate_gradients();
        const Tensor x = test::random_tensor(*backend, {3, config.length, config.inputs}, DType::f64, random);
        const Tensor targets = backend->allocate({3}, DType::i32);
        const int32_t labels[] = {0, 3, 1};
        backend->upload(labels, targets);
        const auto loss = [&](bool backward) {
            Tape tape(*backend, backward);
            const auto out = classifier.forward(tape, x);
            const Tensor losses = backend->allocate({3}, DType::f64);
            const Tensor dlogits = backend->allocate(out.logits.shape(), DType::f64);
            backend->cross_entropy(
                {.logits = out.logits.value, .targets = targets, .losses = losses, .dlogits = dlogits, .scale = 1});
            if (backward) tape.backward({{}, out.logits.node}, dlogits);
            return backend->sum(losses);
        };
        loss(true);
        std::vector<test::GradientCheck> checks;
        for (const auto& p : classifier.parameters().all()) checks.push_back({p->name, p->value, p->gradient});
        // As in the networks' test.
        test::expect_gradients([&] { return loss(false); }, checks, random, 2e-5, 3);
    }
}

TEST(Classifier, CountsItsParametersWithoutBeingBuilt) {
    const auto backend = make_backend("cpu");
    for (const auto& m : test::all_models()) {
        ClassifierConfig config = small_classifier();
        config.model = m.config;
        const SequenceClassifier classifier(backend, config, DType::f32, 1);
        EXPECT_EQ(classifier.parameters().count(), parameter_count(config)) << m.name;
    }
}

// Which of the four frames of a pattern is loud: only the order of things tells the classes apart, not their mean.
TEST(Classifier, LearnsATinySetByHeart) {
    const auto backend = make_backend("cpu");
    ClassifierConfig config = small_classifier();
    config.length = 16;
    Random random(test::seed());
    std::vector<float> x;
    std::vector<int32_t> labels;
    for (int32_t i = 0; i < 32; ++i) {
        labels.push_back(i % 4);
        for (int64_t l = 0; l < config.length; ++l)
            for (int64_t c = 0; c < config.inputs; ++c)
                x.push_back(static_cast<float>((l % 4 == i % 4 && c == l % 3 ? 1.0 : 0.0) + 0.05 * random.normal()));
    }
    SequenceClassifier classifier(backend, config, DType::f32, test::seed());
    TrainingConfig training;
    training.learning_rate = 1e-2;
    Optimizer optimizer(classifier.parameters(), training);
    const double first = classifier_step(classifier, optimizer, x, labels, 1);
    EXPECT_NEAR(first, std::log(4.0), 0.5) << "before it has learned anything it guesses among four";
    double last = first;
    for (int step = 0; step < 150; ++step) last = classifier_step(classifier, optimizer, x, labels, 1);
    EXPECT_LT(last, 0.05);
    const Classification said = classify(classifier, x);
    EXPECT_EQ(said.count, 32);
    EXPECT_EQ(said.classes, labels);
    EXPECT_EQ(said.features.size(), 32u * 5);
    for (int64_t i = 0; i < said.count; ++i) {
        double sum = 0;
        for (int64_t c = 0; c < 4; ++c) sum += std::exp(said.log_probabilities[static_cast<size_t>(i * 4 + c)]);
        EXPECT_NEAR(sum, 1, 1e-12);
    }
}

// Smoothed labels: what is learned by heart has the probability 1 - s + s / C.
TEST(Classifier, IsNoSurerThanItsLabels) {
    const auto backend = make_backend("cpu");
    ClassifierConfig config = small_classifier();
    Random random(test::seed());
    const auto x = random_sequences(config, 4, random);
    const std::vector<int32_t> labels = {0, 1, 2, 3};
    SequenceClassifier classifier(backend, config, DType::f32, test::seed());
    TrainingConfig training;
    training.learning_rate = 1e-2;
    training.weight_decay = 0;
    Optimizer optimizer(classifier.parameters(), training);
    for (int step = 0; step < 400; ++step) classifier_step(classifier, optimizer, x, labels, 1 - step / 400.0, 0.2);
    const Classification said = classify(classifier, x);
    for (size_t i = 0; i < 4; ++i)
        for (size_t c = 0; c < 4; ++c)  // four sequences and enough parameters: what is left of the way is small
            EXPECT_NEAR(std::exp(said.log_probabilities[i * 4 + c]), i == c ? 0.85 : 0.05, 0.01);
}

TEST(Classifier, SaysTheSameOfASequenceAloneAndAmongOthers) {
    const auto backend = make_backend("cpu");
    const ClassifierConfig config = small_classifier();
    SequenceClassifier classifier(backend, config, DType::f32, test::seed());
    Random random(test::seed());
    const auto x = random_sequences(config, 130, random);  // more than one batch
    const Classification all = classify(classifier, x);
    const auto size = static_cast<size_t>(config.length * config.inputs);
    for (const size_t i : {size_t{0}, size_t{127}, size_t{129}}) {
        const Classification one = classify(classifier, std::span(x).subspan(i * size, size));
        for (size_t c = 0; c < 4; ++c)  // products may be summed in another order
            EXPECT_NEAR(one.log_probabilities[c], all.log_probabilities[i * 4 + c], 1e-5);
    }
    EXPECT_THROW(classify(classifier, std::span(x).first(size - 1)), Error);
}

TEST(Classifier, IsCooledToTheKnownTemperature) {
    // Two classes with log odds z = 3, of which a share f = 3/4 is right: the least cross-entropy has beta z = log(f /
    // (1 - f)) = log 3.
    Classification said;
    std::vector<int32_t> labels;
    const double p = 1 / (1 + std::exp(-3.0));
    for (int i = 0; i < 8; ++i) {
        said.log_probabilities.insert(said.log_probabilities.end(), {std::log(p), std::log(1 - p)});
        labels.push_back(i % 4 == 0 ? 1 : 0);
    }
    said.count = 8;
    EXPECT_NEAR(calibration_temperature(said, labels), 3 / std::log(3.0), 1e-4);
    labels.assign(8, 0);  // always right: as sure as may be
    EXPECT_NEAR(calibration_temperature(said, labels), 1.0 / 16, 1e-4);
    // Smoothed by a fifth, the right class of two has 9/10.
    EXPECT_NEAR(calibration_temperature(said, labels, 0.2), 3 / std::log(9.0), 1e-4);
    EXPECT_THROW(calibration_temperature(said, {}), Error);

    const auto backend = make_backend("cpu");
    const ClassifierConfig config = small_classifier();
    SequenceClassifier classifier(backend, config, DType::f32, test::seed());
    Random random(test::seed());
    const auto x = random_sequences(config, 5, random);
    const auto before = classify(classifier, x).log_probabilities;
    classifier.cool(2);
    const auto after = classify(classifier, x).log_probabilities;
    for (size_t i = 0; i < before.size(); i += 4)
        EXPECT_NEAR(after[i] - after[i + 1], (before[i] - before[i + 1]) / 2, 1e-5);  // float32 logits
    EXPECT_THROW(classifier.cool(0), Error);
}

struct SavedClassifier {
    test::TemporaryFolder folder;
    fs::path path = folder / "c.safetensors";
    std::shared_ptr<Backend> backend = make_backend("cpu");
    SequenceClassifier classifier{backend, small_classifier(), DType::f32, 7};

    SavedClassifier() { save_classifier(path, classifier, "ears", {{"licence", "CC0"}}); }
    std::vector<uint8_t> bytes() const {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // The file with one text of its header replaced by another of equal length.
    std::vector<uint8_t> with(const std::string& from, const std::string& to) const {
        auto all = bytes();
        const auto at = std::search(all.begin(), all.end(), from.begin(), from.end());
        EXPECT_NE(at, all.end()) << from;
        EXPECT_EQ(from.size(), to.size());
        std::copy(to.begin(), to.end(), at);
        return all;
    }
};

TEST(ClassifierFile, BringsEverythingBack) {
    SavedClassifier saved;
    const ClassifierFile file = ClassifierFile::read(saved.path);
    EXPECT_EQ(file.config(), saved.classifier.config());
    EXPECT_EQ(file.front_end(), "ears");
    EXPECT_EQ(file.facts().at("licence"), "CC0");
    const auto again = file.make(saved.backend);
    Random random(test::seed());
    const auto x = random_sequences(file.config(), 3, random);
    EXPECT_EQ(classify(*again, x).log_probabilities, classify(saved.classifier, x).log_probabilities);
}

void expect_refused(std::vector<uint8_t> bytes, const std::string& why) {
    try {
        ClassifierFile::parse(std::move(bytes), "c.safetensors").make(make_backend("cpu"));
        ADD_FAILURE() << why;
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
        EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
        EXPECT_FALSE(e.hint().empty()) << e.what();
    }
}

TEST(ClassifierFile, RefusesWhatItCannotUse) {
    SavedClassifier saved;
    expect_refused(saved.with("nigiri-classifier", "nigiri-checkpoint"), "not a nigiri classifier");
    expect_refused(saved.with("\"version\":\"1\"", "\"version\":\"2\""), "version 2, this program reads version 1");
    // Other sizes than the weights'.
    expect_refused(saved.with("features\\\":5", "features\\\":6"), "weights where its configuration needs");
    expect_refused(saved.with("classes\\\":4", "classes\\\":1"), "classes must be between");
    expect_refused(saved.with("inputs\\\":3", "inputs\\\":x"), "configuration is not readable");
    auto cut = saved.bytes();
    cut.resize(cut.size() - 9);
    expect_refused(cut, "not a readable safetensors file");
    // A weight that is not a number is found where it is used.
    auto broken = saved.bytes();
    std::fill(broken.end() - 4, broken.end(), uint8_t{0xff});
    const auto classifier = ClassifierFile::parse(broken, "c").make(saved.backend);
    Random random(test::seed());
    EXPECT_THROW(classify(*classifier, random_sequences(classifier->config(), 1, random)), Error);

    Config config;
    config.model = test::small_model(layer_by_name("mamba-s4"));
    const Network network(saved.backend, config.model, DType::f32, 1, 64);
    save_checkpoint(saved.path, config, network, nullptr, {}, {});
    EXPECT_THROW(ClassifierFile::read(saved.path), Error);
}

}  // namespace
}  // namespace nigiri
