// Whole networks on the device: gradients against float64 on the CPU, steps against the parallel pass, causality, and
// training that repeats itself.
#include "model/network.h"

#include "model/checkpoint.h"
#include "model/evaluation.h"
#include "tests/cuda/support.h"
#include "tests/model/training.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

std::vector<int32_t> random_tokens(int64_t count, int64_t vocabulary, Random& random) {
    std::vector<int32_t> t(static_cast<size_t>(count));
    for (int32_t& x : t) x = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary)));
    return t;
}

Tensor uploaded(Backend& backend, const std::vector<int32_t>& host, const Shape& shape) {
    const Tensor t = backend.allocate(shape, DType::i32);
    backend.upload(host.data(), t);
    return t;
}

double norm_of(const std::vector<double>& x) {
    double sum = 0;
    for (const double v : x) sum += v * v;
    return std::sqrt(sum);
}

std::vector<double> difference(std::vector<double> a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
    return a;
}

class CudaNetwork : public testing::TestWithParam<test::NamedModel> {
  protected:
    void SetUp() override {
        if (!cuda) GTEST_SKIP() << "no CUDA device here";
    }

    struct Pass {
        std::vector<double> logits;
        std::vector<std::vector<double>> gradients;
        double loss = 0;
    };
    static Pass run(Network& network, const std::vector<int32_t>& inputs, const std::vector<int32_t>& next,
                    int64_t batch) {
        Backend& backend = network.backend();
        const auto count = static_cast<int64_t>(inputs.size());
        network.parameters().allocate_gradients();
        for (const auto& p : network.parameters().all()) backend.fill({.y = p->gradient, .value = 0});
        Tape tape(backend, true);
        const Var logits = network.forward(tape, uploaded(backend, inputs, {batch, count / batch}));
        Pass pass;
        pass.logits = download_values(backend, logits.value);
        const Tensor losses = backend.allocate({count}, network.dtype());
        const Tensor gradient = backend.allocate(logits.shape(), network.activations());
        backend.cross_entropy({.logits = logits.value,
                               .targets = uploaded(backend, next, {count}),
                               .losses = losses,
                               .dlogits = gradient,
                               .scale = 1.0});
        tape.backward(logits, gradient);
        pass.loss = backend.sum(losses);
        for (const auto& p : network.parameters().all())
            pass.gradients.push_back(download_values(backend, p->gradient));
        return pass;
    }

    std::shared_ptr<Backend> cpu = make_backend("cpu", 2);
    std::shared_ptr<Backend> cuda = test::cuda_backend();
};

TEST_P(CudaNetwork, HasTheGradientsOfFloat64) {
    const ModelConfig& config = GetParam().config;
    Random random(test::seed());
    const int64_t batch = 2, length = 6 * config.pool_product();
    Network network(cuda, config, DType::f32, test::seed(), length),
        judge(cpu, config, DType::f64, test::seed(), length);
    for (size_t i = 0; i < network.parameters().all().size(); ++i)  // the same numbers, rounded to float32
        upload_values(*cpu, download_values(*cuda, network.parameters().all()[i]->value),
                      judge.parameters().all()[i]->value);
    const auto inputs = random_tokens(batch * length, config.vocabulary, random),
               next = random_tokens(batch * length, config.vocabulary, random);
    const Pass right = run(judge, inputs, next, batch);
    double whole = 0;
    for (const auto& g : right.gradients) whole += std::pow(norm_of(g), 2);
    whole = std::sqrt(whole);
    for (const DType activations : {DType::f32, DType::bf16}) {
        SCOPED_TRACE(name_of(activations));
        network.set_activations(activations);
        // float32: 1e-7 a rounding, some hundred of them in a row, and norms that divide by small deviations. bf16:
        // 4e-3 a rounding, of which some twenty follow each other, each weakened by the residual beside it.
        const double tolerance = activations == DType::f32 ? 1e-4 : 0.1;
        const Pass pass = run(network, inputs, next, batch);
        EXPECT_NEAR(pass.loss, right.loss, tolerance * 0.1 * right.loss);
        EXPECT_LE(norm_of(difference(pass.logits, right.logits)), tolerance * norm_of(right.logits));
        double error = 0;
        for (size_t i = 0; i < right.gradients.size(); ++i) {
            const double off = norm_of(difference(pass.gradients[i], right.gradients[i]));
            error += off * off;
            // A parameter with next to no gradient is judged by the whole.
            EXPECT_LE(off, (activations == DType::f32 ? tolerance : 3 * tolerance) *
                               (norm_of(right.gradients[i]) + 0.01 * whole))
                << network.parameters().all()[i]->name;
        }
        EXPECT_LE(std::sqrt(error), tolerance * whole);
        const Pass again = run(network, inputs, next, batch);
        EXPECT_EQ(again.logits, pass.logits);
        EXPECT_EQ(again.gradients, pass.gradients) << "the same pass twice";
    }
}

TEST_P(CudaNetwork, StepsAndPiecesAgreeWithTheParallelPass) {
    const ModelConfig& config = GetParam().config;
    const int64_t v = config.vocabulary;
    for (const int64_t length : {1, 3, 17, 65}) {
        Random random(test::seed(), static_cast<uint64_t>(length));
        const Network network(cuda, config, DType::f32, test::seed(), length);
        const Tensor tokens = uploaded(*cuda, random_tokens(2 * length, v, random), {2, length});
        const auto parallel = download_values(*cuda, network.logits(tokens));
        for (const bool pieces : {false, true}) {
            NetworkState state = network.make_state(2);
            const Tensor all = cuda->allocate({2, length * v}, DType::f32);
            for (int64_t at = 0; at < length;) {
                const int64_t count =
                    pieces ? std::min<int64_t>(length - at, 1 + static_cast<int64_t>(random.below(40))) : 1;
                const Tensor piece = cuda->allocate({2, count}, DType::i32);
                cuda->copy({.x = tokens.columns(at, count), .y = piece});
                cuda->copy(
                    {.x = network.advance(piece, state).reshaped({2, count * v}), .y = all.columns(at * v, count * v)});
                at += count;
            }
            EXPECT_LE(norm_of(difference(download_values(*cuda, all), parallel)), 2e-4 * norm_of(parallel))
                << (pieces ? "pieces" : "steps") << " at length " << length << ", seed " << test::seed();
        }
    }
}

TEST_P(CudaNetwork, IsCausal) {
    const ModelConfig& config = GetParam().config;
    Random random(test::seed());
    const int64_t length = 8 * config.pool_product();
    const Network network(cuda, config, DType::f32, test::seed(), length);
    auto tokens = random_tokens(length, config.vocabulary, random);
    const auto before = download_values(*cuda, network.logits(uploaded(*cuda, tokens, {1, length})));
    for (const int64_t at : {int64_t{0}, int64_t{1}, config.pool_product(), length / 2 + 1, length - 1}) {
        auto other = tokens;
        int32_t& token = other[static_cast<size_t>(at)];
        token = (token + 1) % static_cast<int32_t>(config.vocabulary);
        const auto after = download_values(*cuda, network.logits(uploaded(*cuda, other, {1, length})));
        double earlier = 0, later = 0;
        for (size_t i = 0; i < before.size(); ++i) {
            double& worst = static_cast<int64_t>(i) < at * config.vocabulary ? earlier : later;
            worst = std::max(worst, std::abs(after[i] - before[i]));
        }
        // A transform spreads the rounding of every sample over all of them: some 1e-6 of logits of order one.
        EXPECT_LE(earlier, 2e-5) << "sample " << at << " changed an output before it";
        EXPECT_GT(later, 1e-4) << "sample " << at << " changed nothing";
    }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaNetwork, testing::ValuesIn(test::all_models()), test::name_of_case);

class CudaTraining : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    }
};

TEST_P(CudaTraining, RepeatsItselfAndResumesBitForBit) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
        Config config = test::small_config(GetParam());
        config.training.precision = precision;
        const test::TemporaryFolder folder;
        EXPECT_EQ(test::train(folder.path() / "one", config, 1 << 30, "cuda"), TrainingEnd::finished);
        EXPECT_EQ(test::train(folder.path() / "two", config, 1 << 30, "cuda"), TrainingEnd::finished);
        EXPECT_EQ(test::losses(folder.path() / "two"), test::losses(folder.path() / "one"));
        for (const int64_t stop : {1, 7, 15})
            EXPECT_EQ(test::train(folder.path() / "parts", config, stop, "cuda"), TrainingEnd::stopped);
        EXPECT_EQ(test::train(folder.path() / "parts", config, 1 << 30, "cuda"), TrainingEnd::finished);
        EXPECT_EQ(test::losses(folder.path() / "parts"), test::losses(folder.path() / "one"));
        EXPECT_EQ(test::losses(folder.path() / "one").size(), 24u);
    }
}

// The same run on both devices: float32 rounds differently, so the curves part slowly.
TEST_P(CudaTraining, LearnsWhatTheCpuLearns) {
    Config config = test::small_config(GetParam());
    config.training.learning_rate = 1e-2;
    config.training.steps = 60;
    config.training.log_every = config.training.validate_every = 60;
    double bits[3];
    int i = 0;
    for (const auto& [device, precision] :
         {std::pair{"cpu", Precision::f32}, {"cuda", Precision::f32}, {"cuda", Precision::bf16}}) {
        config.training.precision = precision;
        const test::TemporaryFolder folder;
        test::train(folder.path(), config, 1 << 30, device);
        bits[i++] = Checkpoint::read(folder.path() / "checkpoints" / "last.safetensors").state().valid_bits;
    }
    EXPECT_LT(bits[0], 3.4);  // of log2(11) = 3.46 at the start
    EXPECT_NEAR(bits[1], bits[0], 0.02);
    EXPECT_NEAR(bits[2], bits[0], 0.1);
}

TEST_P(CudaTraining, EstimatesItsMemory) {
    Config config = preset_by_name("tiny");
    config.model.outer = config.model.centre = layer_by_name(GetParam());
    config.training.batch = 2;
    config.training.length = 4096;
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
        config.training.precision = precision;
        const auto backend = test::cuda_backend();
        const auto estimate = static_cast<double>(estimate_training_bytes(backend, config));
        Network network(backend, config.model, DType::f32, 0, config.training.length);
        network.set_activations(activation_type(precision, *backend));
        Optimizer optimizer(network.parameters(), config.training);
        Batch batch{2, 4096, std::vector<int32_t>(8192, 1), std::vector<int32_t>(8192, 2)};
        backend->reset_peak();
        training_step(network, optimizer, batch);
        // The pool rounds blocks up to an eighth; scratch memory of the kernels grows in steps.
        EXPECT_NEAR(estimate / static_cast<double>(backend->peak_bytes()), 1, 0.3) << name_of(network.activations());
    }
}

INSTANTIATE_TEST_SUITE_P(Layers, CudaTraining,
                         testing::Values("mamba-s4", "mamba-s6", "s4-mlp", "s4-mlp-dplr", "attention-mlp", "h3-s6"),
                         [](const auto& test) {
                             std::string name = test.param;
                             for (char& c : name)
                                 if (c == '-') c = '_';
                             return name;
                         });

TEST(CudaEvaluation, AgreesWithTheCpu) {
    const auto cuda = test::cuda_backend();
    if (!cuda) GTEST_SKIP() << "no CUDA device here";
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        ModelConfig config = test::small_model(layer_by_name(layer));
        config.vocabulary = 256;
        const Network there(cuda, config, DType::f32, 3, 256), here(make_backend("cpu"), config, DType::f32, 3, 256);
        Random random(test::seed());
        std::vector<uint8_t> codes(20001);
        for (auto& c : codes) c = static_cast<uint8_t>(128 + 10 * random.normal());
        EXPECT_NEAR(evaluate_sequence(there, codes).bits_per_sample(), evaluate_sequence(here, codes).bits_per_sample(),
                    1e-5)
            << layer;
        EXPECT_NEAR(evaluate_segments(there, {codes}).bits_per_sample(),
                    evaluate_segments(here, {codes}).bits_per_sample(), 1e-5)
            << layer;
    }
}

}  // namespace
}  // namespace nigiri
