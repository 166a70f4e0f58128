// One update of a network: forward, backward, clipping, AdamW.
//
// A step is some thousands of operations, the same ones every time. Where the backend can record them (a GPU, which
// small batches leave waiting for the launches), forward and backward pass are recorded once for each shape of batch
// and then replayed, with the same numbers bit for bit. What changes from step to step stays outside: the batch, its
// scale and the rounded weights are written to fixed places before, the optimizer's launches come behind.
#pragma once

#include <string>
#include <vector>

#include "model/network.h"
#include "model/optimizer.h"

namespace nigiri {

// Token sequences and what should follow each token; -1 marks positions that do not count. (batch, length) row-major.
struct Batch {
    int64_t batch = 0, length = 0;
    std::vector<int32_t> inputs, targets;
};

// A batch on the device: sequences padded at the end to whole coarse steps; the padding does not count.
struct DeviceBatch {
    Tensor tokens, targets;  // (B, L), (B L) int32
    Tensor scale;            // (1): what makes the sum of all losses a mean, of the parameters' type
    int64_t counted = 0;     // positions

    DeviceBatch(const Network& network, const Batch& like);
    // A batch of the same shape as `like` had.
    void upload(const Batch& batch);
    double mean_scale() const { return 1.0 / static_cast<double>(counted > 0 ? counted : 1); }

  private:
    Backend* backend_;
};

// The loss stopped being a number. The network that remains is not worth saving.
class Diverged : public Error {
  public:
    using Error::Error;
};

// The mean loss in nats before the update, and the norm of its gradient before clipping.
struct StepResult {
    double nats = 0, gradient_norm = 0;
};

class TrainingStep {
  public:
    // `record`: whether steps may be recorded. Network and optimizer must outlive this, and the network's activations
    // and what it recomputes must be the same at every step.
    TrainingStep(Network& network, Optimizer& optimizer, bool record);

    // One update, with the optimizer's rates times `factor`. Throws Diverged where loss or norm are not numbers.
    StepResult run(const Batch& batch, double factor = 1);

    // Whether the last step ran as all later ones of its shape will: what is made at first is made.
    bool settled() const { return settled_; }
    // For people: why steps are not recorded though they could be; empty where nothing went wrong.
    const std::string& note() const { return note_; }

  private:
    // What the steps of one shape of batch share.
    struct Prepared {
        int64_t batch, length;
        DeviceBatch device;
        Tensor losses;  // (B L)
        int plain = 0;  // steps that ran operation by operation
        std::shared_ptr<RecordedWork> recording;
    };

    Prepared& prepared(const Batch& batch);
    bool replay(Prepared& p);
    void stop_recording(const std::string& why);

    Network& network_;
    Optimizer& optimizer_;
    bool record_, settled_ = false;
    int lost_ = 0;  // recordings that the backend gave up
    std::string note_;
    std::vector<std::unique_ptr<Prepared>> prepared_;  // the last used one first
};

// One update, operation by operation.
StepResult training_step(Network& network, Optimizer& optimizer, const Batch& batch, double factor = 1);

// Bytes of backend memory that training `config` takes at its peak, measured on two short passes and extrapolated along
// the tokens of a batch (activations grow linearly; parameters, gradients and moments do not).
size_t estimate_training_bytes(const std::shared_ptr<Backend>& backend, const Config& config);

}  // namespace nigiri
