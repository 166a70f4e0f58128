#include "kernels/s4d_conv.h"

#include "tests/cuda/s4d_layers.h"

namespace nigiri {
namespace {

using test::on_device;
using test::S4dGradients;
using test::S4dLayer;
using test::S4dSetup;
using test::to_device;
using test::to_host;

struct S4dConvCase {
    S4dSetup setup;
    int64_t batch, length;
    DType dtype = DType::f32;
    bool skip = true, state = false;
    int64_t gap = 0;
};

std::ostream& operator<<(std::ostream& out, const S4dConvCase& c) {
    return out << c.setup << " B " << c.batch << " L " << c.length << " " << name_of(c.dtype) << " skip " << c.skip
               << " state " << c.state << " gap " << c.gap;
}

struct S4dConvOperands {
    S4dLayer layer;
    Tensor u, skip, state, dy;
};

struct S4dConvResults {
    Tensor y, state, du, dskip, dstate;
    S4dGradients gradients;
};

class CudaS4dConv : public test::Cuda {
  protected:
    S4dConvOperands operands(const S4dConvCase& c) {
        const auto make = [&](const Shape& shape, DType dtype) {
            return test::rounded(*cpu, test::random_tensor(*cpu, shape, DType::f64, random), dtype);
        };
        const Shape shape = {c.batch, c.length, c.setup.channels};
        S4dConvOperands o;
        o.layer = random_s4d(*cpu, c.setup, DType::f32, random).converted(*cpu, DType::f64);
        o.u = make(shape, c.dtype), o.dy = make(shape, c.dtype);
        if (c.skip) o.skip = make({c.setup.channels}, DType::f32);
        if (c.state)
            o.state = make({c.batch, c.setup.is_complex ? 2 : 1, c.setup.modes * c.setup.channels}, DType::f32);
        return o;
    }
    static void run(Backend& backend, const S4dConvOperands& o, const S4dConvResults& r) {
        S4dConvForward f;
        static_cast<S4dParameters&>(f) = o.layer.parameters;
        f.skip = o.skip, f.u = o.u, f.y = r.y, f.state = r.state;
        backend.s4d_conv_forward(f);
        backend.s4d_conv_backward(backward_of(o, r));
    }
    static S4dConvBackward backward_of(const S4dConvOperands& o, const S4dConvResults& r) {
        S4dConvBackward b;
        static_cast<S4dParameters&>(b) = o.layer.parameters;
        b.skip = o.skip, b.u = o.u, b.state = o.state, b.dy = o.dy, b.du = r.du, b.dskip = r.dskip, b.dstate = r.dstate;
        r.gradients.connect(b);
        return b;
    }
    S4dConvResults judged(const S4dConvOperands& o) {
        const auto like = [&](const Tensor& t, double value) {
            if (!t) return Tensor();
            const Tensor r = cpu->allocate(t.shape(), DType::f64);
            for (int64_t i = 0; i < r.size(); ++i) test::set(r, i, value);
            return r;
        };
        S4dConvResults r = {like(o.u, 0),     o.state ? test::converted(*cpu, o.state, DType::f64) : Tensor(),
                            like(o.u, 0),     like(o.skip, 3),
                            like(o.state, 0), filled_gradients(*cpu, nullptr, o.layer, 0.5)};
        run(*cpu, o, r);
        return r;
    }
    S4dConvOperands there(const S4dConvOperands& o, const S4dConvCase& c) {
        const auto move = [&](const Tensor& t, DType dtype, int64_t gap) {
            return t ? to_device(*cuda, t, dtype, gap) : Tensor();
        };
        return {on_device(*cuda, o.layer, c.gap), move(o.u, c.dtype, c.gap), move(o.skip, DType::f32, 0),
                move(o.state, DType::f32, c.gap), move(o.dy, c.dtype, 2 * c.gap)};
    }
    S4dConvResults empty_results(const S4dConvOperands& o, const S4dConvCase& c) {
        const auto make = [&](const Tensor& t, DType dtype, double value, int64_t gap) {
            return t ? test::filled_device(*cpu, *cuda, t.shape(), dtype, value, gap) : Tensor();
        };
        return {make(o.u, c.dtype, -7, 3 * c.gap),    o.state ? to_device(*cuda, o.state, DType::f32, c.gap) : Tensor(),
                make(o.u, c.dtype, -7, c.gap),        make(o.skip, DType::f32, 3, 0),
                make(o.state, DType::f32, -7, c.gap), filled_gradients(*cpu, cuda.get(), o.layer, 0.5, c.gap)};
    }
    // Products leave out 2^-17 of each factor, and sums round in float32. bf16 activations are exact as they
    // come in, so that their results differ by their own rounding, 2^-9 at most. The parameters' gradients
    // leave out 2^-9 of one kind of factor there, and theirs are sums that may cancel further on.
    void expect_close(const S4dConvCase& c) {
        SCOPED_TRACE(testing::Message() << c << ", seed " << test::seed());
        const S4dConvOperands o = operands(c);
        const S4dConvResults judge = judged(o), device = empty_results(o, c);
        run(*cuda, there(o, c), device);
        const auto expect = [&](const char* name, const Tensor& a, const Tensor& b, double tolerance) {
            if (b) {
                EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, a), b), tolerance) << name;
            }
        };
        const double activations = c.dtype == DType::f32 ? 1.5e-5 : 4e-3;
        const double samples = std::sqrt(static_cast<double>(c.batch * c.length));
        expect("y", device.y, judge.y, activations);
        expect("du", device.du, judge.du, activations);
        expect("state", device.state, judge.state, 1.5e-5);
        expect("dstate", device.dstate, judge.dstate, 1.5e-5);
        // One lag of the correlation, which may be nearly zero: judged by the size of what is summed.
        if (c.skip) {
            EXPECT_LT(test::max_difference(to_host(*cpu, *cuda, device.dskip), judge.dskip), 2e-5 * samples + 1e-6);
        }
        test::expect_close(*cpu, *cuda, device.gradients, judge.gradients, c.dtype == DType::f32 ? 5e-5 : 1e-2,
                           samples);
    }
};

TEST_F(CudaS4dConv, AgreesWithKernelAndConvolutionForEveryLayer) {
    for (const S4dSetup& setup : test::s4d_setups())
        for (const DType dtype : {DType::f32, DType::bf16})
            for (const bool state : {false, true}) expect_close({setup, 2, 100, dtype, state, state, state ? 1 : 0});
}

TEST_F(CudaS4dConv, AgreesAtOddLengths) {
    for (const int64_t length : test::odd_lengths)
        expect_close({{.channels = 9, .copies = 3, .modes = 5},
                      2,
                      length,
                      length % 2 ? DType::f32 : DType::bf16,
                      length % 3 != 0,
                      length % 2 == 1,
                      length % 3});
    for (const int64_t length : {32, 96, 128, 512})
        expect_close({{.channels = 8, .copies = 1, .modes = 16}, 3, length, DType::bf16, true, true});
}

TEST_F(CudaS4dConv, AgreesAtEveryNumberOfModes) {
    for (const int64_t modes : {1, 8, 9, 16, 17, 31, 32, 33, 64, 65})
        for (const DType dtype : {DType::f32, DType::bf16})
            expect_close({{.channels = 3, .copies = 1, .modes = modes}, 3, 150, dtype, true, modes % 2 == 0});
}

TEST_F(CudaS4dConv, AgreesAtOddWidthsAndBatches) {
    for (const int64_t channels : {1, 7, 8, 16, 17, 40})
        expect_close({{.channels = channels, .copies = 1, .modes = 4},
                      channels % 3 + 1,
                      130,
                      channels % 2 ? DType::bf16 : DType::f32,
                      true,
                      false,
                      channels == 16 ? 8 : channels % 2});
    for (const int64_t batch : {1, 15, 16, 17, 33, 65})
        expect_close({{.channels = 5, .copies = 1, .modes = 4},
                      batch,
                      70,
                      batch % 2 ? DType::bf16 : DType::f32,
                      true,
                      batch % 2 == 0});
}

// Long enough for many segments, with modes that remember thousands of samples.
TEST_F(CudaS4dConv, CarriesStatesFromSegmentToSegment) {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const int64_t length : {4000, 9001}) {
            const S4dConvCase c = {{.channels = 8, .copies = 8, .modes = 6}, 2, length, dtype, true, true};
            SCOPED_TRACE(testing::Message() << c << ", seed " << test::seed());
            S4dConvOperands o = operands(c);
            for (int64_t i = 0; i < 8; ++i) test::set(o.layer.inv_dt, i, -6.0 + 0.25 * static_cast<double>(i));
            for (int64_t i = 0; i < 48; ++i) test::set(o.layer.a_real, i, -1);
            const S4dConvResults judge = judged(o), device = empty_results(o, c);
            run(*cuda, there(o, c), device);
            const double tolerance = dtype == DType::f32 ? 1.5e-5 : 4e-3;
            EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, device.y), judge.y), tolerance);
            EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, device.du), judge.du), tolerance);
            EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, device.state), judge.state), 1e-5);
            EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, device.dstate), judge.dstate), 1e-5);
            test::expect_close(*cpu, *cuda, device.gradients, judge.gradients, dtype == DType::f32 ? 5e-5 : 1e-2,
                               std::sqrt(2.0 * static_cast<double>(length)));
        }
}

TEST_F(CudaS4dConv, PiecesCarryTheStateOn) {
    const S4dConvCase c = {{.channels = 9, .copies = 1, .modes = 12}, 2, 300, DType::f32, true, true};
    const S4dConvOperands o = operands(c), d = there(o, c);
    const auto forward = [&](const Tensor& u, const Tensor& state) {
        const Tensor y = cuda->allocate(u.shape(), DType::f32);
        S4dConvForward f;
        static_cast<S4dParameters&>(f) = d.layer.parameters;
        f.skip = d.skip, f.u = u, f.y = y, f.state = state;
        cuda->s4d_conv_forward(f);
        return to_host(*cpu, *cuda, y);
    };
    const Tensor whole = to_device(*cuda, o.state, DType::f32), pieces = to_device(*cuda, o.state, DType::f32);
    const Tensor y = forward(d.u, whole);
    double worst = 0;
    for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 40}, {40, 104}, {104, 300}}) {
        const int64_t count = end - begin;
        const Tensor part = cpu->allocate({2, count, 9}, DType::f64);
        const auto at = [&, first = begin](int64_t b, int64_t i) { return (b * 300 + first) * 9 + i; };
        for (int64_t b = 0; b < 2; ++b)
            for (int64_t i = 0; i < count * 9; ++i) test::set(part, b * count * 9 + i, test::get(o.u, at(b, i)));
        const Tensor out = forward(to_device(*cuda, part, DType::f32), pieces);
        for (int64_t b = 0; b < 2; ++b)
            for (int64_t i = 0; i < count * 9; ++i)
                worst = std::max(worst, std::abs(test::get(out, b * count * 9 + i) - test::get(y, at(b, i))));
    }
    EXPECT_LT(worst, 1e-4);  // of values of some tens
    EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, pieces), to_host(*cpu, *cuda, whole)), 1e-5);
}

TEST_F(CudaS4dConv, EveryResultIsOptionalAndRepeats) {
    const S4dConvCase c = {{.channels = 9, .copies = 3, .modes = 5}, 3, 200, DType::f32, true, true};
    const S4dConvOperands o = operands(c), d = there(o, c);
    const S4dConvResults first = empty_results(o, c), again = empty_results(o, c);
    run(*cuda, d, first);
    run(*cuda, d, again);
    const auto same = [&](const Tensor& a, const Tensor& b, const char* name) {
        EXPECT_EQ(test::max_difference(to_host(*cpu, *cuda, a), to_host(*cpu, *cuda, b)), 0) << name;
    };
    same(first.y, again.y, "y"), same(first.state, again.state, "state"), same(first.du, again.du, "du");
    same(first.dskip, again.dskip, "dskip"), same(first.dstate, again.dstate, "dstate");
    test::expect_same_bits(*cpu, *cuda, first.gradients, again.gradients);
    const S4dConvResults all = empty_results(o, c);
    const auto alone = [&](const auto& choose, const Tensor& expected, const Tensor& given, const char* name) {
        S4dConvResults only;
        choose(only);
        cuda->s4d_conv_backward(backward_of(d, only));
        same(given, expected, name);
    };
    alone([&](S4dConvResults& r) { r.du = all.du; }, first.du, all.du, "du");
    alone([&](S4dConvResults& r) { r.dskip = all.dskip; }, first.dskip, all.dskip, "dskip");
    alone([&](S4dConvResults& r) { r.dstate = all.dstate; }, first.dstate, all.dstate, "dstate");
    alone([&](S4dConvResults& r) { r.gradients.a_imag = all.gradients.a_imag; }, first.gradients.a_imag,
          all.gradients.a_imag, "a_imag");
    alone([&](S4dConvResults& r) { r.gradients.c = all.gradients.c; }, first.gradients.c, all.gradients.c, "c");
}

// Memory of a hundred thousand samples: what is rounded at every step must not add up.
TEST_F(CudaS4dConv, RemembersForLong) {
    const int64_t length = 200'000;
    const S4dConvCase c = {{.channels = 2, .copies = 2, .modes = 2}, 1, length, DType::f32, false, false};
    S4dConvOperands o = operands(c);
    for (int64_t i = 0; i < 4; ++i) test::set(o.layer.a_real, i, -7);
    for (int64_t i = 0; i < 2; ++i) test::set(o.layer.inv_dt, i, -4.5);
    const Tensor y = cpu->allocate(o.u.shape(), DType::f64);
    const Tensor state = cpu->zeros({1, 2, 4}, DType::f64);  // makes the judge a recurrence, O(L)
    const auto forward = [&](Backend& backend, const S4dConvOperands& from, const Tensor& out, const View& h) {
        S4dConvForward f;
        static_cast<S4dParameters&>(f) = from.layer.parameters;
        f.u = from.u, f.y = out, f.state = h;
        backend.s4d_conv_forward(f);
    };
    forward(*cpu, o, y, state);
    const Tensor y_there = cuda->allocate(o.u.shape(), DType::f32);
    forward(*cuda, there(o, c), y_there, {});
    EXPECT_LT(test::relative_error(to_host(*cpu, *cuda, y_there), y), 2e-5);
}

TEST_F(CudaS4dConv, RefusesOperandsThatDoNotFit) {
    const S4dConvCase c = {{.channels = 4, .copies = 2, .modes = 3}, 1, 8};
    const S4dConvOperands d = there(operands(c), c);
    S4dConvForward f;
    static_cast<S4dParameters&>(f) = d.layer.parameters;
    f.u = d.u, f.y = cuda->allocate({1, 8, 3}, DType::f32);
    EXPECT_THROW(cuda->s4d_conv_forward(f), Error);
    f.y = cuda->allocate({1, 8, 4}, DType::f32);
    f.state = cuda->allocate({1, 2, 13}, DType::f32);
    EXPECT_THROW(cuda->s4d_conv_forward(f), Error);
}

}  // namespace
}  // namespace nigiri
