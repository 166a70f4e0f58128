// The sequence layers' constants and room for their states (packed.h).
#pragma once

#include <functional>
#include <vector>

#include "kernels/cuda/engine/matrix_packer.h"

namespace nigiri::cuda::engine {

// Room in a group's state, in floats; every array begins at 16 bytes.
class StateRoom {
  public:
    int32_t take(int64_t floats);
    int32_t size() const { return size_; }

  private:
    int32_t size_ = 0;
};

// Appends an array to the constants, at 16 bytes.
int32_t append(std::vector<float>& constants, const std::vector<float>& values);

// Throws Error where the arrays of a step do not have the sizes that its numbers say.
void check_step(const BlockStep& step, int64_t width);

// The layer of a step that has a state space; `norm` is its norm where the layer applies it itself.
Layer pack_layer(const BlockStep& step, int streams, std::vector<float>& constants, StateRoom& room,
                 LayerSource& source);

// The rows of x_proj: delta, B and C, each filled up as `part` says.
std::vector<SourceRow> projection_rows(const StateSpaceMap& ssm, const S6Part& part);

}  // namespace nigiri::cuda::engine
