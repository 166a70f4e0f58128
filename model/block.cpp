#include "model/block.h"

#include "model/initialization.h"

namespace nigiri {

namespace {

Shape with_columns(const Tensor& x, int64_t columns) { return {x[0], x[1], columns}; }

Tensor apply_linear(Backend& backend, const Tensor& x, const Parameter& weight, const Parameter* bias) {
    const Tensor y = backend.allocate(with_columns(x, weight.value[0]), x.dtype());
    backend.linear_forward({.x = x,
                            .weight = weight.for_products(x.dtype()),
                            .bias = bias ? bias->for_products(x.dtype()).view() : View{},
                            .y = y});
    return y;
}

// The last linear map of a layer, with the residual where there is one.
Var last_linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias, const Var* residual) {
    return residual ? functions::add_linear(tape, *residual, x, weight, bias)
                    : functions::linear(tape, x, weight, bias);
}

// The published default rank of delta is a sixteenth of the model's width, rounded up.
SsmConfig with_dt_rank(SsmConfig config, int64_t width) {
    if (config.dt_rank == 0) config.dt_rank = (width + 15) / 16;
    return config;
}

class MambaLayer final : public Layer {
  public:
    MambaLayer(ParameterStore& store, const std::string& prefix, int64_t width, const LayerConfig& config,
               int64_t length, Random& random)
        : backend_(store.backend()), inner_(config.expand * width), taps_(config.conv_width) {
        const double conv_bound = 1 / std::sqrt(static_cast<double>(taps_));
        in_proj_ = &store.add_linear(prefix + ".in_proj.weight", {2 * inner_, width},
                                     fan_in_uniform(random, (2 * inner_) * (width), width));
        conv_weight_ = &store.add(prefix + ".conv1d.weight", {inner_, taps_},
                                  uniform(random, inner_ * taps_, -conv_bound, conv_bound), ParameterGroup::decay);
        conv_bias_ = &store.add(prefix + ".conv1d.bias", {inner_}, uniform(random, inner_, -conv_bound, conv_bound),
                                ParameterGroup::no_decay);
        ssm_ = make_state_space(store, prefix + ".ssm", inner_, with_dt_rank(config.ssm, width), length, random);
        out_proj_ = &store.add_linear(prefix + ".out_proj.weight", {width, inner_},
                                      fan_in_uniform(random, width * inner_, inner_));
    }

    Var forward(Tape& tape, const Var& input, const Var* residual) const override {
        const auto xz = tape.split(functions::linear(tape, input, *in_proj_, nullptr), {inner_, inner_});
        const Var x = functions::causal_conv1d(tape, xz[0], *conv_weight_, conv_bias_, /*silu=*/true);
        return last_linear(tape, ssm_->forward(tape, x, &xz[1]), *out_proj_, nullptr, residual);
    }

    LayerState make_state(int64_t batch) const override {
        LayerState state = ssm_->make_state(batch);
        if (taps_ > 1) state.carried.push_back(backend_.zeros({batch, taps_ - 1, inner_}, in_proj_->value.dtype()));
        return state;
    }

    const StateSpace* state_space() const override { return ssm_->is_state_space() ? ssm_.get() : nullptr; }

    Tensor advance(const Tensor& input, LayerState& state) const override {
        const Tensor xz = apply_linear(backend_, input, *in_proj_, nullptr);
        const Tensor x = backend_.allocate(with_columns(input, inner_), input.dtype());
        backend_.causal_conv1d_forward({.x = xz.columns(0, inner_),
                                        .weight = conv_weight_->value,
                                        .bias = conv_bias_->value,
                                        .y = x,
                                        .state = taps_ > 1 ? state.carried.back().view() : View{},
                                        .silu = true});
        const Tensor y = ssm_->advance(x, xz.columns(inner_, inner_), state);
        return apply_linear(backend_, y, *out_proj_, nullptr);
    }

    BlockStep describe() const override {
        BlockStep step;
        step.kind = BlockStepKind::mamba;
        step.in = describe_linear(backend_, *in_proj_, nullptr);
        step.out = describe_linear(backend_, *out_proj_, nullptr);
        step.taps = taps_;
        step.conv_weight = download_floats(backend_, conv_weight_->value);
        step.conv_bias = download_floats(backend_, conv_bias_->value);
        step.ssm = ssm_->describe();
        return step;
    }

  private:
    Backend& backend_;
    int64_t inner_, taps_;
    Parameter *in_proj_, *conv_weight_, *conv_bias_, *out_proj_;
    std::unique_ptr<StateSpace> ssm_;
};

class H3Layer final : public Layer {
  public:
    H3Layer(ParameterStore& store, const std::string& prefix, int64_t width, const LayerConfig& config, int64_t length,
            Random& random)
        : backend_(store.backend()), inner_(config.expand * width), taps_(config.conv_width) {
        in_proj_ = &store.add_linear(prefix + ".in_proj.weight", {3 * inner_, width},
                                     fan_in_uniform(random, 3 * inner_ * width, width));
        conv_weight_ = &store.add(prefix + ".conv1d.weight", {inner_, taps_},
                                  fan_in_uniform(random, inner_ * taps_, taps_), ParameterGroup::decay);
        conv_bias_ = &store.add(prefix + ".conv1d.bias", {inner_}, fan_in_uniform(random, inner_, taps_),
                                ParameterGroup::no_decay);
        ssm_ = make_state_space(store, prefix + ".ssm", inner_, with_dt_rank(config.ssm, width), length, random);
        out_proj_ = &store.add_linear(prefix + ".out_proj.weight", {width, inner_},
                                      fan_in_uniform(random, width * inner_, inner_));
    }

    Var forward(Tape& tape, const Var& input, const Var* residual) const override {
        const auto qkv = tape.split(functions::linear(tape, input, *in_proj_, nullptr), {inner_, inner_, inner_});
        const Var k = functions::causal_conv1d(tape, qkv[1], *conv_weight_, conv_bias_, /*silu=*/false);
        const Var y = ssm_->forward(tape, functions::product(tape, k, qkv[2]), nullptr);
        return last_linear(tape, functions::product(tape, qkv[0], y), *out_proj_, nullptr, residual);
    }

    LayerState make_state(int64_t batch) const override {
        LayerState state = ssm_->make_state(batch);
        if (taps_ > 1) state.carried.push_back(backend_.zeros({batch, taps_ - 1, inner_}, in_proj_->value.dtype()));
        return state;
    }

    const StateSpace* state_space() const override { return ssm_->is_state_space() ? ssm_.get() : nullptr; }

    Tensor advance(const Tensor& input, LayerState& state) const override {
        const Tensor qkv = apply_linear(backend_, input, *in_proj_, nullptr);
        const Tensor k = backend_.allocate(with_columns(input, inner_), input.dtype());
        backend_.causal_conv1d_forward({.x = qkv.columns(inner_, inner_),
                                        .weight = conv_weight_->value,
                                        .bias = conv_bias_->value,
                                        .y = k,
                                        .state = taps_ > 1 ? state.carried.back().view() : View{},
                                        .silu = false});
        backend_.product_forward({.x1 = k, .x2 = qkv.columns(2 * inner_, inner_), .y = k});
        const Tensor y = ssm_->advance(k, {}, state);
        backend_.product_forward({.x1 = y, .x2 = qkv.columns(0, inner_), .y = y});
        return apply_linear(backend_, y, *out_proj_, nullptr);
    }

    BlockStep describe() const override { throw Error("engines know no H3 block"); }

  private:
    Backend& backend_;
    int64_t inner_, taps_;
    Parameter *in_proj_, *conv_weight_, *conv_bias_, *out_proj_;
    std::unique_ptr<StateSpace> ssm_;
};

class S4Layer final : public Layer {
  public:
    S4Layer(ParameterStore& store, const std::string& prefix, int64_t width, const LayerConfig& config, int64_t length,
            Random& random)
        : backend_(store.backend()),
          glu_(config.block == BlockKind::s4_mlp && config.glu),
          gelu_(config.ssm.kind != SsmKind::attention) {
        const int64_t out = glu_ ? 2 * width : width;
        ssm_ = make_state_space(store, prefix + ".ssm", width, with_dt_rank(config.ssm, width), length, random);
        weight_ = &store.add_linear(prefix + ".output_linear.weight", {out, width},
                                    fan_in_uniform(random, out * width, width));
        bias_ = &store.add_linear(prefix + ".output_linear.bias", {out}, fan_in_uniform(random, out, width));
    }

    Var forward(Tape& tape, const Var& x, const Var* residual) const override {
        Var y = ssm_->forward(tape, x, nullptr);
        if (gelu_) y = functions::gelu(tape, y);
        if (!glu_) return last_linear(tape, y, *weight_, bias_, residual);
        Var out = functions::glu(tape, functions::linear(tape, y, *weight_, bias_));
        return residual ? functions::add(tape, *residual, std::move(out)) : out;
    }

    LayerState make_state(int64_t batch) const override { return ssm_->make_state(batch); }

    const StateSpace* state_space() const override { return ssm_->is_state_space() ? ssm_.get() : nullptr; }

    Tensor advance(const Tensor& x, LayerState& state) const override {
        const Tensor y = ssm_->advance(x, {}, state);
        if (gelu_) backend_.gelu_forward({.x = y, .y = y});
        const Tensor out = apply_linear(backend_, y, *weight_, bias_);
        if (!glu_) return out;
        const Tensor gated = backend_.allocate(x.shape(), x.dtype());
        backend_.glu_forward({.x = out, .y = gated});
        return gated;
    }

    BlockStep describe() const override {
        BlockStep step;
        step.kind = BlockStepKind::s4;
        step.out = describe_linear(backend_, *weight_, bias_);
        step.glu = glu_;
        step.ssm = ssm_->describe();
        return step;
    }

  private:
    Backend& backend_;
    bool glu_, gelu_;
    Parameter *weight_, *bias_;
    std::unique_ptr<StateSpace> ssm_;
};

class MlpLayer final : public Layer {
  public:
    MlpLayer(ParameterStore& store, const std::string& prefix, int64_t width, int64_t expand, Random& random)
        : backend_(store.backend()) {
        const int64_t inner = expand * width;
        up_ = &store.add_linear(prefix + ".up.weight", {inner, width}, fan_in_uniform(random, inner * width, width));
        up_bias_ = &store.add_linear(prefix + ".up.bias", {inner}, fan_in_uniform(random, inner, width));
        down_ =
            &store.add_linear(prefix + ".down.weight", {width, inner}, fan_in_uniform(random, width * inner, inner));
        down_bias_ = &store.add_linear(prefix + ".down.bias", {width}, fan_in_uniform(random, width, inner));
    }

    Var forward(Tape& tape, const Var& x, const Var* residual) const override {
        const Var hidden = functions::gelu(tape, functions::linear(tape, x, *up_, up_bias_));
        return last_linear(tape, hidden, *down_, down_bias_, residual);
    }

    LayerState make_state(int64_t) const override { return {}; }

    Tensor advance(const Tensor& x, LayerState&) const override {
        const Tensor hidden = apply_linear(backend_, x, *up_, up_bias_);
        backend_.gelu_forward({.x = hidden, .y = hidden});
        return apply_linear(backend_, hidden, *down_, down_bias_);
    }

    BlockStep describe() const override {
        BlockStep step;
        step.kind = BlockStepKind::mlp;
        step.in = describe_linear(backend_, *up_, up_bias_);
        step.out = describe_linear(backend_, *down_, down_bias_);
        return step;
    }

  private:
    Backend& backend_;
    Parameter *up_, *up_bias_, *down_, *down_bias_;
};

}  // namespace

std::unique_ptr<Layer> make_mamba_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                        const LayerConfig& config, int64_t length, Random& random) {
    return std::make_unique<MambaLayer>(store, prefix, width, config, length, random);
}

std::unique_ptr<Layer> make_h3_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                     const LayerConfig& config, int64_t length, Random& random) {
    return std::make_unique<H3Layer>(store, prefix, width, config, length, random);
}

std::unique_ptr<Layer> make_s4_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                     const LayerConfig& config, int64_t length, Random& random) {
    return std::make_unique<S4Layer>(store, prefix, width, config, length, random);
}

std::unique_ptr<Layer> make_mlp_layer(ParameterStore& store, const std::string& prefix, int64_t width, int64_t expand,
                                      Random& random) {
    return std::make_unique<MlpLayer>(store, prefix, width, expand, random);
}

Norm::Norm(ParameterStore& store, const std::string& prefix, int64_t width, NormKind kind, double eps)
    : store_(store), kind_(kind), width_(width), eps_(eps) {
    const int64_t n = kind == NormKind::scalar ? 1 : width;
    weight_ =
        &store.add(prefix + ".weight", {n}, std::vector<double>(static_cast<size_t>(n), 1.0), ParameterGroup::no_decay);
    if (kind != NormKind::rms)
        bias_ = &store.add(prefix + ".bias", {n}, std::vector<double>(static_cast<size_t>(n), 0.0),
                           ParameterGroup::no_decay);
}

Var Norm::forward(Tape& tape, const Var& x) const {
    return functions::norm(tape, kind_, eps_, x, *weight_, bias_, store_.activations());
}

Tensor Norm::apply(const Tensor& x) const {
    const Tensor y = store_.backend().allocate(x.shape(), store_.activations());
    store_.backend().norm_forward({.kind = kind_,
                                   .eps = eps_,
                                   .x = x,
                                   .weight = weight_->value,
                                   .bias = bias_ ? bias_->value.view() : View{},
                                   .y = y,
                                   .mean = {},
                                   .rstd = {}});
    return y;
}

NormMap Norm::describe() const {
    NormMap map;
    map.kind = kind_;
    map.eps = eps_;
    map.width = width_;
    map.weight = download_floats(store_.backend(), weight_->value);
    if (bias_) map.bias = download_floats(store_.backend(), bias_->value);
    return map;
}

BlockStep ResidualBlock::describe() const {
    BlockStep step = layer_->describe();
    step.norm = norm_.describe();
    return step;
}

Tensor ResidualBlock::advance(Backend& backend, const Tensor& x, LayerState& state) const {
    const Tensor y = layer_->advance(norm_.apply(x), state);
    const Tensor sum = y.dtype() == x.dtype() ? y : backend.allocate(x.shape(), x.dtype());
    backend.add({.x1 = x, .x2 = y, .y = sum});
    return sum;
}

std::vector<ResidualBlock> make_residual_blocks(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const LayerConfig& layer, const ModelConfig& model, int64_t length,
                                                Random& random) {
    const auto norm = [&](const std::string& name) {
        return Norm(store, prefix + "." + name, width, model.norm, model.norm_eps);
    };
    std::vector<ResidualBlock> blocks;
    if (layer.block == BlockKind::mamba) {
        Norm n = norm("norm");
        blocks.emplace_back(std::move(n), make_mamba_layer(store, prefix + ".mamba", width, layer, length, random));
        return blocks;
    }
    Norm first = norm("norm");
    if (layer.block == BlockKind::h3) {
        blocks.emplace_back(std::move(first), make_h3_layer(store, prefix + ".h3", width, layer, length, random));
        return blocks;
    }
    const std::string name = layer.ssm.kind == SsmKind::attention ? ".attention" : ".s4";
    blocks.emplace_back(std::move(first), make_s4_layer(store, prefix + name, width, layer, length, random));
    if (layer.block == BlockKind::s4_mlp && layer.ff_expand > 0) {
        Norm second = norm("mlp_norm");
        blocks.emplace_back(std::move(second), make_mlp_layer(store, prefix + ".mlp", width, layer.ff_expand, random));
    }
    return blocks;
}

}  // namespace nigiri
