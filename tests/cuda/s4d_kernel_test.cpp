#include "kernels/s4d_kernel.h"

#include "tests/cuda/s4d_layers.h"

namespace nigiri {
namespace {

using test::filled_gradients;
using test::on_device;
using test::random_s4d;
using test::S4dLayer;
using test::S4dSetup;
using test::set;

class CudaS4dKernel : public test::Cuda {
  protected:
    Tensor kernel_of(Backend& backend, const S4dParameters& p, const Tensor& kernel) {
        S4dKernelForward op;
        static_cast<S4dParameters&>(op) = p;
        op.kernel = kernel;
        backend.s4d_kernel_forward(op);
        return kernel;
    }
    Tensor judged_kernel(const S4dLayer& layer, int64_t length) {
        return kernel_of(*cpu, layer.parameters, cpu->allocate({layer.inv_dt.size(), length}, DType::f64));
    }
    Tensor device_kernel(const S4dLayer& layer, int64_t length, int64_t gap = 0) {
        return kernel_of(*cuda, layer.parameters,
                         test::filled_device(*cpu, *cuda, {layer.inv_dt.size(), length}, DType::f32, -7, gap));
    }
    void backward(Backend& backend, const S4dLayer& layer, const View& dkernel, const test::S4dGradients& g) {
        S4dKernelBackward op;
        static_cast<S4dParameters&>(op) = layer.parameters;
        op.dkernel = dkernel;
        g.connect(op);
        backend.s4d_kernel_backward(op);
    }

    // float32 on the device against float64 with the same numbers. Powers are exact to float32 and a product
    // sums at most 2 N terms; the gradients sum the length in double over tiles of 64.
    void expect_close(const S4dSetup& setup, int64_t length, int64_t gap) {
        SCOPED_TRACE(testing::Message() << setup << " L " << length << " gap " << gap << ", seed " << test::seed());
        const S4dLayer single = random_s4d(*cpu, setup, DType::f32, random), wide = single.converted(*cpu, DType::f64);
        const S4dLayer there = on_device(*cuda, single, gap);
        EXPECT_LT(test::relative_error(test::to_host(*cpu, *cuda, device_kernel(there, length, gap)),
                                       judged_kernel(wide, length)),
                  1e-6);
        const Tensor dkernel =
            test::rounded(*cpu, test::random_tensor(*cpu, {setup.channels, length}, DType::f64, random), DType::f32);
        const auto judge = filled_gradients(*cpu, nullptr, wide, 0.25);
        const auto device = filled_gradients(*cpu, cuda.get(), single, 0.25, gap);
        backward(*cpu, wide, dkernel, judge);
        backward(*cuda, there, test::to_device(*cuda, dkernel, DType::f32, gap), device);
        test::expect_close(*cpu, *cuda, device, judge, 1e-5);
    }
};

TEST_F(CudaS4dKernel, AgreesAtOddLengths) {
    for (const S4dSetup& setup : test::s4d_setups())
        for (const int64_t length : test::odd_lengths) expect_close(setup, length, length % 3);
}

TEST_F(CudaS4dKernel, AgreesOverManyTiles) {
    for (const S4dSetup& setup : test::s4d_setups()) expect_close(setup, 3 * 4096 + 300, 0);
}

// One million samples and modes that hardly decay: float32 powers or angles would be off by whole turns.
TEST_F(CudaS4dKernel, IsExactAtOneMillionSamples) {
    const int64_t length = 1'000'003;
    for (const Discretization discretization : {Discretization::zoh, Discretization::bilinear}) {
        const S4dSetup setup = {.channels = 2, .copies = 1, .modes = 4, .discretization = discretization};
        const S4dLayer single = random_s4d(*cpu, setup, DType::f32, random);
        for (int64_t n = 0; n < 4; ++n) {
            set(single.a_real, n,
                std::log(1e-6 * static_cast<double>(1 + n)));  // dt Re A of 1e-8 to 1e-7 a sample
            set(single.a_imag, n, 3.14159 * static_cast<double>(n));
        }
        for (int64_t d = 0; d < 2; ++d) set(single.inv_dt, d, std::log(0.05));
        const S4dLayer wide = single.converted(*cpu, DType::f64), there = on_device(*cuda, single);
        EXPECT_LT(
            test::relative_error(test::to_host(*cpu, *cuda, device_kernel(there, length)), judged_kernel(wide, length)),
            1e-6);
        const Tensor dkernel =
            test::rounded(*cpu, test::random_tensor(*cpu, {2, length}, DType::f64, random), DType::f32);
        const auto judge = filled_gradients(*cpu, nullptr, wide, 0);
        const auto device = filled_gradients(*cpu, cuda.get(), single, 0);
        backward(*cpu, wide, dkernel, judge);
        backward(*cuda, there, test::to_device(*cuda, dkernel, DType::f32), device);
        test::expect_close(*cpu, *cuda, device, judge, 1e-5);
    }
}

// dt A = -2 makes the bilinear pole zero: K = (C Bbar, 0, 0, ...), and only dK_1 reaches the pole.
TEST_F(CudaS4dKernel, AZeroPoleIsNoQuotient) {
    const S4dSetup setup = {
        .is_complex = false, .channels = 1, .copies = 1, .modes = 1, .discretization = Discretization::bilinear};
    S4dLayer single = random_s4d(*cpu, setup, DType::f32, random);
    set(single.inv_dt, 0, 0);
    set(single.a_real, 0, std::log(2.0));
    single.set_unit_b_c();
    single.parameters.rate = 2 / std::exp(test::get(single.a_real, 0));
    const S4dLayer wide = single.converted(*cpu, DType::f64), there = on_device(*cuda, single);
    const Tensor dkernel = cpu->allocate({1, 5}, DType::f64);
    for (int64_t i = 0; i < 5; ++i) set(dkernel, i, static_cast<double>(i + 1));
    const auto judge = filled_gradients(*cpu, nullptr, wide, 0);
    const auto device = filled_gradients(*cpu, cuda.get(), single, 0);
    backward(*cpu, wide, dkernel, judge);
    backward(*cuda, there, test::to_device(*cuda, dkernel, DType::f32), device);
    test::expect_close(*cpu, *cuda, device, judge, 1e-6);
}

TEST_F(CudaS4dKernel, GradientsAreOptionalAndRepeat) {
    const S4dLayer single = random_s4d(*cpu, {.channels = 6, .copies = 2, .modes = 5}, DType::f32, random);
    const S4dLayer there = on_device(*cuda, single);
    const Tensor dkernel = test::to_device(*cuda, test::random_tensor(*cpu, {6, 9000}, DType::f64, random), DType::f32);
    const auto first = filled_gradients(*cpu, cuda.get(), single, 0),
               again = filled_gradients(*cpu, cuda.get(), single, 0);
    backward(*cuda, there, dkernel, first);
    backward(*cuda, there, dkernel, again);
    test::expect_same_bits(*cpu, *cuda, first, again);
    for (int k = 0; k < 5; ++k) {
        const auto only = filled_gradients(*cpu, cuda.get(), single, 0);
        test::S4dGradients one;
        Tensor test::S4dGradients::*const member[] = {&test::S4dGradients::inv_dt, &test::S4dGradients::a_real,
                                                      &test::S4dGradients::a_imag, &test::S4dGradients::b,
                                                      &test::S4dGradients::c};
        one.*member[k] = only.*member[k];
        backward(*cuda, there, dkernel, one);
        EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, one.*member[k]),
                                       test::to_host(*cpu, *cuda, first.*member[k])),
                  0);
    }
    EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, device_kernel(there, 5000)),
                                   test::to_host(*cpu, *cuda, device_kernel(there, 5000))),
              0);
}

TEST_F(CudaS4dKernel, RefusesParametersThatDoNotFit) {
    const S4dLayer there =
        on_device(*cuda, random_s4d(*cpu, {.channels = 4, .copies = 2, .modes = 3}, DType::f32, random));
    S4dLayer wrong = there;
    wrong.parameters.a_imag = {};
    EXPECT_THROW(device_kernel(wrong, 8), Error);
    wrong = there;
    wrong.parameters.b = wrong.parameters.c;
    EXPECT_THROW(device_kernel(wrong, 8), Error);
}

}  // namespace
}  // namespace nigiri
