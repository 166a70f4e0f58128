// A network as engines (kernels/recurrent_engine.h) run it, and what its streams remember, to and from the states of
// the parallel pass.
#pragma once

#include "kernels/recurrent_program.h"
#include "model/network.h"

namespace nigiri {

// The network with its values as they are now; later changes do not reach the program.
RecurrentProgram recurrent_program(const Network& network);

// Row `stream` of a network's state. Throws Error where there is no such row.
StreamState stream_state(const Network& network, const NetworkState& state, int64_t stream);

// Replaces row `stream`; the state's position, which is one for all rows, becomes the stream's. Throws Error where the
// stream does not fit the network; nothing has changed then.
void set_network_state(const Network& network, NetworkState& state, int64_t stream, const StreamState& from);

}  // namespace nigiri
