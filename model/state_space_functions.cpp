// The state spaces' operations as differentiable functions.
#include <array>

#include "model/functions.h"

namespace nigiri::functions {

Var long_conv(Tape& tape, const Var& u, const Var& kernel, Parameter& skip) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(u.shape(), u.value.dtype());
    backend.long_conv_forward({.u = u.value, .kernel = kernel.value, .skip = skip.value, .y = y});
    return tape.record(y, [&tape, &backend, u = u.held(), kernel = kernel.held(), &skip](const Tensor& dy) {
        const Tensor du = tape.reserve(u), dkernel = tape.reserve(kernel);
        backend.long_conv_backward({.u = u.held_value(),
                                    .kernel = kernel.held_value(),
                                    .skip = skip.value,
                                    .dy = dy,
                                    .du = du,
                                    .dkernel = dkernel,
                                    .dskip = skip.gradient});
        tape.commit(u, du);
        tape.commit(kernel, dkernel);
    });
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
    if (!backend.s4d_conv_is_fused(u.value.dtype()))
        return long_conv(tape, u, s4d_kernel(tape, in, u.shape()[1]), skip);
    const Tensor y = backend.allocate(u.shape(), u.value.dtype());
    backend.s4d_conv_forward({s4d_parameters(in), skip.value, u.value, y, {}});
    return tape.record(y, [&tape, &backend, in, &skip, u = u.held()](const Tensor& dy) {
        const Tensor value = u.held_value(), du = tape.reserve(u);
        backend.s4d_conv_backward({s4d_parameters(in),
                                   skip.value,
                                   value,
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

namespace {

std::array<Var*, 6> operands_of(ScanInputs& in) { return {&in.u, &in.delta, &in.a, &in.b, &in.c, &in.z}; }

// On the values that the operands have at the moment.
SelectiveScan scan_of(const ScanInputs& in) {
    SelectiveScan scan;
    scan.is_complex = in.is_complex;
    scan.selective_b = in.selective_b;
    scan.selective_c = in.selective_c;
    scan.softplus = in.softplus;
    scan.discretization = in.discretization;
    scan.u = in.u.value;
    scan.delta = in.delta.value;
    scan.delta_bias = view_of(in.delta_bias);
    scan.a = in.a.value;
    scan.b = in.b.value;
    scan.c = in.c.value;
    scan.skip = view_of(in.skip);
    scan.z = in.z.value;
    return scan;
}

}  // namespace

Var selective_scan(Tape& tape, const ScanInputs& in) {
    Backend& backend = tape.backend();
    const Tensor& u = in.u.value;
    const Tensor y = backend.allocate(u.shape(), u.dtype());
    Tensor checkpoints;
    if (tape.recording()) {
        const int64_t every = selective_scan_checkpoint_every;
        checkpoints =
            backend.allocate({(u[1] + every - 1) / every, u[0], u[2], in.a.value.size() / u[2]}, in.a.value.dtype());
    }
    backend.selective_scan_forward({scan_of(in), y, {}, checkpoints});
    ScanInputs held = in;
    for (Var* const v : operands_of(held)) *v = v->held();
    return tape.record(y, [&tape, &backend, held = std::move(held), checkpoints](const Tensor& dy) {
        ScanInputs again = held;
        for (Var* const v : operands_of(again)) v->value = v->held_value();
        const Tensor du = tape.reserve(again.u), ddelta = tape.reserve(again.delta), dz = tape.reserve(again.z);
        // Selective operands are overwritten; constant ones are added to, so they start from zero.
        const auto constant = [&](const Var& v) {
            Tensor t = tape.reserve(v);
            backend.fill({.y = t, .value = 0});
            return t;
        };
        const Tensor da = constant(again.a);
        const Tensor db = again.selective_b ? tape.reserve(again.b) : constant(again.b);
        const Tensor dc = again.selective_c ? tape.reserve(again.c) : constant(again.c);
        backend.selective_scan_backward({scan_of(again), checkpoints, dy, du, ddelta, gradient_of(again.delta_bias), da,
                                         db, dc, gradient_of(again.skip), dz});
        tape.commit(again.u, du);
        tape.commit(again.delta, ddelta);
        tape.commit(again.a, da);
        tape.commit(again.b, db);
        tape.commit(again.c, dc);
        tape.commit(again.z, dz);
    });
}

}  // namespace nigiri::functions
