// S4D layers on the device, and their gradients on either backend.
#pragma once

#include "tests/cuda/support.h"
#include "tests/support/s4d.h"

namespace nigiri::test {

inline const std::vector<S4dSetup>& s4d_setups() {
    static const std::vector<S4dSetup> setups = {
        {.channels = 1, .copies = 1, .modes = 1},
        {.channels = 5, .copies = 5, .modes = 3},
        {.channels = 6, .copies = 2, .modes = 8, .discretization = Discretization::bilinear},
        {.channels = 4, .copies = 1, .modes = 35, .rate = 2.0},
        {.is_complex = false, .channels = 3, .copies = 1, .modes = 5},
        {.is_complex = false,
         .channels = 4,
         .copies = 2,
         .modes = 16,
         .discretization = Discretization::bilinear,
         .rate = 0.5},
    };
    return setups;
}

inline S4dLayer on_device(Backend& cuda, const S4dLayer& layer, int64_t gap = 0) {
    S4dLayer other = layer;
    for (Tensor* t : {&other.inv_dt, &other.a_real, &other.a_imag, &other.b, &other.c})
        if (*t) *t = to_device(cuda, *t, DType::f32, t == &other.inv_dt ? 0 : gap);
    other.connect();
    return other;
}

// Gradients shaped like the layer's parameters, filled with `value`: float64 on the CPU, or float32 on the
// device.
inline S4dGradients filled_gradients(Backend& cpu, Backend* cuda, const S4dLayer& layer, double value,
                                     int64_t gap = 0) {
    const auto like = [&](const Tensor& t) {
        if (!t) return Tensor();
        if (cuda) return filled_device(cpu, *cuda, t.shape(), DType::f32, value, t.shape().rank() == 1 ? 0 : gap);
        const Tensor g = cpu.allocate(t.shape(), DType::f64);
        for (int64_t i = 0; i < g.size(); ++i) set(g, i, value);
        return g;
    };
    return {like(layer.inv_dt), like(layer.a_real), like(layer.a_imag), like(layer.b), like(layer.c)};
}

// Relative to the gradients, or to `size` where they are smaller: a sum over many samples may cancel.
inline void expect_close(Backend& cpu, Backend& cuda, const S4dGradients& device, const S4dGradients& judge,
                         double tolerance, double size = 0) {
    const auto a = device.all(), b = judge.all();
    for (size_t i = 0; i < a.size(); ++i) {
        if (!b[i].second) continue;
        const double norm = std::sqrt(dot(b[i].second, b[i].second));
        const double floor = size * std::sqrt(static_cast<double>(b[i].second.size()));
        EXPECT_LT(relative_error(to_host(cpu, cuda, a[i].second), b[i].second) * norm,
                  tolerance * std::max(norm, floor))
            << a[i].first << ", of norm " << norm;
    }
}

inline void expect_same_bits(Backend& cpu, Backend& cuda, const S4dGradients& a, const S4dGradients& b) {
    const auto x = a.all(), y = b.all();
    for (size_t i = 0; i < x.size(); ++i)
        if (x[i].second) {
            EXPECT_EQ(max_difference(to_host(cpu, cuda, x[i].second), to_host(cpu, cuda, y[i].second)), 0)
                << x[i].first;
        }
}

}  // namespace nigiri::test
