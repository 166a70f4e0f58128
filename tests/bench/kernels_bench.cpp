// The operations between the sequence layers, at the shapes of the network `base`: 16384 samples of width 64
// in the outer stage, 4096 of width 128 in the middle, 1024 of width 256 in the centre; Mamba's inner widths
// are twice that.
#include "tests/bench/bench.h"

namespace nigiri::bench {
namespace {

using benchmark::State;

// Arguments: rows, columns.
void outer_widths(benchmark::internal::Benchmark* b) {
    b->Args({16384, 64})->Args({4096, 128})->Args({1024, 256})->ArgNames({"rows", "width"})->UseRealTime();
}
void inner_widths(benchmark::internal::Benchmark* b) {
    b->Args({16384, 128})
        ->Args({4096, 256})
        ->Args({1024, 512})
        ->Args({1, 128})
        ->ArgNames({"rows", "width"})
        ->UseRealTime();
}

// An element-wise operation that moves `arrays` float32 arrays.
struct Matrix {
    explicit Matrix(const State& state) : rows(state.range(0)), columns(state.range(1)) {}
    Tensor operator()() const { return operand({rows, columns}); }
    double bytes(double arrays) const { return arrays * 4 * static_cast<double>(rows * columns); }
    int64_t rows, columns;
};

void copy(State& state) {
    const Matrix matrix(state);
    const Tensor x = matrix(), y = matrix();
    measure(state, matrix.bytes(2), 0, [&] { backend().copy({.x = x, .y = y}); });
}
BENCHMARK(copy)->Apply(outer_widths)->Apply(inner_widths)->Args({262144, 64});

void fill(State& state) {
    const Matrix matrix(state);
    const Tensor y = matrix();
    measure(state, matrix.bytes(1), 0, [&] { backend().fill({.y = y, .value = 0}); });
}
BENCHMARK(fill)->Apply(outer_widths);

void add(State& state) {
    const Matrix matrix(state);
    const Tensor x1 = matrix(), x2 = matrix(), y = matrix();
    measure(state, matrix.bytes(3), 0, [&] { backend().add({.x1 = x1, .x2 = x2, .y = y}); });
}
BENCHMARK(add)->Apply(outer_widths)->Args({262144, 64});

void shift_forward(State& state) {
    const Matrix matrix(state);
    const Tensor x = operand({1, matrix.rows, matrix.columns}), y = operand({1, matrix.rows, matrix.columns});
    measure(state, matrix.bytes(2), 0, [&] { backend().shift_forward({.x = x, .y = y}); });
}
BENCHMARK(shift_forward)->Apply(outer_widths);

void gelu_forward(State& state) {
    const Matrix matrix(state);
    const Tensor x = matrix(), y = matrix();
    measure(state, matrix.bytes(2), 0, [&] { backend().gelu_forward({.x = x, .y = y}); });
}
BENCHMARK(gelu_forward)->Apply(outer_widths)->Args({1, 64});

void gelu_backward(State& state) {
    const Matrix matrix(state);
    const Tensor x = matrix(), dy = matrix(), dx = matrix();
    measure(state, matrix.bytes(3), 0, [&] { backend().gelu_backward({.x = x, .dy = dy, .dx = dx}); });
}
BENCHMARK(gelu_backward)->Apply(outer_widths);

void glu_forward(State& state) {
    const Matrix matrix(state);
    const Tensor x = operand({matrix.rows, 2 * matrix.columns}), y = matrix();
    measure(state, matrix.bytes(3), 0, [&] { backend().glu_forward({.x = x, .y = y}); });
}
BENCHMARK(glu_forward)->Apply(outer_widths);

void glu_backward(State& state) {
    const Matrix matrix(state);
    const Tensor x = operand({matrix.rows, 2 * matrix.columns}), dx = operand({matrix.rows, 2 * matrix.columns}),
                 dy = matrix();
    measure(state, matrix.bytes(5), 0, [&] { backend().glu_backward({.x = x, .dy = dy, .dx = dx}); });
}
BENCHMARK(glu_backward)->Apply(outer_widths);

// x and z are the halves of one projection, as in a Mamba block.
void gate_forward(State& state) {
    const Matrix matrix(state);
    const Tensor xz = operand({matrix.rows, 2 * matrix.columns}), y = matrix();
    const Tensor x = xz.columns(0, matrix.columns), z = xz.columns(matrix.columns, matrix.columns);
    measure(state, matrix.bytes(3), 0, [&] { backend().gate_forward({.x = x, .z = z, .y = y}); });
}
BENCHMARK(gate_forward)->Apply(inner_widths);

void gate_backward(State& state) {
    const Matrix matrix(state);
    const Tensor xz = operand({matrix.rows, 2 * matrix.columns}), dxz = operand({matrix.rows, 2 * matrix.columns}),
                 dy = matrix();
    const int64_t n = matrix.columns;
    measure(state, matrix.bytes(5), 0, [&] {
        backend().gate_backward(
            {.x = xz.columns(0, n), .z = xz.columns(n, n), .dy = dy, .dx = dxz.columns(0, n), .dz = dxz.columns(n, n)});
    });
}
BENCHMARK(gate_backward)->Apply(inner_widths);

void norm_forward(State& state) {
    const Matrix matrix(state);
    const auto kind = static_cast<NormKind>(state.range(2));
    const int64_t parameters = kind == NormKind::scalar ? 1 : matrix.columns;
    const Tensor x = matrix(), y = matrix(), weight = operand({parameters}), mean = operand({matrix.rows}),
                 rstd = operand({matrix.rows});
    const Tensor bias = kind == NormKind::rms ? Tensor() : operand({parameters});
    measure(state, matrix.bytes(2), 0, [&] {
        backend().norm_forward(
            {.kind = kind, .x = x, .weight = weight, .bias = bias, .y = y, .mean = mean, .rstd = rstd});
    });
}
void norm_backward(State& state) {
    const Matrix matrix(state);
    const auto kind = static_cast<NormKind>(state.range(2));
    const int64_t parameters = kind == NormKind::scalar ? 1 : matrix.columns;
    const Tensor x = matrix(), dy = matrix(), dx = matrix(), weight = operand({parameters}),
                 dweight = operand({parameters});
    const Tensor bias = kind == NormKind::rms ? Tensor() : operand({parameters}),
                 dbias = kind == NormKind::rms ? Tensor() : operand({parameters});
    const Tensor mean = operand({matrix.rows}), rstd = operand({matrix.rows});
    measure(state, matrix.bytes(4), 0, [&] {
        backend().norm_backward({.kind = kind,
                                 .x = x,
                                 .weight = weight,
                                 .bias = bias,
                                 .mean = mean,
                                 .rstd = rstd,
                                 .dy = dy,
                                 .dx = dx,
                                 .dweight = dweight,
                                 .dbias = dbias,
                                 .accumulate = true});
    });
}
void norms(benchmark::internal::Benchmark* b) {
    for (const int kind : {0, 1, 2})
        for (const auto& [rows, width] : {std::pair{16384, 64}, std::pair{4096, 128}, std::pair{1024, 256}})
            b->Args({rows, width, kind});
    b->ArgNames({"rows", "width", "kind"})->UseRealTime();
}
BENCHMARK(norm_forward)->Apply(norms)->Args({1, 64, 0});
BENCHMARK(norm_backward)->Apply(norms);

void causal_conv1d_forward(State& state) {
    const Matrix matrix(state);
    const Shape shape{1, matrix.rows, matrix.columns};
    const Tensor x = operand(shape), y = operand(shape), weight = operand({matrix.columns, 4}),
                 bias = operand({matrix.columns});
    const Tensor conv_state = operand({1, 3, matrix.columns});
    measure(state, matrix.bytes(2), 0, [&] {
        backend().causal_conv1d_forward(
            {.x = x, .weight = weight, .bias = bias, .y = y, .state = matrix.rows == 1 ? conv_state : Tensor()});
    });
}
BENCHMARK(causal_conv1d_forward)->Apply(inner_widths);

void causal_conv1d_backward(State& state) {
    const Matrix matrix(state);
    const Shape shape{1, matrix.rows, matrix.columns};
    const Tensor x = operand(shape), dy = operand(shape), dx = operand(shape), weight = operand({matrix.columns, 4}),
                 bias = operand({matrix.columns});
    const Tensor dweight = operand({matrix.columns, 4}), dbias = operand({matrix.columns});
    measure(state, matrix.bytes(3), 0, [&] {
        backend().causal_conv1d_backward(
            {.x = x, .weight = weight, .bias = bias, .dy = dy, .dx = dx, .dweight = dweight, .dbias = dbias});
    });
}
BENCHMARK(causal_conv1d_backward)->Apply(inner_widths);

void embedding_forward(State& state) {
    const Tensor t = tokens({1, 16384}, 256), table = operand({256, 64}), y = operand({1, 16384, 64});
    measure(state, 16384.0 * 65 * 4, 0, [&] { backend().embedding_forward({.tokens = t, .table = table, .y = y}); });
}
BENCHMARK(embedding_forward)->UseRealTime();

void embedding_backward(State& state) {
    const Tensor t = tokens({1, 16384}, 256), dtable = operand({256, 64}), dy = operand({1, 16384, 64});
    measure(state, 16384.0 * 65 * 4, 0,
            [&] { backend().embedding_backward({.tokens = t, .dy = dy, .dtable = dtable}); });
}
BENCHMARK(embedding_backward)->UseRealTime();

void cross_entropy(State& state) {
    const Tensor logits = operand({16384, 256}), dlogits = operand({16384, 256}), t = tokens({16384}, 256),
                 losses = operand({16384});
    measure(state, 16384.0 * 256 * 8, 0, [&] {
        backend().cross_entropy({.logits = logits, .targets = t, .losses = losses, .dlogits = dlogits, .scale = 1e-4});
    });
}
BENCHMARK(cross_entropy)->UseRealTime();

void adamw(State& state) {
    const int64_t n = state.range(0);
    const Tensor w = operand({n}), g = operand({n}), m = operand({n}, 0.1), v = backend().zeros({n}, DType::f32);
    measure(state, static_cast<double>(n) * 4 * 8, 0, [&] {
        backend().adamw({.weight = w, .grad = g, .m = m, .v = v, .lr = 1e-4, .weight_decay = 0.1, .step = 100});
    });
}
BENCHMARK(adamw)->Arg(16384)->Arg(5 << 20)->UseRealTime();

void sum_of_squares(State& state) {
    const int64_t n = state.range(0);
    const Tensor x = operand({n});
    measure(state, static_cast<double>(n) * 4, 0, [&] { benchmark::DoNotOptimize(backend().sum_of_squares(x)); });
}
BENCHMARK(sum_of_squares)->Arg(16384)->Arg(5 << 20)->UseRealTime();

// Arguments: rows, outputs N, inputs K.
struct Product {
    explicit Product(const State& state) : m(state.range(0)), n(state.range(1)), k(state.range(2)) {}
    double flops() const { return 2.0 * static_cast<double>(m * n * k); }
    int64_t m, n, k;
};
void products(benchmark::internal::Benchmark* b) {
    b->ArgNames({"rows", "N", "K"})->UseRealTime();
    b->Args({16384, 256, 64})->Args({16384, 64, 128})->Args({16384, 36, 128})->Args({16384, 128, 4});
    b->Args({4096, 512, 128})->Args({4096, 128, 256})->Args({1024, 1024, 256})->Args({1024, 256, 512});
}

void linear_forward(State& state) {
    const Product p(state);
    const Tensor x = operand({p.m, p.k}), weight = operand({p.n, p.k}), y = operand({p.m, p.n});
    measure(state, 0, p.flops(), [&] { backend().linear_forward({.x = x, .weight = weight, .y = y}); });
}
BENCHMARK(linear_forward)->Apply(products);

void linear_forward_bias(State& state) {
    const Product p(state);
    const Tensor x = operand({p.m, p.k}), weight = operand({p.n, p.k}), bias = operand({p.n}), y = operand({p.m, p.n});
    measure(state, 0, p.flops(), [&] { backend().linear_forward({.x = x, .weight = weight, .bias = bias, .y = y}); });
}
BENCHMARK(linear_forward_bias)->Apply(products);

void linear_backward(State& state) {
    const Product p(state);
    const Tensor x = operand({p.m, p.k}), weight = operand({p.n, p.k}), dy = operand({p.m, p.n}),
                 dx = operand({p.m, p.k});
    const Tensor dweight = operand({p.n, p.k});
    measure(state, 0, 2 * p.flops(),
            [&] { backend().linear_backward({.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = dweight}); });
}
BENCHMARK(linear_backward)->Apply(products);

void linear_backward_bias(State& state) {
    const Product p(state);
    const Tensor dy = operand({p.m, p.n}), dbias = operand({p.n});
    measure(state, 4.0 * static_cast<double>(p.m * p.n), 0,
            [&] { backend().linear_backward({.dy = dy, .dbias = dbias}); });
}
BENCHMARK(linear_backward_bias)->Args({16384, 256, 1})->Args({16384, 64, 1})->UseRealTime();

// A step of generation: the weights are read once.
void linear_few_rows(State& state) {
    const Product p(state);
    const Tensor x = operand({p.m, p.k}), weight = operand({p.n, p.k}), bias = operand({p.n}), y = operand({p.m, p.n});
    measure(state, 4.0 * static_cast<double>(p.n * p.k), p.flops(),
            [&] { backend().linear_forward({.x = x, .weight = weight, .bias = bias, .y = y}); });
}
BENCHMARK(linear_few_rows)
    ->ArgNames({"rows", "N", "K"})
    ->UseRealTime()
    ->ArgsProduct({{1, 4, 8, 16}, {64}, {128}})
    ->ArgsProduct({{1, 4, 8, 16}, {256}, {64}})
    ->ArgsProduct({{1, 4, 8, 16}, {512}, {128}})
    ->ArgsProduct({{1, 4, 8, 16}, {1024}, {256}});

}  // namespace
}  // namespace nigiri::bench
