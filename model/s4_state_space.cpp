// S4D and S4: time-invariant state spaces, trained as long convolutions and run as recurrences.
#include <algorithm>
#include <cmath>
#include <exception>

#include "kernels/s4_discrete.h"
#include "model/state_space.h"

namespace nigiri {

namespace {

Tensor gated(Backend& backend, const Tensor& y, const Tensor& z) {
    if (z) backend.gate_forward({.x = y, .z = z, .y = y});
    return y;
}

Var gated(Tape& tape, const Var& y, const Var* z) { return z ? functions::gate(tape, y, *z) : y; }

std::vector<double> pairs(const std::vector<std::complex<double>>& values) {
    std::vector<double> out;
    for (const auto& v : values) out.insert(out.end(), {v.real(), v.imag()});
    return out;
}

// What S4D and S4 share: dt, A, B as S independent copies, and the skip.
class TimeInvariant : public StateSpace {
  public:
    int64_t channels() const override { return width_; }
    bool time_invariant() const override { return true; }

  protected:
    StateSpaceMap describe_as(StateSpaceKind kind) const {
        StateSpaceMap map;
        map.kind = kind;
        map.is_complex = config_.is_complex;
        map.channels = width_;
        map.states = states_;
        map.skip = download_floats(backend_, skip_->value);
        return map;
    }

    TimeInvariant(ParameterStore& store, int64_t width, const SsmConfig& config)
        : backend_(store.backend()),
          config_(config),
          width_(width),
          states_(config.stored_states()),
          copies_(config.copies > 0 ? config.copies : width) {
        if (width % copies_ != 0)
            throw Error("a layer of " + std::to_string(width) + " channels cannot share " + std::to_string(copies_) +
                            " copies of A and B",
                        "choose a number of copies that divides the width");
    }

    void add_dt(ParameterStore& store, const std::string& prefix, Random& random) {
        inv_dt_ =
            &store.add(prefix + ".inv_dt", {width_}, log_uniform_steps(random, width_, config_.dt_min, config_.dt_max),
                       ParameterGroup::state_space);
    }

    void add_a(ParameterStore& store, const std::string& prefix, const StateMatrices& all) {
        a_real_ = &store.add(prefix + ".A_real", {copies_, states_}, all.a_real, ParameterGroup::state_space);
        if (config_.is_complex)
            a_imag_ = &store.add(prefix + ".A_imag", {copies_, states_}, all.a_imag, ParameterGroup::state_space);
    }

    void add_skip(ParameterStore& store, const std::string& prefix, Random& random) {
        skip_ = &store.add(prefix + ".D", {width_}, normal(random, width_, 1.0), ParameterGroup::no_decay);
    }

    Backend& backend_;
    SsmConfig config_;
    int64_t width_, states_, copies_;
    Parameter *inv_dt_ = nullptr, *a_real_ = nullptr, *a_imag_ = nullptr, *b_ = nullptr, *c_ = nullptr,
              *skip_ = nullptr;
};

class S4dStateSpace final : public TimeInvariant {
  public:
    S4dStateSpace(ParameterStore& store, const std::string& prefix, int64_t width, const SsmConfig& config,
                  Random& random)
        : TimeInvariant(store, width, config) {
        const StateMatrices values = initial_copies(config, copies_, random);
        add_dt(store, prefix, random);
        add_a(store, prefix, values);
        if (config.is_complex) {
            b_ = &store.add(prefix + ".B", {copies_, states_, 2}, pairs(values.b), ParameterGroup::state_space);
            c_ = &store.add(prefix + ".C", {width_, states_, 2}, pairs(complex_normal(random, width_ * states_)),
                            ParameterGroup::decay);
        } else {
            b_ = &store.add(prefix + ".B", {copies_, states_},
                            std::vector<double>(static_cast<size_t>(copies_ * states_), 1.0),
                            ParameterGroup::state_space);
            c_ = &store.add(prefix + ".C", {width_, states_}, normal(random, width_ * states_, 1.0),
                            ParameterGroup::decay);
        }
        add_skip(store, prefix, random);
    }

    Var forward(Tape& tape, const Var& u, const Var* z) const override {
        return gated(tape, functions::s4d_conv(tape, inputs(), *skip_, u), z);
    }

    LayerState make_state(int64_t batch) const override {
        const DType dtype = skip_->value.dtype();
        const int64_t planes = config_.is_complex ? 2 : 1;
        LayerState state;
        state.carried.push_back(backend_.zeros({batch, planes, states_ * width_}, dtype));
        state.constants.push_back(backend_.allocate({planes, states_, width_}, dtype));
        state.constants.push_back(backend_.allocate({planes, states_, width_}, dtype));
        backend_.s4d_discretize({functions::s4d_parameters(inputs()), state.constants[0], state.constants[1]});
        return state;
    }

    StateSpaceMap describe() const override {
        StateSpaceMap map = describe_as(StateSpaceKind::s4d);
        const LayerState discrete = make_state(1);
        map.abar = download_floats(backend_, discrete.constants[0]);
        map.cbar = download_floats(backend_, discrete.constants[1]);
        return map;
    }

    Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const override {
        const Tensor y = backend_.allocate(u.shape(), u.dtype());
        backend_.s4d_recurrence({.is_complex = config_.is_complex,
                                 .abar = state.constants[0],
                                 .cbar = state.constants[1],
                                 .skip = skip_->value,
                                 .u = u,
                                 .y = y,
                                 .state = state.carried[0]});
        return gated(backend_, y, z);
    }

  private:
    functions::S4dInputs inputs() const {
        return {config_.is_complex, config_.discretization, inv_dt_, a_real_, a_imag_, b_, c_};
    }
};

class S4StateSpace final : public TimeInvariant {
  public:
    S4StateSpace(ParameterStore& store, const std::string& prefix, int64_t width, const SsmConfig& config,
                 int64_t length, Random& random)
        : TimeInvariant(store, width, config), length_(length) {
        const StateMatrices one = initial_state(StateInit::legs, states_), values = copies_of(one, copies_);
        const std::vector<double> inv_dt = log_uniform_steps(random, width_, config_.dt_min, config_.dt_max);
        inv_dt_ = &store.add(prefix + ".inv_dt", {width_}, inv_dt, ParameterGroup::state_space);
        add_a(store, prefix, values);
        p_ = &store.add(prefix + ".P", {copies_, states_, 2}, pairs(values.p), ParameterGroup::state_space);
        b_ = &store.add(prefix + ".B", {copies_, states_, 2}, pairs(values.b), ParameterGroup::state_space);
        c_ = &store.add(prefix + ".C", {width_, states_, 2},
                        pairs(tied_output(one, inv_dt, length, complex_normal(random, width_ * states_))),
                        ParameterGroup::decay);
        add_skip(store, prefix, random);
    }

    Var forward(Tape& tape, const Var& u, const Var* z) const override {
        const Var kernel = functions::s4_kernel(tape, inputs(), u.shape()[1]);
        return gated(tape, functions::long_conv(tape, u, kernel, *skip_), z);
    }

    LayerState make_state(int64_t batch) const override {
        LayerState state;
        const DType dtype = backend_.supports(DType::f64) ? DType::f64 : DType::f32;
        state.carried.push_back(backend_.zeros({batch, width_, states_, 2}, dtype));
        state.constants.push_back(backend_.allocate({width_, 6 * states_, 2}, dtype));
        backend_.s4_discretize({functions::s4_parameters(inputs()), state.constants[0]});
        return state;
    }

    Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const override {
        const Tensor y = backend_.allocate(u.shape(), u.dtype());
        backend_.s4_recurrence(
            {.factors = state.constants[0], .skip = skip_->value, .u = u, .y = y, .state = state.carried[0]});
        return gated(backend_, y, z);
    }

    // In float64 whatever the backend computes in.
    StateSpaceMap describe() const override {
        StateSpaceMap map = describe_as(StateSpaceKind::s4);
        const auto values = [&](const Parameter* p) { return download_values(backend_, p->value); };
        const std::vector<double> log_dt = values(inv_dt_), a_real = values(a_real_), a_imag = values(a_imag_);
        const std::vector<double> p = values(p_), b = values(b_), c = values(c_);
        const auto n = static_cast<size_t>(states_), width = static_cast<size_t>(width_);
        const auto row = [&](const std::vector<double>& all, size_t i) {
            ComplexVector out;
            for (size_t k = i * n; k < (i + 1) * n; ++k) out.emplace_back(all[2 * k], all[2 * k + 1]);
            return out;
        };
        for (ComplexVector* v : {&map.a, &map.f, &map.g, &map.b, &map.c}) v->resize(width * n);
        // Recovering the true C takes milliseconds a channel. An exception must not leave the parallel region.
        std::exception_ptr failure;
#pragma omp parallel for schedule(static)
        for (size_t d = 0; d < width; ++d) try {
                const size_t copy = d % static_cast<size_t>(copies_), at = d * n;
                ComplexVector lambda;
                for (size_t k = copy * n; k < (copy + 1) * n; ++k)
                    lambda.emplace_back(-std::exp(a_real[k]), -a_imag[k]);
                const S4Discrete layer = s4_discretize(lambda, row(p, copy), row(b, copy), std::exp(log_dt[d]));
                const ComplexVector true_c = s4_true_c(layer, length_, row(c, d));
                const auto put = [&](const ComplexVector& from, ComplexVector& to) {
                    std::copy(from.begin(), from.end(), to.begin() + static_cast<std::ptrdiff_t>(at));
                };
                put(layer.a, map.a), put(layer.f, map.f), put(layer.g, map.g), put(layer.b, map.b), put(true_c, map.c);
            } catch (...) {
#pragma omp critical(nigiri_describe_s4)
                if (!failure) failure = std::current_exception();
            }
        if (failure) std::rethrow_exception(failure);
        return map;
    }

  private:
    functions::S4Inputs inputs() const { return {length_, inv_dt_, a_real_, a_imag_, p_, b_, c_}; }

    int64_t length_;
    Parameter* p_ = nullptr;
};

}  // namespace

std::unique_ptr<StateSpace> make_s4_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, int64_t length, Random& random) {
    if (config.kind == SsmKind::s4) return std::make_unique<S4StateSpace>(store, prefix, width, config, length, random);
    return std::make_unique<S4dStateSpace>(store, prefix, width, config, random);
}

}  // namespace nigiri
