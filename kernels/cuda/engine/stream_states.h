// A stream's state between the layout of StreamState and that of a group (packed.h). On the host, in float64.
#pragma once

#include "kernels/cuda/engine/pack.h"

namespace nigiri::cuda::engine {

// Stream `stream` of the group whose state `group` is, after `position` samples of the engine; the result says it
// stands at `reported`.
StreamState read_stream(const Image& image, const float* group, int stream, int64_t position, int64_t reported);

// The reverse. S4D layers stand somewhere in a block of 16 samples: what the state gives the rest of the block is
// computed here, and h enters at this place.
void write_stream(const Image& image, float* group, int stream, int64_t position, const StreamState& state);

// Throws Error where the state's arrays do not have the program's sizes.
void check_state(const Image& image, const StreamState& state);

}  // namespace nigiri::cuda::engine
