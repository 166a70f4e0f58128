// From a folder of recordings to a folder of training data.
//
//   DATA/manifest.json              what is here, from what, which split, hashes of the samples
//   DATA/{train,valid,test}/*.flac  one file a recording: mono, 16 bits, at one rate, full scale untouched
//
// Plain sound files, so that the data can be heard and checked with any player. scan() and Dataset::load()
// read such a folder and a raw one alike, and get the same codes from both.
#pragma once

#include <filesystem>

#include "audio/scan.h"

namespace nigiri {

struct PrepareReport {
    ScanReport scan;  // of the source folder
    std::filesystem::path folder;
    int64_t written = 0;  // files converted
    int64_t kept = 0;     // files whose source had not changed
};

// Reads `source` as scan() does and writes what is used into `data`, each file once and decoded once. `data`
// must not exist, be empty, or be what an earlier call wrote from the same source: then only what has changed
// is converted, and the result is what a fresh call would give (apart from files whose source is gone: they
// stay, unlisted, with a note). Nothing else is ever deleted or overwritten, and nothing is written into the
// source folder. Until the last step the old data stay valid; a call that was killed in between is noticed,
// and repeated by the next one. Throws Error (folders that do not fit, no usable audio, disk full) and
// Cancelled; both leave `data` as it was.
PrepareReport prepare(const std::filesystem::path& source, const std::filesystem::path& data,
                      const ScanOptions& options = {}, const Progress& progress = {});

}  // namespace nigiri
