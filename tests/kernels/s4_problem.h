// Random S4 (DPLR) layers for the tests, and their dense reference.
#pragma once

#include "kernels/s4_kernel.h"
#include "tests/support/check.h"

namespace nigiri::test {

// Dense complex matrices, as slow and as plain as possible: the reference shares no formula with the kernels.
using Matrix = std::vector<std::vector<Complex>>;

inline Matrix product(const Matrix& a, const Matrix& b) {
    Matrix c(a.size(), std::vector<Complex>(b[0].size()));
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t j = 0; j < b[0].size(); ++j)
            for (size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    return c;
}

// x with a x = b, by Gauss-Jordan elimination.
inline Matrix solved(Matrix a, Matrix b) {
    for (size_t k = 0; k < a.size(); ++k) {
        size_t pivot = k;
        for (size_t i = k; i < a.size(); ++i)
            if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
        std::swap(a[k], a[pivot]);
        std::swap(b[k], b[pivot]);
        for (size_t i = 0; i < a.size(); ++i) {
            const Complex factor = i == k ? 1.0 - 1.0 / a[k][k] : a[i][k] / a[k][k];
            const std::vector<Complex> row = a[k], right = b[k];
            for (size_t j = 0; j < row.size(); ++j) a[i][j] -= factor * row[j];
            for (size_t j = 0; j < right.size(); ++j) b[i][j] -= factor * right[j];
        }
    }
    return b;
}

struct S4Layer {
    std::shared_ptr<Backend> backend;
    int64_t width, copies, count, length;
    Tensor inv_dt, a_real, a_imag, p, b, c;

    S4Layer(int64_t d, int64_t s, int64_t n, int64_t l, DType dtype, Random& random, bool strided = false)
        : backend(make_backend("cpu", 2)), width(d), copies(s), count(n), length(l) {
        const auto make = [&](const Shape& shape, double scale, double offset) {
            Tensor t = strided ? random_strided(*backend, shape, dtype, random, scale)
                               : random_tensor(*backend, shape, dtype, random, scale);
            for (int64_t i = 0; i < t.size(); ++i) set(t, i, get(t, i) + offset);
            return t;
        };
        // Steps near 0.05 and real parts near -0.5: about as fast a decay as within 64 to 1000 samples.
        inv_dt = make({d}, 0.5, -3);
        a_real = make({s, n}, 0.2, -0.7);
        a_imag = make({s, n}, 8, 10);
        p = make({s, n, 2}, 1, 0);
        b = make({s, n, 2}, 1, 0);
        c = make({d, n, 2}, 1, 0);
    }

    // The same numbers in another precision.
    S4Layer as(DType dtype) const {
        S4Layer other = *this;
        for (Tensor* t : {&other.inv_dt, &other.a_real, &other.a_imag, &other.p, &other.b, &other.c})
            *t = converted(*backend, *t, dtype);
        return other;
    }

    template <class Op>
    Op with() const {
        Op op;
        op.length = length;
        op.inv_dt = inv_dt, op.a_real = a_real, op.a_imag = a_imag, op.p = p, op.b = b, op.c = c;
        return op;
    }

    Tensor kernel(int64_t taps) const {
        Tensor k = backend->allocate({width, taps}, c.dtype());
        S4KernelForward op = with<S4KernelForward>();
        op.kernel = k;
        backend->s4_kernel_forward(op);
        return k;
    }

    // The kernel C Abar^l Bbar of channel d with the full conjugate-closed matrices, C = C~ (I -
    // Abar^length)^-1.
    std::vector<double> dense_kernel(int64_t d, int64_t taps) const {
        const auto pair = [](const Tensor& t, int64_t i) { return Complex(get(t, 2 * i), get(t, 2 * i + 1)); };
        const auto n = static_cast<size_t>(count);
        const double dt = std::exp(get(inv_dt, d));
        Matrix a(2 * n, std::vector<Complex>(2 * n)), plus = a, minus = a, b_column(2 * n, std::vector<Complex>(1));
        std::vector<Complex> lambda(2 * n), low(2 * n), row(2 * n);
        for (size_t i = 0; i < n; ++i) {
            const int64_t at = (d % copies) * count + static_cast<int64_t>(i);
            lambda[i] = {-std::exp(get(a_real, at)), -get(a_imag, at)};
            low[i] = pair(p, at);
            b_column[i][0] = dt * pair(b, at);
            row[i] = pair(c, d * count + static_cast<int64_t>(i));
            lambda[n + i] = std::conj(lambda[i]);
            low[n + i] = std::conj(low[i]);
            b_column[n + i][0] = std::conj(b_column[i][0]);
            row[n + i] = std::conj(row[i]);
        }
        for (size_t i = 0; i < 2 * n; ++i)
            for (size_t j = 0; j < 2 * n; ++j) {
                a[i][j] = (i == j ? lambda[i] : 0.0) - low[i] * std::conj(low[j]);
                plus[i][j] = (i == j ? 1.0 : 0.0) + dt / 2 * a[i][j];
                minus[i][j] = (i == j ? 1.0 : 0.0) - dt / 2 * a[i][j];
            }
        const Matrix abar = solved(minus, plus);
        Matrix h = solved(minus, b_column), power = abar;
        for (int64_t l = 1; l < length; ++l) power = product(power, abar);
        Matrix tie(2 * n, std::vector<Complex>(2 * n)), c_column(2 * n, std::vector<Complex>(1));
        for (size_t i = 0; i < 2 * n; ++i) {
            for (size_t j = 0; j < 2 * n; ++j) tie[j][i] = (i == j ? 1.0 : 0.0) - power[i][j];
            c_column[i][0] = row[i];
        }
        c_column = solved(tie, c_column);
        std::vector<double> k;
        for (int64_t l = 0; l < taps; ++l) {
            Complex y = 0;
            for (size_t i = 0; i < 2 * n; ++i) y += c_column[i][0] * h[i][0];
            k.push_back(y.real());
            h = product(abar, h);
        }
        return k;
    }

    Tensor dense(int64_t taps) const {
        Tensor k = backend->allocate({width, taps}, DType::f64);
        for (int64_t d = 0; d < width; ++d) {
            const std::vector<double> row = dense_kernel(d, taps);
            for (int64_t l = 0; l < taps; ++l) set(k, d * taps + l, row[static_cast<size_t>(l)]);
        }
        return k;
    }

    Tensor factors() const {
        Tensor f = backend->allocate({width, 6 * count, 2}, DType::f64);
        S4Discretize op = with<S4Discretize>();
        op.factors = f;
        backend->s4_discretize(op);
        return f;
    }
};

inline Tensor zero_state(Backend& backend, int64_t batch, int64_t width, int64_t count) {
    Tensor state = backend.allocate({batch, width, count, 2}, DType::f64);
    for (double& x : state.span<double>()) x = 0;
    return state;
}

// y = kernel * u + skip u, directly.
inline Tensor convolved(Backend& backend, const View& u, const View& kernel, const View& skip) {
    Tensor y = backend.allocate(u.shape, DType::f64);
    const int64_t length = u[1], width = u[2], taps = kernel[1];
    for (int64_t b = 0; b < u[0]; ++b)
        for (int64_t l = 0; l < length; ++l)
            for (int64_t d = 0; d < width; ++d) {
                double sum = skip.empty() ? 0 : get(skip, d) * get(u, (b * length + l) * width + d);
                for (int64_t j = 0; j <= std::min(l, taps - 1); ++j)
                    sum += get(kernel, d * taps + j) * get(u, (b * length + l - j) * width + d);
                set(y, (b * length + l) * width + d, sum);
            }
    return y;
}

}  // namespace nigiri::test
