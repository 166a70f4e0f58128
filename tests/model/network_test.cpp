// Properties that hold for every configuration: gradients, step against parallel, causality, parameter counts.
#include "model/network.h"

#include <gtest/gtest.h>

#include "model/checkpoint.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

Tensor random_tokens(Backend& backend, int64_t batch, int64_t length, int64_t vocabulary, Random& random) {
    const Tensor t = backend.allocate({batch, length}, DType::i32);
    for (int64_t i = 0; i < t.size(); ++i)
        test::set(t, i, static_cast<double>(random.below(static_cast<uint64_t>(vocabulary))));
    return t;
}

class EveryNetwork : public testing::TestWithParam<test::NamedModel> {};

// Two layers a stage, three stages: every parameter's gradient against central differences in double.
TEST_P(EveryNetwork, HasTheGradientsOfFiniteDifferences) {
    const ModelConfig& config = GetParam().config;
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const int64_t batch = 2, length = 2 * config.pool_product();
    Network network(backend, config, DType::f64, test::seed(), length);
    network.parameters().allocate_gradients();
    const Tensor tokens = random_tokens(*backend, batch, length, config.vocabulary, random);
    const Tensor targets = random_tokens(*backend, 1, batch * length, config.vocabulary, random);
    const auto loss = [&](bool backward) {
        Tape tape(*backend, backward);
        const Var logits = network.forward(tape, tokens);
        const Tensor losses = backend->allocate({batch * length}, DType::f64);
        const Tensor dlogits = backend->allocate(logits.shape(), DType::f64);
        backend->cross_entropy(
            {.logits = logits.value, .targets = targets, .losses = losses, .dlogits = dlogits, .scale = 1.0});
        if (backward) tape.backward(logits, dlogits);
        double sum = 0;
        for (int64_t i = 0; i < losses.size(); ++i) sum += test::get(losses, i);
        return sum;
    };
    loss(true);
    std::vector<test::GradientCheck> checks;
    for (const auto& p : network.parameters().all()) checks.push_back({p->name, p->value, p->gradient});
    // The loss is a sum of order 100: its rounding, 1e-14, over the step 1e-5 leaves 1e-9; truncation is of the same
    // size for gradients of order one and grows with the depth of the exponentials. 2e-5 of the largest is far below
    // any mistake.
    test::expect_gradients([&] { return loss(false); }, checks, random, 2e-5, 3);
}

// Keeping less changes no gradient but for rounding: what several layers add to one gradient is added in another order.
TEST_P(EveryNetwork, HasTheSameGradientsWhereLayersAreRecomputed) {
    const ModelConfig& config = GetParam().config;
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const int64_t batch = 2, length = 12 * config.pool_product();
    const Tensor tokens = random_tokens(*backend, batch, length, config.vocabulary, random);
    const Tensor dlogits = test::random_tensor(*backend, {batch, length, config.vocabulary}, DType::f64, random);
    std::vector<std::unique_ptr<Network>> networks;
    size_t peak[2];
    for (const bool recompute : {false, true}) {
        auto network = std::make_unique<Network>(backend, config, DType::f64, test::seed(), length);
        network->set_recompute(recompute);
        network->parameters().allocate_gradients();
        backend->reset_peak();
        const size_t before = backend->bytes_in_use();
        Tape tape(*backend, true);
        const Var logits = network->forward(tape, tokens);
        tape.backward(logits, test::converted(*backend, dlogits, DType::f64));
        peak[recompute] = backend->peak_bytes() - before;
        networks.push_back(std::move(network));
    }
    for (size_t i = 0; i < networks[0]->parameters().all().size(); ++i) {
        const Parameter &kept = *networks[0]->parameters().all()[i], &again = *networks[1]->parameters().all()[i];
        EXPECT_LT(test::relative_error(again.gradient, kept.gradient), 1e-12) << kept.name;
        EXPECT_GT(test::norm(kept.gradient), 0) << kept.name;
    }
    EXPECT_LT(peak[1], peak[0]);
}

TEST_P(EveryNetwork, StepsAndPiecesAgreeWithTheParallelPass) {
    const ModelConfig& config = GetParam().config;
    const auto backend = make_backend("cpu");
    for (const int64_t length : {1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 257, 1000}) {
        Random random(test::seed(), static_cast<uint64_t>(length));
        // float64 at short lengths, where its direct sums are affordable, float32 at all.
        for (const DType dtype : {DType::f64, DType::f32}) {
            if (dtype == DType::f64 && length > 65) continue;
            Network network(backend, config, dtype, test::seed(), length);
            const Tensor tokens = random_tokens(*backend, 2, length, config.vocabulary, random);
            const Tensor parallel = network.logits(tokens);
            const int64_t v = config.vocabulary;
            for (const bool pieces : {false, true}) {
                NetworkState state = network.make_state(2);
                const Tensor all = backend->allocate({2, length * v}, dtype);
                for (int64_t at = 0; at < length;) {
                    const int64_t count =
                        pieces ? std::min<int64_t>(length - at, 1 + static_cast<int64_t>(random.below(40))) : 1;
                    const Tensor piece = backend->allocate({2, count}, DType::i32);
                    backend->copy({.x = tokens.columns(at, count), .y = piece});
                    backend->copy({.x = network.advance(piece, state).reshaped({2, count * v}),
                                   .y = all.columns(at * v, count * v)});
                    at += count;
                }
                EXPECT_EQ(state.position, length);
                // float64: rounding through a dozen layers. float32: 1e-7 a rounding, some hundred of them a logit, and
                // norms that divide by small deviations: 2e-4 of the logits' norm.
                EXPECT_LE(test::relative_error(all, parallel), dtype == DType::f64 ? 1e-10 : 2e-4)
                    << (pieces ? "pieces" : "steps") << " at length " << length << " in " << name_of(dtype) << ", seed "
                    << test::seed();
            }
        }
    }
}

TEST_P(EveryNetwork, IsCausal) {
    const ModelConfig& config = GetParam().config;
    const auto backend = make_backend("cpu");
    Random random(test::seed());
    const int64_t length = 8 * config.pool_product();
    Network network(backend, config, DType::f64, test::seed(), length);
    const Tensor tokens = random_tokens(*backend, 1, length, config.vocabulary, random);
    const Tensor before = network.logits(tokens);
    for (const int64_t at : {int64_t{0}, int64_t{1}, config.pool_product(), length / 2 + 1, length - 1}) {
        const double old = test::get(tokens, at);
        test::set(tokens, at, std::fmod(old + 1, static_cast<double>(config.vocabulary)));
        const Tensor after = network.logits(tokens);
        test::set(tokens, at, old);
        double earlier = 0, later = 0;
        for (int64_t i = 0; i < before.size(); ++i) {
            const double d = std::abs(test::get(after, i) - test::get(before, i));
            (i < at * config.vocabulary ? earlier : later) = std::max(i < at * config.vocabulary ? earlier : later, d);
        }
        EXPECT_EQ(earlier, 0) << "sample " << at
                              << " changed an output before it";  // float64 sums directly: exactly nothing
        EXPECT_GT(later, 1e-6) << "sample " << at << " changed nothing";
    }
}

TEST_P(EveryNetwork, HasAsManyParametersAsItsConfigurationSays) {
    const auto backend = make_backend("cpu");
    const Network network(backend, GetParam().config, DType::f32, 0, 64);
    EXPECT_EQ(network.parameters().count(), parameter_count(GetParam().config));
}

INSTANTIATE_TEST_SUITE_P(Models, EveryNetwork, testing::ValuesIn(test::all_models()), test::name_of_case);

// The reference networks: 5.22, 5.92 and 5.06 million parameters.
TEST(Presets, HaveThePublishedSizes) {
    const auto count = [](const std::string& preset, const std::string& layer) {
        ModelConfig c = preset_by_name(preset).model;
        c.outer = c.centre = layer_by_name(layer);
        return static_cast<double>(parameter_count(c)) / 1e6;
    };
    EXPECT_NEAR(count("base", "s4-mlp"), 5.22, 0.005);
    EXPECT_NEAR(count("base", "mamba-s4"), 5.92, 0.005);
    EXPECT_NEAR(count("base", "mamba-s6"), 5.06, 0.005);
    // Counted from the published code's definitions with its scalar norm: 40 blocks, and 15 blocks with pools of 16.
    const auto scalar = [](const std::string& preset) {
        ModelConfig c = preset_by_name(preset).model;
        c.outer = c.centre = layer_by_name("mamba-s6");
        c.norm = NormKind::scalar;
        return static_cast<double>(parameter_count(c)) / 1e6;
    };
    EXPECT_NEAR(scalar("base-unet"), 6.25, 0.005);
    EXPECT_NEAR(scalar("large"), 24.84, 0.005);
    EXPECT_NEAR(scalar("paper-youtubemix"), 3.56, 0.005);
    EXPECT_NEAR(count("small", "mamba-s4"), 1.0, 0.3);
}

TEST(Network, DrawsTheSameParametersFromTheSameSeed) {
    const auto backend = make_backend("cpu");
    const ModelConfig config = test::small_model(layer_by_name("mamba-s4"));
    const Network a(backend, config, DType::f32, 5, 64), b(backend, config, DType::f32, 5, 64),
        c(backend, config, DType::f32, 6, 64);
    double difference = 0;
    for (size_t i = 0; i < a.parameters().all().size(); ++i) {
        EXPECT_EQ(test::max_difference(a.parameters().all()[i]->value, b.parameters().all()[i]->value), 0);
        difference += test::max_difference(a.parameters().all()[i]->value, c.parameters().all()[i]->value);
    }
    EXPECT_GT(difference, 0.1);
}

TEST(NetworkState, ACloneGoesItsOwnWay) {
    const auto backend = make_backend("cpu");
    const Network network(backend, test::small_model(layer_by_name("mamba-s6")), DType::f32, 5, 64);
    Random random(test::seed());
    NetworkState state = network.make_state(1);
    network.advance(random_tokens(*backend, 1, 13, 11, random), state);
    NetworkState branch = state.clone(*backend);
    const Tensor next = random_tokens(*backend, 1, 9, 11, random), other = random_tokens(*backend, 1, 9, 11, random);
    network.advance(other, branch);
    NetworkState again = state.clone(*backend);
    EXPECT_EQ(test::max_difference(network.advance(next, state), network.advance(next, again)), 0);
}

}  // namespace
}  // namespace nigiri
