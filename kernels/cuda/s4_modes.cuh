// The parameters of S4 channels on the device, in double.
#pragma once

#include "kernels/cuda/s4d_modes.cuh"
#include "kernels/s4_kernel.h"

namespace nigiri::cuda {

struct S4Modes {
    Rows inv_dt, a_real, a_imag, p, b, c;
    int64_t channels, copies, modes;
    double rate;

    explicit S4Modes(const S4Parameters& op)
        : inv_dt(op.inv_dt),
          a_real(op.a_real),
          a_imag(op.a_imag),
          p(op.p),
          b(op.b),
          c(op.c),
          channels(op.c[0]),
          copies(op.a_real[0]),
          modes(op.c[1]),
          rate(op.rate) {}
};

struct S4Mode {
    double dt;
    Complex lambda, p, b, c;
};

__device__ inline S4Mode s4_mode(const S4Modes& m, int64_t d, int64_t n) {
    const int64_t s = d % m.copies;
    const auto pair = [&](const Rows& v, int64_t row) -> Complex {
        const float* x = v.row(row * m.modes + n);
        return {x[0], x[1]};
    };
    return {m.rate * exp(static_cast<double>(m.inv_dt.data[d])),
            {-exp(static_cast<double>(m.a_real.row(s)[n])), -static_cast<double>(m.a_imag.row(s)[n])},
            pair(m.p, s),
            pair(m.b, s),
            pair(m.c, d)};
}

}  // namespace nigiri::cuda
