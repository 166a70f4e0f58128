// What every S4D operation, of either backend, asks of its operands.
#pragma once

#include "kernels/cpu/common.h"
#include "kernels/s4d_conv.h"

namespace nigiri::cpu {

inline void check_s4d(const S4dParameters& p, DType dtype, const char* op) {
    const int64_t pair = p.is_complex ? 2 : 1;
    require(p.inv_dt && p.a_real && p.b && p.c, op, "inv_dt, a_real, b and c");
    require(p.a_real.shape.rank() == 2 && p.a_real[0] > 0 && p.a_real[1] > 0, op, "a_real (S, N), neither of them 0");
    const int64_t channels = p.inv_dt.size(), copies = p.a_real[0], modes = p.a_real[1];
    require(channels % copies == 0, op, "a number of channels that is a multiple of the copies S of A");
    require(p.is_complex == !p.a_imag.empty(), op, "a_imag exactly where the layer is complex");
    require(!p.is_complex || p.a_imag.shape == p.a_real.shape, op, "a_imag (S, N)");
    require(p.b.size() == copies * modes * pair && p.b.columns() == (p.is_complex ? 2 : modes), op,
            "b (S, N, 2), or (S, N) where real");
    require(p.c.size() == channels * modes * pair && p.c.columns() == (p.is_complex ? 2 : modes), op,
            "c (D, N, 2), or (D, N) where real");
    require(p.discretization != Discretization::euler, op, "zoh or bilinear discretization");
    for (const View* v : {&p.inv_dt, &p.a_real, &p.b, &p.c})
        require(v->dtype == dtype, op, "operands of one element type");
    require(!p.is_complex || p.a_imag.dtype == dtype, op, "operands of one element type");
}

inline void check_s4d_kernel(const S4dParameters& p, const View& kernel, const char* op) {
    require(kernel.shape.rank() == 2 && kernel[0] == p.inv_dt.size() && kernel[1] > 0, op, "a kernel (D, L)");
}

inline void check_s4d_gradients(const S4dParameters& p, const View& dinv_dt, const View& da_real, const View& da_imag,
                                const View& db, const View& dc, const char* op) {
    const auto like = [&](const View& gradient, const View& value) {
        require(!gradient || (gradient.shape == value.shape && gradient.dtype == value.dtype), op,
                "gradients shaped like their parameters");
    };
    require(!da_imag || p.is_complex, op, "da_imag only where the layer is complex");
    like(dinv_dt, p.inv_dt), like(da_real, p.a_real), like(da_imag, p.a_imag), like(db, p.b), like(dc, p.c);
}

inline void check_s4d_conv(const S4dParameters& p, const View& skip, const View& u, const View& y, const View& state,
                           DType dtype, const char* op) {
    check_s4d(p, dtype, op);
    const int64_t channels = p.inv_dt.size();
    require(u.shape.rank() == 3 && u[2] == channels, op, "u (B, L, D)");
    require(!y || (y.shape == u.shape && y.dtype == u.dtype), op, "activations of one shape and type");
    require(!skip || (skip.size() == channels && skip.dtype == dtype), op, "skip (D)");
    require(
        !state || (state.shape == Shape{u[0], p.is_complex ? 2 : 1, p.a_real[1] * channels} && state.dtype == dtype),
        op, "a state (B, 2, N * D), or (B, 1, N * D) where real");
}

inline void check_s4d_conv_backward(const S4dConvBackward& op, DType dtype, const char* name) {
    require(!op.dy.empty(), name, "dy (B, L, D)");
    check_s4d_conv(op, op.skip, op.u, op.dy, op.state, dtype, name);
    check_s4d_conv(op, op.dskip, op.u, op.du, op.dstate, dtype, name);
    require(!op.dskip || op.skip, name, "dskip only where there is a skip");
    check_s4d_gradients(op, op.dinv_dt, op.da_real, op.da_imag, op.db, op.dc, name);
}

}  // namespace nigiri::cpu
