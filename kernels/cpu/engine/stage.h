// One stage of the U-Net in an engine. Its step is a list of pieces, so that the step of an inner stage can be spread
// over the samples of the outermost stage that pass before its result is needed.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/engine/block.h"

namespace nigiri::cpu {

class Stage {
  public:
    // `skip_layers` as in RecurrentProgram. Throws Error where parts of the program do not fit each other.
    Stage(const StageProgram& program, bool skip_layers, const StepMemory& memory);
    virtual ~Stage() = default;

    // Enter, blocks on the way down, blocks on the way up, leave.
    int pieces() const { return 2 + static_cast<int>(down_.size() + up_.size()); }
    // After this piece of the last step of a coarse one the stage below has its input; -1 where there is none.
    int gathering_piece() const { return innermost() ? -1 : static_cast<int>(down_.size()); }
    bool innermost() const { return factor_ == 0; }
    int64_t factor() const { return factor_; }  // of the pool below; 0: none

    // Piece `piece` of step `time`, all streams; called by every thread for its part.
    void run(int piece, const Part& part, int64_t time, Scratch& scratch);

    // A stream's part of the state before step `time`.
    void save(int64_t stream, int64_t time, StreamState& state, size_t stage) const;
    bool fits(const StreamState& state, size_t stage) const;
    void load(int64_t stream, int64_t time, const StreamState& state, size_t stage);

  protected:
    virtual void enter(const Part& part) = 0;                    // the part of x is the step's input
    virtual void leave(const Part& part, Scratch& scratch) = 0;  // x is done and all have met

    int64_t width_, factor_, streams_;
    int shares_;
    Rows x_;
    Rows gathered_, raised_;  // (factor x width) for the stage below; (factor x padded width) from it

  private:
    friend class InnerStage;
    void gather(Share share, int64_t time);
    void copy_share(Share share, Rows from, Rows to) const;
    void add_share(Share share, Rows from) const;  // to x

    bool skip_layers_;
    std::vector<EngineBlock> down_, up_;
    std::vector<size_t> down_states_, up_states_;
    Rows before_;              // x before the blocks that one skip goes around
    std::vector<Rows> skips_;  // skip_layers: x before every block of the way down
};

// The outermost stage: codes to logits.
class OuterStage final : public Stage {
  public:
    OuterStage(const RecurrentProgram& program, const StepMemory& memory);

    const int32_t* codes = nullptr;  // of the sample under way, one a stream
    Rows logits() const { return logits_; }

  private:
    void enter(const Part& part) override;
    void leave(const Part& part, Scratch& scratch) override;

    Rows embedding_;
    RowNorm norm_;
    std::vector<PackedMatrix> head_;
    Rows logits_;
};

// A stage below `outer`, with the pools between them.
class InnerStage final : public Stage {
  public:
    InnerStage(const RecurrentProgram& program, size_t index, Stage& outer, const StepMemory& memory);

  private:
    void enter(const Part& part) override;
    void leave(const Part& part, Scratch& scratch) override;

    Stage& outer_;
    std::vector<PackedMatrix> pool_down_, pool_up_;
};

}  // namespace nigiri::cpu
