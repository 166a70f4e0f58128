// The selective scan in plain float64: one channel after the other, one obvious formula for every variant.
#include <cmath>
#include <complex>
#include <utility>
#include <vector>

#include "kernels/cpu/selective_scan_internal.h"

namespace nigiri::cpu::scan {
namespace {

using Complex = std::complex<double>;

double conj(double x) { return x; }
Complex conj(Complex x) { return std::conj(x); }
double real(double x) { return x; }
double real(Complex x) { return x.real(); }
double expm1(double x) { return std::expm1(x); }
// e^x - 1 without cancellation: the real part is expm1(Re x) cos(Im x) - 2 sin(Im x / 2)^2.
Complex expm1(Complex x) {
    const double s = std::sin(x.imag() / 2);
    return {std::expm1(x.real()) * std::cos(x.imag()) - 2 * s * s, std::exp(x.real()) * std::sin(x.imag())};
}

// (e^x (x - 1) + 1) / x^2, the derivative of (e^x - 1) / x: by its series where the closed form cancels.
template <class S>
S expm1_over_x_slope(S x) {
    if (std::abs(x) > 1) return (std::exp(x) * (x - 1.0) + 1.0) / (x * x);
    S sum = 0, term = 0.5;  // term k is x^k / (k + 2)!
    for (int k = 0; k < 24; ++k) {
        sum += term * (k + 1.0);
        term *= x / (k + 3.0);
    }
    return sum;
}

// Abar, the input's factor gamma (Bbar = gamma B) and their derivatives.
template <class S>
struct Step {
    S abar, gamma;
    S abar_dt, abar_a, gamma_dt, gamma_a;
};

template <class S>
Step<S> discretize(Discretization rule, double dt, S a) {
    const S x = dt * a;
    if (rule == Discretization::bilinear) {
        const S q = 1.0 / (1.0 - x / 2.0);
        return {(1.0 + x / 2.0) * q, dt * q, a * q * q, dt * q * q, q * q, dt * dt / 2 * q * q};
    }
    const S e = std::exp(x);
    if (rule == Discretization::euler) return {e, dt, a * e, dt * e, 1.0, 0.0};
    const S gamma = std::abs(a) > 0 ? expm1(x) / a : S(dt);
    return {e, gamma, a * e, dt * e, e, dt * dt * expm1_over_x_slope(x)};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

template <class S>
S get(const View& v, int64_t row, int64_t n) {
    if constexpr (std::is_same_v<S, double>)
        return v.row<double>(row)[n];
    else
        return {v.row<double>(row)[2 * n], v.row<double>(row)[2 * n + 1]};
}

template <class S>
void put(const View& v, int64_t row, int64_t n, S x) {
    if constexpr (std::is_same_v<S, double>) {
        v.row<double>(row)[n] = x;
    } else {
        v.row<double>(row)[2 * n] = x.real();
        v.row<double>(row)[2 * n + 1] = x.imag();
    }
}

template <class S>
void add(const View& v, int64_t row, int64_t n, S x) {
    put(v, row, n, get<S>(v, row, n) + x);
}

// One channel of one batch row, seen by the scan.
template <class S>
struct Channel {
    const SelectiveScan& op;
    int64_t b, d;
    int64_t length = op.u[1], channels = op.u[2], states = op.a[1];
    double r = op.is_complex ? 2 : 1;

    // Where number (row, n) of a parameter or state lies: those of shape (D, N, 2) have rows of one number.
    std::pair<int64_t, int64_t> place(int64_t row_, int64_t n) const {
        return op.is_complex ? std::pair(row_ * states + n, int64_t{0}) : std::pair(row_, n);
    }
    S get_state(const View& v, int64_t row_, int64_t n) const {
        const auto [i, j] = place(row_, n);
        return get<S>(v, i, j);
    }
    void put_state(const View& v, int64_t row_, int64_t n, S x) const {
        const auto [i, j] = place(row_, n);
        put(v, i, j, x);
    }
    void add_state(const View& v, int64_t row_, int64_t n, S x) const {
        const auto [i, j] = place(row_, n);
        add(v, i, j, x);
    }

    int64_t row(int64_t t) const { return b * length + t; }
    double at(const View& v, int64_t t) const { return v.row<double>(row(t))[d]; }
    void set(const View& v, int64_t t, double x) const { v.row<double>(row(t))[d] = x; }
    double of_channel(const View& v) const { return v ? v.as<double>()[d] : 0.0; }

    double raw(int64_t t) const { return (op.delta ? at(op.delta, t) : 0.0) + of_channel(op.delta_bias); }
    double dt(int64_t t) const {
        const double x = raw(t);
        return op.softplus ? std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))) : x;
    }
    S a(int64_t n) const { return get_state(op.a, d, n); }
    S bc(const View& v, bool selective, int64_t t, int64_t n) const {
        return selective ? get<S>(v, row(t), n) : get_state(v, d, n);
    }
    S bn(int64_t t, int64_t n) const { return bc(op.b, op.selective_b, t, n); }
    S cn(int64_t t, int64_t n) const { return bc(op.c, op.selective_c, t, n); }

    // h[t - 1] to h[t]; the result is the output before the skip.
    double step(int64_t t, std::vector<S>& h) const {
        const double dt_t = dt(t), u = at(op.u, t);
        double y = 0;
        for (int64_t n = 0; n < states; ++n) {
            const auto s = discretize(op.discretization, dt_t, a(n));
            h[n] = s.abar * h[n] + s.gamma * bn(t, n) * u;
            y += r * real(cn(t, n) * h[n]);
        }
        return y;
    }
};

template <class S>
void forward(const SelectiveScanForward& op) {
    for (int64_t b = 0; b < op.u[0]; ++b)
        for (int64_t d = 0; d < op.u[2]; ++d) {
            const Channel<S> channel{op, b, d};
            const int64_t states = channel.states, row = b * channel.channels + d;
            std::vector<S> h(static_cast<size_t>(states));
            if (op.state)
                for (int64_t n = 0; n < states; ++n) h[n] = channel.get_state(op.state, row, n);
            for (int64_t t = 0; t < channel.length; ++t) {
                if (op.checkpoints && t % chunk_steps == 0) {
                    const int64_t at = t / chunk_steps * op.u[0] * channel.channels + row;
                    for (int64_t n = 0; n < states; ++n) put(op.checkpoints, at, n, h[n]);
                }
                double y = channel.step(t, h) + channel.of_channel(op.skip) * channel.at(op.u, t);
                if (op.z) y *= channel.at(op.z, t) * sigmoid(channel.at(op.z, t));
                channel.set(op.y, t, y);
            }
            if (op.state)
                for (int64_t n = 0; n < states; ++n) channel.put_state(op.state, row, n, h[n]);
        }
}

void clear(const View& v) {
    for (int64_t i = 0; i < v.rows(); ++i)
        for (int64_t j = 0; j < v.columns(); ++j) v.row<double>(i)[j] = 0;
}

template <class S>
void backward(const SelectiveScanBackward& op) {
    if (op.selective_b) clear(op.db);
    if (op.selective_c) clear(op.dc);
    for (int64_t b = 0; b < op.u[0]; ++b)
        for (int64_t d = 0; d < op.u[2]; ++d) {
            const Channel<S> channel{op, b, d};
            const int64_t states = channel.states, length = channel.length;
            const double skip = channel.of_channel(op.skip), r = channel.r;
            std::vector<S> dh(static_cast<size_t>(states));  // gradient of the state after step t
            for (int64_t chunk = chunks_of(length) - 1; chunk >= 0; --chunk) {
                const int64_t begin = chunk * chunk_steps, end = std::min(length, begin + chunk_steps);
                // h[k] is the state before step begin + k.
                std::vector<std::vector<S>> h(1, std::vector<S>(static_cast<size_t>(states)));
                std::vector<double> y;
                for (int64_t n = 0; n < states; ++n)
                    h[0][n] = get<S>(op.checkpoints, (chunk * op.u[0] + b) * channel.channels + d, n);
                for (int64_t t = begin; t < end; ++t) {
                    h.push_back(h.back());
                    y.push_back(channel.step(t, h.back()));
                }
                for (int64_t t = end - 1; t >= begin; --t) {
                    const auto& before = h[static_cast<size_t>(t - begin)];
                    const auto& after = h[static_cast<size_t>(t - begin + 1)];
                    const double u = channel.at(op.u, t), dt = channel.dt(t);
                    double dy = channel.at(op.dy, t);
                    if (op.z) {
                        const double z = channel.at(op.z, t), s = sigmoid(z);
                        channel.set(op.dz, t,
                                    dy * (y[static_cast<size_t>(t - begin)] + skip * u) * s * (1 + z * (1 - s)));
                        dy *= z * s;
                    }
                    double du = skip * dy, ddt = 0;
                    if (op.skip) op.dskip.as<double>()[d] += dy * u;
                    for (int64_t n = 0; n < states; ++n) {
                        const S a = channel.a(n), bn = channel.bn(t, n);
                        const auto s = discretize(op.discretization, dt, a);
                        dh[n] += r * dy * conj(channel.cn(t, n));
                        const S dc = r * dy * conj(after[n]);
                        const S db = conj(s.gamma) * u * dh[n];
                        const S dabar = dh[n] * conj(before[n]), dgamma = dh[n] * conj(bn) * u;
                        du += real(conj(s.gamma * bn) * dh[n]);
                        ddt += real(conj(s.abar_dt) * dabar + conj(s.gamma_dt) * dgamma);
                        channel.add_state(op.da, d, n, conj(s.abar_a) * dabar + conj(s.gamma_a) * dgamma);
                        op.selective_b ? add(op.db, channel.row(t), n, db) : channel.add_state(op.db, d, n, db);
                        op.selective_c ? add(op.dc, channel.row(t), n, dc) : channel.add_state(op.dc, d, n, dc);
                        dh[n] *= conj(s.abar);
                    }
                    if (op.softplus) ddt *= sigmoid(channel.raw(t));
                    channel.set(op.du, t, du);
                    if (op.delta) channel.set(op.ddelta, t, ddt);
                    if (op.delta_bias) op.ddelta_bias.as<double>()[d] += ddt;
                }
            }
        }
}

}  // namespace

void forward_f64(const SelectiveScanForward& op) { op.is_complex ? forward<Complex>(op) : forward<double>(op); }
void backward_f64(const SelectiveScanBackward& op) { op.is_complex ? backward<Complex>(op) : backward<double>(op); }

}  // namespace nigiri::cpu::scan
