// A stretch of training with everything in between that could disturb recorded steps: other shapes of batches, ignored
// targets, evaluation, another precision for a while, memory taken and kept. Recorded or not, it must come to the same
// numbers bit for bit.
#pragma once

#include <algorithm>

#include "model/training_step.h"
#include "tests/model/training.h"
#include "tests/support/check.h"

namespace nigiri::test {

struct StretchOfTraining {
    std::vector<double> nats, norms;
    std::vector<std::vector<double>> parameters, moments;
    std::vector<double> evaluations;  // sums of logits
    size_t peak = 0;                  // of the last step, beyond what was in use before it
    bool settled = false;
    std::string note;
};

// `between(step)` may do more, before that step.
inline StretchOfTraining stretch_of_training(const std::shared_ptr<Backend>& backend, const Config& config, bool record,
                                             const std::function<void(int64_t)>& between = {}) {
    Network network(backend, config.model, DType::f32, 3, 64);
    network.set_activations(activation_type(config.training.precision, *backend));
    network.set_recompute(config.training.recompute);
    network.set_recompute_cheap(config.training.recompute_cheap);
    Optimizer optimizer(network.parameters(), config.training);
    TrainingStep step(network, optimizer, record);
    StretchOfTraining out;
    // Lengths 30 and 33 are no multiples of the pools. The third shape takes a place; the first comes back.
    struct Phase {
        int64_t batch, length, steps;
    };
    std::vector<Tensor> held;
    int64_t at = 0;
    const auto evaluate = [&] {
        Batch batch;
        Saws(3, 40, config.model.vocabulary).draw(7, at, batch);
        const Tensor tokens = backend->allocate({3, 40}, DType::i32);
        backend->upload(batch.inputs.data(), tokens);
        out.evaluations.push_back(backend->sum(network.logits(tokens)));
    };
    for (const Phase& phase : {Phase{2, 30, 5}, {1, 48, 4}, {2, 30, 3}, {3, 33, 4}, {1, 48, 1}, {2, 30, 4}}) {
        for (int64_t i = 0; i < phase.steps; ++i, ++at) {
            SCOPED_TRACE("step " + std::to_string(at));
            if (between) between(at);
            Batch batch;
            Saws(phase.batch, phase.length, config.model.vocabulary).draw(5, at, batch);
            for (int64_t t = 0; t < at % 4 * 3; ++t) batch.targets[static_cast<size_t>(t)] = -1;  // do not count
            const size_t before = backend->bytes_in_use();
            backend->reset_peak();
            const StepResult result = step.run(batch, 1.0 / static_cast<double>(1 + at));
            out.peak = backend->peak_bytes() - before;
            out.nats.push_back(result.nats);
            out.norms.push_back(result.gradient_norm);
            // Memory of the sizes that a step takes, kept and written to.
            for (const int64_t size : {12, 64, 720, 1440, 2880, 5760, 11520}) {
                held.push_back(backend->allocate({size}, DType::f32));
                backend->fill({.y = held.back(), .value = 3});
            }
            if (at % 3 == 2) evaluate();
            if (at % 5 == 4) {  // as previews do
                const DType activations = network.activations();
                network.set_activations(network.dtype());
                evaluate();
                network.set_activations(activations);
            }
        }
    }
    out.settled = step.settled();
    out.note = step.note();
    for (const Tensor& t : held)
        EXPECT_EQ(backend->sum(t), 3.0 * static_cast<double>(t.size())) << "memory of others was written to";
    for (const auto& p : network.parameters().all()) {
        out.parameters.push_back(download_values(*backend, p->value));
        if (p->rounded) {
            const Tensor wide = backend->allocate(p->rounded.shape(), DType::f32);
            backend->copy({.x = p->rounded, .y = wide});
            out.parameters.push_back(download_values(*backend, wide));
        }
    }
    for (const auto& m : optimizer.moments()) {
        out.moments.push_back(download_values(*backend, m.m));
        out.moments.push_back(download_values(*backend, m.v));
    }
    return out;
}

inline void expect_same_training(const StretchOfTraining& recorded, const StretchOfTraining& plain) {
    EXPECT_EQ(recorded.nats, plain.nats);
    EXPECT_EQ(recorded.norms, plain.norms);
    EXPECT_EQ(recorded.evaluations, plain.evaluations);
    EXPECT_EQ(recorded.parameters, plain.parameters);
    EXPECT_EQ(recorded.moments, plain.moments);
    EXPECT_GT(plain.norms.front(), 0);
    EXPECT_NE(plain.nats.front(), plain.nats.back());
}

}  // namespace nigiri::test
