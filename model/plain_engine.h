// Network::advance as an engine: slow, the reference for all others, and what runs where they cannot.
#pragma once

#include <memory>

#include "kernels/recurrent_engine.h"
#include "model/network.h"

namespace nigiri {

class PlainEngine final : public RecurrentEngine {
  public:
    // `network` must outlive the engine and keep its parameters. Throws Error unless it is a float32 network and there
    // is at least one stream. Streams are computed side by side, or, where a layer remembers all of its inputs
    // (remembers_all), one after the other: what they remember then differs in length.
    PlainEngine(const Network& network, int64_t streams);

    int64_t streams() const override { return static_cast<int64_t>(positions_.size()); }
    int64_t vocabulary() const override { return network_.config().vocabulary; }
    std::string description() const override { return "plain steps, " + network_.backend().description(); }
    size_t weight_bytes() const override;
    void advance(const int32_t* codes, float* logits) override;
    StreamState state(int64_t stream) const override;
    void set_state(int64_t stream, const StreamState& state) override;

  private:
    void check_stream(int64_t stream) const;
    // The state that holds a stream, and its row there.
    size_t state_of(int64_t stream) const { return static_cast<size_t>(stream / together_); }
    int64_t row_of(int64_t stream) const { return stream % together_; }

    const Network& network_;
    int64_t together_;  // streams a state
    std::vector<NetworkState> states_;
    Tensor tokens_;
    std::vector<int64_t> positions_;  // one a stream: they may differ by whole periods
};

}  // namespace nigiri
