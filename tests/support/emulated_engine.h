// The CUDA engine's phases, run on the host by one thread: what a block does between two barriers is done warp after
// warp, in either order. Whatever a warp should not yet see is there in one of the two, so that equal results of both
// mean that no barrier is missing.
#pragma once

#include "kernels/cuda/engine/grouped_engine.h"

namespace nigiri::cuda::engine {
struct BlockMemory;
}

namespace nigiri::test {

class EmulatedEngine final : public cuda::engine::GroupedEngine {
  public:
    EmulatedEngine(const RecurrentProgram& program, WeightFormat weights, int64_t streams, int per_group,
                   bool backwards = false);

    std::string description() const override { return "emulated blocks"; }

  protected:
    void read_group(int64_t group, float* state) const override;
    void write_group(int64_t group, const float* state) override;
    void run(uint32_t position, const int32_t* codes, float* logits) override;
    void run_draw(uint32_t position, const DrawRequest& request, const DrawSink& sink, int64_t& drawn) override;

  private:
    template <int kParts, class F>
    void by_streams(F&& f);
    template <class F>
    void by_kind(F&& f);
    int32_t code_of(const int32_t* codes, int64_t stream) const { return stream < streams() ? codes[stream] : 0; }
    const float* group_state(int64_t group) const {
        return state_.data() + static_cast<size_t>(group) * image().program.state_size;
    }
    cuda::engine::BlockMemory memory(int64_t group);

    bool backwards_;
    std::vector<float> state_;
    std::vector<cuda::engine::Piece> shared_;
};

}  // namespace nigiri::test
