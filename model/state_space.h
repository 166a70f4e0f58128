// The sequence layers inside a block: maps from (B, L, D) to (B, L, D) that carry information along the length.
// Each has two forms that agree: forward() over a whole sequence from a zero state, differentiable; and advance(),
// which continues from a state by any number of samples, one included.
#pragma once

#include <memory>
#include <vector>

#include "kernels/random.h"
#include "kernels/recurrent_program.h"
#include "model/config.h"
#include "model/functions.h"
#include "model/initialization.h"

namespace nigiri {

// What a layer carries from sample to sample, and what it derived from its parameters when the state was made
// (so a state is out of date once the parameters change). Copying shares memory; clone() does not.
struct LayerState {
    std::vector<Tensor> carried;  // first axis: batch
    std::vector<Tensor> constants;
    // For looking into an S6 layer: where `keep_delta` is set, advance() leaves its step sizes here, (B, L, D) after
    // the softplus.
    bool keep_delta = false;
    Tensor delta;
    // A layer that remembers all of its inputs (remembers_all): how many they are, the first rows of carried[0], which
    // is (batch, capacity, columns) and grows. Negative for all other layers.
    int64_t taken = -1;

    LayerState clone(Backend& backend) const;
};

class StateSpace {
  public:
    virtual ~StateSpace() = default;
    // y = layer(u), times silu(z) where a gate is given.
    virtual Var forward(Tape& tape, const Var& u, const Var* z) const = 0;
    virtual LayerState make_state(int64_t batch) const = 0;
    // u, z (B, L, D), L >= 1; z may be empty.
    virtual Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const = 0;
    virtual int64_t channels() const = 0;  // D
    // The convolution kernel does not depend on the input: S4D, S4 and Hyena.
    virtual bool time_invariant() const = 0;
    // Whether there is a kernel or a step size to look at.
    virtual bool is_state_space() const { return true; }
    // The layer as engines are given it, its values as they are now. Throws Error where engines do not know it
    // (has_recurrent_program).
    virtual StateSpaceMap describe() const = 0;
};

// Makes room for `more` rows behind the ones that `state.carried[0]` holds; it at least doubles when it is full.
// Throws Error where memory does not suffice.
void reserve_rows(Backend& backend, LayerState& state, int64_t more);

// `width` is D; parameters are added to `store` under `prefix`. `length` is the training length at this layer's rate
// (the original S4 ties its C to it).
std::unique_ptr<StateSpace> make_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random);

// A and B as a configuration says they begin, `copies` times. Draws from `random` for SsmInit::random only.
StateMatrices initial_copies(const SsmConfig& config, int64_t copies, Random& random);

// model/s4_state_space.cpp, s6_state_space.cpp, hyena_layer.cpp and attention_layer.cpp.
std::unique_ptr<StateSpace> make_s4_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, int64_t length, Random& random);
std::unique_ptr<StateSpace> make_s6_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, Random& random);
std::unique_ptr<StateSpace> make_hyena_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random);
std::unique_ptr<StateSpace> make_attention_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                                 const SsmConfig& config, Random& random);

}  // namespace nigiri
