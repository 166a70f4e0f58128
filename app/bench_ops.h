// Single operations at the shapes of a network's stages, timed one by one: where the time of a training step goes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "model/config.h"

namespace nigiri::app {

struct OpTime {
    std::string name, shape;
    double forward_ms = 0, backward_ms = 0;
    double forward_bytes = 0, backward_bytes = 0;  // that must be moved: every operand once
    double nanoseconds_per_token = 0;  // of a training step: both ways, times the operation's count in its stage
};

// The operations of `config`'s outer layer in every stage, with a batch and the precision of config.training. The first
// entry is a copy of a large tensor, the measure of what moves bytes.
std::vector<OpTime> bench_operations(const std::shared_ptr<Backend>& backend, const Config& config, int repeat,
                                     const std::atomic<bool>& stop);

}  // namespace nigiri::app
