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
    // The convolution kernel does not depend on the input: S4D and S4.
    virtual bool time_invariant() const = 0;
    // The layer as engines are given it, its values as they are now.
    virtual StateSpaceMap describe() const = 0;
};

// `width` is D; parameters are added to `store` under `prefix`. `length` is the training length at this layer's rate
// (the original S4 ties its C to it).
std::unique_ptr<StateSpace> make_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random);

// The initialisation that a configuration names.
StateInit state_init(const SsmConfig& config);
// The values of one copy, `copies` times.
std::vector<double> repeated(const std::vector<double>& values, int64_t copies);

// model/s4_state_space.cpp and model/s6_state_space.cpp.
std::unique_ptr<StateSpace> make_s4_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, int64_t length, Random& random);
std::unique_ptr<StateSpace> make_s6_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                                const SsmConfig& config, Random& random);

}  // namespace nigiri
