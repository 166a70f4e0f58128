#include "kernels/s4_discrete.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/cpu/square_product.h"
#include "kernels/error.h"

namespace nigiri {

namespace {

using Complex = std::complex<double>;

// Abar is linear over the reals only (it holds a real part), so its powers are taken as real matrices on
// (re, im) pairs: square, row-major, of 2 N rows and columns, padded with zeros to whole tiles.
struct RealMatrix {
    size_t size, padded;
    std::vector<double> values;

    explicit RealMatrix(size_t n) : size(n), padded((n + tile - 1) / tile * tile), values(padded * padded) {}
    double* row(size_t i) { return values.data() + i * padded; }
    const double* row(size_t i) const { return values.data() + i * padded; }

    static constexpr size_t tile = static_cast<size_t>(cpu::square_tile);
};

void multiply(const RealMatrix& x, const RealMatrix& y, RealMatrix& result) {
    cpu::square_product(x.values.data(), y.values.data(), result.values.data(), static_cast<int64_t>(x.padded),
                        static_cast<int64_t>(x.size));
}

RealMatrix transition(const S4Discrete& layer) {
    const size_t n = layer.a.size();
    RealMatrix m(2 * n);
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < n; ++j) {
            const Complex g = layer.g[i], f = layer.f[j];
            m.row(2 * i)[2 * j] = -g.real() * f.real();
            m.row(2 * i)[2 * j + 1] = g.real() * f.imag();
            m.row(2 * i + 1)[2 * j] = -g.imag() * f.real();
            m.row(2 * i + 1)[2 * j + 1] = g.imag() * f.imag();
        }
        const Complex a = layer.a[i];
        m.row(2 * i)[2 * i] += a.real();
        m.row(2 * i)[2 * i + 1] -= a.imag();
        m.row(2 * i + 1)[2 * i] += a.imag();
        m.row(2 * i + 1)[2 * i + 1] += a.real();
    }
    return m;
}

// (I - Abar^length) transposed: it acts on C, a row.
RealMatrix tie(const S4Discrete& layer, int64_t length) {
    if (length < 1) throw Error("an S4 kernel's length must be at least 1");
    RealMatrix base = transition(layer), power = base, product(base.size);
    int bit = 0;
    while ((length >> bit) > 1) ++bit;
    for (--bit; bit >= 0; --bit) {
        multiply(power, power, product);
        std::swap(power, product);
        if (length >> bit & 1) {
            multiply(power, base, product);
            std::swap(power, product);
        }
    }
    RealMatrix tied(base.size);
    for (size_t i = 0; i < base.size; ++i)
        for (size_t j = 0; j < base.size; ++j) tied.row(j)[i] = (i == j ? 1.0 : 0.0) - power.row(i)[j];
    return tied;
}

// Re(sum c h) = sum (Re c Re h - Im c Im h).
std::vector<double> to_row(const ComplexVector& c) {
    std::vector<double> row;
    for (const Complex& x : c) row.push_back(x.real()), row.push_back(-x.imag());
    return row;
}

ComplexVector from_row(const std::vector<double>& row) {
    ComplexVector c;
    for (size_t i = 0; i < row.size(); i += 2) c.emplace_back(row[i], -row[i + 1]);
    return c;
}

// Gaussian elimination with partial pivoting; `m` is lost.
void solve(RealMatrix& m, std::vector<double>& x) {
    const size_t n = m.size;
    for (size_t k = 0; k < n; ++k) {
        size_t pivot = k;
        for (size_t i = k + 1; i < n; ++i)
            if (std::abs(m.row(i)[k]) > std::abs(m.row(pivot)[k])) pivot = i;
        if (m.row(pivot)[k] == 0)
            throw Error("an S4 layer does not decay within its length: I - Abar^length is singular");
        if (pivot != k) {
            std::swap_ranges(m.row(k), m.row(k) + n, m.row(pivot));
            std::swap(x[k], x[pivot]);
        }
        for (size_t i = k + 1; i < n; ++i) {
            const double factor = m.row(i)[k] / m.row(k)[k];
            for (size_t j = k; j < n; ++j) m.row(i)[j] -= factor * m.row(k)[j];
            x[i] -= factor * x[k];
        }
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; ++j) x[k] -= m.row(k)[j] * x[j];
        x[k] /= m.row(k)[k];
    }
}

}  // namespace

S4Discrete s4_discretize(const ComplexVector& lambda, const ComplexVector& p, const ComplexVector& b, double dt) {
    const size_t n = lambda.size();
    S4Discrete layer;
    ComplexVector inverse(n);  // E
    double pp = 0, pb = 0;
    for (size_t i = 0; i < n; ++i) {
        inverse[i] = 1.0 / (1.0 - 0.5 * dt * lambda[i]);
        pp += 2 * std::norm(p[i]) * inverse[i].real();
        pb += 2 * (std::conj(p[i]) * inverse[i] * b[i]).real();
    }
    const double rho = dt / (1 + 0.5 * dt * pp);
    for (size_t i = 0; i < n; ++i) {
        // (1 + x) / (1 - x) rather than 2 E - 1, which cancels where x is large.
        layer.a.push_back((1.0 + 0.5 * dt * lambda[i]) * inverse[i]);
        layer.f.push_back(2.0 * std::conj(p[i]) * inverse[i]);
        layer.g.push_back(rho * inverse[i] * p[i]);
        layer.b.push_back(dt * inverse[i] * (b[i] - 0.5 * rho * pb * p[i]));
    }
    return layer;
}

ComplexVector s4_tied_c(const S4Discrete& layer, int64_t length, const ComplexVector& c) {
    const RealMatrix m = tie(layer, length);
    const std::vector<double> row = to_row(c);
    std::vector<double> result(row.size());
    for (size_t i = 0; i < row.size(); ++i)
        for (size_t j = 0; j < row.size(); ++j) result[i] += m.row(i)[j] * row[j];
    return from_row(result);
}

ComplexVector s4_true_c(const S4Discrete& layer, int64_t length, const ComplexVector& tied) {
    RealMatrix m = tie(layer, length);
    std::vector<double> row = to_row(tied);
    solve(m, row);
    return from_row(row);
}

int64_t s4_length_at_rate(int64_t length, double rate) {
    if (!(rate > 0)) throw Error("an S4 layer's rate must be positive");
    const double scaled = std::round(static_cast<double>(length) / rate);
    if (!(scaled < 1e9)) throw Error("an S4 layer's length at this rate is too large");
    return std::max<int64_t>(1, static_cast<int64_t>(scaled));
}

}  // namespace nigiri
