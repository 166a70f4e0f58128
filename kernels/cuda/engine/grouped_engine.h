// What an engine of groups of streams is apart from where it runs: positions, states, and what is asked of callers.
#pragma once

#include <map>

#include "kernels/cuda/engine/pack.h"

namespace nigiri::cuda::engine {

class GroupedEngine : public RecurrentEngine {
  public:
    int64_t streams() const override { return streams_; }
    int64_t vocabulary() const override { return image_.program.vocabulary; }
    size_t weight_bytes() const override { return image_.weights.size() * sizeof(Piece); }
    void advance(const int32_t* codes, float* logits) override;
    StreamState state(int64_t stream) const override;
    // States wait until they are needed, so that streams can be set one after the other.
    void set_state(int64_t stream, const StreamState& state) override;
    bool can_draw() const override;
    int64_t draw(const DrawRequest& request, const DrawSink& sink) override;

  protected:
    GroupedEngine(const RecurrentProgram& program, WeightFormat weights, int64_t streams, int per_group);

    const Image& image() const { return image_; }
    int64_t groups() const { return groups_; }
    int per_group() const { return image_.program.streams; }

    // A group's state, image().program.state_size floats.
    virtual void read_group(int64_t group, float* state) const = 0;
    virtual void write_group(int64_t group, const float* state) = 0;
    // One sample at `position` (modulo program.wrap): codes (streams) -> logits (streams, vocabulary).
    virtual void run(uint32_t position, const int32_t* codes, float* logits) = 0;
    // As draw(), from `position`; everything has been checked. Sets `drawn` also where it throws.
    virtual void run_draw(uint32_t position, const DrawRequest& request, const DrawSink& sink, int64_t& drawn) = 0;

  private:
    // Writes the states that wait.
    void settle_states();
    void check_codes(const int32_t* codes) const;
    void move(int64_t samples);

    Image image_;
    int64_t streams_, groups_;
    int64_t position_ = 0;            // of the engine
    std::vector<int64_t> positions_;  // as the streams report theirs
    std::map<int64_t, StreamState> waiting_;
};

}  // namespace nigiri::cuda::engine
