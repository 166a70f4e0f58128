// Where the time of a CUDA engine goes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/recurrent_engine.h"

namespace nigiri::cuda::engine {

// Draws what `request` says and returns for every phase its name and the cycles a sample that block 0 spends in it, its
// barrier included; the drawing of the codes comes last. Throws Error where `engine` is none of make_cuda_engine().
std::vector<std::pair<std::string, double>> phase_cycles(RecurrentEngine& engine, const DrawRequest& request);

}  // namespace nigiri::cuda::engine
