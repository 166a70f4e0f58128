// What the digit classifier hears: a second of sound as 64 frames of 32 log-mel levels.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "audio/digits.h"
#include "audio/quantize.h"

namespace nigiri::app {

inline constexpr int64_t front_end_frames = 64;
inline constexpr int front_end_bands = 32;
// Stands in a classifier's file: one that was made for other inputs is refused.
inline constexpr const char* front_end_name = "log-mel-32x64-rel60";

// Appends the frames of a clip of digit_samples in [-1, 1]: Hann windows of 32 ms every 15.6 ms, 32 mel bands as in the
// published classifier, levels in dB relative to the clip's highest (so that loudness says nothing), cut 60 dB below
// it, brought to [-1, 1]. A clip that is all but silent (every level below -40 dB) is -1 throughout.
void append_frames(std::span<const float> samples, std::vector<float>& out);

// The waveform of a clip's codes.
std::vector<float> digit_waveform(std::span<const uint8_t> codes, Quantization quantization = Quantization::mu_law);

// The frames of many clips, on a few threads; `threads` 0: as the machine has cores.
using ClipCodes = std::span<const uint8_t>;
std::vector<float> frames_of(std::span<const ClipCodes> clips, int threads,
                             Quantization quantization = Quantization::mu_law);
std::vector<ClipCodes> codes_of(const std::vector<DigitClip>& clips);

}  // namespace nigiri::app
