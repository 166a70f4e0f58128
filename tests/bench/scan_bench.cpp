// The selective scan at the shapes of the `base` Mamba-S6 (128, 256 and 512 inner channels, 16 states) and of complex
// time-invariant layers. "ns" is nanoseconds of wall time per sample and channel.
#include <benchmark/benchmark.h>

#include <cmath>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

struct Problem {
    std::shared_ptr<Backend> backend;
    Random random{1};
    SelectiveScan operands;
    std::vector<Tensor> tensors;
    int64_t batch, length, channels, states;

    Problem(int threads, bool is_complex, int64_t batch_, int64_t length_, int64_t channels_, int64_t states_)
        : backend(make_backend("cpu", threads)), batch(batch_), length(length_), channels(channels_), states(states_) {
        const int64_t parts = is_complex ? 2 : 1;
        operands.is_complex = is_complex;
        operands.selective_b = operands.selective_c = !is_complex;
        const Shape constant = is_complex ? Shape{channels, states, 2} : Shape{channels, states};
        const Shape bc = is_complex ? constant : Shape{batch, length, states};
        operands.u = normal(activation(), 1);
        operands.delta = normal(activation(), 0.5);
        operands.z = normal(activation(), 1);
        operands.b = normal(bc, 1);
        operands.c = normal(bc, 1);
        operands.skip = normal({channels}, 1);
        operands.a = normal(constant, 0);
        operands.delta_bias = normal({channels}, 0);
        for (int64_t i = 0; i < operands.a.size(); i += parts) {
            float* a = operands.a.as<float>() + i;
            if (is_complex)
                a[0] = -0.5f, a[1] = static_cast<float>(3.14159 * static_cast<double>(i / 2 % states));
            else
                a[0] = -1.0f - static_cast<float>(i % states);
        }
        // Steps from 0.001 to 0.1, as at the start of training.
        for (int64_t d = 0; d < channels; ++d)
            operands.delta_bias.as<float>()[d] =
                static_cast<float>(std::log(std::expm1(std::exp(random.uniform(std::log(0.001), std::log(0.1))))));
    }
    Shape activation() const { return {batch, length, channels}; }
    View like(const View& v) { return normal(v.shape, 0); }
    View normal(const Shape& shape, double scale) {
        tensors.push_back(backend->allocate(shape, DType::f32));
        for (float& x : tensors.back().span<float>()) x = static_cast<float>(scale * random.normal());
        return tensors.back();
    }
    View state_shaped(bool checkpoints) {
        const int64_t numbers = states * (operands.is_complex ? 2 : 1);
        if (checkpoints) return normal({(length + 63) / 64, batch, channels, numbers}, 0);
        return normal(operands.is_complex ? Shape{batch, channels, states, 2} : Shape{batch, channels, states}, 0);
    }
};

void report(benchmark::State& state, const Problem& p) {
    const double work = static_cast<double>(p.batch * p.length * p.channels);
    state.counters["ns"] =
        benchmark::Counter(work * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// Arguments: threads, complex, batch, length, channels, states.
Problem problem_of(const benchmark::State& state) {
    return Problem(static_cast<int>(state.range(0)), state.range(1) != 0, state.range(2), state.range(3),
                   state.range(4), state.range(5));
}

void scan_forward(benchmark::State& state) {
    Problem p = problem_of(state);
    const SelectiveScanForward op{p.operands, p.normal(p.activation(), 0), p.state_shaped(false), p.state_shaped(true)};
    for (auto _ : state) p.backend->selective_scan_forward(op);
    report(state, p);
}

void scan_backward(benchmark::State& state) {
    Problem p = problem_of(state);
    const SelectiveScanForward forward{p.operands, p.normal(p.activation(), 0), {}, p.state_shaped(true)};
    p.backend->selective_scan_forward(forward);
    const View dy = p.normal(p.activation(), 1);
    const auto& o = p.operands;
    const SelectiveScanBackward op{
        o,           forward.checkpoints, dy,          p.like(o.u),    p.like(o.delta), p.like(o.delta_bias),
        p.like(o.a), p.like(o.b),         p.like(o.c), p.like(o.skip), p.like(o.z)};
    for (auto _ : state) p.backend->selective_scan_backward(op);
    report(state, p);
}

void scan_step(benchmark::State& state) {
    Problem p = problem_of(state);
    const SelectiveScanForward op{p.operands, p.normal(p.activation(), 0), p.state_shaped(false), {}};
    for (auto _ : state) p.backend->selective_scan_forward(op);
    report(state, p);
}

void training_shapes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"threads", "complex", "B", "L", "D", "N"})->UseRealTime()->Unit(benchmark::kMillisecond);
    for (const int64_t threads : {1, 2}) {
        b->Args({threads, 0, 1, 16384, 128, 16});
        b->Args({threads, 0, 4, 4096, 128, 16});
        b->Args({threads, 0, 4, 1024, 256, 16});
        b->Args({threads, 0, 4, 256, 512, 16});
        b->Args({threads, 1, 1, 4096, 128, 16});
        b->Args({threads, 1, 1, 4096, 128, 32});
    }
}
BENCHMARK(scan_forward)->Apply(training_shapes);
BENCHMARK(scan_backward)->Apply(training_shapes);
BENCHMARK(scan_step)
    ->ArgNames({"threads", "complex", "B", "L", "D", "N"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->Args({2, 0, 1, 1, 128, 16})
    ->Args({2, 0, 1, 1, 256, 16})
    ->Args({2, 0, 1, 1, 512, 16})
    ->Args({2, 1, 1, 1, 128, 16})
    ->Args({2, 0, 16, 1, 128, 16})
    ->Args({1, 0, 512, 1, 128, 16})
    ->Args({2, 0, 512, 1, 128, 16});

}  // namespace
}  // namespace nigiri
