#include "kernels/s4_kernel.h"

#include <omp.h>

#include <algorithm>
#include <numbers>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/fft64.h"
#include "kernels/cpu/s4_cauchy.h"
#include "kernels/cpu/s4_parameters.h"

namespace nigiri {

namespace {

using namespace cpu;
using Complex = std::complex<double>;

// What all channels share: the half circle of nodes (the other half is conjugate) and the transform.
struct Grid {
    int64_t length, used;  // taps and nodes
    std::vector<double> sine, cosine;
    Fft64 fft;

    explicit Grid(int64_t taps) : length(taps), used(taps / 2 + 1), fft(taps) {
        const auto padded = static_cast<size_t>((used + cauchy_block - 1) / cauchy_block * cauchy_block);
        sine.assign(padded, 1.0);
        cosine.assign(padded, 0.0);
        for (int64_t k = 0; k < used; ++k) {
            if (2 * k == length) break;  // w = -1: exactly 1 and 0, as the padding
            const double phi = std::numbers::pi * static_cast<double>(k) / static_cast<double>(length);
            sine[static_cast<size_t>(k)] = std::sin(phi);
            cosine[static_cast<size_t>(k)] = std::cos(phi);
        }
    }
    CauchyNodes nodes() const { return {static_cast<int64_t>(sine.size()), sine.data(), cosine.data()}; }
};

// One thread's memory.
struct Scratch {
    std::vector<double> re, im;  // at the nodes
    std::vector<Complex> signal;
    std::vector<double> pole, weight, sums;

    Scratch(const Grid& grid, int64_t count)
        : re(grid.sine.size()),
          im(grid.sine.size()),
          signal(static_cast<size_t>(grid.fft.workspace())),
          pole(static_cast<size_t>(2 * count)),
          weight(static_cast<size_t>(8 * count)),
          sums(static_cast<size_t>(10 * count)) {}
};

std::vector<Scratch> scratch_for(const Grid& grid, int64_t count, int64_t channels, int threads) {
    std::vector<Scratch> all;
    for (int64_t i = 0; i < std::min<int64_t>((channels + 1) / 2, threads); ++i) all.emplace_back(grid, count);
    return all;
}

template <class T>
CauchyPoles load_poles(const S4Channel<T>& channel, Scratch& s) {
    const int64_t count = channel.count;
    const double dt = channel.dt();
    CauchyPoles poles;
    poles.count = count;
    poles.pole = s.pole.data();
    for (size_t i = 0; i < 4; ++i) poles.weight[i] = s.weight.data() + static_cast<int64_t>(2 * i) * count;
    const auto put = [&](double* planar, int64_t n, const Complex& x) {
        planar[n] = x.real();
        planar[count + n] = x.imag();
    };
    for (int64_t n = 0; n < count; ++n) {
        const Complex b = channel.b(n), c = channel.c(n), p = channel.p(n);
        put(s.pole.data(), n, dt * channel.lambda(n));
        put(s.weight.data(), n, dt * c * b);
        put(s.weight.data() + 2 * count, n, dt * c * p);
        put(s.weight.data() + 4 * count, n, dt * std::conj(p) * b);
        put(s.weight.data() + 6 * count, n, dt * std::norm(p));
    }
    return poles;
}

// Two channels at a time: both kernels are real, so one complex transform serves the two. A kernel's inverse
// transform is the forward transform of its conjugate spectrum.
template <class T>
void forward_pair(const S4KernelForward& op, int64_t first, const Grid& grid, Scratch& s) {
    const int64_t channels = std::min<int64_t>(2, op.c[0] - first);
    std::fill_n(s.signal.begin(), grid.length, Complex());
    for (int64_t i = 0; i < channels; ++i) {
        const CauchyPoles poles = load_poles(S4Channel<T>(op, first + i), s);
        cauchy_forward(poles, grid.nodes(), s.re.data(), s.im.data());
        const auto put = [&](int64_t k, double re, double im) {
            s.signal[static_cast<size_t>(k)] += i == 0 ? Complex(re, im) : Complex(-im, re);
        };
        for (int64_t k = 0; k < grid.used; ++k) {
            const double re = s.re[static_cast<size_t>(k)], im = s.im[static_cast<size_t>(k)];
            const bool own_mirror = k == 0 || 2 * k == grid.length;
            put(k, re, own_mirror ? 0 : -im);
            if (!own_mirror) put(grid.length - k, re, im);
        }
    }
    grid.fft.forward(s.signal.data());
    const double scale = 1 / static_cast<double>(grid.length);
    for (int64_t i = 0; i < channels; ++i) {
        T* kernel = op.kernel.row<T>(first + i);
        for (int64_t l = 0; l < op.kernel[1]; ++l) {
            const Complex& x = s.signal[static_cast<size_t>(l)];
            kernel[l] = static_cast<T>(scale * (i == 0 ? x.real() : x.imag()));
        }
    }
}

// One channel's gradients, kept apart until they are added to the copies' in the channels' order.
struct ChannelGradient {
    double* values;
    int64_t count;

    static int64_t size(int64_t count) { return 8 * count + 1; }
    double& inv_dt() { return values[8 * count]; }
    double& a_real(int64_t n) { return values[n]; }
    double& a_imag(int64_t n) { return values[count + n]; }
    Complex* complex(int which) { return reinterpret_cast<Complex*>(values + (2 + 2 * which) * count); }
    Complex& p(int64_t n) { return complex(0)[n]; }
    Complex& b(int64_t n) { return complex(1)[n]; }
    Complex& c(int64_t n) { return complex(2)[n]; }
};

// The gradient of channel d's parameters for the spectrum's gradient in s.re and s.im.
template <class T>
void backward_channel(const S4KernelBackward& op, int64_t d, const Grid& grid, Scratch& s, ChannelGradient out) {
    const S4Channel<T> channel(op, d);
    const CauchyPoles poles = load_poles(channel, s);
    cauchy_backward(poles, grid.nodes(), s.re.data(), s.im.data(), s.sums.data());
    const int64_t count = channel.count;
    const double dt = channel.dt();
    const auto sum = [&](int i, int64_t n) {
        const double* planar = s.sums.data() + 2 * i * count;
        return Complex(planar[n], planar[count + n]);
    };
    // For dL = Re(t dx) the gradient of x, dL/dRe + i dL/dIm, is t*.
    double dlog_dt = 0;
    for (int64_t n = 0; n < count; ++n) {
        const Complex lambda = channel.lambda(n), p = channel.p(n), b = channel.b(n), c = channel.c(n);
        const Complex cb = sum(0, n), cp = sum(1, n), pb = sum(2, n), pp = sum(3, n), pole = sum(4, n);
        out.a_real(n) = dt * lambda.real() * pole.real();
        out.a_imag(n) = dt * pole.imag();
        out.c(n) = dt * std::conj(cb * b + cp * p);
        out.b(n) = dt * std::conj(cb * c + pb * std::conj(p));
        out.p(n) = dt * (std::conj(cp * c + pp * std::conj(p)) + pb * b + pp * p);
        dlog_dt += dt * (pole * lambda + cb * c * b + cp * c * p + pb * std::conj(p) * b + pp * std::norm(p)).real();
    }
    out.inv_dt() = dlog_dt;
}

// Two channels at a time, as in the forward pass. The spectrum's gradient at node k is m / length conj(F_k), F the
// transform of dkernel and m = 2 where the node stands for its conjugate as well.
template <class T>
void backward_pair(const S4KernelBackward& op, int64_t first, const Grid& grid, Scratch& s, ChannelGradient out) {
    const int64_t channels = std::min<int64_t>(2, op.c[0] - first);
    std::fill_n(s.signal.begin(), grid.length, Complex());
    for (int64_t l = 0; l < op.dkernel[1]; ++l)
        s.signal[static_cast<size_t>(l)] = {static_cast<double>(op.dkernel.row<T>(first)[l]),
                                            channels == 2 ? static_cast<double>(op.dkernel.row<T>(first + 1)[l]) : 0.0};
    grid.fft.forward(s.signal.data());
    for (int64_t i = 0; i < channels; ++i) {
        std::fill(s.re.begin(), s.re.end(), 0.0);
        std::fill(s.im.begin(), s.im.end(), 0.0);
        for (int64_t k = 0; k < grid.used; ++k) {
            const double m = (k == 0 || 2 * k == grid.length ? 1.0 : 2.0) / static_cast<double>(grid.length);
            const Complex x = s.signal[static_cast<size_t>(k)];
            const Complex mirror = std::conj(s.signal[static_cast<size_t>(k == 0 ? 0 : grid.length - k)]);
            const Complex f = i == 0 ? 0.5 * (x + mirror) : Complex(0, -0.5) * (x - mirror);
            s.re[static_cast<size_t>(k)] = m * f.real();
            s.im[static_cast<size_t>(k)] = -m * f.imag();
        }
        backward_channel<T>(op, first + i, grid, s, {out.values + i * ChannelGradient::size(out.count), out.count});
    }
}

template <class T>
void add_gradients(const S4KernelBackward& op, int64_t d, ChannelGradient from) {
    const int64_t copy = d % op.a_real[0];
    const auto add = [](T& to, double x) { to = static_cast<T>(static_cast<double>(to) + x); };
    const auto add_pairs = [&](const View& to, int64_t row, const Complex* x) {
        if (to.empty()) return;
        for (int64_t n = 0; n < from.count; ++n) {
            T* pair = to.row<T>(row * from.count + n);
            add(pair[0], x[n].real());
            add(pair[1], x[n].imag());
        }
    };
    if (op.dinv_dt) add(op.dinv_dt.row<T>(0)[d], from.inv_dt());
    for (int64_t n = 0; n < from.count; ++n) {
        if (op.da_real) add(op.da_real.row<T>(copy)[n], from.a_real(n));
        if (op.da_imag) add(op.da_imag.row<T>(copy)[n], from.a_imag(n));
    }
    add_pairs(op.dp, copy, from.complex(0));
    add_pairs(op.db, copy, from.complex(1));
    add_pairs(op.dc, d, from.complex(2));
}

Grid make_grid(const S4Parameters& op, const View& kernel, const char* name) {
    check_s4(op, name);
    const int64_t length = s4_length_at_rate(op.length, op.rate);
    require(kernel.shape.rank() == 2 && kernel[0] == op.c[0] && kernel[1] >= 1 && kernel[1] <= length, name,
            "a kernel (D, L) no longer than the length that C is tied to");
    require(kernel.dtype == op.c.dtype, name, "a kernel of the parameters' element type");
    return Grid(length);
}

}  // namespace

void CpuBackend::s4_kernel_forward(const S4KernelForward& op) {
    const Grid grid = make_grid(op, op.kernel, "s4_kernel_forward");
    const int64_t width = op.c[0], count = op.c[1];
    std::vector<Scratch> scratch = scratch_for(grid, count, width, threads());
    const auto workers = static_cast<int>(scratch.size());
    dispatch(op.c.dtype, [&]<class T>(T) {
#pragma omp parallel for schedule(static) num_threads(workers) if (width * count * grid.length > parallel_threshold)
        for (int64_t d = 0; d < width; d += 2)
            forward_pair<T>(op, d, grid, scratch[static_cast<size_t>(omp_get_thread_num())]);
    });
}

void CpuBackend::s4_kernel_backward(const S4KernelBackward& op) {
    const char* name = "s4_kernel_backward";
    const Grid grid = make_grid(op, op.dkernel, name);
    const auto like = [&](const View& gradient, const View& parameter) {
        require(gradient.empty() || (gradient.shape == parameter.shape && gradient.dtype == parameter.dtype), name,
                "gradients of their parameters' shapes and element type");
    };
    like(op.dinv_dt, op.inv_dt);
    like(op.da_real, op.a_real);
    like(op.da_imag, op.a_imag);
    like(op.dp, op.p);
    like(op.db, op.b);
    like(op.dc, op.c);
    const int64_t width = op.c[0], count = op.c[1], size = ChannelGradient::size(count);
    std::vector<Scratch> scratch = scratch_for(grid, count, width, threads());
    const auto workers = static_cast<int>(scratch.size());
    std::vector<double> gradients(static_cast<size_t>(width * size));
    dispatch(op.c.dtype, [&]<class T>(T) {
#pragma omp parallel for schedule(static) num_threads(workers) if (width * count * grid.length > parallel_threshold)
        for (int64_t d = 0; d < width; d += 2)
            backward_pair<T>(op, d, grid, scratch[static_cast<size_t>(omp_get_thread_num())],
                             {gradients.data() + d * size, count});
        for (int64_t d = 0; d < width; ++d) add_gradients<T>(op, d, {gradients.data() + d * size, count});
    });
}

}  // namespace nigiri
