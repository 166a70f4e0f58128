#include "kernels/s4d_kernel.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/s4d_check.h"
#include "kernels/cpu/s4d_modes.h"
#include "kernels/cpu/s4d_vandermonde.h"

namespace nigiri {

namespace {

using cpu::Complex;
using cpu::require;

// What one thread of the float32 path works with: the channel's poles and weights, its four sums, and the products.
class ChannelScratch {
  public:
    ChannelScratch(Backend& backend, const S4dParameters& p, int64_t length, int threads) {
        const int64_t n = p.a_real[1];
        channel_.is_complex = p.is_complex;
        channel_.length = length;
        channel_.modes = (n + cpu::s4d_mode_padding - 1) / cpu::s4d_mode_padding * cpu::s4d_mode_padding;
        doubles_ = 8 * channel_.modes;
        memory_ =
            backend.allocate({threads, 2 * doubles_ + (cpu::s4d_scratch_size(channel_) + 15) / 16 * 16}, DType::f32);
    }

    struct Thread {
        cpu::S4dChannel channel;
        double *pole_re, *pole_im, *weight_re, *weight_im;
        double *sum_re, *sum_im, *moment_re, *moment_im;
        float* scratch;

        void set(int64_t n, const cpu::S4dMode& m) const {
            const Complex weight = m.c * m.bbar() * (channel.is_complex ? 2.0 : 1.0);
            pole_re[n] = m.abar.real(), pole_im[n] = m.abar.imag();
            weight_re[n] = weight.real(), weight_im[n] = weight.imag();
        }
    };

    Thread of_thread(int t) const {
        float* base = memory_.view().row<float>(t);
        double* d = reinterpret_cast<double*>(base);
        std::fill_n(d, doubles_, 0.0);  // the padding, above all
        const int64_t n = channel_.modes;
        Thread thread = {channel_,  d,         d + n,     d + 2 * n, d + 3 * n,
                         d + 4 * n, d + 5 * n, d + 6 * n, d + 7 * n, base + 2 * doubles_};
        thread.channel.pole_re = thread.pole_re, thread.channel.pole_im = thread.pole_im;
        thread.channel.weight_re = thread.weight_re, thread.channel.weight_im = thread.weight_im;
        return thread;
    }

  private:
    cpu::S4dChannel channel_{};
    int64_t doubles_ = 0;
    Tensor memory_;
};

// float64: the sums as they are written.
void kernel_row(const S4dParameters& p, int64_t d, double* kernel, int64_t length) {
    std::fill_n(kernel, length, 0.0);
    for (int64_t n = 0; n < p.a_real[1]; ++n) {
        const cpu::S4dMode m = cpu::s4d_mode<double>(p, d, n);
        Complex term = m.c * m.bbar() * (p.is_complex ? 2.0 : 1.0);
        for (int64_t l = 0; l < length; ++l) {
            kernel[l] += term.real();
            term *= m.abar;
        }
    }
}

struct Sums {
    Complex sum, moment;  // sum_l dK_l Abar^l and sum_l l dK_l Abar^(l - 1)
};

Sums sums_of(const cpu::S4dMode& m, const double* dkernel, int64_t length) {
    Sums s = {dkernel[0], 0};
    Complex power = 1;  // Abar^(l - 1)
    for (int64_t l = 1; l < length; ++l) {
        s.moment += static_cast<double>(l) * dkernel[l] * power;
        power *= m.abar;
        s.sum += dkernel[l] * power;
    }
    return s;
}

bool worth_threads(const S4dParameters& p, int64_t length) {
    return p.inv_dt.size() * p.a_real[1] * length > cpu::parallel_threshold;
}

}  // namespace

namespace cpu {
namespace {

// Adds up the per-channel gradients of what copies share, in the order of the channels.
template <class T>
void add_all(const S4dKernelBackward& op, const std::vector<S4dModeGradient>& gradients) {
    const int64_t channels = op.inv_dt.size(), copies = op.a_real[0], modes = op.a_real[1];
    const auto add = [&](const View& to, int64_t row, int64_t n, Complex g) {
        if (op.is_complex) {
            T* pair = to.row<T>(row * modes + n);
            pair[0] += static_cast<T>(g.real());
            pair[1] += static_cast<T>(g.imag());
        } else {
            to.row<T>(row)[n] += static_cast<T>(g.real());
        }
    };
    const auto of = [&](int64_t d, int64_t n) -> const S4dModeGradient& {
        return gradients[static_cast<size_t>(d * modes + n)];
    };
    for (int64_t d = 0; d < channels; ++d) {
        double dt = 0;
        for (int64_t n = 0; n < modes; ++n) {
            dt += of(d, n).inv_dt;
            if (op.dc) add(op.dc, d, n, of(d, n).c);
        }
        if (op.dinv_dt) op.dinv_dt.row<T>(0)[d] += static_cast<T>(dt);
    }
    for (int64_t s = 0; s < copies; ++s)
        for (int64_t n = 0; n < modes; ++n) {
            double a_real = 0, a_imag = 0;
            Complex b = 0;
            for (int64_t d = s; d < channels; d += copies) {
                a_real += of(d, n).a_real;
                a_imag += of(d, n).a_imag;
                b += of(d, n).b;
            }
            if (op.da_real) op.da_real.row<T>(s)[n] += static_cast<T>(a_real);
            if (op.da_imag) op.da_imag.row<T>(s)[n] += static_cast<T>(a_imag);
            if (op.db) add(op.db, s, n, b);
        }
}

}  // namespace

void s4d_add_gradients(const S4dKernelBackward& op, const std::vector<S4dModeGradient>& gradients) {
    dispatch(op.c.dtype, [&]<class T>(T) { add_all<T>(op, gradients); });
}

}  // namespace cpu

void CpuBackend::s4d_kernel_forward(const S4dKernelForward& op) {
    cpu::check_s4d(op, op.kernel.dtype, "s4d_kernel_forward");
    cpu::check_s4d_kernel(op, op.kernel, "s4d_kernel_forward");
    const int64_t channels = op.kernel[0], length = op.kernel[1], modes = op.a_real[1];
    const int team = worth_threads(op, length) ? threads() : 1;
    if (op.kernel.dtype == DType::f64) {
#pragma omp parallel for num_threads(team) schedule(static)
        for (int64_t d = 0; d < channels; ++d) kernel_row(op, d, op.kernel.row<double>(d), length);
        return;
    }
    op.kernel.as<float>();
    const ChannelScratch scratch(*this, op, length, team);
#pragma omp parallel num_threads(team)
    {
        const ChannelScratch::Thread mine = scratch.of_thread(omp_get_thread_num());
#pragma omp for schedule(static)
        for (int64_t d = 0; d < channels; ++d) {
            for (int64_t n = 0; n < modes; ++n) mine.set(n, cpu::s4d_mode<float>(op, d, n));
            cpu::s4d_kernel_row(mine.channel, mine.scratch, op.kernel.row<float>(d));
        }
    }
}

void CpuBackend::s4d_kernel_backward(const S4dKernelBackward& op) {
    const char* name = "s4d_kernel_backward";
    cpu::check_s4d(op, op.dkernel.dtype, name);
    cpu::check_s4d_kernel(op, op.dkernel, name);
    cpu::check_s4d_gradients(op, op.dinv_dt, op.da_real, op.da_imag, op.db, op.dc, name);
    const int64_t channels = op.dkernel[0], length = op.dkernel[1], modes = op.a_real[1];
    const int team = worth_threads(op, length) ? threads() : 1;
    std::vector<cpu::S4dModeGradient> gradients(static_cast<size_t>(channels * modes));
    if (op.dkernel.dtype == DType::f64) {
#pragma omp parallel for num_threads(team) schedule(static)
        for (int64_t d = 0; d < channels; ++d)
            for (int64_t n = 0; n < modes; ++n) {
                const cpu::S4dMode m = cpu::s4d_mode<double>(op, d, n);
                const Sums s = sums_of(m, op.dkernel.row<double>(d), length);
                gradients[static_cast<size_t>(d * modes + n)] = cpu::s4d_mode_backward(op, m, s.sum, s.moment);
            }
        cpu::s4d_add_gradients(op, gradients);
        return;
    }
    op.dkernel.as<float>();
    const ChannelScratch scratch(*this, op, length, team);
    std::vector<cpu::S4dMode> all_discrete(static_cast<size_t>(team * modes));
#pragma omp parallel num_threads(team)
    {
        const ChannelScratch::Thread mine = scratch.of_thread(omp_get_thread_num());
        cpu::S4dMode* discrete = all_discrete.data() + omp_get_thread_num() * modes;
#pragma omp for schedule(static)
        for (int64_t d = 0; d < channels; ++d) {
            const float* dkernel = op.dkernel.row<float>(d);
            for (int64_t n = 0; n < modes; ++n) {
                discrete[n] = cpu::s4d_mode<float>(op, d, n);
                mine.set(n, discrete[n]);
            }
            cpu::s4d_kernel_row_backward(mine.channel, mine.scratch, dkernel, mine.sum_re, mine.sum_im, mine.moment_re,
                                         mine.moment_im);
            for (int64_t n = 0; n < modes; ++n) {
                const cpu::S4dMode& m = discrete[n];
                // The row gives sum_l l dK_l Abar^l. Where the pole is zero (bilinear, dt A = -2), l = 1 alone remains.
                Complex moment = {mine.moment_re[n], mine.moment_im[n]};
                if (std::abs(m.abar) > 1e-15)
                    moment /= m.abar;
                else
                    moment = length > 1 ? dkernel[1] : 0.0f;
                gradients[static_cast<size_t>(d * modes + n)] =
                    cpu::s4d_mode_backward(op, m, {mine.sum_re[n], mine.sum_im[n]}, moment);
            }
        }
    }
    cpu::s4d_add_gradients(op, gradients);
}

void CpuBackend::s4d_discretize(const S4dDiscretize& op) {
    const char* name = "s4d_discretize";
    cpu::check_s4d(op, op.abar.dtype, name);
    const int64_t channels = op.inv_dt.size(), modes = op.a_real[1];
    const Shape planar = {op.is_complex ? 2 : 1, modes, channels};
    require(op.abar.shape == planar && op.cbar.shape == planar, name,
            "abar and cbar (2, N, D), or (1, N, D) where real");
    cpu::dispatch(op.abar.dtype, [&](auto zero) {
        using T = decltype(zero);
        op.cbar.as<T>();
        const double r = op.is_complex ? 2 : 1;
#pragma omp parallel for num_threads(threads()) if (channels * modes > cpu::parallel_threshold / 8) schedule(static)
        for (int64_t d = 0; d < channels; ++d)
            for (int64_t n = 0; n < modes; ++n) {
                const cpu::S4dMode m = cpu::s4d_mode<T>(op, d, n);
                const Complex cbar = r * m.c * m.bbar();
                op.abar.template row<T>(n)[d] = static_cast<T>(m.abar.real());
                op.cbar.template row<T>(n)[d] = static_cast<T>(cbar.real());
                if (!op.is_complex) continue;
                op.abar.template row<T>(modes + n)[d] = static_cast<T>(m.abar.imag());
                op.cbar.template row<T>(modes + n)[d] = static_cast<T>(cbar.imag());
            }
    });
}

}  // namespace nigiri
