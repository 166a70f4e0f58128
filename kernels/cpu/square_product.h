// The product of two square row-major matrices in float64.
#pragma once

#include <cstdint>

namespace nigiri::cpu {

inline constexpr int64_t square_tile = 16;

// result = x y, all of size x size numbers; size is a multiple of square_tile (pad with zeros), of which only the first
// `used` columns of x are not zero. `result` is neither operand.
void square_product(const double* x, const double* y, double* result, int64_t size, int64_t used);

}  // namespace nigiri::cpu
