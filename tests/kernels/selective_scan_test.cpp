#include <hwy/targets.h>

#include "tests/kernels/selective_scan_problem.h"

namespace nigiri {
namespace {

using test::Complex;
using test::get;
using test::ScanProblem;
using test::ScanVariant;
using test::set;
using test::variant_of;

// float32 against float64 on the same numbers, relative to the tensor's norm: a few roundings of 6e-8 a step, which the
// decaying states forget; gradients of parameters are sums whose terms cancel to about a tenth.
constexpr double f32_tolerance = 1e-5;

// The header's formulas, word for word, in complex numbers whatever the problem's are. Changes `state`.
std::vector<double> reference_forward(const ScanProblem& p, std::vector<Complex>& state) {
    const int64_t batch = p.u[0], length = p.u[1], channels = p.u[2], states = p.a[1];
    const ScanVariant& v = p.variant;
    const auto number = [&](const View& x, int64_t i) {
        return v.is_complex ? Complex(get(x, 2 * i), get(x, 2 * i + 1)) : Complex(get(x, i));
    };
    std::vector<double> y(static_cast<size_t>(batch * length * channels));
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t l = 0; l < length; ++l)
            for (int64_t d = 0; d < channels; ++d) {
                const int64_t at = (b * length + l) * channels + d;
                double dt = (p.delta ? get(p.delta, at) : 0) + (p.bias ? get(p.bias, d) : 0), sum = 0;
                if (v.softplus) dt = std::log(1 + std::exp(dt));
                for (int64_t n = 0; n < states; ++n) {
                    const Complex a = number(p.a, d * states + n);
                    const Complex bn = number(p.b, v.selective_b ? (b * length + l) * states + n : d * states + n);
                    const Complex cn = number(p.c, v.selective_c ? (b * length + l) * states + n : d * states + n);
                    const Complex abar = v.rule == Discretization::bilinear
                                           ? (1.0 + dt * a / 2.0) / (1.0 - dt * a / 2.0)
                                           : std::exp(dt * a);
                    const Complex bbar = v.rule == Discretization::euler ? dt * bn
                                       : v.rule == Discretization::zoh   ? (std::exp(dt * a) - 1.0) / a * bn
                                                                         : dt / (1.0 - dt * a / 2.0) * bn;
                    Complex& h = state[static_cast<size_t>((b * channels + d) * states + n)];
                    h = abar * h + bbar * get(p.u, at);
                    sum += (v.is_complex ? 2 : 1) * (cn * h).real();
                }
                if (p.skip) sum += get(p.skip, d) * get(p.u, at);
                if (p.z) sum *= get(p.z, at) / (1 + std::exp(-get(p.z, at)));
                y[static_cast<size_t>(at)] = sum;
            }
    return y;
}

std::vector<Complex> numbers_of(const Tensor& x, bool is_complex) {
    std::vector<Complex> all;
    for (int64_t i = 0; i < x.size(); i += is_complex ? 2 : 1)
        all.push_back(is_complex ? Complex(get(x, i), get(x, i + 1)) : Complex(get(x, i)));
    return all;
}

TEST(SelectiveScan, Float64FollowsTheFormulas) {
    Random random(test::seed(), 1);
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const auto backend = make_backend("cpu", 2);
    for (const auto& v : test::scan_variants()) {
        SCOPED_TRACE(v.text());
        const auto p = ScanProblem(backend, v, 2, 67, 3, 3, random, true).as(DType::f64);
        std::vector<Complex> state = numbers_of(p.state, v.is_complex);
        const std::vector<double> y = reference_forward(p, state);
        p.forward(false);
        for (int64_t i = 0; i < p.y.size(); ++i) ASSERT_NEAR(get(p.y, i), y[static_cast<size_t>(i)], 1e-11) << i;
        const auto last = numbers_of(p.state, v.is_complex);
        for (size_t i = 0; i < last.size(); ++i) ASSERT_NEAR(std::abs(last[i] - state[i]), 0, 1e-11) << i;
    }
}

TEST(SelectiveScan, CheckpointsAreTheStatesBeforeEvery64thStep) {
    Random random(test::seed(), 2);
    const auto backend = make_backend("cpu", 2);
    for (const DType dtype : {DType::f64, DType::f32})
        for (const bool is_complex : {false, true}) {
            const auto p =
                ScanProblem(backend, variant_of(is_complex, Discretization::euler), 2, 150, 19, 3, random).as(dtype);
            p.forward();
            const auto judge = p.as(DType::f64);
            for (int64_t chunk = 0; chunk < 3; ++chunk) {
                ScanProblem start = judge;  // the first 64 * chunk steps of every row
                if (chunk > 0) {
                    const int64_t steps = chunk * 64;
                    const auto cut = [&](const Tensor& x) {
                        Tensor t = backend->allocate({2, steps, x[2]}, DType::f64);
                        for (int64_t i = 0; i < t.size(); ++i)
                            set(t, i, get(x, i / (steps * x[2]) * 150 * x[2] + i % (steps * x[2])));
                        return t;
                    };
                    start.u = cut(judge.u), start.delta = cut(judge.delta), start.z = cut(judge.z);
                    start.b = cut(judge.b), start.c = cut(judge.c);
                    start.allocate_results(false);
                    start.state = test::converted(*backend, judge.state, DType::f64);
                    start.forward(false);
                }
                const int64_t size = start.state.size();
                const double tolerance = dtype == DType::f64 ? 1e-13 : 5e-6;
                for (int64_t i = 0; i < size; ++i)
                    ASSERT_NEAR(get(p.checkpoints, chunk * size + i), get(start.state, i), tolerance)
                        << chunk << " " << i;
            }
        }
}

TEST(SelectiveScan, Float64GradientsAreFiniteDifferences) {
    Random random(test::seed(), 3);
    const auto backend = make_backend("cpu", 2);
    for (const auto& v : test::scan_variants()) {
        SCOPED_TRACE(v.text());
        // 66 steps: the gradient passes from one chunk to the chunk before it.
        const auto p = ScanProblem(backend, v, 2, 66, 2, 2, random).as(DType::f64);
        p.forward();
        p.backward();
        const auto loss = [&] {
            p.forward();
            return test::dot(p.y, p.dy);
        };
        std::vector<test::GradientCheck> checks = {
            {"u", p.u, p.du}, {"a", p.a, p.da}, {"b", p.b, p.db}, {"c", p.c, p.dc}};
        if (p.delta) checks.push_back({"delta", p.delta, p.ddelta});
        if (p.bias) checks.push_back({"delta_bias", p.bias, p.dbias});
        if (p.skip) checks.push_back({"skip", p.skip, p.dskip});
        if (p.z) checks.push_back({"z", p.z, p.dz});
        test::expect_gradients(loss, checks, random, 1e-6, 12);
    }
}

void expect_same_results(const ScanProblem& actual, const ScanProblem& expected, double tolerance) {
    const auto a = actual.results(), b = expected.results();
    // A gradient that is one number a channel, the sum of as many terms as there are rows, can come out near zero (with
    // one channel, one draw in some hundred); its error is that of its terms all the same, so it is judged at the
    // size that terms of random sign usually add up to: the 2-norm of all of them.
    const double size_of_dskip = 0.5 * std::sqrt(static_cast<double>(expected.u.size()));  // dy u silu(z)
    const double size_of_dbias = expected.ddelta ? test::norm(expected.ddelta) : 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const Tensor difference = test::converted(*expected.backend, a[i].second, DType::f64);
        for (int64_t k = 0; k < difference.size(); ++k) set(difference, k, get(difference, k) - get(b[i].second, k));
        const double least = a[i].first == "dskip" ? size_of_dskip : a[i].first == "ddelta_bias" ? size_of_dbias : 0;
        EXPECT_LE(test::norm(difference), tolerance * std::max(test::norm(b[i].second), least)) << a[i].first;
    }
}

void expect_float32_is_float64(const std::shared_ptr<Backend>& backend, const ScanVariant& v, int64_t batch,
                               int64_t length, int64_t channels, int64_t states, Random& random, bool strided = false) {
    SCOPED_TRACE(v.text() + " B " + std::to_string(batch) + " L " + std::to_string(length) + " D " +
                 std::to_string(channels) + " N " + std::to_string(states));
    const ScanProblem p(backend, v, batch, length, channels, states, random, strided);
    const auto judge = p.as(DType::f64);
    for (const ScanProblem* q : {&p, &judge}) {
        q->forward(false);
        q->backward();
    }
    expect_same_results(p, judge, f32_tolerance);
    EXPECT_LE(test::relative_error(p.state, judge.state), f32_tolerance);
}

TEST(SelectiveScan, Float32IsFloat64InEveryVariant) {
    Random random(test::seed(), 4);
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const auto backend = make_backend("cpu", 2);
    for (const auto& v : test::scan_variants())
        for (const auto& [channels, states] : {std::pair(33, 4), std::pair(16, 3)})
            expect_float32_is_float64(backend, v, 2, 67, channels, states, random, true);
}

TEST(SelectiveScan, Float32IsFloat64AtOddSizes) {
    Random random(test::seed(), 5);
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const auto backend = make_backend("cpu", 2);
    for (const int64_t length : test::odd_lengths)
        expect_float32_is_float64(backend, {}, 1, length, 17, 16, random, true);
    for (const int64_t channels : {1, 3, 5, 16, 17, 31, 32, 33, 64, 65})
        for (const bool is_complex : {false, true})
            expect_float32_is_float64(backend, variant_of(is_complex, Discretization::euler, !is_complex), 2, 65,
                                      channels, 5, random);
    for (const int64_t states : {1, 2, 7, 8, 15, 16, 17, 32, 64})
        expect_float32_is_float64(backend, variant_of(states % 2 == 0, Discretization::zoh), 1, 70, 5, states, random);
}

// Every instruction set this machine has, not only the best one.
TEST(SelectiveScan, EveryInstructionSetAgrees) {
    Random random(test::seed(), 6);
    const int64_t all = hwy::SupportedTargets();
    const auto backend = make_backend("cpu", 2);
    int tried = 0;
    for (int64_t rest = all; rest != 0; rest &= rest - 1) {
        const int64_t target = rest & -rest;
        hwy::SetSupportedTargetsForTest(target);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
        SCOPED_TRACE(hwy::TargetName(target));
        for (const bool is_complex : {false, true})
            for (const auto rule : {Discretization::euler, Discretization::zoh, Discretization::bilinear}) {
                expect_float32_is_float64(backend, variant_of(is_complex, rule), 2, 67, 21, 5, random);
                expect_float32_is_float64(backend, variant_of(is_complex, rule), 2, 1, 21, 5, random);
            }
        ++tried;
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    EXPECT_GE(tried, 1);
}

TEST(SelectiveScan, GradientsOfParametersAreAdded) {
    Random random(test::seed(), 7);
    const auto backend = make_backend("cpu", 2);
    for (const DType dtype : {DType::f64, DType::f32})
        for (const bool selective : {true, false}) {
            const auto p =
                ScanProblem(backend, variant_of(true, Discretization::euler, selective), 2, 20, 5, 3, random).as(dtype);
            p.forward();
            p.backward();
            const auto once = p.as(dtype);
            once.forward();
            once.backward();
            p.backward();
            // Adding to what is there and summing afresh round differently, by the size of what is summed: single
            // elements may have cancelled, so the measure is the largest.
            const double tolerance = dtype == DType::f64 ? 1e-14 : 1e-6;
            const auto first = once.results(), second = p.results();
            for (size_t i = 0; i < first.size(); ++i) {
                const std::string& name = first[i].first;
                const bool added = name == "da" || name == "ddelta_bias" || name == "dskip" ||
                                   (!selective && (name == "db" || name == "dc"));
                double largest = 0;
                for (int64_t k = 0; k < first[i].second.size(); ++k)
                    largest = std::max(largest, std::abs(get(first[i].second, k)));
                for (int64_t k = 0; k < first[i].second.size(); ++k) {
                    const double x = get(first[i].second, k) * (added ? 2 : 1);
                    ASSERT_NEAR(get(second[i].second, k), x, added ? tolerance * largest : 0) << name;
                }
            }
        }
}

// A sequence in two calls, then sample by sample, as generation runs it: the state carries everything.
TEST(SelectiveScan, StateContinuesTheSequence) {
    Random random(test::seed(), 8);
    const auto backend = make_backend("cpu", 2);
    for (const DType dtype : {DType::f64, DType::f32})
        for (const auto& v : test::scan_variants()) {
            SCOPED_TRACE(v.text());
            const auto p = ScanProblem(backend, v, 1, 90, 21, 5, random).as(dtype);
            const Tensor state = test::converted(*backend, p.state, dtype);
            p.forward(false);
            const auto rows = [](const Tensor& x, int64_t begin, int64_t count) {
                View r = x.view();
                if (!x) return r;
                r.data = static_cast<char*>(r.data) + static_cast<size_t>(begin * r.row_stride) * size_of(r.dtype);
                r.shape = {1, count, x[2]};
                return r;
            };
            const Tensor y = test::filled(*backend, p.y.shape(), dtype, std::nan(""));
            int64_t begin = 0;
            for (const int64_t count : {33, 50, 1, 1, 1, 2, 1, 1}) {
                SelectiveScan part = p.operands();
                part.u = rows(p.u, begin, count), part.delta = rows(p.delta, begin, count),
                part.z = rows(p.z, begin, count);
                if (v.selective_b) part.b = rows(p.b, begin, count);
                if (v.selective_c) part.c = rows(p.c, begin, count);
                backend->selective_scan_forward({part, rows(y, begin, count), state, {}});
                begin += count;
            }
            ASSERT_EQ(begin, 90);
            const double tolerance = dtype == DType::f64 ? 1e-15 : 1e-6;  // another order of sums in float32
            EXPECT_LE(test::relative_error(y, p.y), tolerance);
            EXPECT_LE(test::relative_error(state, p.state), tolerance);
        }
}

TEST(SelectiveScan, ResultsDoNotDependOnThreadsAndRepeatBitForBit) {
    Random random(test::seed(), 9);
    const auto one = make_backend("cpu", 1), two = make_backend("cpu", 2), three = make_backend("cpu", 3);
    for (const bool selective : {true, false}) {
        // 700 steps of 320 channels: more than one pass of the backward's table of shares, more work than a thread
        // takes alone.
        const ScanProblem p(one, variant_of(false, Discretization::euler, selective), 3, 700, 320, 6, random);
        p.forward();
        p.backward();
        for (const auto& backend : {one, two, three}) {
            const auto q = p.as(DType::f32, backend);
            q.forward();
            q.backward();
            const auto x = p.results(), y = q.results();
            for (size_t i = 0; i < x.size(); ++i)
                EXPECT_EQ(test::max_difference(x[i].second, y[i].second), 0) << x[i].first;
        }
    }
}

}  // namespace
}  // namespace nigiri
