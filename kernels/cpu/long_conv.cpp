#include "kernels/long_conv.h"

#include <algorithm>

#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/long_conv_f32.h"

namespace nigiri {

namespace {

using cpu::require;

void check(const View& u, const View& kernel, const View& skip, const char* name) {
    require(u.shape.rank() == 3, name, "u (B, L, D)");
    require(kernel.shape.rank() == 2 && kernel[0] == u[2] && kernel[1] >= 1, name, "kernel (D, Lk), Lk at least 1");
    require(!skip || skip.size() == u[2], name, "skip (D)");
    require(kernel.dtype == u.dtype && (!skip || skip.dtype == u.dtype), name, "operands of one element type");
}

void check_like(const View& v, const View& like, const char* name, const char* rule) {
    require(v.shape == like.shape && v.dtype == like.dtype, name, rule);
}

// float64: the sums as they are written, channel by channel.
void forward_channel(const LongConvForward& op, int64_t d) {
    const int64_t batch = op.u[0], length = op.u[1];
    const double* kernel = op.kernel.row<double>(d);
    const double skip = op.skip ? op.skip.row<double>(0)[d] : 0;
    for (int64_t b = 0; b < batch; ++b) {
        const auto u = [&](int64_t t) { return op.u.row<double>(b * length + t)[d]; };
        for (int64_t t = 0; t < length; ++t) {
            double sum = skip * u(t);
            for (int64_t j = 0; j <= std::min(t, op.kernel[1] - 1); ++j) sum += kernel[j] * u(t - j);
            op.y.row<double>(b * length + t)[d] = sum;
        }
    }
}

void backward_channel(const LongConvBackward& op, int64_t d) {
    const int64_t batch = op.u[0], length = op.u[1], taps = op.kernel[1];
    const double* kernel = op.kernel.row<double>(d);
    double* dkernel = op.dkernel.row<double>(d);
    const double skip = op.skip ? op.skip.row<double>(0)[d] : 0;
    double dskip = 0;
    std::fill_n(dkernel, taps, 0.0);
    for (int64_t b = 0; b < batch; ++b) {
        const auto u = [&](int64_t t) { return op.u.row<double>(b * length + t)[d]; };
        const auto dy = [&](int64_t t) { return op.dy.row<double>(b * length + t)[d]; };
        for (int64_t t = 0; t < length; ++t) {
            dskip += dy(t) * u(t);
            double sum = skip * dy(t);
            for (int64_t j = 0; j < std::min(length - t, taps); ++j) {
                sum += kernel[j] * dy(t + j);
                dkernel[j] += dy(t + j) * u(t);
            }
            op.du.row<double>(b * length + t)[d] = sum;
        }
    }
    if (op.dskip) op.dskip.row<double>(0)[d] += dskip;
}

}  // namespace

void CpuBackend::long_conv_forward(const LongConvForward& op) {
    const char* name = "long_conv_forward";
    check(op.u, op.kernel, op.skip, name);
    check_like(op.y, op.u, name, "y like u");
    if (op.u.size() == 0) return;
    if (op.u.dtype == DType::f32) return cpu::long_conv_forward_f32(*this, op);
    op.u.as<double>();
#pragma omp parallel for num_threads(threads()) if (op.u.size() > cpu::parallel_threshold / 8) schedule(static)
    for (int64_t d = 0; d < op.u[2]; ++d) forward_channel(op, d);
}

void CpuBackend::long_conv_backward(const LongConvBackward& op) {
    const char* name = "long_conv_backward";
    check(op.u, op.kernel, op.skip, name);
    check_like(op.dy, op.u, name, "dy like u");
    check_like(op.du, op.u, name, "du like u");
    check_like(op.dkernel, op.kernel, name, "dkernel like kernel");
    require(op.skip.empty() == op.dskip.empty(), name, "dskip exactly where there is a skip");
    if (op.dskip) check_like(op.dskip, op.skip, name, "dskip like skip");
    if (op.u.dtype == DType::f32) return cpu::long_conv_backward_f32(*this, op);
    op.u.as<double>();
#pragma omp parallel for num_threads(threads()) if (op.u.size() > cpu::parallel_threshold / 8) schedule(static)
    for (int64_t d = 0; d < op.u[2]; ++d) backward_channel(op, d);
}

}  // namespace nigiri
