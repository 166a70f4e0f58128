#include "model/initialization.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "kernels/s4_discrete.h"

namespace nigiri {

namespace {

using std::numbers::pi;
using Complex = std::complex<double>;

constexpr double b_limit = 2;  // the published code clips B's parts

// HiPPO-LegS plus P P^T, with P_n = sqrt(n + 1/2), is -1/2 I + S with S_nk = -+P_n P_k skew-symmetric (- below the
// diagonal). Its eigenvectors need no numerical method. Writing y_n = v_n / P_n, the difference of two neighbouring
// rows of S v = i w v gives
//   y_{n+1} (n + 3/2 + i w) = -y_n (n + 1/2 - i w),
// and the first and the last row then ask that prod_n (n + 1/2 + i w) / (n + 1/2 - i w) = (-1)^(M-1), that is
//   theta(w) = sum_{n < M} atan(w / (n + 1/2)) = pi (m + 1/2),  m = 0, ..., M/2 - 1 for w > 0.
// Normalising v, (v^H P)^2 has the size 1 / theta'(w), and with v_0 real the phase of v^H P is that of 1/2 - i w.
double theta(double w, int64_t size) {
    double sum = 0;
    for (int64_t n = 0; n < size; ++n) sum += std::atan(w / (static_cast<double>(n) + 0.5));
    return sum;
}

double theta_slope(double w, int64_t size) {
    double sum = 0;
    for (int64_t n = 0; n < size; ++n) {
        const double a = static_cast<double>(n) + 0.5;
        sum += a / (a * a + w * w);
    }
    return sum;
}

// theta grows from 0 to M pi / 2, so every root is found by bisection; the largest is near M^2 / pi.
double legs_frequency(int64_t m, int64_t size) {
    const double target = pi * (static_cast<double>(m) + 0.5);
    double low = 0, high = static_cast<double>(size * size);
    while (true) {
        const double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high) return middle;
        (theta(middle, size) < target ? low : high) = middle;
    }
}

// The eigenvectors of -i w, where v^H P = (1/2 + i w) / |1/2 + i w| / sqrt(theta'(w)). B = sqrt(2) P before clipping.
void add_legs(StateMatrices& s, int64_t states) {
    const int64_t size = 2 * states;
    for (int64_t n = 0; n < states; ++n) {
        const double w = legs_frequency(states - 1 - n, size);
        const Complex direction(0.5, w);
        const Complex p = direction / std::abs(direction) / std::sqrt(theta_slope(w, size));
        const Complex b = std::numbers::sqrt2 * p;
        s.a_imag.push_back(w);
        s.p.push_back(p);
        s.b.emplace_back(std::clamp(b.real(), -b_limit, b_limit), std::clamp(b.imag(), -b_limit, b_limit));
    }
}

template <class Convert>
std::vector<Complex> per_channel(const StateMatrices& matrices, const std::vector<double>& log_dt,
                                 const std::vector<Complex>& c, Convert&& convert) {
    const size_t states = matrices.a_real.size();
    if (matrices.p.size() != states || matrices.a_imag.size() != states)
        throw Error("only diagonal-plus-low-rank layers tie C to a length");
    if (c.size() != states * log_dt.size()) throw Error("C has another size than steps times states");
    ComplexVector lambda;
    for (size_t n = 0; n < states; ++n) lambda.emplace_back(-std::exp(matrices.a_real[n]), -matrices.a_imag[n]);
    std::vector<Complex> result;
    for (size_t d = 0; d < log_dt.size(); ++d) {
        const S4Discrete layer = s4_discretize(lambda, matrices.p, matrices.b, std::exp(log_dt[d]));
        const auto begin = c.begin() + static_cast<std::ptrdiff_t>(d * states);
        const ComplexVector row = convert(layer, ComplexVector(begin, begin + static_cast<std::ptrdiff_t>(states)));
        result.insert(result.end(), row.begin(), row.end());
    }
    return result;
}

}  // namespace

StateMatrices initial_state(StateInit init, int64_t states) {
    if (states < 1) throw Error("a state space layer needs at least one state");
    StateMatrices s;
    if (init == StateInit::s4d_real) {
        for (int64_t n = 0; n < states; ++n) s.a_real.push_back(std::log(static_cast<double>(n + 1)));
        s.b.assign(static_cast<size_t>(states), 1.0);
        return s;
    }
    s.a_real.assign(static_cast<size_t>(states), std::log(0.5));
    if (init == StateInit::s4d_legs || init == StateInit::legs) {
        add_legs(s, states);
        if (init == StateInit::s4d_legs) s.p.clear();
        return s;
    }
    s.b.assign(static_cast<size_t>(states), 1.0);
    const auto size = static_cast<double>(2 * states);
    for (int64_t i = 0; i < states; ++i) {
        const auto n = static_cast<double>(i);
        s.a_imag.push_back(init == StateInit::s4d_lin ? std::max(pi * n, 1e-4) : size / pi * (size / (2 * n + 1) - 1));
    }
    return s;
}

StateMatrices random_state(Random& random, int64_t states, int64_t copies, bool is_complex) {
    if (states < 1 || copies < 1) throw Error("a state space layer needs at least one state");
    constexpr double least_real = 1e-4;
    const auto n = static_cast<double>(states);
    StateMatrices s;
    for (int64_t i = 0; i < copies * states; ++i) {
        s.a_real.push_back(std::log(std::max(least_real, random.uniform() * (is_complex ? 1 : n))));
        if (is_complex) s.a_imag.push_back(pi * n * random.uniform());
    }
    s.b.assign(s.a_real.size(), 1.0);
    return s;
}

StateMatrices copies_of(const StateMatrices& one, int64_t copies) {
    StateMatrices all;
    for (int64_t i = 0; i < copies; ++i) {
        all.a_real.insert(all.a_real.end(), one.a_real.begin(), one.a_real.end());
        all.a_imag.insert(all.a_imag.end(), one.a_imag.begin(), one.a_imag.end());
        all.b.insert(all.b.end(), one.b.begin(), one.b.end());
        all.p.insert(all.p.end(), one.p.begin(), one.p.end());
    }
    return all;
}

std::vector<Complex> tied_output(const StateMatrices& matrices, const std::vector<double>& log_dt, int64_t length,
                                 const std::vector<Complex>& c) {
    return per_channel(matrices, log_dt, c, [&](const S4Discrete& layer, const ComplexVector& row) {
        return s4_tied_c(layer, length, row);
    });
}

std::vector<Complex> untied_output(const StateMatrices& matrices, const std::vector<double>& log_dt, int64_t length,
                                   const std::vector<Complex>& tied) {
    return per_channel(matrices, log_dt, tied, [&](const S4Discrete& layer, const ComplexVector& row) {
        return s4_true_c(layer, length, row);
    });
}

std::vector<double> log_uniform_steps(Random& random, int64_t count, double dt_min, double dt_max) {
    if (!(dt_min > 0 && dt_max >= dt_min && std::isfinite(dt_max)))
        throw Error("the bounds of dt must be positive and in order");
    return uniform(random, count, std::log(dt_min), std::log(dt_max));
}

std::vector<double> softplus_steps(Random& random, int64_t count, double dt_min, double dt_max) {
    std::vector<double> bias = log_uniform_steps(random, count, dt_min, dt_max);
    for (double& x : bias) {
        const double dt = std::max(std::exp(x), 1e-4);
        x = dt + std::log(-std::expm1(-dt));
    }
    return bias;
}

std::vector<double> s6_a_log(int64_t width, int64_t states) {
    std::vector<double> a;
    for (int64_t d = 0; d < width; ++d)
        for (int64_t n = 1; n <= states; ++n) a.push_back(std::log(static_cast<double>(n)));
    return a;
}

std::vector<double> uniform(Random& random, int64_t count, double low, double high) {
    std::vector<double> x(static_cast<size_t>(count));
    for (double& value : x) value = random.uniform(low, high);
    return x;
}

std::vector<double> fan_in_uniform(Random& random, int64_t count, int64_t fan_in) {
    if (fan_in < 1) throw Error("a layer has at least one input");
    const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
    return uniform(random, count, -bound, bound);
}

std::vector<double> normal(Random& random, int64_t count, double deviation) {
    std::vector<double> x(static_cast<size_t>(count));
    for (double& value : x) value = deviation * random.normal();
    return x;
}

std::vector<Complex> complex_normal(Random& random, int64_t count) {
    std::vector<Complex> x(static_cast<size_t>(count));
    for (Complex& value : x) {
        const double re = random.normal(), im = random.normal();  // in this order, whatever the compiler
        value = Complex(re, im) * std::numbers::sqrt2 / 2.0;
    }
    return x;
}

}  // namespace nigiri
