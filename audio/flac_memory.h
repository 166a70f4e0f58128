// A FLAC file in memory, for pages and messages that carry sound.
#pragma once

#include <span>
#include <string>

namespace nigiri {

// 16 bits, mono; samples beyond [-1, 1] are clamped, NaN is 0. Throws Error where the encoder fails.
std::string flac_bytes(std::span<const float> samples, int rate);

}  // namespace nigiri
