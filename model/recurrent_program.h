// A network as engines (kernels/recurrent_engine.h) run it, and what its streams remember, to and from the states of
// the parallel pass.
#pragma once

#include "kernels/recurrent_program.h"
#include "model/network.h"

namespace nigiri {

// Whether engines know all of a network's blocks and layers: they know the state spaces in Mamba and S4 blocks, and the
// plain block. What they do not know runs by Network::advance.
bool has_recurrent_program(const ModelConfig& config);
// The network with its values as they are now; later changes do not reach the program. Throws Error where engines do
// not know it.
RecurrentProgram recurrent_program(const Network& network);

// Row `stream` of a network's state. Throws Error where there is no such row.
StreamState stream_state(const Network& network, const NetworkState& state, int64_t stream);

// Replaces row `stream`; the state's position, which is one for all rows, becomes the stream's. Throws Error where the
// stream does not fit the network; nothing has changed then. Rows of layers that remember all of their inputs are
// equally long, so that where there are several, only a stream of the same length fits.
void set_network_state(const Network& network, NetworkState& state, int64_t stream, const StreamState& from);

}  // namespace nigiri
