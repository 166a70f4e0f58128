// From a RecurrentProgram to what the engine's blocks read (packed.h).
#pragma once

#include <vector>

#include "kernels/cuda/engine/packed.h"
#include "kernels/recurrent_engine.h"

namespace nigiri::cuda::engine {

// What the states of streams need to know of a layer (stream_states.h).
struct LayerSource {
    int32_t layer = 0;   // of Image::layers, -1 where it has no state
    size_t block = 0;    // of StreamState::blocks
    int64_t stride = 1;  // samples a step
    int64_t channels = 0, states = 0, taps = 0;
    bool is_complex = true;
    std::vector<float> abar, cbar;  // s4d
};

struct Image {
    Program program;
    std::vector<Stage> stages;
    std::vector<Phase> phases;
    std::vector<Layer> layers;
    std::vector<Piece> weights;
    std::vector<float> constants;
    std::vector<LayerSource> sources;
    int64_t period = 1;
    size_t block_count = 0;
};

// The most shared memory that a block's layout may take: 227 KB is what Hopper gives, and the kernel itself has some.
inline constexpr uint32_t most_shared = 226 * 1024;

// `streams` of a group: 1, 2, 4 or 8. Throws Error where the program's arrays do not fit each other, or where it needs
// more of a block's memory than there is.
Image pack(const RecurrentProgram& program, WeightFormat weights, int streams);

// The part of a block's shared memory that `image` begins with: its stages and phases.
std::vector<unsigned char> shared_image(const Image& image);

}  // namespace nigiri::cuda::engine
