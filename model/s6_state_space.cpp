// S6: the state space whose step, input and output maps depend on the input (Gu & Dao 2023), each of the three
// switchable to a constant. x_proj reads delta's low-rank input, B and C off the input, in this order.
#include <algorithm>
#include <cmath>

#include "model/state_space.h"

namespace nigiri {

namespace {

class S6StateSpace final : public StateSpace {
  public:
    S6StateSpace(ParameterStore& store, const std::string& prefix, int64_t width, const SsmConfig& config,
                 Random& random)
        : backend_(store.backend()), config_(config), width_(width), states_(config.stored_states()) {
        rank_ = config.selective_delta ? config.dt_rank : 0;
        const int64_t numbers = config.is_complex ? 2 * states_ : states_;  // of one B or one C
        b_columns_ = config.selective_b ? numbers : 0;
        c_columns_ = config.selective_c ? numbers : 0;
        const int64_t columns = rank_ + b_columns_ + c_columns_;
        if (columns > 0)
            x_proj_ = &store.add_linear(prefix + ".x_proj.weight", {columns, width},
                                        fan_in_uniform(random, columns * width, width));
        if (rank_ > 0) {
            const double bound = 1 / std::sqrt(static_cast<double>(rank_));
            dt_weight_ = &store.add_linear(prefix + ".dt_proj.weight", {width, rank_},
                                           uniform(random, width * rank_, -bound, bound));
        }
        dt_bias_ = &store.add(prefix + ".dt_proj.bias", {width},
                              softplus_steps(random, width, config.dt_min, config.dt_max), ParameterGroup::no_decay);
        add_poles(store, prefix, random);
        if (!config.selective_b) b_ = add_constant(store, prefix + ".B", unit_b());
        if (!config.selective_c) c_ = add_constant(store, prefix + ".C", normal_c(random));
        skip_ = &store.add(prefix + ".D", {width}, std::vector<double>(static_cast<size_t>(width), 1.0),
                           ParameterGroup::no_decay);
    }

    Var forward(Tape& tape, const Var& u, const Var* z) const override {
        functions::ScanInputs in;
        in.is_complex = config_.is_complex;
        in.selective_b = config_.selective_b;
        in.selective_c = config_.selective_c;
        in.discretization = config_.discretization;
        in.u = u;
        if (z) in.z = *z;
        in.a = a_imag_ ? functions::complex_poles(tape, *a_log_, *a_imag_) : functions::negative_exp(tape, *a_log_);
        in.delta_bias = dt_bias_;
        in.skip = skip_;
        if (x_proj_) {
            std::vector<int64_t> sizes;
            for (const int64_t n : {rank_, b_columns_, c_columns_})
                if (n > 0) sizes.push_back(n);
            const auto parts = tape.split(functions::linear_in_rows(tape, u, *x_proj_), sizes);
            size_t next = 0;
            if (rank_ > 0) in.delta = functions::linear_of_few(tape, parts[next++], *dt_weight_);
            if (b_columns_ > 0) in.b = parts[next++];
            if (c_columns_ > 0) in.c = parts[next++];
        }
        if (b_) in.b = functions::parameter(tape, *b_);
        if (c_) in.c = functions::parameter(tape, *c_);
        return functions::selective_scan(tape, in);
    }

    LayerState make_state(int64_t batch) const override {
        LayerState state;
        const DType dtype = skip_->value.dtype();
        state.carried.push_back(backend_.zeros(
            config_.is_complex ? Shape{batch, width_, states_, 2} : Shape{batch, width_, states_}, dtype));
        state.constants.push_back(poles());
        return state;
    }

    Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const override {
        SelectiveScanForward scan;
        scan.is_complex = config_.is_complex;
        scan.selective_b = config_.selective_b;
        scan.selective_c = config_.selective_c;
        scan.discretization = config_.discretization;
        scan.u = u;
        scan.z = z;
        scan.delta_bias = dt_bias_->value;
        scan.a = state.constants[0];
        scan.skip = skip_->value;
        Tensor projected, delta;
        if (x_proj_) {
            projected = backend_.allocate({u[0], u[1], x_proj_->value[0]}, u.dtype());
            backend_.linear_forward({.x = u, .weight = x_proj_->for_products(u.dtype()), .bias = {}, .y = projected});
            if (rank_ > 0) {
                delta = backend_.allocate(u.shape(), u.dtype());
                backend_.linear_forward({.x = projected.columns(0, rank_),
                                         .weight = dt_weight_->for_products(u.dtype()),
                                         .bias = {},
                                         .y = delta});
                scan.delta = delta;
            }
        }
        if (state.keep_delta) state.delta = step_sizes(u.shape(), delta);
        scan.b = b_ ? b_->value.view() : projected.view().columns(rank_, b_columns_);
        scan.c = c_ ? c_->value.view() : projected.view().columns(rank_ + b_columns_, c_columns_);
        const Tensor y = backend_.allocate(u.shape(), u.dtype());
        scan.y = y;
        scan.state = state.carried[0];
        backend_.selective_scan_forward(scan);
        return y;
    }

    int64_t channels() const override { return width_; }
    bool time_invariant() const override { return false; }

    StateSpaceMap describe() const override {
        StateSpaceMap map;
        map.kind = StateSpaceKind::s6;
        map.is_complex = config_.is_complex;
        map.channels = width_;
        map.states = states_;
        map.skip = download_floats(backend_, skip_->value);
        map.discretization = config_.discretization;
        map.selective_b = b_columns_ > 0;
        map.selective_c = c_columns_ > 0;
        map.dt_rank = rank_;
        if (x_proj_) map.x_proj = describe_linear(backend_, *x_proj_, nullptr);
        if (dt_weight_) map.dt_proj = describe_linear(backend_, *dt_weight_, nullptr);
        map.delta_bias = download_floats(backend_, dt_bias_->value);
        map.poles = download_floats(backend_, poles());
        if (b_) map.constant_b = download_floats(backend_, b_->value);
        if (c_) map.constant_c = download_floats(backend_, c_->value);
        return map;
    }

  private:
    Tensor poles() const {
        Tape tape(backend_, false);
        return (a_imag_ ? functions::complex_poles(tape, *a_log_, *a_imag_) : functions::negative_exp(tape, *a_log_))
            .value;
    }

    // What the scan computes inside: softplus(delta + bias).
    Tensor step_sizes(const Shape& shape, const Tensor& delta) const {
        const std::vector<double> bias = download_values(backend_, dt_bias_->value);
        std::vector<double> values(static_cast<size_t>(shape.size()), 0.0);
        if (delta) values = download_values(backend_, delta);
        for (size_t i = 0; i < values.size(); ++i) {
            const double x = values[i] + bias[i % bias.size()];
            values[i] = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
        }
        const Tensor steps = backend_.allocate(shape, dt_bias_->value.dtype());
        upload_values(backend_, values, steps);
        return steps;
    }

    Shape constant_shape() const { return config_.is_complex ? Shape{width_, states_, 2} : Shape{width_, states_}; }

    Parameter* add_constant(ParameterStore& store, const std::string& name, const std::vector<double>& values) {
        return &store.add(name, constant_shape(), values, ParameterGroup::decay);
    }

    std::vector<double> unit_b() const {
        std::vector<double> values(static_cast<size_t>(constant_shape().size()), 1.0);
        if (config_.is_complex)
            for (size_t i = 1; i < values.size(); i += 2) values[i] = 0.0;
        return values;
    }

    std::vector<double> normal_c(Random& random) const {
        return normal(random, constant_shape().size(), config_.is_complex ? std::sqrt(0.5) : 1.0);
    }

    void add_poles(ParameterStore& store, const std::string& prefix, Random& random) {
        const StateMatrices a = initial_copies(config_, width_, random);
        a_log_ = &store.add(prefix + ".A_log", {width_, states_}, a.a_real, ParameterGroup::no_decay);
        if (config_.is_complex)
            a_imag_ = &store.add(prefix + ".A_imag", {width_, states_}, a.a_imag, ParameterGroup::no_decay);
    }

    Backend& backend_;
    SsmConfig config_;
    int64_t width_, states_, rank_ = 0, b_columns_ = 0, c_columns_ = 0;
    Parameter *x_proj_ = nullptr, *dt_weight_ = nullptr, *dt_bias_ = nullptr, *a_log_ = nullptr, *a_imag_ = nullptr;
    Parameter *b_ = nullptr, *c_ = nullptr, *skip_ = nullptr;
};

}  // namespace

std::unique_ptr<StateSpace> make_s6_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, Random& random) {
    return std::make_unique<S6StateSpace>(store, prefix, width, config, random);
}

}  // namespace nigiri
