// FNV-1a, 64 bits: tells recordings apart. Not meant to withstand an adversary.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nigiri {

inline constexpr uint64_t fnv1a_basis = 0xcbf29ce484222325ull, fnv1a_prime = 0x100000001b3ull;

inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = fnv1a_basis) {
    for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * fnv1a_prime;
    return hash;
}

// Of 16-bit samples, low byte first: the same on every machine, and for every way of cutting them into
// blocks.
inline uint64_t fnv1a(std::span<const int16_t> samples, uint64_t hash = fnv1a_basis) {
    for (const int16_t v : samples) {
        hash = (hash ^ (static_cast<uint16_t>(v) & 0xFF)) * fnv1a_prime;
        hash = (hash ^ (static_cast<uint16_t>(v) >> 8)) * fnv1a_prime;
    }
    return hash;
}

}  // namespace nigiri
