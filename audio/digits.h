// Spoken digits as data: which recording says what, and everything as clips of exactly one second.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "audio/progress.h"
#include "audio/split.h"

namespace nigiri {

inline constexpr int digit_classes = 10;
inline constexpr int digit_rate = 16000;         // Hz
inline constexpr int64_t digit_samples = 16000;  // one second

struct DigitFile {
    std::filesystem::path path;
    std::string name;  // relative to the folder
    int digit = 0;
    Split split = Split::train;
};

struct DigitListing {
    std::vector<DigitFile> files;  // sorted by name
    int64_t others = 0;            // sound files that name no digit, e.g. other words
};

// Two layouts are known. (1) Folders train, valid and test; a file's digit is the name of the folder it lies in ("zero"
// to "nine", or "0" to "9"), or else its name's first character, before a "_" or "-" ("7_jackson_3.flac": Free Spoken
// Digit Dataset). (2) Speech Commands as published: folders zero to nine, validation_list.txt and testing_list.txt;
// what is in neither list trains, other words do not count. Throws Error where the folder is neither, or has no clip to
// train on.
DigitListing list_digits(const std::filesystem::path& folder);

// The first second at 16 kHz: longer recordings are cut (the last 10 ms faded out), shorter ones filled up with silence
// at their end, as in the published experiments. Throws AudioError.
std::vector<int16_t> read_digit(const std::filesystem::path& path);

// Mu-law codes, 16 KB a clip: everything that is judged has passed through 256 codes, recordings too.
struct DigitClip {
    std::string name;
    int digit = 0;
    std::vector<uint8_t> codes;
};

struct DigitSet {
    std::array<std::vector<DigitClip>, 3> clips;  // by split
    std::vector<std::string> skipped;             // sentences: what could not be read, and why
    int64_t others = 0;                           // DigitListing::others

    const std::vector<DigitClip>& of(Split split) const { return clips[static_cast<size_t>(split)]; }
};
// Throws Error where list_digits does or nothing can be read, and Cancelled. `threads` 0: as the machine has cores.
DigitSet read_digits(const std::filesystem::path& folder, int threads = 0, const Progress& progress = {});

struct PreparedDigits {
    std::array<int64_t, 3> written{};  // clips, by split
    std::vector<std::string> skipped;
    int64_t others = 0;
};
// Writes the clips of `folder` as read_digit gives them to OUTPUT/train, valid and test (16-bit FLAC, names that begin
// with the digit): what generative models are trained on. The folder appears whole or not at all. Throws Error where
// it exists, and Cancelled.
PreparedDigits prepare_digits(const std::filesystem::path& folder, const std::filesystem::path& output, int threads = 0,
                              const Progress& progress = {});

}  // namespace nigiri
