// The S4 layer of the published code: (convolution with the kernel + skip) -> GELU -> linear -> GLU, and its step form.
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

struct Case {
    std::shared_ptr<Backend> backend = make_backend("cpu");
    const SafeTensorsFile& file;
    DType dtype;
    int64_t width, states, length, batch;
    bool low_rank;
    S4Parameters s4;
    S4dParameters s4d;
    std::vector<Tensor> kept;  // what the parameters above look at
    Tensor skip, weight, bias;

    Case(const SafeTensorsFile& f, DType type) : file(f), dtype(type) {
        const std::string layer = "param.layer.kernel.";
        const SafeTensor &c = f.at(layer + "C"), &a = f.at(layer + "A_real"), &x = f.at("in.x");
        if (c.shape.size() != 4 || c.shape[0] != 1 || a.shape.size() != 2 || x.shape.size() != 3)
            throw Error("an S4 layer of another layout");
        width = c.shape[1], states = c.shape[2], batch = x.shape[0];
        length = integer(f, "length");
        low_rank = f.contains(layer + "P");
        const int64_t copies = a.shape[0];
        const auto get = [&](const std::string& name, const Shape& shape) {
            kept.push_back(load(*backend, f, layer + name, dtype, shape));
            return kept.back().view();
        };
        const View inv_dt = get("inv_dt", {width}), a_real = get("A_real", {copies, states});
        const View a_imag = get("A_imag", {copies, states}), b = get("B", {copies, states, 2});
        const View output = get("C", {width, states, 2});
        s4.length = length;
        s4.inv_dt = s4d.inv_dt = inv_dt;
        s4.a_real = s4d.a_real = a_real;
        s4.a_imag = s4d.a_imag = a_imag;
        s4.b = s4d.b = b;
        s4.c = s4d.c = output;
        if (low_rank) s4.p = get("P", {copies, states, 2});
        const std::string disc = text(f, "disc");
        if (disc != "zoh" && disc != "bilinear")
            throw Error("an S4 layer of the unknown discretisation '" + disc + "'");
        s4d.discretization = disc == "zoh" ? Discretization::zoh : Discretization::bilinear;
        skip = load(*backend, f, "param.layer.D", dtype, {width});
        weight = load(*backend, f, "param.output_linear.0.weight", dtype);
        bias = load(*backend, f, "param.output_linear.0.bias", dtype);
    }

    Tensor make(const Shape& shape) const { return backend->allocate(shape, dtype); }
    Tensor zeros(const Shape& shape, DType type) const {
        Tensor t = backend->allocate(shape, type);
        for (int64_t i = 0; i < t.size(); ++i) test::set(t, i, 0);
        return t;
    }
    // (B, H, L) of the file as (B, L, H).
    Tensor sequence(const std::string& name) const { return transposed(*backend, load(*backend, file, name, dtype)); }

    void expect(const View& actual, const std::string& name) const {
        const Tensor expected = load(*backend, file, name, dtype, actual.shape);
        expect_close(actual, expected, dtype, name);
    }
    void expect_sequence(const View& actual, const std::string& name) const {
        expect_close(actual, sequence(name), dtype, name);
    }
};

// What stands behind the state space: its input and the results that the backward pass needs.
struct Tail {
    Tensor state_space, activated, mixed, y;
};

Tail run_tail(const Case& c, const Tensor& state_space) {
    const int64_t rows = state_space[1];
    Tail t{state_space, c.make(state_space.shape()), c.make({c.batch, rows, 2 * c.width}), c.make(state_space.shape())};
    c.backend->gelu_forward({.x = t.state_space, .y = t.activated});
    c.backend->linear_forward({.x = t.activated, .weight = c.weight, .bias = c.bias, .y = t.mixed});
    c.backend->glu_forward({.x = t.mixed, .y = t.y});
    return t;
}

void judge_convolution(const Case& c) {
    Backend& backend = *c.backend;
    const Tensor x = c.sequence("in.x"), dy = c.sequence("in.dy"), kernel = c.make({c.width, c.length});
    if (c.low_rank)
        backend.s4_kernel_forward({c.s4, kernel});
    else
        backend.s4d_kernel_forward({c.s4d, kernel});
    c.expect(kernel, "out.kernel");
    const Tensor convolved = c.make(x.shape());
    backend.long_conv_forward({.u = x, .kernel = kernel, .skip = c.skip, .y = convolved});
    const Tail t = run_tail(c, convolved);
    c.expect_sequence(t.y, "out.y");

    const Tensor dmixed = c.make(t.mixed.shape()), dactivated = c.make(x.shape()), dx = c.make(x.shape());
    const Tensor dweight = c.zeros(c.weight.shape(), c.dtype), dbias = c.zeros(c.bias.shape(), c.dtype);
    const Tensor dkernel = c.make(kernel.shape()), dskip = c.zeros(c.skip.shape(), c.dtype);
    backend.glu_backward({.x = t.mixed, .dy = dy, .dx = dmixed});
    backend.linear_backward(
        {.x = t.activated, .weight = c.weight, .dy = dmixed, .dx = dactivated, .dweight = dweight, .dbias = dbias});
    backend.gelu_backward({.x = t.state_space, .dy = dactivated, .dx = dactivated});
    backend.long_conv_backward(
        {.u = x, .kernel = kernel, .skip = c.skip, .dy = dactivated, .du = dx, .dkernel = dkernel, .dskip = dskip});
    c.expect_sequence(dx, "grad.x");
    c.expect(dweight, "grad.param.output_linear.0.weight");
    c.expect(dbias, "grad.param.output_linear.0.bias");
    c.expect(dskip, "grad.param.layer.D");

    const auto like = [&](const View& v) { return c.zeros(v.shape, c.dtype); };
    const Tensor dinv_dt = like(c.s4.inv_dt), da_real = like(c.s4.a_real), da_imag = like(c.s4.a_imag);
    const Tensor db = like(c.s4.b), dc = like(c.s4.c);
    if (c.low_rank) {
        const Tensor dp = like(c.s4.p);
        backend.s4_kernel_backward({c.s4, dkernel, dinv_dt, da_real, da_imag, dp, db, dc});
        c.expect(dp, "grad.param.layer.kernel.P");
    } else {
        backend.s4d_kernel_backward({c.s4d, dkernel, dinv_dt, da_real, da_imag, db, dc});
    }
    c.expect(dinv_dt, "grad.param.layer.kernel.inv_dt");
    c.expect(da_real, "grad.param.layer.kernel.A_real");
    c.expect(da_imag, "grad.param.layer.kernel.A_imag");
    c.expect(db, "grad.param.layer.kernel.B");
    c.expect(dc, "grad.param.layer.kernel.C");
}

// One sample at a time through the recurrent form.
void judge_steps(const Case& c) {
    Backend& backend = *c.backend;
    const Tensor x = c.sequence("in.x"), y = c.make(x.shape());
    const int64_t length = x[1];
    const Tensor factors = c.zeros({c.width, 6 * c.states, 2}, DType::f64);
    const Tensor abar = c.make({2, c.states, c.width}), cbar = c.make({2, c.states, c.width});
    if (c.low_rank)
        backend.s4_discretize({c.s4, factors});
    else
        backend.s4d_discretize({c.s4d, abar, cbar});
    const Tensor full_state = c.zeros({c.batch, c.width, c.states, 2}, DType::f64);
    const Tensor diagonal_state = c.zeros({c.batch, 2, c.states * c.width}, c.dtype);
    for (int64_t l = 0; l < length; ++l) {
        const Tensor sample = c.make({c.batch, 1, c.width});
        const auto each = [&](const auto& f) {
            for (int64_t b = 0; b < c.batch; ++b)
                for (int64_t d = 0; d < c.width; ++d) f(b * c.width + d, (b * length + l) * c.width + d);
        };
        each([&](int64_t one, int64_t all) { test::set(sample, one, test::get(x, all)); });
        if (c.low_rank)
            backend.s4_recurrence({.factors = factors, .skip = c.skip, .u = sample, .y = sample, .state = full_state});
        else
            backend.s4d_recurrence(
                {.abar = abar, .cbar = cbar, .skip = c.skip, .u = sample, .y = sample, .state = diagonal_state});
        const Tail t = run_tail(c, sample);
        each([&](int64_t one, int64_t all) { test::set(y, all, test::get(t.y, one)); });
    }
    c.expect_sequence(y, "out.y_step");
}

const Registration s4_layers("s4_layer_", [](const SafeTensorsFile& file, DType dtype) {
    const Case c(file, dtype);
    judge_convolution(c);
    judge_steps(c);
});

}  // namespace
}  // namespace nigiri::golden
