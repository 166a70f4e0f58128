#include "kernels/long_conv.h"

#include <gtest/gtest.h>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::filled;
using test::get;
using test::same_bits;
using test::set;

// Every input sample starts an echo: nothing here looks like the sums of the operation.
Tensor reference_convolution(Backend& backend, const View& u, const View& kernel, const View& skip) {
    Tensor y = filled(backend, u.shape, DType::f64, 0);
    const int64_t batch = u[0], length = u[1], channels = u[2];
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t d = 0; d < channels; ++d)
            for (int64_t t = 0; t < length; ++t) {
                const double x = get(u, (b * length + t) * channels + d);
                if (x == 0) continue;
                const auto add = [&](int64_t at, double v) {
                    const int64_t i = (b * length + at) * channels + d;
                    set(y, i, get(y, i) + v);
                };
                if (skip) add(t, get(skip, d) * x);
                for (int64_t j = 0; j < kernel[1] && t + j < length; ++j)
                    add(t + j, get(kernel, d * kernel[1] + j) * x);
            }
    return y;
}

struct Case {
    int64_t batch, length, channels, taps;
    bool skip;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << "B " << c.batch << " L " << c.length << " D " << c.channels << " Lk " << c.taps << " skip " << c.skip;
}

struct Operands {
    Tensor u, kernel, skip, dy;
};

Operands random_operands(Backend& backend, const Case& c, DType dtype, Random& random, bool strided = false) {
    const auto make =
        strided ? test::random_strided : [](Backend& b, const Shape& s, DType t, Random& r, double scale) {
            return test::random_tensor(b, s, t, r, scale);
        };
    Operands o;
    o.u = make(backend, {c.batch, c.length, c.channels}, dtype, random, 1);
    o.kernel = make(backend, {c.channels, c.taps}, dtype, random, 1);
    o.dy = make(backend, {c.batch, c.length, c.channels}, dtype, random, 1);
    if (c.skip) o.skip = test::random_tensor(backend, {c.channels}, dtype, random);
    return o;
}

struct Results {
    Tensor y, du, dkernel, dskip;
};

Results run(Backend& backend, const Operands& o, double dskip_before = 0) {
    const DType dtype = o.u.dtype();
    Results r;
    r.y = filled(backend, o.u.shape(), dtype, -7);  // to be overwritten
    r.du = filled(backend, o.u.shape(), dtype, -7);
    r.dkernel = filled(backend, o.kernel.shape(), dtype, -7);
    if (o.skip) r.dskip = filled(backend, o.skip.shape(), dtype, dskip_before);
    backend.long_conv_forward({.u = o.u, .kernel = o.kernel, .skip = o.skip, .y = r.y});
    backend.long_conv_backward(
        {.u = o.u, .kernel = o.kernel, .skip = o.skip, .dy = o.dy, .du = r.du, .dkernel = r.dkernel, .dskip = r.dskip});
    return r;
}

TEST(LongConv, Float64IsTheSumOfEchoes) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const Case& c :
         {Case{1, 1, 1, 1, true}, Case{2, 17, 3, 17, true}, Case{3, 40, 5, 9, false}, Case{1, 12, 2, 50, true}}) {
        SCOPED_TRACE(testing::Message() << c << ", seed " << test::seed());
        const Operands o = random_operands(*backend, c, DType::f64, random, true);
        const Tensor y = backend->allocate(o.u.shape(), DType::f64);
        backend->long_conv_forward({.u = o.u, .kernel = o.kernel, .skip = o.skip, .y = y});
        EXPECT_LT(test::relative_error(y, reference_convolution(*backend, o.u, o.kernel, o.skip)), 1e-14);
    }
}

TEST(LongConv, Float64GradientsAreThoseOfFiniteDifferences) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const Case& c : {Case{2, 9, 3, 9, true}, Case{1, 11, 2, 4, false}, Case{2, 5, 2, 8, true}}) {
        SCOPED_TRACE(testing::Message() << c << ", seed " << test::seed());
        const Operands o = random_operands(*backend, c, DType::f64, random);
        const Results r = run(*backend, o);
        const auto loss = [&] {
            backend->long_conv_forward({.u = o.u, .kernel = o.kernel, .skip = o.skip, .y = r.y});
            return test::dot(r.y, o.dy);
        };
        std::vector<test::GradientCheck> checks = {{"u", o.u, r.du}, {"kernel", o.kernel, r.dkernel}};
        if (c.skip) checks.push_back({"skip", o.skip, r.dskip});
        test::expect_gradients(loss, checks, random);
    }
}

// float32 against float64. Both sums and transforms round at 6e-8 a step; 2e-6 of the norm leaves room for the
// growth with the length (tens of roundings at 1000 samples).
void expect_float32(const Case& c, bool strided, int threads) {
    SCOPED_TRACE(testing::Message() << c << " strided " << strided << " threads " << threads << ", seed "
                                    << test::seed());
    const auto backend = make_backend("cpu", threads);
    Random random(test::seed());
    const Operands single = random_operands(*backend, c, DType::f32, random, strided);
    Operands wide;
    wide.u = test::converted(*backend, single.u, DType::f64);
    wide.kernel = test::converted(*backend, single.kernel, DType::f64);
    wide.dy = test::converted(*backend, single.dy, DType::f64);
    if (c.skip) wide.skip = test::converted(*backend, single.skip, DType::f64);
    const Results a = run(*backend, single, 3), b = run(*backend, wide, 3);
    EXPECT_LT(test::relative_error(a.y, b.y), 2e-6);
    EXPECT_LT(test::relative_error(a.du, b.du), 2e-6);
    EXPECT_LT(test::relative_error(a.dkernel, b.dkernel), 2e-6);
    if (c.skip) {
        EXPECT_LT(test::relative_error(a.dskip, b.dskip), 2e-6);
    }
}

TEST(LongConv, Float32AgreesAtOddLengths) {
    for (const int64_t length : test::odd_lengths) expect_float32({2, length, 5, length, true}, false, 1);
}

TEST(LongConv, Float32AgreesAtEveryKindOfTransformSize) {
    // Sizes 2^k, 3 2^k and 5 2^k with k even and odd: every radix in every place.
    for (const int64_t length :
         {16, 32, 48, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 2048, 2560})
        expect_float32({1, length, 2, length, false}, false, 1);
}

TEST(LongConv, Float32AgreesAtOddWidthsStridedAndThreaded) {
    for (const int64_t channels : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33})
        for (const int threads : {1, 2, 5}) expect_float32({3, 60, channels, 60, true}, true, threads);
    // Fewer channels than threads and work enough for threads: the batch is cut.
    for (const int threads : {2, 3, 5}) expect_float32({4, 700, 3, 700, true}, true, threads);
    expect_float32({2, 700, 40, 700, true}, true, 2);
}

TEST(LongConv, KernelsMayBeShorterOrLongerThanTheSequence) {
    for (const int64_t taps : {1, 2, 63, 64, 65, 128, 500})
        for (const int64_t length : {1, 64, 130}) expect_float32({2, length, 6, taps, true}, taps % 2 == 0, 2);
}

TEST(LongConv, TapsBeyondTheSequenceHaveNoGradient) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    for (const DType dtype : {DType::f32, DType::f64}) {
        const Operands o = random_operands(*backend, {2, 20, 3, 33, false}, dtype, random);
        const Results r = run(*backend, o);
        for (int64_t d = 0; d < 3; ++d)
            for (int64_t j = 20; j < 33; ++j) EXPECT_EQ(get(r.dkernel, d * 33 + j), 0) << d << " " << j;
    }
}

// Sequences of a few impulses: the exact result is cheap at lengths where sums are not.
TEST(LongConv, LongSequencesOfImpulses) {
    const auto backend = make_backend("cpu", 2);
    Random random(test::seed());
    for (const int64_t length : {int64_t{16384}, int64_t{70000}, int64_t{131072}}) {
        SCOPED_TRACE(testing::Message() << "L " << length << ", seed " << test::seed());
        const Tensor u = filled(*backend, {1, length, 3}, DType::f32, 0);
        for (int64_t d = 0; d < 3; ++d)
            for (const int64_t t : {int64_t{0}, length / 3, length / 2 + 1, length - 1})
                set(u, t * 3 + d, random.normal());
        const Tensor kernel = test::random_tensor(*backend, {3, length}, DType::f32, random);
        const Tensor y = backend->allocate(u.shape(), DType::f32);
        backend->long_conv_forward({.u = u, .kernel = kernel, .skip = {}, .y = y});
        EXPECT_LT(test::relative_error(y, reference_convolution(*backend, u, kernel, {})), 1e-6);
        // With dy = u and u an impulse at 0, dkernel is dy; and du(t) = sum_j kernel_j dy(t + j) is checked by the
        // adjoint's identity <dy, conv(v)> = <du, v>.
        const Tensor v = test::random_tensor(*backend, u.shape(), DType::f32, random);
        const Tensor conv = backend->allocate(u.shape(), DType::f32), du = backend->allocate(u.shape(), DType::f32);
        const Tensor dkernel = backend->allocate(kernel.shape(), DType::f32);
        backend->long_conv_forward({.u = v, .kernel = kernel, .skip = {}, .y = conv});
        const Tensor impulse = filled(*backend, u.shape(), DType::f32, 0);
        for (int64_t d = 0; d < 3; ++d) set(impulse, d, 1);
        backend->long_conv_backward(
            {.u = impulse, .kernel = kernel, .skip = {}, .dy = u, .du = du, .dkernel = dkernel, .dskip = {}});
        double norm = 0;
        for (int64_t i = 0; i < v.size(); ++i) norm += get(v, i) * get(v, i);
        EXPECT_NEAR(test::dot(u, conv), test::dot(du, v), 1e-5 * norm);
        for (int64_t i = 0; i < u.size(); ++i) ASSERT_NEAR(get(dkernel, i % 3 * length + i / 3), get(u, i), 1e-5) << i;
    }
}

TEST(LongConv, IsCausal) {
    const auto backend = make_backend("cpu", 1);
    Random random(test::seed());
    const int64_t length = 300, channels = 4, changed = 177;
    const Operands o = random_operands(*backend, {1, length, channels, length, true}, DType::f32, random);
    const Tensor before = run(*backend, o).y;
    for (int64_t d = 0; d < channels; ++d) set(o.u, changed * channels + d, get(o.u, changed * channels + d) + 1);
    const Tensor after = run(*backend, o).y;
    for (int64_t t = 0; t < length; ++t)
        for (int64_t d = 0; d < channels; ++d) {
            const int64_t i = t * channels + d;
            // Transforms mix all samples, so the past changes by rounding: 6e-8 of a signal of norm 17 times 17.
            if (t < changed) {
                EXPECT_NEAR(get(after, i), get(before, i), 5e-5) << t;
            } else {
                const double tap = get(o.kernel, d * length + t - changed) + (t == changed ? get(o.skip, d) : 0);
                EXPECT_NEAR(get(after, i) - get(before, i), tap, 5e-5) << t;
            }
        }
}

TEST(LongConv, IsDeterministicAndRowsDoNotDependOnThreads) {
    Random random(test::seed());
    const auto one = make_backend("cpu", 1), three = make_backend("cpu", 3);
    const Operands o = random_operands(*one, {4, 500, 19, 500, true}, DType::f32, random);
    const Results a = run(*one, o), b = run(*one, o), c = run(*three, o), d = run(*three, o);
    for (const auto& [x, y] : {std::pair{&a, &b}, std::pair{&c, &d}}) {
        EXPECT_TRUE(same_bits(x->y, y->y));
        EXPECT_TRUE(same_bits(x->du, y->du));
        EXPECT_TRUE(same_bits(x->dkernel, y->dkernel));
        EXPECT_TRUE(same_bits(x->dskip, y->dskip));
    }
    EXPECT_TRUE(same_bits(a.y, c.y));
    EXPECT_TRUE(same_bits(a.du, c.du));
    EXPECT_TRUE(same_bits(a.dskip, c.dskip));
    EXPECT_LT(test::relative_error(a.dkernel, c.dkernel), 1e-6);  // sums over the batch may be taken in parts
}

TEST(LongConv, RefusesOperandsThatDoNotFit) {
    const auto backend = make_backend("cpu", 1);
    const Tensor u = filled(*backend, {1, 8, 3}, DType::f32, 0), kernel = filled(*backend, {3, 8}, DType::f32, 0);
    const Tensor narrow = filled(*backend, {2, 8}, DType::f32, 0), wide = filled(*backend, {3, 8}, DType::f64, 0);
    EXPECT_THROW(backend->long_conv_forward({.u = u, .kernel = narrow, .skip = {}, .y = u}), Error);
    EXPECT_THROW(backend->long_conv_forward({.u = u, .kernel = wide, .skip = {}, .y = u}), Error);
    EXPECT_THROW(backend->long_conv_forward({.u = u, .kernel = kernel, .skip = {}, .y = kernel}), Error);
    EXPECT_THROW(backend->long_conv_backward(
                     {.u = u, .kernel = kernel, .skip = {}, .dy = u, .du = u, .dkernel = narrow, .dskip = {}}),
                 Error);
}

}  // namespace
}  // namespace nigiri
