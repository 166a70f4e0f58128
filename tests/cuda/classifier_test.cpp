// The classifier on the device: what it says and what it learns, against float64 on the CPU.
#include "model/classifier.h"

#include "tests/cuda/support.h"

namespace nigiri {
namespace {

using CudaClassifier = test::Cuda;

TEST_F(CudaClassifier, LearnsAsTheCpuDoes) {
    ClassifierConfig config;
    config.inputs = 8;
    config.length = 37;  // odd halves on the way to the sum
    config.features = 12;
    config.classes = 5;
    config.model.width = 24;
    config.model.layers = 2;
    for (const char* layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        SCOPED_TRACE(layer);
        config.model.centre = layer_by_name(layer);
        SequenceClassifier device(cuda, config, DType::f32, test::seed()), host(cpu, config, DType::f64, test::seed());
        TrainingConfig training;
        training.learning_rate = training.state_space_rate = 1e-3;
        Optimizer device_optimizer(device.parameters(), training), host_optimizer(host.parameters(), training);
        std::vector<float> x(static_cast<size_t>(20 * config.length * config.inputs));
        for (float& v : x) v = static_cast<float>(random.normal());
        std::vector<int32_t> labels;
        for (int32_t i = 0; i < 20; ++i) labels.push_back(i % 5);
        // Float32 against float64: 1e-6 a product; Adam's first steps are signs of gradients, so that those near zero
        // may go the other way by 2e-3. A wrong gradient changes the loss by tenths.
        for (int step = 0; step < 4; ++step)
            EXPECT_NEAR(classifier_step(device, device_optimizer, x, labels, 1, 0.05),
                        classifier_step(host, host_optimizer, x, labels, 1, 0.05), step == 0 ? 1e-4 : 5e-3)
                << step;
        const Classification a = classify(device, x), b = classify(host, x);
        ASSERT_EQ(a.count, b.count);
        for (size_t i = 0; i < a.log_probabilities.size(); ++i)
            EXPECT_NEAR(a.log_probabilities[i], b.log_probabilities[i], 0.03) << i;
    }
}

}  // namespace
}  // namespace nigiri
