// What the selective scan asks of its operands, the same on every device.
#include "kernels/selective_scan.h"

#include "kernels/cpu/common.h"  // require

namespace nigiri {

namespace {

void check(bool holds, const char* rule) { cpu::require(holds, "selective_scan", rule); }

// Parameters, states and checkpoints.
DType parameter_type(const SelectiveScan& op) { return op.u.dtype == DType::bf16 ? DType::f32 : op.u.dtype; }

void check_parameter(const View& v, const SelectiveScan& op, const Shape& shape, const char* rule) {
    check(v && v.dtype == parameter_type(op) && v.shape == shape, rule);
}

void check_activation(const View& v, const SelectiveScan& op, const char* rule) {
    check(v && v.dtype == op.u.dtype && v.shape == op.u.shape, rule);
}

int64_t numbers(const SelectiveScan& op) { return op.is_complex ? 2 * op.a[1] : op.a[1]; }

void check_common(const SelectiveScan& op) {
    check(op.u && op.u.shape.rank() == 3, "u of shape (B, L, D)");
    const int64_t channels = op.u[2], states = op.a.shape.rank() >= 2 ? op.a[1] : 0;
    const Shape constant = op.is_complex ? Shape{channels, states, 2} : Shape{channels, states};
    check(states > 0, "at least one state");
    check_parameter(op.a, op, constant, "a of shape (D, N), complex (D, N, 2)");
    const Shape selective = {op.u[0], op.u[1], numbers(op)};
    const auto check_matrix = [&](const View& v, bool is_selective, const char* rule) {
        if (is_selective)
            check(v && v.dtype == op.u.dtype && v.shape == selective, rule);
        else
            check_parameter(v, op, constant, rule);
    };
    check_matrix(op.b, op.selective_b,
                 "b of shape (B, L, N), complex (B, L, 2N), when selective and like a when constant");
    check_matrix(op.c, op.selective_c,
                 "c of shape (B, L, N), complex (B, L, 2N), when selective and like a when constant");
    if (op.delta) check_activation(op.delta, op, "delta of u's shape and type");
    if (op.z) check_activation(op.z, op, "z of u's shape and type");
    if (op.delta_bias) check_parameter(op.delta_bias, op, {channels}, "delta_bias of shape (D)");
    if (op.skip) check_parameter(op.skip, op, {channels}, "skip of shape (D)");
}

void check_checkpoints(const View& v, const SelectiveScan& op) {
    const int64_t chunks = (op.u[1] + selective_scan_checkpoint_every - 1) / selective_scan_checkpoint_every;
    check_parameter(v, op, {chunks, op.u[0], op.u[2], numbers(op)},
                    "checkpoints of shape (ceil(L / 64), B, D, N), complex (ceil(L / 64), B, D, 2N)");
}

}  // namespace

void check_operands(const SelectiveScanForward& op) {
    check_common(op);
    check_activation(op.y, op, "y of u's shape and type");
    const int64_t batch = op.u[0], channels = op.u[2], states = op.a[1];
    if (op.state)
        check_parameter(op.state, op,
                        op.is_complex ? Shape{batch, channels, states, 2} : Shape{batch, channels, states},
                        "state of shape (B, D, N), complex (B, D, N, 2)");
    if (op.checkpoints) check_checkpoints(op.checkpoints, op);
}

void check_operands(const SelectiveScanBackward& op) {
    check_common(op);
    check(!op.checkpoints.empty(), "the forward pass's checkpoints");
    check_checkpoints(op.checkpoints, op);
    const auto given = [](const View& gradient, const View& value, const char* rule) {
        check(gradient && gradient.dtype == value.dtype && gradient.shape == value.shape, rule);
    };
    given(op.dy, op.u, "dy of u's shape and type");
    given(op.du, op.u, "du of u's shape and type");
    given(op.da, op.a, "da of a's shape and type");
    given(op.db, op.b, "db of b's shape and type");
    given(op.dc, op.c, "dc of c's shape and type");
    if (op.delta) given(op.ddelta, op.delta, "ddelta of delta's shape and type");
    if (op.delta_bias) given(op.ddelta_bias, op.delta_bias, "ddelta_bias of shape (D)");
    if (op.skip) given(op.dskip, op.skip, "dskip of shape (D)");
    if (op.z) given(op.dz, op.z, "dz of u's shape and type");
}

}  // namespace nigiri
