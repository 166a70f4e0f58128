// The SaShiMi U-Net: an autoregressive model of codes. Stage i runs at 1 / (p_0 ... p_{i-1}) of the sample rate and
// is width * expand^i wide; the innermost stage is the centre.
//
//   tokens -> embedding -> [down 0] -> pool -> ... -> centre -> ... -> up-pool -> + skip -> [up 0] -> norm -> head
//
// Without pools the centre is all there is: an isotropic network (with the centre's skip around it).
//
// forward() runs whole sequences and records for training. advance() continues from a state, sample by sample or
// in longer pieces; both give the same logits.
#pragma once

#include <memory>
#include <vector>

#include "model/block.h"

namespace nigiri {

// Everything a running network remembers; constant in size, unless a layer remembers all of its inputs (remembers_all).
// It belongs to the parameters it was made from.
struct NetworkState {
    int64_t batch = 0;
    int64_t position = 0;            // samples taken in so far
    std::vector<LayerState> blocks;  // in the order of Network's construction
    std::vector<Tensor> down, up;    // one a pool: samples collected for it; its last output, (B, p H')

    NetworkState clone(Backend& backend) const;
};

// The type of activations that a precision means on a backend.
DType activation_type(Precision precision, const Backend& backend);

// One of a network's state spaces, for looking at what it learned.
struct StateSpaceInfo {
    std::string name;    // "down.0.1", as its parameters begin
    int64_t stride = 1;  // samples a step
    size_t state = 0;    // of NetworkState::blocks
    const StateSpace* layer = nullptr;
};

class Network {
  public:
    // Draws initial values from `seed`. `training_length` ties the original S4's kernels; other layers ignore it.
    Network(std::shared_ptr<Backend> backend, const ModelConfig& config, DType dtype, uint64_t seed,
            int64_t training_length);
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    const ModelConfig& config() const { return config_; }
    ParameterStore& parameters() { return store_; }
    const ParameterStore& parameters() const { return store_; }
    Backend& backend() const { return store_.backend(); }
    DType dtype() const { return store_.dtype(); }  // of parameters, the residual stream, states and logits
    // Layers compute in this type, dtype() unless set; bf16 where the backend has it. Values already derived stay as
    // they are.
    DType activations() const { return store_.activations(); }
    void set_activations(DType dtype);
    // Whether forward() keeps only what enters a layer, and the backward pass computes the rest again.
    void set_recompute(bool recompute) { recompute_ = recompute; }
    // Whether it does not keep what is cheap to compute again (model/functions.h).
    void set_recompute_cheap(bool recompute) { recompute_cheap_ = recompute; }

    // In the order of the signal's way: down, centre, up. Valid as long as the network.
    std::vector<StateSpaceInfo> state_spaces() const;

    // The longest sequence forward() takes: the training length where an original S4 is tied to it, else no limit.
    int64_t longest_forward() const;

    // tokens (B, L) int32, L a multiple of config().pool_product() -> logits (B, L, V). Position l sees tokens 0..l.
    Var forward(Tape& tape, const Tensor& tokens) const;
    // The same without recording, for any L >= 1.
    Tensor logits(const Tensor& tokens) const;

    NetworkState make_state(int64_t batch) const;
    // tokens (B, L), L >= 1: the next L tokens -> logits (B, L, V).
    Tensor advance(const Tensor& tokens, NetworkState& state) const;
    // The network as engines that run it sample by sample are given it, its values as they are now.
    RecurrentProgram describe() const;

  private:
    struct Pool {
        int64_t factor = 0, outer_width = 0, inner_width = 0;
        Parameter *down_weight = nullptr,
                  *down_bias = nullptr;                      // (inner, p outer): a coarse step's samples in time order
        Parameter *up_weight = nullptr, *up_bias = nullptr;  // (p outer, inner)
    };
    struct Stage {
        std::vector<ResidualBlock> down, up;
        std::vector<size_t> down_states, up_states;
    };

    Pool make_pool(const std::string& name, int64_t factor, int64_t width, Random& random);
    Var forward_stage(Tape& tape, size_t i, const Var& x) const;
    Var forward_block(Tape& tape, const ResidualBlock& block, const Var& x) const;
    Tensor advance_stage(size_t i, Tensor x, NetworkState& state) const;
    Tensor advance_piece(const Tensor& tokens, NetworkState& state) const;
    // The inner stage's contribution to stage i after the pools, before the skip; samples of one coarse step or whole
    // steps.
    Tensor advance_inner(size_t i, const Tensor& x, NetworkState& state) const;
    Tensor advance_block(const ResidualBlock& block, size_t index, const Tensor& x, NetworkState& state) const;

    ModelConfig config_;
    int64_t training_length_;
    bool recompute_ = false, recompute_cheap_ = false;
    ParameterStore store_;
    Parameter* embedding_ = nullptr;
    std::vector<Stage> stages_;  // the last is the centre; its blocks stand in `down`
    std::vector<Pool> pools_;
    size_t block_count_ = 0;
    std::unique_ptr<Norm> norm_;
    Parameter *head_weight_ = nullptr, *head_bias_ = nullptr;
};

}  // namespace nigiri
