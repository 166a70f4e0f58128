#include "kernels/s4_kernel.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <complex>
#include <numbers>

#include "kernels/cpu/fft64.h"
#include "kernels/s4_discrete.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using Complex = std::complex<double>;

// Dense complex matrices, as slow and as plain as possible: the reference shares no formula with the kernels.
using Matrix = std::vector<std::vector<Complex>>;

Matrix product(const Matrix& a, const Matrix& b) {
    Matrix c(a.size(), std::vector<Complex>(b[0].size()));
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t j = 0; j < b[0].size(); ++j)
            for (size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    return c;
}

// x with a x = b, by Gauss-Jordan elimination.
Matrix solved(Matrix a, Matrix b) {
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

struct Layer {
    std::shared_ptr<Backend> backend;
    int64_t width, copies, count, length;
    Tensor inv_dt, a_real, a_imag, p, b, c;

    Layer(int64_t d, int64_t s, int64_t n, int64_t l, DType dtype, Random& random, bool strided = false)
        : backend(make_backend("cpu", 2)), width(d), copies(s), count(n), length(l) {
        const auto make = [&](const Shape& shape, double scale, double offset) {
            Tensor t = strided ? test::random_strided(*backend, shape, dtype, random, scale)
                               : test::random_tensor(*backend, shape, dtype, random, scale);
            for (int64_t i = 0; i < t.size(); ++i) test::set(t, i, test::get(t, i) + offset);
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
    Layer as(DType dtype) const {
        Layer other = *this;
        for (Tensor* t : {&other.inv_dt, &other.a_real, &other.a_imag, &other.p, &other.b, &other.c})
            *t = test::converted(*backend, *t, dtype);
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

    // The kernel C Abar^l Bbar of channel d with the full conjugate-closed matrices, C = C~ (I - Abar^length)^-1.
    std::vector<double> dense_kernel(int64_t d, int64_t taps) const {
        const auto pair = [](const Tensor& t, int64_t i) {
            return Complex(test::get(t, 2 * i), test::get(t, 2 * i + 1));
        };
        const auto n = static_cast<size_t>(count);
        const double dt = std::exp(test::get(inv_dt, d));
        Matrix a(2 * n, std::vector<Complex>(2 * n)), plus = a, minus = a,
                                                      b_column(2 * n, std::vector<Complex>(1));
        std::vector<Complex> lambda(2 * n), low(2 * n), row(2 * n);
        for (size_t i = 0; i < n; ++i) {
            const int64_t at = (d % copies) * count + static_cast<int64_t>(i);
            lambda[i] = {-std::exp(test::get(a_real, at)), -test::get(a_imag, at)};
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
            for (int64_t l = 0; l < taps; ++l) test::set(k, d * taps + l, row[static_cast<size_t>(l)]);
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

Tensor zero_state(Backend& backend, int64_t batch, int64_t width, int64_t count) {
    Tensor state = backend.allocate({batch, width, count, 2}, DType::f64);
    for (double& x : state.span<double>()) x = 0;
    return state;
}

// y = kernel * u + skip u, directly.
Tensor convolved(Backend& backend, const View& u, const View& kernel, const View& skip) {
    Tensor y = backend.allocate(u.shape, DType::f64);
    const int64_t length = u[1], width = u[2], taps = kernel[1];
    for (int64_t b = 0; b < u[0]; ++b)
        for (int64_t l = 0; l < length; ++l)
            for (int64_t d = 0; d < width; ++d) {
                double sum =
                    skip.empty() ? 0 : test::get(skip, d) * test::get(u, (b * length + l) * width + d);
                for (int64_t j = 0; j <= std::min(l, taps - 1); ++j)
                    sum += test::get(kernel, d * taps + j) * test::get(u, (b * length + l - j) * width + d);
                test::set(y, (b * length + l) * width + d, sum);
            }
    return y;
}

TEST(Fft64, AgreesWithTheDirectSumAtAnyLength) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : test::odd_lengths) {
        const cpu::Fft64 fft(length);
        std::vector<Complex> x(static_cast<size_t>(fft.workspace())), in;
        for (int64_t l = 0; l < length; ++l) in.emplace_back(random.normal(), random.normal());
        std::copy(in.begin(), in.end(), x.begin());
        fft.forward(x.data());
        double worst = 0;
        for (int64_t k = 0; k < length; ++k) {
            Complex sum = 0;
            for (int64_t l = 0; l < length; ++l)
                sum += in[static_cast<size_t>(l)] *
                       std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k * l % length) /
                                           static_cast<double>(length));
            worst = std::max(worst, std::abs(sum - x[static_cast<size_t>(k)]));
        }
        // Values of size sqrt(length) <= 32, a few tens of roundings each.
        EXPECT_LE(worst, 1e-12) << "length " << length;
    }
}

TEST(S4Kernel, Float64AgreesWithTheDenseStateSpace) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : {1, 2, 3, 7, 16, 17, 64, 65, 151, 257, 600})
        for (const int64_t count : {1, 3, 8}) {
            const Layer layer(4, 2, count, length, DType::f64, random);
            // Rounding times the condition of I - Abar^length, which at one sample is about 1 / (dt |Re A|).
            EXPECT_LE(test::relative_error(layer.kernel(length), layer.dense(length)), 1e-10)
                << "length " << length << ", N " << count;
        }
}

TEST(S4Kernel, IsTruncatedWhereFewerTapsAreAskedFor) {
    Random random(test::seed());
    const Layer layer(3, 3, 4, 33, DType::f64, random);
    const Tensor whole = layer.kernel(33), part = layer.kernel(20);
    for (int64_t d = 0; d < 3; ++d)
        for (int64_t l = 0; l < 20; ++l) EXPECT_EQ(test::get(part, d * 20 + l), test::get(whole, d * 33 + l));
}

TEST(S4Kernel, Float32AgreesWithFloat64) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : test::odd_lengths) {
        const Layer single(5, 1, 17, length, DType::f32, random, true), both = single.as(DType::f64);
        // The arithmetic is the same; only the result is rounded.
        EXPECT_LE(test::relative_error(single.kernel(length), both.kernel(length)), 1e-7)
            << "length " << length;
    }
}

struct Gradients {
    Tensor inv_dt, a_real, a_imag, p, b, c;
};

Gradients backward(const Layer& layer, const View& dkernel, double start) {
    Backend& backend = *layer.backend;
    const auto like = [&](const Tensor& t) {
        Tensor g = backend.allocate(t.shape(), t.dtype());
        for (int64_t i = 0; i < g.size(); ++i) test::set(g, i, start);
        return g;
    };
    const Gradients g{like(layer.inv_dt), like(layer.a_real), like(layer.a_imag),
                      like(layer.p),      like(layer.b),      like(layer.c)};
    S4KernelBackward op = layer.with<S4KernelBackward>();
    op.dkernel = dkernel;
    op.dinv_dt = g.inv_dt, op.da_real = g.a_real, op.da_imag = g.a_imag, op.dp = g.p, op.db = g.b,
    op.dc = g.c;
    backend.s4_kernel_backward(op);
    return g;
}

TEST(S4Kernel, GradientsAgreeWithFiniteDifferences) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    // Odd and even lengths, shared and separate copies, a block of nodes and more, a shortened kernel.
    struct Case {
        int64_t width, copies, count, length, taps;
    };
    for (const Case& c : {Case{1, 1, 1, 1, 1}, Case{2, 2, 3, 2, 2}, Case{4, 2, 3, 33, 33},
                          Case{3, 1, 5, 64, 50}, Case{2, 2, 4, 601, 601}}) {
        const Layer layer(c.width, c.copies, c.count, c.length, DType::f64, random);
        const Tensor dkernel = test::random_tensor(*layer.backend, {c.width, c.taps}, DType::f64, random);
        const Gradients g = backward(layer, dkernel, 0);
        SCOPED_TRACE(testing::Message() << "length " << c.length << ", N " << c.count);
        test::expect_gradients([&] { return test::dot(layer.kernel(c.taps), dkernel); },
                               {{"inv_dt", layer.inv_dt, g.inv_dt},
                                {"a_real", layer.a_real, g.a_real},
                                {"a_imag", layer.a_imag, g.a_imag},
                                {"p", layer.p, g.p},
                                {"b", layer.b, g.b},
                                {"c", layer.c, g.c}},
                               random);
    }
}

TEST(S4Kernel, GradientsAreAddedAndMayBeAbsent) {
    Random random(test::seed());
    const Layer layer(4, 2, 3, 21, DType::f64, random);
    const Tensor dkernel = test::random_tensor(*layer.backend, {4, 21}, DType::f64, random);
    const Gradients zero = backward(layer, dkernel, 0), two = backward(layer, dkernel, 2);
    const auto expect_added = [&](const Tensor& a, const Tensor& b, const char* name) {
        // One rounding of a sum of order one to a hundred.
        for (int64_t i = 0; i < a.size(); ++i)
            EXPECT_NEAR(test::get(b, i), test::get(a, i) + 2, 1e-12) << name;
    };
    expect_added(zero.inv_dt, two.inv_dt, "inv_dt");
    expect_added(zero.a_real, two.a_real, "a_real");
    expect_added(zero.a_imag, two.a_imag, "a_imag");
    expect_added(zero.p, two.p, "p");
    expect_added(zero.b, two.b, "b");
    expect_added(zero.c, two.c, "c");
    const Tensor only = layer.backend->allocate(layer.c.shape(), DType::f64);
    for (int64_t i = 0; i < only.size(); ++i) test::set(only, i, 0);
    S4KernelBackward op = layer.with<S4KernelBackward>();
    op.dkernel = dkernel;
    op.dc = only;
    layer.backend->s4_kernel_backward(op);
    EXPECT_EQ(test::max_difference(only, zero.c), 0);
}

TEST(S4Kernel, Float32GradientsAgreeWithFloat64AndRepeat) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : {1, 17, 129, 1000}) {
        const Layer single(5, 5, 9, length, DType::f32, random, true), both = single.as(DType::f64);
        const Tensor dkernel = test::random_strided(*single.backend, {5, length}, DType::f32, random);
        const Gradients a = backward(single, dkernel, 0), again = backward(single, dkernel, 0);
        const Gradients b = backward(both, test::converted(*single.backend, dkernel, DType::f64), 0);
        for (auto member : {&Gradients::inv_dt, &Gradients::a_real, &Gradients::a_imag, &Gradients::p,
                            &Gradients::b, &Gradients::c}) {
            EXPECT_LE(test::relative_error(a.*member, b.*member), 1e-7) << "length " << length;
            EXPECT_EQ(test::max_difference(a.*member, again.*member), 0) << "length " << length;
        }
    }
}

TEST(S4Kernel, DoesNotDependOnTheNumberOfThreads) {
    Random random(test::seed());
    Layer one(7, 1, 16, 500, DType::f32, random), three = one;
    one.backend = make_backend("cpu", 1);
    three.backend = make_backend("cpu", 3);
    EXPECT_EQ(test::max_difference(one.kernel(500), three.kernel(500)), 0);
    const Tensor dkernel = test::random_tensor(*one.backend, {7, 500}, DType::f32, random);
    const Gradients a = backward(one, dkernel, 0), b = backward(three, dkernel, 0);
    for (auto member : {&Gradients::inv_dt, &Gradients::a_real, &Gradients::a_imag, &Gradients::p,
                        &Gradients::b, &Gradients::c})
        EXPECT_EQ(test::max_difference(a.*member, b.*member), 0);
}

// Leaves the processor only the given instruction set until it goes out of scope.
struct OnlyTarget {
    explicit OnlyTarget(int64_t target) { set(target); }
    ~OnlyTarget() { set(0); }
    static void set(int64_t target) {
        hwy::SetSupportedTargetsForTest(target);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }
};

TEST(S4Kernel, AgreesOnEveryInstructionSet) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const Layer layer(3, 1, 7, 300, DType::f64, random);
    Backend& backend = *layer.backend;
    const Tensor dkernel = test::random_tensor(backend, {3, 300}, DType::f64, random);
    const Tensor u = test::random_tensor(backend, {2, 30, 3}, DType::f64, random);
    const Tensor kernel = layer.kernel(300);
    const Gradients gradients = backward(layer, dkernel, 0);
    const auto recurrence = [&] {
        const Tensor y = backend.allocate(u.shape(), DType::f64);
        backend.s4_recurrence(
            {.factors = layer.factors(), .u = u, .y = y, .state = zero_state(backend, 2, 3, 7)});
        return y;
    };
    const Tensor y = recurrence();
    for (const int64_t target : {HWY_SCALAR, HWY_AVX2, HWY_AVX3}) {
        if (target != HWY_SCALAR && !(hwy::SupportedTargets() & target)) continue;
        const OnlyTarget only(target);
        SCOPED_TRACE(hwy::TargetName(target));
        // Sums in another order, in double.
        EXPECT_LE(test::relative_error(layer.kernel(300), kernel), 1e-12);
        EXPECT_LE(test::relative_error(recurrence(), y), 1e-12);
        const Gradients g = backward(layer, dkernel, 0);
        for (auto member : {&Gradients::inv_dt, &Gradients::a_real, &Gradients::a_imag, &Gradients::p,
                            &Gradients::b, &Gradients::c})
            EXPECT_LE(test::relative_error(g.*member, gradients.*member), 1e-12);
    }
}

TEST(S4Kernel, AHalvedRateIsTheLayerTiedToTwiceTheLength) {
    Random random(test::seed());
    const Layer layer(2, 1, 4, 40, DType::f64, random);
    Layer slow = layer;
    slow.length = 80;
    slow.inv_dt = test::converted(*layer.backend, layer.inv_dt, DType::f64);
    for (int64_t d = 0; d < 2; ++d) test::set(slow.inv_dt, d, test::get(layer.inv_dt, d) - std::log(2.0));
    const Tensor k = layer.backend->allocate({2, 80}, DType::f64);
    S4KernelForward op = layer.with<S4KernelForward>();
    op.rate = 0.5;
    op.kernel = k;
    layer.backend->s4_kernel_forward(op);
    EXPECT_LE(test::relative_error(k, slow.kernel(80)), 1e-12);
}

TEST(S4Kernel, RefusesWrongOperands) {
    Random random(test::seed());
    const Layer layer(2, 1, 4, 40, DType::f64, random);
    EXPECT_THROW(layer.kernel(41), Error);
    Layer wrong = layer;
    wrong.length = 0;
    EXPECT_THROW(wrong.kernel(1), Error);
    wrong = layer;
    wrong.p = layer.b.reshaped({1, 2, 4});
    EXPECT_THROW(wrong.kernel(40), Error);
    wrong = layer;
    wrong.inv_dt = test::converted(*layer.backend, layer.inv_dt, DType::f32);
    EXPECT_THROW(wrong.kernel(40), Error);
}

TEST(S4Recurrence, IsTheConvolutionWithinTheLengthAndTheStateSpaceBeyondIt) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t count : {1, 2, 3, 5, 8, 17}) {
        const int64_t length = 37, total = 90, batch = 2, width = 3;
        const Layer layer(width, count % 2 ? 3 : 1, count, length, DType::f64, random);
        Backend& backend = *layer.backend;
        const Tensor factors = layer.factors(), state = zero_state(backend, batch, width, count);
        const Tensor u = test::random_strided(backend, {batch, total, width}, DType::f64, random);
        const Tensor skip = test::random_tensor(backend, {width}, DType::f64, random);
        const Tensor y = test::random_strided(backend, {batch, total, width}, DType::f64, random);
        backend.s4_recurrence({.factors = factors, .skip = skip, .u = u, .y = y, .state = state});
        // The dense kernel has as many taps as the sequence; the kernel op's own reach `length`.
        EXPECT_LE(test::relative_error(y, convolved(backend, u, layer.dense(total), skip)), 1e-10)
            << "N " << count;
        const Tensor expected = convolved(backend, u, layer.kernel(length), skip);
        double worst = 0;
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t i = 0; i < length * width; ++i) {
                const int64_t at = b * total * width + i;
                worst = std::max(worst, std::abs(test::get(y, at) - test::get(expected, at)));
            }
        EXPECT_LE(worst, 1e-10) << "N " << count;
    }
}

TEST(S4Recurrence, MayBeSplitAndDoneInPlace) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const int64_t batch = 3, width = 5, count = 7, total = 51;
    for (const DType dtype : {DType::f64, DType::f32}) {
        const Layer layer(width, 1, count, 64, dtype, random);
        Backend& backend = *layer.backend;
        const Tensor factors = layer.factors();
        const Tensor u = test::random_tensor(backend, {batch, total, width}, dtype, random);
        const Tensor y = backend.allocate(u.shape(), dtype), state = zero_state(backend, batch, width, count);
        backend.s4_recurrence({.factors = factors, .u = u, .y = y, .state = state});
        const Tensor pieces = zero_state(backend, batch, width, count);
        for (const auto& [begin, end] :
             std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 2}, {2, 30}, {30, total}}) {
            const Tensor part = backend.allocate({batch, end - begin, width}, dtype);
            const auto at = [&](int64_t b, int64_t l, int64_t d) {
                return (b * total + begin + l) * width + d;
            };
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t l = 0; l < end - begin; ++l)
                    for (int64_t d = 0; d < width; ++d)
                        test::set(part, (b * (end - begin) + l) * width + d, test::get(u, at(b, l, d)));
            backend.s4_recurrence({.factors = factors, .u = part, .y = part, .state = pieces});
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t l = 0; l < end - begin; ++l)
                    for (int64_t d = 0; d < width; ++d)
                        EXPECT_EQ(test::get(part, (b * (end - begin) + l) * width + d),
                                  test::get(y, at(b, l, d)));
        }
        EXPECT_EQ(test::max_difference(pieces, state), 0);
    }
}

TEST(S4Recurrence, ThreadsAndFloat32ChangeOnlyTheLastRounding) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const int64_t batch = 2, width = 9, count = 16, total = 400;
    const Layer single(width, 1, count, 256, DType::f32, random), both = single.as(DType::f64);
    const Tensor u = test::random_tensor(*single.backend, {batch, total, width}, DType::f32, random);
    const auto run = [&](const Layer& layer, const std::shared_ptr<Backend>& backend, DType dtype) {
        const Tensor y = test::converted(*backend, u, dtype);
        backend->s4_recurrence(
            {.factors = layer.factors(), .u = y, .y = y, .state = zero_state(*backend, batch, width, count)});
        return y;
    };
    const Tensor y = run(single, single.backend, DType::f32);
    EXPECT_LE(test::relative_error(y, run(both, both.backend, DType::f64)), 1e-7);
    EXPECT_EQ(test::max_difference(y, run(single, make_backend("cpu", 1), DType::f32)), 0);
}

TEST(S4Recurrence, RefusesWrongOperands) {
    Random random(test::seed());
    const Layer layer(2, 1, 4, 40, DType::f64, random);
    Backend& backend = *layer.backend;
    const Tensor u = test::random_tensor(backend, {1, 3, 2}, DType::f64, random), factors = layer.factors();
    EXPECT_THROW(
        backend.s4_recurrence({.factors = factors, .u = u, .y = u, .state = zero_state(backend, 1, 2, 5)}),
        Error);
    EXPECT_THROW(
        backend.s4_recurrence({.factors = factors, .u = u, .y = u, .state = zero_state(backend, 2, 2, 4)}),
        Error);
}

TEST(S4Discrete, TyingCToALengthAndBackGivesTheSameC) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t length : {1, 2, 3, 100, 16000, 999983}) {
        ComplexVector lambda, p, b, c;
        for (int n = 0; n < 6; ++n) {
            lambda.emplace_back(-0.5, -10 * random.uniform());
            p.emplace_back(random.normal(), random.normal());
            b.emplace_back(random.normal(), random.normal());
            c.emplace_back(random.normal(), random.normal());
        }
        const S4Discrete layer = s4_discretize(lambda, p, b, 0.001);
        const ComplexVector back = s4_true_c(layer, length, s4_tied_c(layer, length, c));
        // At one sample I - Abar has singular values down to dt |Re A| = 5e-4.
        for (size_t n = 0; n < c.size(); ++n)
            EXPECT_LE(std::abs(back[n] - c[n]), 1e-10) << "length " << length;
    }
}

TEST(S4Discrete, RefusesALengthOfZero) {
    const S4Discrete layer = s4_discretize({{-0.5, -1}}, {{1, 0}}, {{1, 0}}, 0.1);
    EXPECT_THROW(s4_tied_c(layer, 0, {{1, 0}}), Error);
    EXPECT_THROW(s4_length_at_rate(10, 0), Error);
}

}  // namespace
}  // namespace nigiri
