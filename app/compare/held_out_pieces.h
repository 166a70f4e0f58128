// Held-out recordings cut into pieces as long as the clips they will be compared with.
#pragma once

#include <vector>

#include "audio/dataset.h"

namespace nigiri::app {

// Consecutive pieces of `length` samples of every recording; what remains at its end is left out. Where `shorter_too`,
// a recording shorter than that is one piece, else it is left out. At most `most` pieces, spread evenly over all.
std::vector<Segment> held_out_pieces(const Dataset& data, Split split, int64_t length, bool shorter_too, size_t most);

}  // namespace nigiri::app
