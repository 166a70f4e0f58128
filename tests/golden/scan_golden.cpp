// The published selective scan: forward, last state and every gradient.
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

// (B, N, L) or, of pairs, (B, N, 2L) to (B, L, N) or (B, L, 2N).
Tensor by_time(Backend& backend, const View& x, int64_t parts) {
    const int64_t batch = x[0], states = x[1], length = x[2] / parts;
    Tensor y = backend.allocate({batch, length, states * parts}, x.dtype);
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t n = 0; n < states; ++n)
            for (int64_t l = 0; l < length; ++l)
                for (int64_t part = 0; part < parts; ++part)
                    test::set(y, ((b * length + l) * states + n) * parts + part,
                              test::get(x, ((b * states + n) * length + l) * parts + part));
    return y;
}

void judge_scan(const SafeTensorsFile& file, DType dtype) {
    const auto backend = make_backend("cpu", 2);
    const auto is_true = [&](const std::string& key) {
        const std::string value = text(file, key);
        if (value != "True" && value != "False") throw Error("golden metadata " + key + " is neither True nor False");
        return value == "True";
    };
    const bool is_complex = is_true("complex"), selective = is_true("input_dependent_BC");
    const int64_t parts = is_complex ? 2 : 1;
    const auto plain = [&](const std::string& name) {
        return file.contains(name) ? load(*backend, file, name, dtype) : Tensor();
    };
    const auto activation = [&](const std::string& name) {
        const Tensor t = plain(name);
        return t ? transposed(*backend, t) : t;
    };
    const auto operand = [&](const std::string& name) {
        return selective ? by_time(*backend, plain(name), parts) : plain(name);
    };

    const Tensor u = activation("in.u"), delta = activation("in.delta"), z = activation("in.z"), a = plain("in.A");
    const Tensor b = operand("in.B"), c = operand("in.C"), skip = plain("in.D"), bias = plain("in.delta_bias");
    SelectiveScan scan;
    scan.is_complex = is_complex;
    scan.selective_b = scan.selective_c = selective;
    scan.softplus = is_true("delta_softplus");
    scan.discretization = Discretization::euler;
    scan.u = u, scan.delta = delta, scan.delta_bias = bias, scan.a = a, scan.b = b, scan.c = c, scan.skip = skip,
    scan.z = z;

    const auto filled = [&](const Shape& shape, double value) {
        Tensor t = backend->allocate(shape, dtype);
        for (int64_t i = 0; i < t.size(); ++i) test::set(t, i, value);
        return t;
    };
    const int64_t batch = u[0], length = u[1], channels = u[2], states = a[1];
    const Tensor y = filled(u.shape(), NAN);
    const Tensor state = filled(is_complex ? Shape{batch, channels, states, 2} : Shape{batch, channels, states}, 0);
    const int64_t chunks = (length + selective_scan_checkpoint_every - 1) / selective_scan_checkpoint_every;
    const Tensor checkpoints = filled({chunks, batch, channels, states * parts}, NAN);
    backend->selective_scan_forward({scan, y, state, checkpoints});
    expect_close(y, activation("out.y"), dtype, "y");
    if (file.contains("out.last_state")) expect_close(state, plain("out.last_state"), dtype, "last state");

    const Tensor dy = activation("in.dy");
    const auto gradient_of = [&](const Tensor& x, double value) { return x ? filled(x.shape(), value) : Tensor(); };
    const Tensor du = gradient_of(u, NAN), ddelta = gradient_of(delta, NAN), dz = gradient_of(z, NAN);
    const Tensor dbias = gradient_of(bias, 0), da = gradient_of(a, 0), dskip = gradient_of(skip, 0);
    const Tensor db = gradient_of(b, selective ? NAN : 0), dc = gradient_of(c, selective ? NAN : 0);
    backend->selective_scan_backward({scan, checkpoints, dy, du, ddelta, dbias, da, db, dc, dskip, dz});
    expect_close(du, activation("grad.u"), dtype, "du");
    expect_close(da, plain("grad.A"), dtype, "dA");
    expect_close(db, operand("grad.B"), dtype, "dB");
    expect_close(dc, operand("grad.C"), dtype, "dC");
    if (delta) expect_close(ddelta, activation("grad.delta"), dtype, "ddelta");
    if (bias) expect_close(dbias, plain("grad.delta_bias"), dtype, "ddelta_bias");
    if (skip) expect_close(dskip, plain("grad.D"), dtype, "dD");
    if (z) expect_close(dz, activation("grad.z"), dtype, "dz");
}

const Registration scans("scan_", judge_scan);

}  // namespace
}  // namespace nigiri::golden
