// Network::advance as an engine: slow, the reference for all others, and what runs where they cannot.
#pragma once

#include <memory>

#include "kernels/recurrent_engine.h"
#include "model/network.h"

namespace nigiri {

class PlainEngine final : public RecurrentEngine {
  public:
    // `network` must outlive the engine and keep its parameters. Throws Error unless it is a float32 network and there
    // is at least one stream.
    PlainEngine(const Network& network, int64_t streams);

    int64_t streams() const override { return state_.batch; }
    int64_t vocabulary() const override { return network_.config().vocabulary; }
    std::string description() const override { return "plain steps, " + network_.backend().description(); }
    size_t weight_bytes() const override;
    void advance(const int32_t* codes, float* logits) override;
    StreamState state(int64_t stream) const override;
    void set_state(int64_t stream, const StreamState& state) override;

  private:
    const Network& network_;
    NetworkState state_;
    Tensor tokens_;
    std::vector<int64_t> positions_;  // one a stream: they may differ by whole periods
};

}  // namespace nigiri
