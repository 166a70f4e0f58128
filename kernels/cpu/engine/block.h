// A residual block of an engine, x + layer(norm(x)), one sample at a time and on all threads of a team: each works on
// its share of the channels, and they meet where a map needs them all.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/engine/rows.h"
#include "kernels/cpu/engine/short_conv.h"
#include "kernels/cpu/engine/state_step.h"
#include "kernels/cpu/engine/team.h"

namespace nigiri::cpu {

// A map for a team, one packed matrix a share of the work: each has its range of each of `parts` equal parts of the
// outputs, and each part begins in the result's row where a cache line begins.
std::vector<PackedMatrix> pack_shares(const LinearMap& map, int64_t parts, const StepMemory& memory);

// The part's shares of a map.
void multiply(const std::vector<PackedMatrix>& map, const Part& part, Rows x, Rows y, int64_t streams, bool add);

// Rows that blocks use one after the other.
struct Scratch {
    std::vector<Rows> normal;    // one a share
    Rows projected, mixed, out;  // (2 x widest), widest, widest

    // For rows of at most `widest` elements.
    Scratch(int64_t widest, int shares, int64_t streams, Arena& arena);
};

class EngineBlock {
  public:
    // `phase` as in make_s4d_step. Throws Error where the step's parts do not fit each other.
    EngineBlock(const BlockStep& step, int64_t width, int64_t phase, const StepMemory& memory);

    // Sample `time` of every stream. Each thread leaves its part of x's row done and has not met the others since.
    void run(const Part& part, int64_t time, Rows x, Scratch& scratch);

    StreamState::Block state(int64_t stream, int64_t time) const;
    bool fits(const StreamState::Block& state) const;
    void set_state(int64_t stream, int64_t time, const StreamState::Block& state);

    // The widest row that a step needs in scratch.
    static int64_t widest(const BlockStep& step);

  private:
    void run_mamba(const Part& part, int64_t time, Rows normal, Rows x, Scratch& scratch);
    void run_s4(const Part& part, int64_t time, Rows normal, Rows x, Scratch& scratch);
    void run_mlp(const Part& part, Rows normal, Rows x, Scratch& scratch);

    BlockStepKind kind_;
    bool glu_;
    int64_t width_, inner_, streams_;
    int shares_;
    RowNorm norm_;
    std::vector<PackedMatrix> in_, out_;  // one a share
    ShortConv conv_;
    std::unique_ptr<StateStep> ssm_;
};

}  // namespace nigiri::cpu
