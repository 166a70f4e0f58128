// Spectrograms as pictures.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "audio/spectrogram.h"

namespace nigiri::app {

// Log-mel levels of a sound, at most `columns` frames, 80 bands.
Spectrogram picture_spectrogram(std::span<const float> samples, int rate, int columns = 480);

// Colours of levels from `loudest_db` - 70 (dark) to `loudest_db` (bright) in 32 steps, RGB, a column a frame, high
// pitch first.
std::vector<uint8_t> spectrogram_pixels(const Spectrogram& s, double loudest_db);

// The same as a PNG: time to the right, pitch upwards. A
// light line at `mark` (a share of the width, 0 for none): where the prompt ends.
std::string spectrogram_png(const Spectrogram& s, double loudest_db, double mark = 0);

}  // namespace nigiri::app
