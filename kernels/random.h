// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based
// generator. Its whole state is a key and a counter, so it is saved in a checkpoint in 16 bytes and gives
// the same numbers on every device.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace nigiri {

inline std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter, uint64_t stream = 0) {
    std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                                 static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
        c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
             static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// A sequence of draws; copyable, and restorable from (seed, stream, position).
class Random {
  public:
    explicit Random(uint64_t seed, uint64_t stream = 0, uint64_t position = 0)
        : seed_(seed), stream_(stream), position_(position) {}

    uint64_t seed() const { return seed_; }
    uint64_t stream() const { return stream_; }
    uint64_t position() const { return position_; }

    uint64_t bits() {
        const auto r = philox(seed_, position_++, stream_);
        return (static_cast<uint64_t>(r[1]) << 32) | r[0];
    }
    // In [0, 1), 53 bits.
    double uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }
    double uniform(double low, double high) { return low + (high - low) * uniform(); }
    // In [0, n); the bias is below n / 2^64.
    uint64_t below(uint64_t n) { return static_cast<uint64_t>((static_cast<unsigned __int128>(bits()) * n) >> 64); }
    // Standard normal (Box-Muller, one draw of two kept: one call is one position).
    double normal() {
        const auto r = philox(seed_, position_++, stream_);
        const double u = (((static_cast<uint64_t>(r[1]) << 32 | r[0]) >> 11) + 1) * 0x1.0p-53;  // in (0, 1]
        const double v = ((static_cast<uint64_t>(r[3]) << 32 | r[2]) >> 11) * 0x1.0p-53;
        return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * 3.14159265358979323846 * v);
    }

  private:
    uint64_t seed_, stream_, position_;
};

}  // namespace nigiri
