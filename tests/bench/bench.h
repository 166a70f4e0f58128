// What the benchmarks share: a backend, operands, and counters of bytes and of floating-point operations.
// Times are wall-clock times (operations use threads of their own). Compare figures of one run only, above
// all with `copy`: a shared machine is never equally fast twice.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdlib>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace nigiri::bench {

inline Backend& backend() {
    static const auto shared = [] {
        const char* threads = std::getenv("NIGIRI_BENCH_THREADS");
        return make_backend("cpu", threads != nullptr ? std::atoi(threads) : 0);
    }();
    return *shared;
}

// Normal deviates in float32.
inline Tensor operand(const Shape& shape, double scale = 1) {
    static Random random(1);
    const Tensor t = backend().allocate(shape, DType::f32);
    for (float& x : t.span<float>()) x = static_cast<float>(scale * random.normal());
    return t;
}

inline Tensor tokens(const Shape& shape, uint64_t vocabulary) {
    static Random random(2);
    const Tensor t = backend().allocate(shape, DType::i32);
    for (int32_t& x : t.span<int32_t>()) x = static_cast<int32_t>(random.below(vocabulary));
    return t;
}

// Runs `call` in the benchmark's loop. `bytes` are those that must be read and written once, `flops` the
// multiplications and additions; either may be zero.
template <class F>
void measure(benchmark::State& state, double bytes, double flops, F&& call) {
    call();  // memory of the pool, generated code of oneDNN
    for (auto _ : state) call();
    using benchmark::Counter;
    const auto rate = [&](double amount) {
        return Counter(amount * static_cast<double>(state.iterations()), Counter::kIsRate);
    };
    if (bytes > 0) state.counters["bytes/s"] = rate(bytes);
    if (flops > 0) state.counters["flop/s"] = rate(flops);
}

}  // namespace nigiri::bench
