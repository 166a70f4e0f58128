// The diagonal-plus-low-rank step in float64, channel by channel, as the backend runs it.
#include <algorithm>

#include "kernels/cpu/engine/rows.h"
#include "kernels/cpu/engine/state_step.h"
#include "kernels/cpu/s4_channel.h"

namespace nigiri::cpu {

namespace {

class S4Step final : public StateStep {
  public:
    S4Step(const StateSpaceMap& map, const StepMemory& memory)
        : channels_(map.channels), states_(map.states), shares_(memory.shares), streams_(memory.streams) {
        double* factors = memory.other->allocate<double>(channels_ * s4_factors(states_));
        skip_ = memory.other->allocate<double>(channels_);
        state_ = memory.other->allocate<double>(streams_ * channels_ * 2 * states_);
        for (int64_t d = 0; d < channels_; ++d) {
            skip_[d] = map.skip.empty() ? 0.0 : static_cast<double>(map.skip[static_cast<size_t>(d)]);
            for (int64_t n = 0; n < states_; ++n) {
                const auto i = static_cast<size_t>(d * states_ + n);
                s4_put_factors(factors + d * s4_factors(states_), states_, n, map.a[i], map.f[i], map.g[i], map.b[i],
                               map.c[i]);
            }
        }
        factors_ = factors;
    }

    void step(const Part& part, int64_t, Rows u, Rows z, Rows y) override {
        const Share share = share_of(channels_, part, shares_);
        for (int64_t s = 0; s < streams_; ++s) {
            for (int64_t d = share.begin; d < std::min(share.end, channels_); ++d)
                s4_run_channel(factors_ + d * s4_factors(states_), states_, skip_[d], u[s] + d, y[s] + d, 1, 0, 0,
                               state_ + (s * channels_ + d) * 2 * states_);
            if (z.data) gate_row(z[s] + share.begin, y[s] + share.begin, share.size());
        }
    }

    std::vector<double> state(int64_t stream, int64_t) const override {
        const double* h = state_ + stream * static_cast<int64_t>(state_size());
        return {h, h + state_size()};
    }
    void set_state(int64_t stream, int64_t, const std::vector<double>& values) override {
        std::copy(values.begin(), values.end(), state_ + stream * static_cast<int64_t>(state_size()));
    }
    size_t state_size() const override { return static_cast<size_t>(channels_ * 2 * states_); }

  private:
    int64_t channels_, states_;
    int shares_;
    int64_t streams_;
    const double* factors_ = nullptr;
    double *skip_ = nullptr, *state_ = nullptr;
};

}  // namespace

std::unique_ptr<StateStep> make_s4_step(const StateSpaceMap& map, const StepMemory& memory) {
    return std::make_unique<S4Step>(map, memory);
}

}  // namespace nigiri::cpu
