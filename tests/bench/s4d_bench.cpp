// S4D's operations at the shapes of the `base` network: 128 channels (512 in the centre), 32 conjugate halves.
// "ns" is nanoseconds of wall time per sample and channel (kernels: per kernel sample; recurrence steps: per channel).
#include <benchmark/benchmark.h>

#include <cmath>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

Tensor random_tensor(Backend& backend, const Shape& shape, double scale = 1, double offset = 0) {
    static Random random(1);
    Tensor t = backend.allocate(shape, DType::f32);
    for (float& x : t.span<float>()) x = static_cast<float>(offset + scale * random.normal());
    return t;
}

struct Layer {
    Layer(Backend& backend, int64_t channels, int64_t modes) {
        inv_dt = random_tensor(backend, {channels}, 1, -4.5);
        a_real = random_tensor(backend, {channels, modes}, 0.1, std::log(0.5));
        a_imag = backend.allocate({channels, modes}, DType::f32);
        for (int64_t i = 0; i < a_imag.size(); ++i) a_imag.as<float>()[i] = 3.14159f * static_cast<float>(i % modes);
        b = random_tensor(backend, {channels, modes, 2});
        c = random_tensor(backend, {channels, modes, 2});
        parameters.inv_dt = inv_dt, parameters.a_real = a_real, parameters.a_imag = a_imag;
        parameters.b = b, parameters.c = c;
    }
    Tensor inv_dt, a_real, a_imag, b, c;
    S4dParameters parameters;
};

void report(benchmark::State& state, int64_t per_iteration) {
    state.counters["ns"] =
        benchmark::Counter(static_cast<double>(per_iteration) * 1e-9,
                           benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// Arguments: length, threads, channels, batch.
void conv_forward(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(1)));
    const int64_t length = state.range(0), channels = state.range(2), batch = state.range(3);
    const Tensor u = random_tensor(*backend, {batch, length, channels}), y = random_tensor(*backend, u.shape());
    const Tensor kernel = random_tensor(*backend, {channels, length}, 0.01), skip = random_tensor(*backend, {channels});
    for (auto _ : state) backend->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = y});
    report(state, u.size());
}

void conv_backward(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(1)));
    const int64_t length = state.range(0), channels = state.range(2), batch = state.range(3);
    const Tensor u = random_tensor(*backend, {batch, length, channels}), dy = random_tensor(*backend, u.shape());
    const Tensor du = random_tensor(*backend, u.shape()), kernel = random_tensor(*backend, {channels, length}, 0.01);
    const Tensor dkernel = random_tensor(*backend, kernel.shape()), skip = random_tensor(*backend, {channels});
    const Tensor dskip = random_tensor(*backend, {channels});
    for (auto _ : state)
        backend->long_conv_backward(
            {.u = u, .kernel = kernel, .skip = skip, .dy = dy, .du = du, .dkernel = dkernel, .dskip = dskip});
    report(state, u.size());
}

void kernel_forward(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(1)));
    const Layer layer(*backend, state.range(2), 32);
    const Tensor kernel = random_tensor(*backend, {state.range(2), state.range(0)});
    S4dKernelForward op;
    static_cast<S4dParameters&>(op) = layer.parameters;
    op.kernel = kernel;
    for (auto _ : state) backend->s4d_kernel_forward(op);
    report(state, kernel.size());
}

void kernel_backward(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(1)));
    const Layer layer(*backend, state.range(2), 32);
    const Tensor dkernel = random_tensor(*backend, {state.range(2), state.range(0)});
    std::vector<Tensor> gradients;
    for (const Tensor* t : {&layer.inv_dt, &layer.a_real, &layer.a_imag, &layer.b, &layer.c})
        gradients.push_back(random_tensor(*backend, t->shape()));
    S4dKernelBackward op;
    static_cast<S4dParameters&>(op) = layer.parameters;
    op.dkernel = dkernel;
    op.dinv_dt = gradients[0], op.da_real = gradients[1], op.da_imag = gradients[2], op.db = gradients[3],
    op.dc = gradients[4];
    for (auto _ : state) backend->s4d_kernel_backward(op);
    report(state, dkernel.size());
}

void recurrence(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(1)));
    const int64_t length = state.range(0), channels = state.range(2), batch = state.range(3), modes = 32;
    const Layer layer(*backend, channels, modes);
    const Tensor abar = random_tensor(*backend, {2, modes, channels}),
                 cbar = random_tensor(*backend, {2, modes, channels});
    S4dDiscretize discretize;
    static_cast<S4dParameters&>(discretize) = layer.parameters;
    discretize.abar = abar, discretize.cbar = cbar;
    backend->s4d_discretize(discretize);
    const Tensor u = random_tensor(*backend, {batch, length, channels}), y = random_tensor(*backend, u.shape());
    const Tensor h = random_tensor(*backend, {batch, 2, modes * channels}), skip = random_tensor(*backend, {channels});
    S4dRecurrence op;
    op.abar = abar, op.cbar = cbar, op.skip = skip, op.u = u, op.y = y, op.state = h;
    for (auto _ : state) backend->s4d_recurrence(op);
    report(state, u.size());
}

void discretize(benchmark::State& state) {
    const auto backend = make_backend("cpu", static_cast<int>(state.range(0)));
    const Layer layer(*backend, 128, 32);
    const Tensor abar = random_tensor(*backend, {2, 32, 128}), cbar = random_tensor(*backend, {2, 32, 128});
    S4dDiscretize op;
    static_cast<S4dParameters&>(op) = layer.parameters;
    op.abar = abar, op.cbar = cbar;
    for (auto _ : state) backend->s4d_discretize(op);
}

void shapes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"L", "threads", "D", "B"})->UseRealTime()->Unit(benchmark::kMillisecond);
    for (const int threads : {1, 2}) {
        for (const int64_t batch : {1, 8}) b->Args({16384, threads, 128, batch});
        b->Args({65536, threads, 128, 1});
        b->Args({4096, threads, 256, 1});
        b->Args({1024, threads, 512, 8});
    }
    b->Args({64, 1, 128, 1});
    b->Args({1'000'000, 2, 32, 1});
}

void kernel_shapes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"L", "threads", "D"})->UseRealTime()->Unit(benchmark::kMillisecond);
    for (const int threads : {1, 2}) {
        for (const int64_t length : {16384, 65536}) b->Args({length, threads, 128});
        b->Args({4096, threads, 256});
        b->Args({1024, threads, 512});
    }
}

BENCHMARK(conv_forward)->Apply(shapes);
BENCHMARK(conv_backward)->Apply(shapes);
BENCHMARK(kernel_forward)->Apply(kernel_shapes);
BENCHMARK(kernel_backward)->Apply(kernel_shapes);
BENCHMARK(recurrence)
    ->ArgNames({"L", "threads", "D", "B"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->Args({1, 1, 128, 1})
    ->Args({1, 2, 128, 1})
    ->Args({1, 2, 512, 1})
    ->Args({1, 2, 128, 16})
    ->Args({4096, 1, 128, 1})
    ->Args({4096, 2, 128, 1});
BENCHMARK(discretize)->ArgNames({"threads"})->UseRealTime()->Unit(benchmark::kMicrosecond)->Arg(1)->Arg(2);

}  // namespace
}  // namespace nigiri
