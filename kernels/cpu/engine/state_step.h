// A state space layer of an engine, one sample at a time: what S4D, S4 and S6 have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/engine/packed_matrix.h"
#include "kernels/cpu/engine/team.h"

namespace nigiri::cpu {

// A range of channels, in whole cache lines.
struct Share {
    int64_t begin = 0, end = 0;
    int64_t size() const { return end - begin; }
};

// Shares [first, last) of a row of `width` elements that is cut into `shares`.
inline Share share_of(int64_t width, int first, int last, int shares) {
    const int64_t units = padded(width) / row_unit;
    return {units * first / shares * row_unit, units * last / shares * row_unit};
}
inline Share share_of(int64_t width, const Part& part, int shares) {
    return share_of(width, part.first, part.last, shares);
}

class StateStep {
  public:
    virtual ~StateStep() = default;

    // Sample `time`, counted from 0, of every stream, for a part of the channels: y = layer(u), times silu(z) where z
    // is given. What y holds behind the last channel is finite.
    virtual void step(const Part& part, int64_t time, Rows u, Rows z, Rows y) = 0;
    // Whether step() reads all channels of u and not those of the part only.
    virtual bool reads_all_channels() const { return false; }

    // What a stream remembers before sample `time`, in StreamState's layout.
    virtual std::vector<double> state(int64_t stream, int64_t time) const = 0;
    virtual void set_state(int64_t stream, int64_t time, const std::vector<double>& values) = 0;
    virtual size_t state_size() const = 0;  // numbers a stream
};

// Where a layer's memory comes from: the weights of linear maps by share, and everything else.
struct StepMemory {
    int shares = 1;  // of the work: one a thread
    int64_t streams = 1;
    WeightFormat format = WeightFormat::f32;
    std::vector<Arena>* weights = nullptr;  // one a share
    Arena* other = nullptr;
};

// `phase` shifts the blocks of samples after which an S4D layer works on its state.
std::unique_ptr<StateStep> make_s4d_step(const StateSpaceMap& map, int64_t phase, const StepMemory& memory);
std::unique_ptr<StateStep> make_s4_step(const StateSpaceMap& map, const StepMemory& memory);
std::unique_ptr<StateStep> make_s6_step(const StateSpaceMap& map, const StepMemory& memory);

}  // namespace nigiri::cpu
