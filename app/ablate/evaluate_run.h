// What a trained run of a grid is asked: exact bits of held-out audio, and clips.
#pragma once

#include "app/ablate/run_result.h"
#include "audio/dataset.h"
#include "model/checkpoint.h"

namespace nigiri::app {

// Held-out audio in pieces as long as the clips, for their distances from it; made once for all runs.
std::unique_ptr<HeldOut> held_out_for(const Dataset& data, const GridEvaluation& evaluation, const Progress& progress);

// Fills in result.bits. Throws Error where the part is empty, and Cancelled.
void measure_bits(const Checkpoint& checkpoint, const Dataset& data, const GridEvaluation& evaluation,
                  const std::shared_ptr<Backend>& backend, RunResult& result, const Progress& progress);

// Writes clips into the run's folder and fills in result.clips, and result.similarity where `held_out` is given. They
// are made by the processor's engine wherever the run was trained: the same code for all, and faster than a launch an
// operation. Throws Error and Cancelled.
void make_clips(const Checkpoint& checkpoint, const std::filesystem::path& run, const GridEvaluation& evaluation,
                const HeldOut* held_out, const std::shared_ptr<Backend>& processor, RunResult& result,
                const Progress& progress);

}  // namespace nigiri::app
