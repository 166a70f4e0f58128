// The weights of a linear map as a matrix-vector product reads them: once, from the first byte to the last.
//
// Vector lanes are outputs. Outputs stand in panels of up to four vectors; a panel holds, input by input, the weights
// of its outputs, so that a product is a stream of weights times a broadcast input, without a sum across lanes. The
// terms of even and of odd inputs are summed apart. Every output is the same chain of operations whatever panel it
// stands in and however many streams there are: cutting a map between threads changes no bit.
//
// int8 weights meet inputs of sixteen bits, rounded with a scale a row, and are summed as integers: widening them to
// floats one by one would take longer than reading sixteen-bit weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/engine/arena.h"
#include "kernels/cpu/parallel.h"
#include "kernels/recurrent_engine.h"

namespace nigiri::cpu {

// Rows of activations begin on cache lines and are padded with zeros to whole ones.
inline constexpr int64_t row_unit = 16;
inline int64_t padded(int64_t width) { return (width + row_unit - 1) / row_unit * row_unit; }

// Outputs [begin, begin + count) of a map and where they begin in the rows of the result, a multiple of row_unit.
struct OutputRange {
    int64_t begin = 0, count = 0, to = 0;
};

class PackedMatrix {
  public:
    PackedMatrix() = default;
    PackedMatrix(const LinearMap& map, std::span<const OutputRange> ranges, WeightFormat format, Arena& arena);

    // y = W x + bias or, where `add`, y += W x + bias, for as many rows as there are streams. Each range is written up
    // to the next multiple of row_unit: with zeros behind its end, or unchanged where `add`. x and y do not overlap.
    void multiply(Rows x, Rows y, int64_t streams, bool add) const;

    int64_t inputs() const { return inputs_; }

    struct Panel {
        const void* weights;
        const float *bias, *scale;  // of every output; scale: int8 only
        int64_t to;
        int vectors;                    // 1 to 4
        int64_t begin = 0, inputs = 0;  // int8: the range of inputs, as many as an integer sum holds; else all
    };

  private:
    void add_panels(const LinearMap& map, const OutputRange& range, int64_t begin, int64_t inputs, Arena& arena);

    int64_t inputs_ = 0;
    WeightFormat format_ = WeightFormat::f32;
    std::vector<Panel> panels_;
};

// The instruction set that kernels run with here, by Highway's name.
const char* instruction_set();

}  // namespace nigiri::cpu
