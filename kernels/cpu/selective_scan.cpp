// The selective scan's entrance: checks the operands and picks the float64 or the float32 code.
#include "kernels/selective_scan.h"

#include "kernels/cpu/common.h"
#include "kernels/cpu/selective_scan_internal.h"

namespace nigiri {

namespace {

using namespace cpu::scan;

void check(bool holds, const char* rule) { cpu::require(holds, "selective_scan", rule); }

struct Extents {
    int64_t batch, length, channels, states;
};

void check_vector(const View& v, int64_t size, DType dtype, const char* rule) {
    if (v) check(v.dtype == dtype && v.shape == Shape{size}, rule);
}

void check_activation(const View& v, const View& u, const char* rule) {
    if (v) check(v.dtype == u.dtype && v.shape == u.shape, rule);
}

Extents check_common(const SelectiveScan& op) {
    check(op.u && op.u.shape.rank() == 3, "u of shape (B, L, D)");
    const Extents e{op.u[0], op.u[1], op.u[2], op.a.shape.rank() >= 2 ? op.a[1] : 0};
    const Shape constant = op.is_complex ? Shape{e.channels, e.states, 2} : Shape{e.channels, e.states};
    const Shape selective = {e.batch, e.length, e.states * components(op)};
    check(op.a && e.states > 0 && op.a.dtype == op.u.dtype && op.a.shape == constant, "a of shape (D, N), complex (D, N, 2)");
    check(op.b && op.b.dtype == op.u.dtype && op.b.shape == (op.selective_b ? selective : constant),
          "b of shape (B, L, N), complex (B, L, 2N), when selective and like a when constant");
    check(op.c && op.c.dtype == op.u.dtype && op.c.shape == (op.selective_c ? selective : constant),
          "c of shape (B, L, N), complex (B, L, 2N), when selective and like a when constant");
    check_activation(op.delta, op.u, "delta of u's shape and type");
    check_activation(op.z, op.u, "z of u's shape and type");
    check_vector(op.delta_bias, e.channels, op.u.dtype, "delta_bias of shape (D)");
    check_vector(op.skip, e.channels, op.u.dtype, "skip of shape (D)");
    return e;
}

void check_checkpoints(const View& v, const SelectiveScan& op, const Extents& e) {
    check(v.dtype == op.u.dtype &&
              v.shape == Shape{chunks_of(e.length), e.batch, e.channels, e.states * components(op)},
          "checkpoints of shape (ceil(L / 64), B, D, N), complex (ceil(L / 64), B, D, 2N)");
}

}  // namespace

void CpuBackend::selective_scan_forward(const SelectiveScanForward& op) {
    const Extents e = check_common(op);
    check(!op.y.empty(), "y");
    check_activation(op.y, op.u, "y of u's shape and type");
    if (op.state)
        check(op.state.dtype == op.u.dtype && op.state.shape == (op.is_complex ? Shape{e.batch, e.channels, e.states, 2}
                                                                               : Shape{e.batch, e.channels, e.states}),
              "state of shape (B, D, N), complex (B, D, N, 2)");
    if (op.checkpoints) check_checkpoints(op.checkpoints, op, e);
    if (op.u.size() == 0) return;
    if (op.u.dtype == DType::f64) return forward_f64(op);
    check(op.u.dtype == DType::f32, "elements of type float32 or float64");
    if (can_step_f32(op))
        step_f32(op, threads());
    else
        forward_f32(op, *this);
}

void CpuBackend::selective_scan_backward(const SelectiveScanBackward& op) {
    const Extents e = check_common(op);
    const auto given = [](const View& gradient, const View& value, const char* rule) {
        check(gradient && gradient.dtype == value.dtype && gradient.shape == value.shape, rule);
    };
    check(!op.checkpoints.empty(), "the forward pass's checkpoints");
    check_checkpoints(op.checkpoints, op, e);
    given(op.dy, op.u, "dy of u's shape and type");
    given(op.du, op.u, "du of u's shape and type");
    given(op.da, op.a, "da of a's shape and type");
    given(op.db, op.b, "db of b's shape and type");
    given(op.dc, op.c, "dc of c's shape and type");
    if (op.delta) given(op.ddelta, op.delta, "ddelta of delta's shape and type");
    if (op.delta_bias) given(op.ddelta_bias, op.delta_bias, "ddelta_bias of shape (D)");
    if (op.skip) given(op.dskip, op.skip, "dskip of shape (D)");
    if (op.z) given(op.dz, op.z, "dz of u's shape and type");
    if (op.u.size() == 0) return;
    if (op.u.dtype == DType::f64) return backward_f64(op);
    check(op.u.dtype == DType::f32, "elements of type float32 or float64");
    backward_f32(op, *this);
}

}  // namespace nigiri
