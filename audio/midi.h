// Standard MIDI files: what a synthesizer is given.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "audio/performance.h"

namespace nigiri {

// A file of type 0 (one track): an acoustic grand piano on channel 1, the pedal as controller 64. One tick is
// half a millisecond (1000 ticks a quarter at 120 quarters a minute). The track ends when the performance has
// died away. `comment` goes into a text event.
std::vector<uint8_t> midi_file(const Performance& performance, const std::string& comment = {});

// Writes to a temporary name beside `path` and renames. Throws Error.
void write_file_atomically(const std::filesystem::path& path, const std::vector<uint8_t>& bytes);

}  // namespace nigiri
