// The blocks of a stage: x + layer(norm(x)), with a layer that is a Mamba, H3 or S4 block or an MLP.
#pragma once

#include <memory>

#include "model/state_space.h"

namespace nigiri {

// A map (B, L, D) -> (B, L, D), in the two forms of StateSpace.
class Layer {
  public:
    virtual ~Layer() = default;
    // layer(x), of x's type, or, where a residual is given, residual + layer(x), of the residual's type.
    virtual Var forward(Tape& tape, const Var& x, const Var* residual = nullptr) const = 0;
    virtual LayerState make_state(int64_t batch) const = 0;
    virtual Tensor advance(const Tensor& x, LayerState& state) const = 0;
    // Null where there is none, or none that can be looked into.
    virtual const StateSpace* state_space() const { return nullptr; }
    // The layer as engines are given it, without the norm before it.
    virtual BlockStep describe() const = 0;
};

// in_proj, short convolution + SiLU, state space, gate, out_proj (Mamba paper, figure 3).
std::unique_ptr<Layer> make_mamba_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                        const LayerConfig& config, int64_t length, Random& random);
// in_proj -> q, k, v; q * layer(conv(k) * v); out_proj (H3, Fu et al. 2023, with heads of one channel; the short
// convolution stands for its shift SSM, as in Hyena).
std::unique_ptr<Layer> make_h3_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                     const LayerConfig& config, int64_t length, Random& random);
// State space with skip, GELU, output linear, with GLU where the configuration says so (S4Block of the S4 repository).
// Attention is followed by its output map alone.
std::unique_ptr<Layer> make_s4_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                     const LayerConfig& config, int64_t length, Random& random);
// Linear, GELU, linear.
std::unique_ptr<Layer> make_mlp_layer(ParameterStore& store, const std::string& prefix, int64_t width, int64_t expand,
                                      Random& random);

// Normalisation over the last axis with its parameters. What it gives is of the activations' type.
class Norm {
  public:
    Norm(ParameterStore& store, const std::string& prefix, int64_t width, NormKind kind, double eps);
    Var forward(Tape& tape, const Var& x) const;
    Tensor apply(const Tensor& x) const;
    NormMap describe() const;

  private:
    const ParameterStore& store_;
    NormKind kind_;
    int64_t width_;
    double eps_;
    Parameter* weight_;
    Parameter* bias_ = nullptr;
};

// x + layer(norm(x)).
class ResidualBlock {
  public:
    ResidualBlock(Norm norm, std::unique_ptr<Layer> layer) : norm_(std::move(norm)), layer_(std::move(layer)) {}

    Var forward(Tape& tape, const Var& x) const { return layer_->forward(tape, norm_.forward(tape, x), &x); }
    LayerState make_state(int64_t batch) const { return layer_->make_state(batch); }
    Tensor advance(Backend& backend, const Tensor& x, LayerState& state) const;
    const StateSpace* state_space() const { return layer_->state_space(); }
    BlockStep describe() const;

  private:
    Norm norm_;
    std::unique_ptr<Layer> layer_;
};

// The residual blocks that one configured layer stands for: a Mamba, H3 or plain block, or an S4 block and an MLP.
// `prefix` names the layer within its stage ("centre.0").
std::vector<ResidualBlock> make_residual_blocks(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const LayerConfig& layer, const ModelConfig& model, int64_t length,
                                                Random& random);

}  // namespace nigiri
