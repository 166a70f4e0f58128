// What the selective scan is equal to in special cases.
#include "tests/kernels/selective_scan_problem.h"

namespace nigiri {
namespace {

using test::filled;
using test::get;
using test::set;

class SelectiveScanIdentities : public ::testing::TestWithParam<DType> {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu", 2);
    Random random{test::seed()};
    DType dtype = GetParam();
    // float64: rounding. float32: a few roundings of 6e-8 a step, which decaying states forget.
    double tolerance = dtype == DType::f64 ? 1e-12 : 5e-6;
};

// Theorem 1 of the Mamba paper: with one state, A = -1, B = 1 and zero-order hold, the layer is the gated
// recurrence h = (1 - g) h + g x with g = sigmoid(delta); 1 - exp(-softplus(delta)) is that sigmoid.
TEST_P(SelectiveScanIdentities, Theorem1GatedRecurrence) {
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const int64_t batch = 2, length = 300, channels = 19;
    const Tensor u = test::random_tensor(*backend, {batch, length, channels}, dtype, random);
    const Tensor delta = test::random_tensor(*backend, {batch, length, channels}, dtype, random, 2);
    const Tensor y = backend->allocate(u.shape(), dtype);
    SelectiveScanForward scan;
    scan.selective_b = scan.selective_c = false;
    scan.discretization = Discretization::zoh;
    scan.u = u, scan.delta = delta, scan.y = y;
    const Tensor minus_one = filled(*backend, {channels, 1}, dtype, -1),
                 one = filled(*backend, {channels, 1}, dtype, 1);
    scan.a = minus_one, scan.b = one, scan.c = one;
    backend->selective_scan_forward(scan);

    const Tensor expected = backend->allocate(u.shape(), DType::f64);
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t d = 0; d < channels; ++d) {
            double h = 0;
            for (int64_t l = 0; l < length; ++l) {
                const int64_t at = (b * length + l) * channels + d;
                const double g = 1 / (1 + std::exp(-get(delta, at)));
                h = (1 - g) * h + g * get(u, at);
                set(expected, at, h);
            }
        }
    EXPECT_LE(test::relative_error(y, expected), tolerance);
}

// Without selection the scan is a convolution: with the same A, B, C and step it is S4D-Real's kernel.
TEST_P(SelectiveScanIdentities, WithoutSelectionItIsS4D) {
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const int64_t batch = 2, length = 257, channels = 6, states = 5;
    for (const Discretization rule : {Discretization::zoh, Discretization::bilinear})
        for (const bool is_complex : {false, true}) {
            SCOPED_TRACE(is_complex ? "complex" : "real");
            const int64_t parts = is_complex ? 2 : 1;
            const Shape per_state = is_complex ? Shape{channels, states, 2} : Shape{channels, states};
            const Tensor u = test::random_tensor(*backend, {batch, length, channels}, dtype, random);
            const Tensor skip = test::random_tensor(*backend, {channels}, dtype, random);
            const Tensor b = test::random_tensor(*backend, per_state, dtype, random);
            const Tensor c = test::random_tensor(*backend, per_state, dtype, random);
            const Tensor log_dt = test::random_tensor(*backend, {channels}, dtype, random, 0.5, -2);
            const Tensor log_real = test::random_tensor(*backend, {channels, states}, dtype, random, 0.5);
            const Tensor imag = test::random_tensor(*backend, {channels, states}, dtype, random, 3);

            S4dKernelForward generate;
            generate.is_complex = is_complex, generate.discretization = rule;
            generate.inv_dt = log_dt, generate.a_real = log_real, generate.b = b, generate.c = c;
            if (is_complex) generate.a_imag = imag;
            const Tensor kernel = backend->allocate({channels, length}, dtype);
            generate.kernel = kernel;
            backend->s4d_kernel_forward(generate);
            const Tensor convolved = backend->allocate(u.shape(), dtype);
            backend->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = convolved});

            // The same layer as a scan: A = -exp(log_real) - i imag, a constant step, no softplus.
            const Tensor a = backend->allocate(per_state, dtype), dt = backend->allocate({channels}, dtype);
            for (int64_t i = 0; i < channels * states; ++i) {
                set(a, i * parts, -std::exp(get(log_real, i)));
                if (is_complex) set(a, i * parts + 1, -get(imag, i));
            }
            for (int64_t d = 0; d < channels; ++d) set(dt, d, std::exp(get(log_dt, d)));
            SelectiveScanForward scan;
            scan.is_complex = is_complex, scan.selective_b = scan.selective_c = scan.softplus = false;
            scan.discretization = rule;
            const Tensor y = backend->allocate(u.shape(), dtype);
            scan.u = u, scan.delta_bias = dt, scan.a = a, scan.b = b, scan.c = c, scan.skip = skip, scan.y = y;
            backend->selective_scan_forward(scan);
            EXPECT_LE(test::relative_error(y, convolved), tolerance);
        }
}

// A large step forgets the past (the state is reset to the present input), a small one keeps it (the input is
// ignored).
TEST_P(SelectiveScanIdentities, TheStepChoosesBetweenTheStateAndTheInput) {
    const Tensor u = backend->allocate({1, 3, 1}, dtype), delta = backend->allocate({1, 3, 1}, dtype);
    const double inputs[] = {2, 5, 7}, steps[] = {50, -50, 50};  // before the softplus: 50, 2e-22, 50
    for (int64_t i = 0; i < 3; ++i) set(u, i, inputs[i]), set(delta, i, steps[i]);
    const Tensor minus_one = filled(*backend, {1, 1}, dtype, -1), one = filled(*backend, {1, 1}, dtype, 1);
    const Tensor y = backend->allocate(u.shape(), dtype);
    SelectiveScanForward scan;
    scan.selective_b = scan.selective_c = false;
    scan.discretization = Discretization::zoh;
    scan.u = u, scan.delta = delta, scan.a = minus_one, scan.b = one, scan.c = one, scan.y = y;
    backend->selective_scan_forward(scan);
    EXPECT_NEAR(get(y, 0), 2, 1e-6);
    EXPECT_NEAR(get(y, 1), 2, 1e-6);
    EXPECT_NEAR(get(y, 2), 7, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(, SelectiveScanIdentities, ::testing::Values(DType::f64, DType::f32),
                         [](const auto& p) { return std::string(name_of(p.param)); });

}  // namespace
}  // namespace nigiri
