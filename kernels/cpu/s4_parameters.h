// What the S4 kernel and its recurrence share: the operands' checks and one channel's parameters in double.
#pragma once

#include <cmath>
#include <complex>
#include <cstdint>

#include "kernels/cpu/common.h"
#include "kernels/s4_discrete.h"
#include "kernels/s4_kernel.h"

namespace nigiri::cpu {

inline bool is_shape(const View& v, const Shape& shape) { return v.data != nullptr && v.shape == shape; }

inline void check_s4(const S4Parameters& op, const char* name) {
    require(op.c.shape.rank() == 3 && op.c[2] == 2 && op.c.size() > 0, name, "c (D, N, 2)");
    const int64_t width = op.c[0], count = op.c[1];
    require(op.a_real.shape.rank() == 2 && op.a_real[0] > 0 && width % op.a_real[0] == 0 && op.a_real[1] == count, name,
            "a_real (S, N), S a divisor of D");
    const int64_t copies = op.a_real[0];
    require(is_shape(op.inv_dt, {width}), name, "inv_dt (D)");
    require(is_shape(op.a_imag, {copies, count}), name, "a_imag (S, N)");
    require(is_shape(op.p, {copies, count, 2}), name, "p (S, N, 2)");
    require(is_shape(op.b, {copies, count, 2}), name, "b (S, N, 2)");
    for (const View* v : {&op.inv_dt, &op.a_real, &op.a_imag, &op.p, &op.b})
        require(v->dtype == op.c.dtype, name, "parameters of one element type");
    require(op.length >= 1, name, "a length of at least 1");
}

// The parameters of channel d, each of N numbers. Rows of (..., N, 2) views are single pairs.
template <class T>
struct S4Channel {
    const S4Parameters& op;
    int64_t d, copy, count;

    S4Channel(const S4Parameters& parameters, int64_t channel)
        : op(parameters), d(channel), copy(channel % parameters.a_real[0]), count(parameters.c[1]) {}

    double dt() const { return op.rate * std::exp(static_cast<double>(op.inv_dt.row<T>(0)[d])); }
    std::complex<double> lambda(int64_t n) const {
        return {-std::exp(static_cast<double>(op.a_real.row<T>(copy)[n])),
                -static_cast<double>(op.a_imag.row<T>(copy)[n])};
    }
    std::complex<double> p(int64_t n) const { return pair(op.p, copy * count + n); }
    std::complex<double> b(int64_t n) const { return pair(op.b, copy * count + n); }
    std::complex<double> c(int64_t n) const { return pair(op.c, d * count + n); }

  private:
    static std::complex<double> pair(const View& v, int64_t row) {
        const T* x = v.row<T>(row);
        return {static_cast<double>(x[0]), static_cast<double>(x[1])};
    }
};

}  // namespace nigiri::cpu
