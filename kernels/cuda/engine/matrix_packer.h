// Matrices in the order of tensor-core fragments (packed.h).
#pragma once

#include <vector>

#include "kernels/cuda/engine/pack.h"

namespace nigiri::cuda::engine {

// A row of a matrix to be packed; without weights it is zero.
struct SourceRow {
    const float* weight = nullptr;
    double bias = 0;
};

// What is folded into a matrix that takes norm(x): its weights a column, and what its biases give a row.
struct FoldedNorm {
    std::vector<float> scale, shift;  // (inputs)
};

class MatrixPacker {
  public:
    MatrixPacker(WeightFormat format, std::vector<Piece>& weights, std::vector<float>& constants)
        : planes_(format == WeightFormat::f32 ? 3 : 1), weights_(weights), constants_(constants) {}

    // `rows` in the order of the tiles; they are filled up to whole tiles.
    Matrix pack(std::vector<SourceRow> rows, int64_t inputs, const FoldedNorm* norm = nullptr);

    // The rows of a map, in order.
    static std::vector<SourceRow> rows_of(const LinearMap& map);
    // Rows i and half + i of a map in the rows g and g + 8 of the tiles.
    static std::vector<SourceRow> pairs_of(const LinearMap& map);

  private:
    int planes_;
    std::vector<Piece>& weights_;
    std::vector<float>& constants_;
};

}  // namespace nigiri::cuda::engine
