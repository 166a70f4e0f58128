// Random problems for the selective scan's tests: every combination of operands, forward and backward.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/check.h"

namespace nigiri::test {

struct ScanVariant {
    bool is_complex = false, selective_b = true, selective_c = true, softplus = true;
    Discretization rule = Discretization::euler;
    bool delta = true, bias = true, skip = true, z = true;

    std::string text() const {
        std::string s = is_complex ? "complex" : "real";
        s += rule == Discretization::euler ? " euler" : rule == Discretization::zoh ? " zoh" : " bilinear";
        s += selective_b ? " B(t)" : " B";
        s += selective_c ? " C(t)" : " C";
        for (const auto& [on, name] : {std::pair(softplus, " softplus"), std::pair(delta, " delta"),
                                       std::pair(bias, " bias"), std::pair(skip, " skip"), std::pair(z, " z")})
            if (on) s += name;
        return s;
    }
};

inline ScanVariant variant_of(bool is_complex, Discretization rule, bool selective = true) {
    ScanVariant v;
    v.is_complex = is_complex, v.rule = rule, v.selective_b = v.selective_c = selective;
    return v;
}

// Every kind of number, rule and selectivity with all options, then options left out one by one.
inline std::vector<ScanVariant> scan_variants() {
    using enum Discretization;
    std::vector<ScanVariant> all;
    for (const bool is_complex : {false, true})
        for (const auto rule : {euler, zoh, bilinear})
            for (const bool b : {true, false})
                for (const bool c : {true, false}) {
                    ScanVariant v;
                    v.is_complex = is_complex, v.rule = rule, v.selective_b = b, v.selective_c = c;
                    all.push_back(v);
                }
    const auto without = [&](auto... members) {
        ScanVariant v;
        ((v.*members = false), ...);
        all.push_back(v);
        v.is_complex = true;
        v.rule = zoh;
        all.push_back(v);
    };
    without(&ScanVariant::softplus);
    without(&ScanVariant::softplus, &ScanVariant::bias);
    without(&ScanVariant::delta);
    without(&ScanVariant::delta, &ScanVariant::bias);
    without(&ScanVariant::delta, &ScanVariant::selective_b, &ScanVariant::selective_c);
    without(&ScanVariant::bias);
    without(&ScanVariant::skip);
    without(&ScanVariant::z);
    without(&ScanVariant::skip, &ScanVariant::z);
    return all;
}

// Operands, results and gradients. Values are float32 numbers also in float64, so that both precisions see the same
// problem. Results start as NaN, gradients that are added to as zero.
struct ScanProblem {
    ScanVariant variant;
    std::shared_ptr<Backend> backend;
    Tensor u, delta, bias, a, b, c, skip, z, dy, state, y, checkpoints;
    Tensor du, ddelta, dbias, da, db, dc, dskip, dz;

    ScanProblem(std::shared_ptr<Backend> backend_, const ScanVariant& v, int64_t batch, int64_t length,
                int64_t channels, int64_t states, Random& random, bool strided = false)
        : variant(v), backend(std::move(backend_)) {
        const auto rows = [&](int64_t columns, double scale) {
            const Shape shape{batch, length, columns};
            return strided ? random_strided(*backend, shape, DType::f32, random, scale)
                           : random_tensor(*backend, shape, DType::f32, random, scale);
        };
        const int64_t parts = v.is_complex ? 2 : 1;
        const Shape constant = v.is_complex ? Shape{channels, states, 2} : Shape{channels, states};
        const auto operand = [&](bool selective) {
            return selective ? rows(states * parts, 0.7) : random_tensor(*backend, constant, DType::f32, random);
        };
        const auto make_absolute = [](const Tensor& x) {
            for (int64_t i = 0; i < x.size(); ++i) set(x, i, std::abs(get(x, i)));
        };
        u = rows(channels, 1);
        if (v.delta) delta = rows(channels, 0.5);
        if (v.bias) bias = random_tensor(*backend, {channels}, DType::f32, random, 0.3, v.softplus ? -1.5 : 0);
        if (!v.softplus) {  // dt stays positive and the states bounded
            if (v.delta) make_absolute(delta);
            if (v.bias) make_absolute(bias);
        }
        a = random_tensor(*backend, constant, DType::f32, random, 2);
        for (int64_t i = 0; i < a.size(); i += parts) set(a, i, -0.1 - std::abs(get(a, i)));
        b = operand(v.selective_b);
        c = operand(v.selective_c);
        if (v.skip) skip = random_tensor(*backend, {channels}, DType::f32, random);
        if (v.z) z = rows(channels, 1);
        dy = rows(channels, 1);
        const Shape states_shape = v.is_complex ? Shape{batch, channels, states, 2} : Shape{batch, channels, states};
        state = random_tensor(*backend, states_shape, DType::f32, random, 0.5);
        allocate_results(strided);
    }

    // A dense copy in another precision or on another backend.
    ScanProblem as(DType dtype, std::shared_ptr<Backend> on = nullptr) const {
        ScanProblem p = *this;
        if (on) p.backend = std::move(on);
        for (Tensor* t : {&p.u, &p.delta, &p.bias, &p.a, &p.b, &p.c, &p.skip, &p.z, &p.dy, &p.state})
            if (*t) *t = converted(*p.backend, *t, dtype);
        p.allocate_results(false);
        return p;
    }

    void allocate_results(bool strided) {
        const DType dtype = u.dtype();
        Random random(0);
        const auto fresh = [&](const Tensor& like, double value) {
            if (!like) return Tensor();
            Tensor t = strided && like.shape().rank() == 3 ? random_strided(*backend, like.shape(), dtype, random)
                                                           : backend->allocate(like.shape(), dtype);
            for (int64_t i = 0; i < t.size(); ++i) set(t, i, value);
            return t;
        };
        const double nan = std::nan("");
        y = fresh(u, nan), du = fresh(u, nan), ddelta = fresh(delta, nan), dz = fresh(z, nan);
        da = fresh(a, 0), dbias = fresh(bias, 0), dskip = fresh(skip, 0);
        db = fresh(b, variant.selective_b ? nan : 0), dc = fresh(c, variant.selective_c ? nan : 0);
        const int64_t chunks = (u[1] + selective_scan_checkpoint_every - 1) / selective_scan_checkpoint_every;
        checkpoints = filled(*backend, {chunks, u[0], u[2], a[1] * (variant.is_complex ? 2 : 1)}, dtype, nan);
    }

    SelectiveScan operands() const {
        SelectiveScan s;
        s.is_complex = variant.is_complex, s.selective_b = variant.selective_b, s.selective_c = variant.selective_c;
        s.softplus = variant.softplus, s.discretization = variant.rule;
        s.u = u, s.delta = delta, s.delta_bias = bias, s.a = a, s.b = b, s.c = c, s.skip = skip, s.z = z;
        return s;
    }
    // `keep_state`: leaves `state` as it was, for another run.
    void forward(bool keep_state = true) const {
        const Tensor last = keep_state ? converted(*backend, state, state.dtype()) : state;
        backend->selective_scan_forward({operands(), y, last, checkpoints});
    }
    void backward() const {
        backend->selective_scan_backward({operands(), checkpoints, dy, du, ddelta, dbias, da, db, dc, dskip, dz});
    }
    std::vector<std::pair<std::string, Tensor>> results() const {
        std::vector<std::pair<std::string, Tensor>> all = {{"y", y}, {"du", du}, {"da", da}, {"db", db}, {"dc", dc}};
        if (delta) all.push_back({"ddelta", ddelta});
        if (bias) all.push_back({"ddelta_bias", dbias});
        if (skip) all.push_back({"dskip", dskip});
        if (z) all.push_back({"dz", dz});
        return all;
    }
};

}  // namespace nigiri::test
