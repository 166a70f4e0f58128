// What is cheap to compute again and therefore not kept: the same gradients bit for bit, and less memory.
#include <gtest/gtest.h>

#include "model/functions.h"
#include "model/network.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"
#include "tests/support/rounding_backend.h"

namespace nigiri {
namespace {

struct Pass {
    std::vector<std::vector<double>> gradients;
    double peak = 0;  // bytes beyond those before
};

Pass pass_of(const std::shared_ptr<Backend>& backend, const ModelConfig& config, DType dtype, DType activations,
             int64_t batch, int64_t length, bool cheap) {
    Network network(backend, config, dtype, test::seed(), length);
    network.set_activations(activations);
    network.set_recompute_cheap(cheap);
    network.parameters().allocate_gradients();
    Random random(test::seed());
    const Tensor tokens = backend->allocate({batch, length}, DType::i32);
    for (int64_t i = 0; i < tokens.size(); ++i)
        test::set(tokens, i, static_cast<double>(random.below(static_cast<uint64_t>(config.vocabulary))));
    Pass pass;
    {
        const auto before = static_cast<double>(backend->bytes_in_use());
        backend->reset_peak();
        Tape tape(*backend, true);
        Var logits = network.forward(tape, tokens);
        Tensor gradient = test::random_tensor(*backend, logits.shape(), activations, random);
        logits.value = {};
        tape.backward({{}, logits.node}, std::move(gradient));
        pass.peak = static_cast<double>(backend->peak_bytes()) - before;
    }
    for (const auto& p : network.parameters().all()) pass.gradients.push_back(download_values(*backend, p->gradient));
    return pass;
}

class CheapRecomputation : public testing::TestWithParam<test::NamedModel> {};

TEST_P(CheapRecomputation, HasTheSameGradientsBitForBit) {
    const ModelConfig& config = GetParam().config;
    const int64_t length = 12 * config.pool_product();
    const auto cpu = make_backend("cpu", 2);
    for (const DType dtype : {DType::f32, DType::f64})
        EXPECT_EQ(pass_of(cpu, config, dtype, dtype, 2, length, true).gradients,
                  pass_of(cpu, config, dtype, dtype, 2, length, false).gradients)
            << name_of(dtype);
    const auto rounding = std::make_shared<test::RoundingBackend>();
    EXPECT_EQ(pass_of(rounding, config, DType::f32, DType::bf16, 2, length, true).gradients,
              pass_of(rounding, config, DType::f32, DType::bf16, 2, length, false).gradients)
        << "bfloat16";
}

INSTANTIATE_TEST_SUITE_P(Models, CheapRecomputation, testing::ValuesIn(test::all_models()), test::name_of_case);

// Counted in bytes a sample: of 26 to 29 a channel of a layer's width, 10 are cheap to compute again (norm 2, and in
// Mamba blocks convolution 4 and gate or delta 4, in S4+MLP the other norm 2 and two GELUs 2 and 4). What is no layer's
// (embedding, logits and their gradient, gradients under way) is kept in either case.
TEST(CheapRecomputation, SavesAQuarterOfTheMemoryOfRealNetworks) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "s6-mlp"}) {
        ModelConfig config = preset_by_name("base").model;
        config.outer = config.centre = layer_by_name(layer);
        const auto backend = std::make_shared<test::RoundingBackend>();
        const auto peak = [&](bool cheap) {
            return pass_of(backend, config, DType::f32, DType::bf16, 1, 1024, cheap).peak;
        };
        const double all = peak(false), less = peak(true);
        std::cout << layer << ": " << all / 1024 << " bytes a sample, " << less / 1024 << " without what is cheap\n";
        EXPECT_LT(less, 0.75 * all) << layer;
        EXPECT_GT(less, 0.5 * all) << layer << ": more than there is to save";
    }
}

TEST(CheapRecomputation, ComputesAValueOnceForAllWhoAskAndDropsIt) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    const Tensor x = test::random_tensor(*backend, {10, 8}, DType::f32, random);
    const size_t before = backend->bytes_in_use();
    for (const bool recompute : {false, true}) {
        int computed = 0;
        Tape tape(*backend, true);
        tape.set_recompute(recompute);
        {
            const auto compute = [&] {
                ++computed;
                const Tensor y = backend->allocate(x.shape(), x.dtype());
                backend->gelu_forward({.x = x, .y = y});
                return y;
            };
            const Var y = tape.recomputable(tape.record(compute(), nullptr), compute);
            Var a = functions::gelu(tape, y), b = functions::gelu(tape, y);
            const Var sum = functions::add(tape, a, std::move(b));
            a = {};
            EXPECT_EQ(computed, 1);
            tape.backward(sum, test::random_tensor(*backend, x.shape(), x.dtype(), random));
        }
        EXPECT_EQ(computed, recompute ? 2 : 1);
        EXPECT_EQ(backend->bytes_in_use(), before);
    }
}

}  // namespace
}  // namespace nigiri
