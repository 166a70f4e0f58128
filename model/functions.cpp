#include "model/functions.h"

namespace nigiri::functions {

namespace {

Shape with_columns(const Shape& shape, int64_t columns) {
    std::array<int64_t, Shape::max_rank> e{};
    for (int i = 0; i < shape.rank(); ++i) e[static_cast<size_t>(i)] = shape[i];
    e[static_cast<size_t>(shape.rank() - 1)] = columns;
    return Shape(std::span<const int64_t>(e.data(), static_cast<size_t>(shape.rank())));
}

View view_of(const Parameter* p) { return p ? p->value.view() : View{}; }
// As the operand of a product with x, or added to y.
View operand(const Parameter* p, DType dtype) { return p ? p->for_products(dtype).view() : View{}; }
View gradient_of(const Parameter* p) { return p ? p->gradient.view() : View{}; }

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
        [&tape, &backend, x, &weight, bias, residual](const Tensor& dy) {
            tape.pass(residual, dy);
            const Tensor dx = tape.reserve(x);
            backend.linear_backward({.x = x.value,
                                     .weight = operand(&weight, x.value.dtype()),
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
    const Tensor y = backend.allocate(x.shape(), type);
    Tensor mean, rstd;
    if (tape.recording()) {
        mean = backend.allocate({x.value.rows()}, weight.value.dtype());
        rstd = backend.allocate({x.value.rows()}, weight.value.dtype());
    }
    backend.norm_forward({.kind = kind,
                          .eps = eps,
                          .x = x.value,
                          .weight = weight.value,
                          .bias = view_of(bias),
                          .y = y,
                          .mean = mean,
                          .rstd = rstd});
    return tape.record(y, [&tape, &backend, kind, x, &weight, bias, mean, rstd](const Tensor& dy) {
        const Tensor existing = tape.accumulated(x);  // the residual branch's gradient: added to in place
        const Tensor dx = existing ? existing : tape.reserve(x);
        backend.norm_backward({.kind = kind,
                               .x = x.value,
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
    });
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

Var causal_conv1d_silu(Tape& tape, const Var& x, Parameter& weight, Parameter* bias) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.causal_conv1d_forward(
        {.x = x.value, .weight = weight.value, .bias = view_of(bias), .y = y, .state = {}, .silu = true});
    return tape.record(y, [&tape, &backend, x, &weight, bias](const Tensor& dy) {
        const Tensor dx = tape.reserve(x);
        backend.causal_conv1d_backward({.x = x.value,
                                        .weight = weight.value,
                                        .bias = view_of(bias),
                                        .dy = dy,
                                        .dx = dx,
                                        .dweight = weight.gradient,
                                        .dbias = gradient_of(bias),
                                        .silu = true});
        tape.commit(x, dx);
    });
}

Var gelu(Tape& tape, const Var& x) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.gelu_forward({.x = x.value, .y = y});
    return tape.record(y, [&tape, &backend, x](const Tensor& dy) {
        const Tensor dx = tape.reserve(x);
        backend.gelu_backward({.x = x.value, .dy = dy, .dx = dx});
        tape.commit(x, dx);
    });
}

Var glu(Tape& tape, const Var& x) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(with_columns(x.shape(), x.value.columns() / 2), x.value.dtype());
    backend.glu_forward({.x = x.value, .y = y});
    return tape.record(
        y,
        [&tape, &backend, x](const Tensor& dy) {
            const Tensor dx = tape.reserve(x);
            backend.glu_backward({.x = x.value, .dy = dy, .dx = dx});
            tape.commit(x, dx);
        },
        /*any_type=*/true);
}

Var gate(Tape& tape, const Var& x, const Var& z) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.gate_forward({.x = x.value, .z = z.value, .y = y});
    return tape.record(y, [&tape, &backend, x, z](const Tensor& dy) {
        const Tensor dx = tape.reserve(x), dz = tape.reserve(z);
        backend.gate_backward({.x = x.value, .z = z.value, .dy = dy, .dx = dx, .dz = dz});
        tape.commit(x, dx);
        tape.commit(z, dz);
    });
}

Var recomputed(Tape& tape, const Var& x, std::function<Var(Tape&, const Var&)> f) {
    if (!tape.recording()) return f(tape, x);
    Tape silent(tape.backend(), false);
    const Tensor y = f(silent, Var{x.value}).value;
    return tape.record(y, [&tape, x, f = std::move(f)](const Tensor& dy) {
        Tape again(tape.backend(), true);
        const Var input = again.record(x.value, [&tape, &x](const Tensor& dx) { tape.pass(x, dx); });
        const Var result = f(again, input);
        again.backward(result, dy);
    });
}

Var long_conv(Tape& tape, const Var& u, const Var& kernel, Parameter& skip) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(u.shape(), u.value.dtype());
    backend.long_conv_forward({.u = u.value, .kernel = kernel.value, .skip = skip.value, .y = y});
    return tape.record(y, [&tape, &backend, u, kernel, &skip](const Tensor& dy) {
        const Tensor du = tape.reserve(u), dkernel = tape.reserve(kernel);
        backend.long_conv_backward({.u = u.value,
                                    .kernel = kernel.value,
                                    .skip = skip.value,
                                    .dy = dy,
                                    .du = du,
                                    .dkernel = dkernel,
                                    .dskip = skip.gradient});
        tape.commit(u, du);
        tape.commit(kernel, dkernel);
    });
}

Var parameter(Tape& tape, Parameter& p) {
    Backend& backend = tape.backend();
    return tape.record(
        p.value, [&backend, &p](const Tensor& dy) { backend.add({.x1 = p.gradient, .x2 = dy, .y = p.gradient}); });
}

Var negative_exp(Tape& tape, Parameter& p) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(p.value.shape(), p.value.dtype());
    backend.negative_exp_forward({.x = p.value, .y = y});
    return tape.record(y, [&backend, y, &p](const Tensor& dy) {
        backend.negative_exp_backward({.y = y, .dy = dy, .dx = p.gradient});
    });
}

Var complex_poles(Tape& tape, Parameter& log_real, Parameter& imag) {
    Backend& backend = tape.backend();
    const int64_t n = log_real.value.size();
    const Tensor poles = backend.allocate({log_real.value[0], log_real.value[1], 2}, log_real.value.dtype());
    const View pairs = poles.view().reshaped({n, 2});
    const Shape column{n, 1};
    backend.negative_exp_forward({.x = log_real.value.view().reshaped(column), .y = pairs.columns(0, 1)});
    backend.copy({.x = imag.value.view().reshaped(column), .y = pairs.columns(1, 1)});
    return tape.record(poles, [&backend, poles, &log_real, &imag, n, column](const Tensor& dy) {
        const View y = poles.view().reshaped({n, 2}).columns(0, 1);
        const View d = dy.view().reshaped({n, 2});
        const View imag_gradient = imag.gradient.view().reshaped(column);
        backend.negative_exp_backward({.y = y, .dy = d.columns(0, 1), .dx = log_real.gradient.view().reshaped(column)});
        backend.add({.x1 = imag_gradient, .x2 = d.columns(1, 1), .y = imag_gradient});
    });
}

S4dParameters s4d_parameters(const S4dInputs& in) {
    S4dParameters p;
    p.is_complex = in.is_complex;
    p.discretization = in.discretization;
    p.inv_dt = view_of(in.inv_dt);
    p.a_real = view_of(in.a_real);
    p.a_imag = view_of(in.a_imag);
    p.b = view_of(in.b);
    p.c = view_of(in.c);
    return p;
}

Var s4d_kernel(Tape& tape, const S4dInputs& in, int64_t length) {
    Backend& backend = tape.backend();
    const Tensor kernel = backend.allocate({in.inv_dt->value.size(), length}, in.inv_dt->value.dtype());
    backend.s4d_kernel_forward({s4d_parameters(in), kernel});
    return tape.record(kernel, [&backend, in](const Tensor& dkernel) {
        backend.s4d_kernel_backward({s4d_parameters(in), dkernel, gradient_of(in.inv_dt), gradient_of(in.a_real),
                                     gradient_of(in.a_imag), gradient_of(in.b), gradient_of(in.c)});
    });
}

Var s4d_conv(Tape& tape, const S4dInputs& in, Parameter& skip, const Var& u) {
    Backend& backend = tape.backend();
    if (!backend.s4d_conv_is_fused()) return long_conv(tape, u, s4d_kernel(tape, in, u.shape()[1]), skip);
    const Tensor y = backend.allocate(u.shape(), u.value.dtype());
    backend.s4d_conv_forward({s4d_parameters(in), skip.value, u.value, y, {}});
    return tape.record(y, [&tape, &backend, in, &skip, u](const Tensor& dy) {
        const Tensor du = tape.reserve(u);
        backend.s4d_conv_backward({s4d_parameters(in),
                                   skip.value,
                                   u.value,
                                   {},
                                   dy,
                                   du,
                                   gradient_of(in.inv_dt),
                                   gradient_of(in.a_real),
                                   gradient_of(in.a_imag),
                                   gradient_of(in.b),
                                   gradient_of(in.c),
                                   skip.gradient,
                                   {}});
        tape.commit(u, du);
    });
}

S4Parameters s4_parameters(const S4Inputs& in) {
    S4Parameters p;
    p.length = in.tied_length;
    p.inv_dt = view_of(in.inv_dt);
    p.a_real = view_of(in.a_real);
    p.a_imag = view_of(in.a_imag);
    p.p = view_of(in.p);
    p.b = view_of(in.b);
    p.c = view_of(in.c);
    return p;
}

Var s4_kernel(Tape& tape, const S4Inputs& in, int64_t length) {
    if (length > in.tied_length)
        throw Error(
            "an S4 (DPLR) layer trained at " + std::to_string(in.tied_length) + " samples of its stage cannot run on " +
                std::to_string(length) + " at once",
            "use segments no longer than the training length; generating and whole-file evaluation have no limit");
    Backend& backend = tape.backend();
    const Tensor kernel = backend.allocate({in.inv_dt->value.size(), length}, in.inv_dt->value.dtype());
    backend.s4_kernel_forward({s4_parameters(in), kernel});
    return tape.record(kernel, [&backend, in](const Tensor& dkernel) {
        backend.s4_kernel_backward({s4_parameters(in), dkernel, gradient_of(in.inv_dt), gradient_of(in.a_real),
                                    gradient_of(in.a_imag), gradient_of(in.p), gradient_of(in.b), gradient_of(in.c)});
    });
}

Var selective_scan(Tape& tape, const ScanInputs& in) {
    Backend& backend = tape.backend();
    const Tensor& u = in.u.value;
    const Tensor y = backend.allocate(u.shape(), u.dtype());
    SelectiveScan scan;
    scan.is_complex = in.is_complex;
    scan.selective_b = in.selective_b;
    scan.selective_c = in.selective_c;
    scan.softplus = in.softplus;
    scan.discretization = in.discretization;
    scan.u = u;
    scan.delta = in.delta.value;
    scan.delta_bias = view_of(in.delta_bias);
    scan.a = in.a.value;
    scan.b = in.b.value;
    scan.c = in.c.value;
    scan.skip = view_of(in.skip);
    scan.z = in.z.value;
    Tensor checkpoints;
    if (tape.recording()) {
        const int64_t every = selective_scan_checkpoint_every;
        checkpoints =
            backend.allocate({(u[1] + every - 1) / every, u[0], u[2], in.a.value.size() / u[2]}, in.a.value.dtype());
    }
    backend.selective_scan_forward({scan, y, {}, checkpoints});
    return tape.record(y, [&tape, &backend, in, scan, checkpoints](const Tensor& dy) {
        const Tensor du = tape.reserve(in.u), ddelta = tape.reserve(in.delta), dz = tape.reserve(in.z);
        // Selective operands are overwritten; constant ones are added to, so they start from zero.
        const auto constant = [&](const Var& v) {
            Tensor t = tape.reserve(v);
            backend.fill({.y = t, .value = 0});
            return t;
        };
        const Tensor da = constant(in.a);
        const Tensor db = in.selective_b ? tape.reserve(in.b) : constant(in.b);
        const Tensor dc = in.selective_c ? tape.reserve(in.c) : constant(in.c);
        backend.selective_scan_backward(
            {scan, checkpoints, dy, du, ddelta, gradient_of(in.delta_bias), da, db, dc, gradient_of(in.skip), dz});
        tape.commit(in.u, du);
        tape.commit(in.delta, ddelta);
        tape.commit(in.a, da);
        tape.commit(in.b, db);
        tape.commit(in.c, dc);
        tape.commit(in.z, dz);
    });
}

}  // namespace nigiri::functions
