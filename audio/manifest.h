// DATA/manifest.json: what prepare() wrote, and from what. Private to the audio library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "audio/split.h"

namespace nigiri {

struct ManifestEntry {
    std::string file;    // "train/NAME.flac", relative to the folder; checked to be just that when read
    std::string source;  // name of the source, relative to the source folder
    Split split = Split::train;
    int64_t begin = 0, end = 0;  // samples of the (resampled) source that it holds
    uint64_t hash = 0;           // fnv1a of its 16-bit samples
    // The source, so that a later prepare() knows whether it has changed.
    uint64_t source_bytes = 0;
    int64_t source_modified = 0;
    uint64_t source_hash = 0;
    int source_rate = 0, source_channels = 0;
    std::string source_format;
    double source_peak = 0;
    int64_t source_clipped = 0;
};

struct Manifest {
    bool complete = false;  // false while a preparation is under way, and after one that was killed
    std::string source;     // the source folder
    int sample_rate = 0;
    uint64_t seed = 0;
    std::vector<ManifestEntry> files;
};

inline constexpr const char* manifest_name = "manifest.json";

// Empty where `folder` has no manifest, or one of another program. Throws Error where it is ours but damaged
// or too new.
std::optional<Manifest> read_manifest(const std::filesystem::path& folder);
// Temporary name, flush, rename.
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

}  // namespace nigiri
