#include "kernels/s4d_conv.h"

#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/s4d_check.h"
#include "kernels/cpu/s4d_modes.h"

namespace nigiri {

namespace {

using cpu::Complex;

// What a state to start from adds to the gradients, mode by mode: with q = sum_l dy_l Abar^(l + 1), its share
// of the sums that s4d_mode_backward asks for is q h and dq/dAbar h, and dstate is conj(r C Bbar q).
template <class T>
void add_state_gradients(const S4dConvBackward& op, const S4dKernelBackward& parameters, int threads) {
    const int64_t batch = op.dy[0], length = op.dy[1], channels = op.dy[2], modes = op.a_real[1];
    const int64_t parts = op.is_complex ? 2 : 1;
    std::vector<cpu::S4dModeGradient> gradients(static_cast<size_t>(channels * modes));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t d = 0; d < channels; ++d)
        for (int64_t n = 0; n < modes; ++n) {
            const cpu::S4dMode m = cpu::s4d_mode<T>(op, d, n);
            const Complex weight = static_cast<double>(parts) * m.c * m.bbar();
            Complex sum = 0, moment = 0;
            for (int64_t b = 0; b < batch; ++b) {
                Complex q = 0, dq = 0, power = 1;  // Abar^l
                for (int64_t l = 0; l < length; ++l) {
                    const auto g = static_cast<double>(op.dy.row<T>(b * length + l)[d]);
                    dq += g * static_cast<double>(l + 1) * power;
                    power *= m.abar;
                    q += g * power;
                }
                const auto part = [&](const View& v, int64_t p) { return v.row<T>(b * parts + p) + n * channels + d; };
                if (op.state) {
                    const Complex h(*part(op.state, 0), parts == 2 ? *part(op.state, 1) : T{});
                    sum += q * h;
                    moment += dq * h;
                }
                if (op.dstate) {
                    *part(op.dstate, 0) = static_cast<T>((weight * q).real());
                    if (parts == 2) *part(op.dstate, 1) = static_cast<T>(-(weight * q).imag());
                }
            }
            gradients[static_cast<size_t>(d * modes + n)] = cpu::s4d_mode_backward(op, m, sum, moment);
        }
    if (op.state) cpu::s4d_add_gradients(parameters, gradients);
}

}  // namespace

void CpuBackend::s4d_conv_forward(const S4dConvForward& op) {
    cpu::check_s4d_conv(op, op.skip, op.u, op.y, op.state, op.u.dtype, "s4d_conv_forward");
    const S4dParameters& p = op;
    if (op.state) {
        const Shape planar = {p.is_complex ? 2 : 1, p.a_real[1], op.u[2]};
        const Tensor abar = allocate(planar, op.u.dtype), cbar = allocate(planar, op.u.dtype);
        s4d_discretize({p, abar, cbar});
        s4d_recurrence({.is_complex = p.is_complex,
                        .abar = abar,
                        .cbar = cbar,
                        .skip = op.skip,
                        .u = op.u,
                        .y = op.y,
                        .state = op.state});
        return;
    }
    if (op.u.size() == 0) return;
    const Tensor kernel = allocate({op.u[2], op.u[1]}, op.u.dtype);
    s4d_kernel_forward({p, kernel});
    long_conv_forward({.u = op.u, .kernel = kernel, .skip = op.skip, .y = op.y});
}

void CpuBackend::s4d_conv_backward(const S4dConvBackward& op) {
    cpu::check_s4d_conv_backward(op, op.u.dtype, "s4d_conv_backward");
    if (op.u.size() == 0) {
        if (op.dstate) fill({.y = op.dstate, .value = 0});
        return;
    }
    const S4dParameters& p = op;
    const Shape taps = {op.u[2], op.u[1]};
    const Tensor kernel = allocate(taps, op.u.dtype), dkernel = allocate(taps, op.u.dtype);
    // What is not asked for is made and dropped.
    const Tensor du = op.du ? Tensor() : allocate(op.u.shape, op.u.dtype);
    const Tensor dskip = op.skip && !op.dskip ? zeros({op.u[2]}, op.u.dtype) : Tensor();
    s4d_kernel_forward({p, kernel});
    long_conv_backward({.u = op.u,
                        .kernel = kernel,
                        .skip = op.skip,
                        .dy = op.dy,
                        .du = op.du ? op.du : du.view(),
                        .dkernel = dkernel,
                        .dskip = op.skip && !op.dskip ? dskip.view() : op.dskip});
    const S4dKernelBackward parameters{p, dkernel, op.dinv_dt, op.da_real, op.da_imag, op.db, op.dc};
    s4d_kernel_backward(parameters);
    if (op.state || op.dstate)
        cpu::dispatch(op.u.dtype, [&]<class T>(T) { add_state_gradients<T>(op, parameters, threads()); });
}

}  // namespace nigiri
