// bfloat16: the upper half of a float32. Storage only; arithmetic happens in float32.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace nigiri {

struct BFloat16 {
    uint16_t bits = 0;

    BFloat16() = default;
    // Rounds to nearest, ties to even; NaN stays NaN.
    explicit BFloat16(float x) {
        const auto u = std::bit_cast<uint32_t>(x);
        bits = std::isnan(x) ? static_cast<uint16_t>(u >> 16 | 0x40)
                             : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
    explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

}  // namespace nigiri
