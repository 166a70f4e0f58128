// Recorded training steps on the device: bit for bit what the plain ones come to.
#include "model/training_step.h"

#include "model/trainer.h"
#include "tests/cuda/support.h"
#include "tests/model/recorded_steps.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

class CudaRecordedSteps : public testing::TestWithParam<test::NamedModel> {
  protected:
    void SetUp() override {
        if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    }
};

TEST_P(CudaRecordedSteps, AreThePlainOnesBitForBit) {
    Config config = test::small_config();
    config.model = GetParam().config;
    for (const Precision precision : {Precision::f32, Precision::bf16})
        for (const bool recompute : {false, true}) {
            config.training.precision = precision;
            config.training.recompute = recompute;
            config.training.recompute_cheap = !recompute;
            const auto backend = test::cuda_backend();
            const auto plain = test::stretch_of_training(backend, config, false);
            const auto recorded = test::stretch_of_training(backend, config, true);
            test::expect_same_training(recorded, plain);
            EXPECT_EQ(recorded.note, "") << "a recording failed";
            EXPECT_TRUE(recorded.settled);
            EXPECT_EQ(recorded.peak, plain.peak) << "a replay counts as the step that it is";
        }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaRecordedSteps, testing::ValuesIn(test::all_models()), test::name_of_case);

// Widths and lengths at which the paths of long sequences and wide layers are taken: tall products, batches of slabs,
// clusters, segments of chunks.
TEST(CudaTrainingStep, IsThePlainOneAtTheSizeOfRealNetworks) {
    const auto backend = test::cuda_backend();
    if (!backend) GTEST_SKIP() << "no CUDA device here";
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "mamba-s4-dplr"}) {
        SCOPED_TRACE(layer);
        Config config = preset_by_name("base");
        config.model.layers = 1;
        config.model.outer = config.model.centre = layer_by_name(layer);
        const auto run = [&](bool record) {
            Network network(backend, config.model, DType::f32, 3, 8192);
            network.set_activations(DType::bf16);
            Optimizer optimizer(network.parameters(), config.training);
            TrainingStep step(network, optimizer, record);
            std::vector<double> out;
            for (int64_t at = 0; at < 6; ++at) {
                Batch batch;
                test::Saws(2, 8192, config.model.vocabulary).draw(5, at, batch);
                const StepResult result = step.run(batch);
                out.push_back(result.nats);
                out.push_back(result.gradient_norm);
            }
            EXPECT_EQ(step.note(), "");
            EXPECT_TRUE(step.settled());
            for (const auto& p : network.parameters().all())
                for (const double v : download_values(*backend, p->value)) out.push_back(v);
            return out;
        };
        EXPECT_EQ(run(true), run(false));
    }
}

TEST(CudaTrainingStep, RunsOfRecordedStepsAreThePlainOnesAlsoInParts) {
    if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        const test::TemporaryFolder folder;
        Config config = test::small_config(layer);
        config.training.graph = false;
        test::train(folder.path() / "plain", config, 1 << 30, "cuda");
        config.training.graph = true;
        test::train(folder.path() / "whole", config, 1 << 30, "cuda");
        EXPECT_EQ(test::losses(folder.path() / "whole"), test::losses(folder.path() / "plain")) << layer;
        for (const int64_t stop : {1, 7, 15}) test::train(folder.path() / "parts", config, stop, "cuda");
        test::train(folder.path() / "parts", config, 1 << 30, "cuda");
        EXPECT_EQ(test::losses(folder.path() / "parts"), test::losses(folder.path() / "plain")) << layer;
    }
}

}  // namespace
}  // namespace nigiri
