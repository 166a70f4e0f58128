// Random S4D layers for the tests of the kernel and of the recurrence.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/check.h"

namespace nigiri::test {

struct S4dSetup {
    bool is_complex = true;
    int64_t channels = 1, copies = 1, modes = 1;
    Discretization discretization = Discretization::zoh;
    double rate = 1;
};

inline std::ostream& operator<<(std::ostream& out, const S4dSetup& s) {
    return out << (s.is_complex ? "complex" : "real")
               << (s.discretization == Discretization::zoh ? " zoh" : " bilinear") << " D " << s.channels << " S "
               << s.copies << " N " << s.modes << " rate " << s.rate;
}

struct S4dLayer {
    S4dParameters parameters;
    Tensor inv_dt, a_real, a_imag, b, c;

    void connect() {
        parameters.inv_dt = inv_dt, parameters.a_real = a_real, parameters.a_imag = a_imag;
        parameters.b = b, parameters.c = c;
    }
    S4dLayer converted(Backend& backend, DType dtype) const {
        S4dLayer other = *this;
        for (Tensor* t : {&other.inv_dt, &other.a_real, &other.a_imag, &other.b, &other.c})
            if (*t) *t = test::converted(backend, *t, dtype);
        other.connect();
        return other;
    }
    // Real layers only.
    void set_unit_b_c() const {
        for (const Tensor& t : {b, c})
            for (int64_t i = 0; i < t.size(); ++i) set(t, i, 1);
    }
};

// Steps of 0.01 to 0.4, decays of e^-1 to e^1, angles up to that of a dozen turns in the step's unit.
inline S4dLayer random_s4d(Backend& backend, const S4dSetup& s, DType dtype, Random& random, bool strided = false) {
    S4dLayer layer;
    const auto make = [&](const Shape& shape, double scale, double offset) {
        Tensor t =
            strided ? random_strided(backend, shape, dtype, random) : random_tensor(backend, shape, dtype, random);
        for (int64_t i = 0; i < t.size(); ++i) set(t, i, offset + scale * std::tanh(get(t, i)));
        return t;
    };
    layer.inv_dt = make({s.channels}, 1.8, -2.7);
    layer.a_real = make({s.copies, s.modes}, 1, 0);
    if (s.is_complex) layer.a_imag = make({s.copies, s.modes}, 20, 20);
    const auto weights = [&](int64_t rows) { return s.is_complex ? Shape{rows, s.modes, 2} : Shape{rows, s.modes}; };
    layer.b = make(weights(s.copies), 1, 0.5);
    layer.c = make(weights(s.channels), 1, 0);
    layer.parameters.is_complex = s.is_complex;
    layer.parameters.discretization = s.discretization;
    layer.parameters.rate = s.rate;
    layer.connect();
    return layer;
}

struct S4dGradients {
    Tensor inv_dt, a_real, a_imag, b, c;

    std::vector<std::pair<std::string, Tensor>> all() const {
        return {{"inv_dt", inv_dt}, {"a_real", a_real}, {"a_imag", a_imag}, {"b", b}, {"c", c}};
    }
    template <class Op>
    void connect(Op& op) const {
        op.dinv_dt = inv_dt, op.da_real = a_real, op.da_imag = a_imag, op.db = b, op.dc = c;
    }
};

struct S4dNumbers {
    double dt;
    Complex a, b, c;
};

inline S4dNumbers unpack(const S4dParameters& p, int64_t d, int64_t n) {
    const int64_t modes = p.a_real[1], s = d % p.a_real[0];
    const auto read = [&](const View& v, int64_t i) {
        return p.is_complex ? Complex(get(v, 2 * i), get(v, 2 * i + 1)) : Complex(get(v, i));
    };
    return {p.rate * std::exp(get(p.inv_dt, d)),
            Complex(-std::exp(get(p.a_real, s * modes + n)), p.is_complex ? -get(p.a_imag, s * modes + n) : 0),
            read(p.b, s * modes + n), read(p.c, d * modes + n)};
}

}  // namespace nigiri::test
