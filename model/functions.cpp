#include "model/functions.h"

namespace nigiri::functions {

namespace {

Shape with_columns(const Shape& shape, int64_t columns) {
    std::array<int64_t, Shape::max_rank> e{};
    for (int i = 0; i < shape.rank(); ++i) e[static_cast<size_t>(i)] = shape[i];
    e[static_cast<size_t>(shape.rank() - 1)] = columns;
    return Shape(std::span<const int64_t>(e.data(), static_cast<size_t>(shape.rank())));
}

// As the operand of a product with x, or added to y.
View operand(const Parameter* p, DType dtype) { return p ? p->for_products(dtype).view() : View{}; }

}  // namespace

Var embedding(Tape& tape, const Tensor& tokens, Parameter& table) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate({tokens[0], tokens[1], table.value[1]}, table.value.dtype());
    backend.embedding_forward({.tokens = tokens, .table = table.value, .y = y});
    return tape.record(y, [&backend, tokens, &table](const Tensor& dy) {
        backend.embedding_backward({.tokens = tokens, .dy = dy, .dtable = table.gradient});
    });
}

namespace {

// Where a residual is given, the gradient of the sum is its gradient too.
Var record_linear(Tape& tape, const Tensor& y, const Var& x, Parameter& weight, Parameter* bias, const Var& residual) {
    Backend& backend = tape.backend();
    return tape.record(
        y,
        [&tape, &backend, x = x.held(), &weight, bias, residual](const Tensor& dy) {
            tape.pass(residual, dy);
            const Tensor value = x.held_value(), dx = tape.reserve(x);
            backend.linear_backward({.x = value,
                                     .weight = operand(&weight, value.dtype()),
                                     .dy = dy,
                                     .dx = dx,
                                     .dweight = weight.gradient,
                                     .dbias = gradient_of(bias)});
            tape.commit(x, dx);
        },
        /*any_type=*/true);
}

}  // namespace

Var linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias) {
    return linear(tape, x, weight, bias, x.value.dtype());
}

Var linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias, DType type) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(with_columns(x.shape(), weight.value[0]), type);
    backend.linear_forward(
        {.x = x.value, .weight = operand(&weight, x.value.dtype()), .bias = operand(bias, type), .y = y});
    return record_linear(tape, y, x, weight, bias, {});
}

Var linear_of_few(Tape& tape, const Var& x, Parameter& weight) {
    Backend& backend = tape.backend();
    const auto compute = [&backend, &weight](const Tensor& value) {
        const Tensor y = backend.allocate(with_columns(value.shape(), weight.value[0]), value.dtype());
        backend.linear_forward({.x = value, .weight = operand(&weight, value.dtype()), .bias = {}, .y = y});
        return y;
    };
    return tape.recomputable(record_linear(tape, compute(x.value), x, weight, nullptr, {}),
                             [x = x.held(), compute] { return compute(x.held_value()); });
}

Var linear_in_rows(Tape& tape, const Var& x, Parameter& weight) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate_rows(with_columns(x.shape(), weight.value[0]), x.value.dtype());
    backend.linear_forward({.x = x.value, .weight = operand(&weight, x.value.dtype()), .bias = {}, .y = y});
    return record_linear(tape, y, x, weight, nullptr, {});
}

Var add_linear(Tape& tape, const Var& residual, const Var& x, Parameter& weight, Parameter* bias) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(residual.shape(), residual.value.dtype());
    backend.linear_forward({.x = x.value,
                            .weight = operand(&weight, x.value.dtype()),
                            .bias = operand(bias, y.dtype()),
                            .y = y,
                            .residual = residual.value});
    return record_linear(tape, y, x, weight, bias, {{}, residual.node});
}

Var convert(Tape& tape, const Var& x, DType type) {
    if (x.value.dtype() == type) return x;
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), type);
    backend.copy({.x = x.value, .y = y});
    const Var place{{}, x.node};
    return tape.record(
        y, [&tape, place](const Tensor& dy) { tape.pass(place, dy); }, /*any_type=*/true);
}

Var norm(Tape& tape, NormKind kind, double eps, const Var& x, Parameter& weight, Parameter* bias, DType type) {
    Backend& backend = tape.backend();
    const auto compute = [&backend, kind, eps, &weight, bias, type](const Tensor& value, const Tensor& mean,
                                                                    const Tensor& rstd) {
        const Tensor y = backend.allocate(value.shape(), type);
        backend.norm_forward({.kind = kind,
                              .eps = eps,
                              .x = value,
                              .weight = weight.value,
                              .bias = view_of(bias),
                              .y = y,
                              .mean = mean,
                              .rstd = rstd});
        return y;
    };
    Tensor mean, rstd;
    if (tape.recording()) {
        mean = backend.allocate({x.value.rows()}, weight.value.dtype());
        rstd = backend.allocate({x.value.rows()}, weight.value.dtype());
    }
    const auto backward = [&tape, &backend, kind, x = x.held(), &weight, bias, mean, rstd](const Tensor& dy) {
        const Tensor existing = tape.accumulated(x);  // the residual branch's gradient: added to in place
        const Tensor dx = existing ? existing : tape.reserve(x);
        backend.norm_backward({.kind = kind,
                               .x = x.held_value(),
                               .weight = weight.value,
                               .bias = view_of(bias),
                               .mean = mean,
                               .rstd = rstd,
                               .dy = dy,
                               .dx = dx,
                               .dweight = weight.gradient,
                               .dbias = gradient_of(bias),
                               .accumulate = static_cast<bool>(existing)});
        if (!existing) tape.commit(x, dx);
    };
    return tape.recomputable(tape.record(compute(x.value, mean, rstd), backward),
                             [x = x.held(), compute] { return compute(x.held_value(), {}, {}); });
}

Var add(Tape& tape, const Var& x, Var&& y) {
    Backend& backend = tape.backend();
    Var given = std::move(y);
    const bool reuse = given.value.unique() && given.value.dtype() == x.value.dtype();
    const Tensor sum = reuse ? given.value : backend.allocate(x.shape(), x.value.dtype());
    backend.add({.x1 = x.value, .x2 = given.value, .y = sum});
    const Var a{{}, x.node}, b{{}, given.node};  // places only: an addition needs no values to go back
    return tape.record(sum, [&tape, a, b](const Tensor& dy) {
        tape.pass(a, dy);
        tape.pass(b, dy);
    });
}

Var reshape(Tape& tape, const Var& x, const Shape& shape) {
    const Var place{{}, x.node};
    const Shape original = x.shape();
    return tape.record(x.value.reshaped(shape),
                       [&tape, place, original](const Tensor& dy) { tape.pass(place, dy.reshaped(original)); });
}

Var shift(Tape& tape, const Var& x) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.shift_forward({.x = x.value, .y = y});
    const Var place{{}, x.node};
    return tape.record(y, [&tape, &backend, place](const Tensor& dy) {
        const Tensor dx = tape.reserve(place);
        backend.shift_backward({.dy = dy, .dx = dx});
        tape.commit(place, dx);
    });
}

Var causal_conv1d(Tape& tape, const Var& x, Parameter& weight, Parameter* bias, bool silu) {
    Backend& backend = tape.backend();
    const auto compute = [&backend, &weight, bias, silu](const Tensor& value) {
        const Tensor y = backend.allocate(value.shape(), value.dtype());
        backend.causal_conv1d_forward(
            {.x = value, .weight = weight.value, .bias = view_of(bias), .y = y, .state = {}, .silu = silu});
        return y;
    };
    const auto backward = [&tape, &backend, x = x.held(), &weight, bias, silu](const Tensor& dy) {
        const Tensor dx = tape.reserve(x);
        backend.causal_conv1d_backward({.x = x.held_value(),
                                        .weight = weight.value,
                                        .bias = view_of(bias),
                                        .dy = dy,
                                        .dx = dx,
                                        .dweight = weight.gradient,
                                        .dbias = gradient_of(bias),
                                        .silu = silu});
        tape.commit(x, dx);
    };
    return tape.recomputable(tape.record(compute(x.value), backward),
                             [x = x.held(), compute] { return compute(x.held_value()); });
}

Var gelu(Tape& tape, const Var& x) {
    Backend& backend = tape.backend();
    const auto compute = [&backend](const Tensor& value) {
        const Tensor y = backend.allocate(value.shape(), value.dtype());
        backend.gelu_forward({.x = value, .y = y});
        return y;
    };
    const auto backward = [&tape, &backend, x = x.held()](const Tensor& dy) {
        const Tensor dx = tape.reserve(x);
        backend.gelu_backward({.x = x.held_value(), .dy = dy, .dx = dx});
        tape.commit(x, dx);
    };
    return tape.recomputable(tape.record(compute(x.value), backward),
                             [x = x.held(), compute] { return compute(x.held_value()); });
}

Var glu(Tape& tape, const Var& x) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(with_columns(x.shape(), x.value.columns() / 2), x.value.dtype());
    backend.glu_forward({.x = x.value, .y = y});
    return tape.record(
        y,
        [&tape, &backend, x = x.held()](const Tensor& dy) {
            const Tensor dx = tape.reserve(x);
            backend.glu_backward({.x = x.held_value(), .dy = dy, .dx = dx});
            tape.commit(x, dx);
        },
        /*any_type=*/true);
}

Var gate(Tape& tape, const Var& x, const Var& z) {
    Backend& backend = tape.backend();
    const auto compute = [&backend](const Tensor& value, const Tensor& gates) {
        const Tensor y = backend.allocate(value.shape(), value.dtype());
        backend.gate_forward({.x = value, .z = gates, .y = y});
        return y;
    };
    const auto backward = [&tape, &backend, x = x.held(), z = z.held()](const Tensor& dy) {
        const Tensor dx = tape.reserve(x), dz = tape.reserve(z);
        backend.gate_backward({.x = x.held_value(), .z = z.held_value(), .dy = dy, .dx = dx, .dz = dz});
        tape.commit(x, dx);
        tape.commit(z, dz);
    };
    return tape.recomputable(tape.record(compute(x.value, z.value), backward),
                             [x = x.held(), z = z.held(), compute] { return compute(x.held_value(), z.held_value()); });
}

Var product(Tape& tape, const Var& x1, const Var& x2) {
    Backend& backend = tape.backend();
    const auto compute = [&backend](const Tensor& a, const Tensor& b) {
        const Tensor y = backend.allocate(a.shape(), a.dtype());
        backend.product_forward({.x1 = a, .x2 = b, .y = y});
        return y;
    };
    const auto backward = [&tape, &backend, x1 = x1.held(), x2 = x2.held()](const Tensor& dy) {
        const Tensor dx1 = tape.reserve(x1), dx2 = tape.reserve(x2);
        backend.product_backward({.x1 = x1.held_value(), .x2 = x2.held_value(), .dy = dy, .dx1 = dx1, .dx2 = dx2});
        tape.commit(x1, dx1);
        tape.commit(x2, dx2);
    };
    return tape.recomputable(
        tape.record(compute(x1.value, x2.value), backward),
        [x1 = x1.held(), x2 = x2.held(), compute] { return compute(x1.held_value(), x2.held_value()); });
}

Var recomputed(Tape& tape, const Var& x, std::function<Var(Tape&, const Var&)> f) {
    if (!tape.recording()) return f(tape, x);
    Tape silent(tape.backend(), false);
    const Tensor y = f(silent, Var{x.value}).value;
    return tape.record(y, [&tape, x = x.held(), f = std::move(f)](const Tensor& dy) {
        Tape again(tape.backend(), true);
        const Var input = again.record(x.held_value(), [&tape, &x](const Tensor& dx) { tape.pass(x, dx); });
        const Var result = f(again, input);
        again.backward(result, dy);
    });
}

Var parameter(Tape& tape, Parameter& p) {
    Backend& backend = tape.backend();
    return tape.record(
        p.value, [&backend, &p](const Tensor& dy) { backend.add({.x1 = p.gradient, .x2 = dy, .y = p.gradient}); });
}

}  // namespace nigiri::functions
