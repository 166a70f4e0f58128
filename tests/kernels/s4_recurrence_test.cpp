// The recurrence of S4 against its kernel and its state space, and the tying of C to a length.
#include <gtest/gtest.h>

#include "kernels/s4_discrete.h"
#include "kernels/s4_kernel.h"
#include "tests/kernels/s4_problem.h"

namespace nigiri {
namespace {

using test::Complex;
using test::convolved;
using test::S4Layer;
using test::zero_state;

TEST(S4Recurrence, IsTheConvolutionWithinTheLengthAndTheStateSpaceBeyondIt) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    for (const int64_t count : {1, 2, 3, 5, 8, 17}) {
        const int64_t length = 37, total = 90, batch = 2, width = 3;
        const S4Layer layer(width, count % 2 ? 3 : 1, count, length, DType::f64, random);
        Backend& backend = *layer.backend;
        const Tensor factors = layer.factors(), state = zero_state(backend, batch, width, count);
        const Tensor u = test::random_strided(backend, {batch, total, width}, DType::f64, random);
        const Tensor skip = test::random_tensor(backend, {width}, DType::f64, random);
        const Tensor y = test::random_strided(backend, {batch, total, width}, DType::f64, random);
        backend.s4_recurrence({.factors = factors, .skip = skip, .u = u, .y = y, .state = state});
        // The dense kernel has as many taps as the sequence; the kernel op's own reach `length`.
        EXPECT_LE(test::relative_error(y, convolved(backend, u, layer.dense(total), skip)), 1e-10) << "N " << count;
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
        const S4Layer layer(width, 1, count, 64, dtype, random);
        Backend& backend = *layer.backend;
        const Tensor factors = layer.factors();
        const Tensor u = test::random_tensor(backend, {batch, total, width}, dtype, random);
        const Tensor y = backend.allocate(u.shape(), dtype), state = zero_state(backend, batch, width, count);
        backend.s4_recurrence({.factors = factors, .u = u, .y = y, .state = state});
        const Tensor pieces = zero_state(backend, batch, width, count);
        for (const auto& [begin, end] :
             std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 2}, {2, 30}, {30, total}}) {
            const Tensor part = backend.allocate({batch, end - begin, width}, dtype);
            const auto at = [&, first = begin](int64_t b, int64_t l, int64_t d) {
                return (b * total + first + l) * width + d;
            };
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t l = 0; l < end - begin; ++l)
                    for (int64_t d = 0; d < width; ++d)
                        test::set(part, (b * (end - begin) + l) * width + d, test::get(u, at(b, l, d)));
            backend.s4_recurrence({.factors = factors, .u = part, .y = part, .state = pieces});
            for (int64_t b = 0; b < batch; ++b)
                for (int64_t l = 0; l < end - begin; ++l)
                    for (int64_t d = 0; d < width; ++d)
                        EXPECT_EQ(test::get(part, (b * (end - begin) + l) * width + d), test::get(y, at(b, l, d)));
        }
        EXPECT_EQ(test::max_difference(pieces, state), 0);
    }
}

TEST(S4Recurrence, ThreadsAndFloat32ChangeOnlyTheLastRounding) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    Random random(test::seed());
    const int64_t batch = 2, width = 9, count = 16, total = 400;
    const S4Layer single(width, 1, count, 256, DType::f32, random), both = single.as(DType::f64);
    const Tensor u = test::random_tensor(*single.backend, {batch, total, width}, DType::f32, random);
    const auto run = [&](const S4Layer& layer, const std::shared_ptr<Backend>& backend, DType dtype) {
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
    const S4Layer layer(2, 1, 4, 40, DType::f64, random);
    Backend& backend = *layer.backend;
    const Tensor u = test::random_tensor(backend, {1, 3, 2}, DType::f64, random), factors = layer.factors();
    EXPECT_THROW(backend.s4_recurrence({.factors = factors, .u = u, .y = u, .state = zero_state(backend, 1, 2, 5)}),
                 Error);
    EXPECT_THROW(backend.s4_recurrence({.factors = factors, .u = u, .y = u, .state = zero_state(backend, 2, 2, 4)}),
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
        for (size_t n = 0; n < c.size(); ++n) EXPECT_LE(std::abs(back[n] - c[n]), 1e-10) << "length " << length;
    }
}

TEST(S4Discrete, RefusesALengthOfZero) {
    const S4Discrete layer = s4_discretize({{-0.5, -1}}, {{1, 0}}, {{1, 0}}, 0.1);
    EXPECT_THROW(s4_tied_c(layer, 0, {{1, 0}}), Error);
    EXPECT_THROW(s4_length_at_rate(10, 0), Error);
}

}  // namespace
}  // namespace nigiri
