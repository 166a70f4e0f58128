// Sixteen-bit floats, for storage only; arithmetic happens in float32. bfloat16 is the upper half of a float32
// (8 bits of precision, its whole range); IEEE half precision has 11 bits up to 65504.
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

struct Float16 {
    uint16_t bits = 0;

    Float16() = default;
    // Rounds to nearest, ties to even; too large becomes infinity; NaN stays NaN.
    explicit Float16(float x) {
        const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16 & 0x8000);
        const float a = std::fabs(x);
        if (std::isnan(x)) {
            bits = 0x7e00;
        } else if (a >= 65520.0f) {  // halfway to the next power
            bits = 0x7c00;
        } else if (a < 0x1p-14f) {  // subnormal: steps of 2^-24; adding 2^-1 leaves exactly those in the mantissa
            bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(a + 0.5f) - std::bit_cast<uint32_t>(0.5f));
        } else {
            const auto u = std::bit_cast<uint32_t>(a);
            bits = static_cast<uint16_t>((u - (112u << 23) + 0xfff + (u >> 13 & 1)) >> 13);
        }
        bits |= sign;
    }
    explicit operator float() const {
        const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
                       mantissa = bits & 0x3ff;
        if (exponent == 0)
            return std::copysign(static_cast<float>(mantissa) * 0x1p-24f, std::bit_cast<float>(sign | 0x3f800000));
        const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
        return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
    }
};

}  // namespace nigiri
