// AdamW over the papers' parameter groups, with gradient clipping, and the learning rate schedules.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/parameter.h"

namespace nigiri {

class Optimizer {
  public:
    Optimizer(ParameterStore& store, const TrainingConfig& config);

    // One update with every group's rate times `factor`, gradients clipped to config.clip; gradients are zero
    // afterwards. Where their norm is not a number, nothing is updated.
    void step(double factor);
    // The norm over all gradients at the last step, before clipping; waits.
    double gradient_norm() const { return store_.backend().gradient_norm(set_); }
    int64_t steps() const { return steps_; }
    void set_steps(int64_t steps) { steps_ = steps; }

    struct Moments {
        Tensor m, v;
    };
    // In the order of the store's parameters; for checkpoints.
    const std::vector<Moments>& moments() const { return moments_; }

  private:
    ParameterStore& store_;
    TrainingConfig config_;
    std::vector<Moments> moments_;
    AdamWSet set_;
    int64_t steps_ = 0;
};

// Linear warm-up to 1 over the first `warmup` of the run, then a half cosine to `final_rate`. `progress` in [0, 1] is
// the share of the run that is done.
double cosine_factor(const TrainingConfig& config, double progress);

// Lowers the rate by `plateau_factor` when the validation loss has not improved `plateau_patience` times in a row.
struct PlateauState {
    double factor = 1;
    double best = 1e300;
    int64_t bad = 0;

    void observe(const TrainingConfig& config, double validation);
};

}  // namespace nigiri
