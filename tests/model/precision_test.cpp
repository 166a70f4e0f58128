// Networks whose layers compute in bfloat16: types fit everywhere, results are near those of float32, rounded weights
// keep up.
#include <gtest/gtest.h>

#include "tests/model/training.h"
#include "tests/support/check.h"
#include "tests/support/rounding_backend.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

class EveryPrecision : public testing::TestWithParam<test::NamedModel> {};

Tensor uploaded(Backend& backend, const std::vector<int32_t>& host, const Shape& shape) {
    const Tensor t = backend.allocate(shape, DType::i32);
    backend.upload(host.data(), t);
    return t;
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocabulary) {
    Random random(test::seed());
    std::vector<int32_t> t(static_cast<size_t>(count));
    for (int32_t& x : t) x = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary)));
    return t;
}

TEST_P(EveryPrecision, HasGradientsNearThoseOfFloat32) {
    const ModelConfig& config = GetParam().config;
    const auto backend = std::make_shared<test::RoundingBackend>();
    const int64_t batch = 2, length = 6 * config.pool_product();
    Network network(backend, config, DType::f32, test::seed(), length);
    network.parameters().allocate_gradients();
    const auto tokens = random_tokens(batch * length, config.vocabulary);
    const auto gradients = [&](DType activations) {
        network.set_activations(activations);
        for (const auto& p : network.parameters().all()) backend->fill({.y = p->gradient, .value = 0});
        Tape tape(*backend, true);
        const Var logits = network.forward(tape, uploaded(*backend, tokens, {batch, length}));
        const Tensor gradient = backend->allocate(logits.shape(), activations);
        const Tensor losses = backend->allocate({batch * length}, DType::f32);
        backend->cross_entropy({.logits = logits.value,
                                .targets = uploaded(*backend, tokens, {batch * length}),
                                .losses = losses,
                                .dlogits = gradient,
                                .scale = 1.0});
        tape.backward(logits, gradient);
        std::vector<double> all;
        for (const auto& p : network.parameters().all())
            for (const double x : download_values(*backend, p->gradient)) all.push_back(x);
        return all;
    };
    const auto wide = gradients(DType::f32), narrow = gradients(DType::bf16);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < wide.size(); ++i) difference += std::pow(wide[i] - narrow[i], 2), norm += wide[i] * wide[i];
    // 4e-3 a rounding, of which some twenty follow each other, each weakened by the residual beside it.
    EXPECT_LE(std::sqrt(difference / norm), 0.1);
    EXPECT_GT(difference, 0);
    EXPECT_EQ(gradients(DType::f32), wide) << "and back";
}

TEST_P(EveryPrecision, StepsAgreeWithTheParallelPass) {
    const ModelConfig& config = GetParam().config;
    const auto backend = std::make_shared<test::RoundingBackend>();
    const int64_t length = 3 * config.pool_product();
    Network network(backend, config, DType::f32, test::seed(), length);
    network.set_activations(DType::bf16);
    const auto tokens = random_tokens(length, config.vocabulary);
    const Tensor parallel = network.logits(uploaded(*backend, tokens, {1, length}));
    NetworkState state = network.make_state(1);
    double difference = 0;
    for (int64_t t = 0; t < length; ++t) {
        const Tensor y = network.advance(uploaded(*backend, {tokens[static_cast<size_t>(t)]}, {1, 1}), state);
        for (int64_t v = 0; v < config.vocabulary; ++v)
            difference += std::pow(test::get(y, v) - test::get(parallel, t * config.vocabulary + v), 2);
    }
    EXPECT_LE(std::sqrt(difference / test::dot(parallel, parallel)), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Models, EveryPrecision, testing::ValuesIn(test::all_models()), test::name_of_case);

// A step with weights rounded by the optimizer is a step with weights rounded from their values.
TEST(Precision, RoundedWeightsKeepUpWithTheirValues) {
    const auto backend = std::make_shared<test::RoundingBackend>();
    Config config = test::small_config("s4-mlp");
    test::Saws data(2, 32, 11);
    const auto losses = [&](bool before) {
        Network network(backend, config.model, DType::f32, 1, 32);
        if (before) network.set_activations(DType::bf16);
        Optimizer optimizer(network.parameters(), config.training);
        network.set_activations(DType::bf16);  // after it, the optimizer knows of no rounded weights
        std::vector<double> out;
        for (int64_t step = 0; step < 5; ++step) {
            Batch batch;
            data.draw(1, step, batch);
            out.push_back(training_step(network, optimizer, batch).nats);
        }
        for (const auto& p : network.parameters().all())
            if (p->rounded && before) {
                const Tensor expected = test::converted(*backend, p->value, DType::bf16);
                EXPECT_EQ(test::max_difference(p->rounded, expected), 0) << p->name;
            }
        return out;
    };
    EXPECT_EQ(losses(true), losses(false));
}

TEST(Precision, ResumesBitForBit) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        const auto backend = std::make_shared<test::RoundingBackend>();
        Config config = test::small_config(layer);
        config.training.precision = Precision::bf16;
        const auto run = [&](const std::filesystem::path& path, int64_t stop_after) {
            test::Saws data(config.training.batch, config.training.length, config.model.vocabulary);
            Trainer trainer(backend, config, path, data, {});
            EXPECT_EQ(trainer.network().activations(), DType::bf16);
            std::atomic<bool> stop{false};
            TrainingCallbacks callbacks;
            callbacks.log = [&](const TrainingMetrics& m) { stop = stop || m.step >= stop_after; };
            return trainer.run(stop, callbacks);
        };
        const test::TemporaryFolder folder;
        EXPECT_EQ(run(folder.path() / "whole", 1 << 30), TrainingEnd::finished);
        for (const int64_t stop : {1, 7, 15}) EXPECT_EQ(run(folder.path() / "parts", stop), TrainingEnd::stopped);
        EXPECT_EQ(run(folder.path() / "parts", 1 << 30), TrainingEnd::finished);
        EXPECT_EQ(test::losses(folder.path() / "parts"), test::losses(folder.path() / "whole")) << layer;
    }
}

TEST(Precision, IsRefusedWhereTheBackendHasNone) {
    Network network(make_backend("cpu"), test::small_model(layer_by_name("mamba-s4")), DType::f32, 1, 64);
    EXPECT_THROW(network.set_activations(DType::bf16), Error);
    EXPECT_EQ(activation_type(Precision::automatic, network.backend()), DType::f32);
    EXPECT_EQ(precision_by_name("bf16"), Precision::bf16);
    EXPECT_THROW(precision_by_name("f16"), Error);
}

}  // namespace
}  // namespace nigiri
