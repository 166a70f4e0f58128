// Which recordings train, which validate, which test.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace nigiri {

enum class Split { train, valid, test };
inline constexpr std::array<Split, 3> all_splits = {Split::train, Split::valid, Split::test};
const char* name_of(Split split);
Split parse_split(const std::string& name);  // "train", "valid" (or "validation", "val"), "test"; else Error
// The split a folder of this name stands for (any case), if it does.
std::optional<Split> split_of_folder(const std::string& name);

// What the division needs to know of a usable recording.
struct SplitCandidate {
    std::string name;  // decides its place, together with the seed
    int64_t samples = 0;
    std::optional<Split> folder;  // the split folder it lies in
};

// A range of samples [begin, end) of candidate `file`.
struct Part {
    size_t file = 0;
    Split split = Split::train;
    int64_t begin = 0, end = 0;

    int64_t samples() const { return end - begin; }
};

struct Division {
    std::vector<Part> parts;         // by file, then by begin
    std::vector<std::string> notes;  // sentences for the user: what was decided beyond the plain rule
};

// A file in a split folder stays there. What has no validation or test audio yet takes it from the rest (the
// train folder, or all files where there are no split folders): 6 % of the files each, at least one each. The
// files are ranked by a hash of seed and name, so a split does not depend on the order of files and a new
// file moves few others. With too few files to give any away, the last 12 % of the longest file are cut off:
// 6 % for validation, then 6 % for the test; not where such a piece would be shorter than `least` samples.
Division divide(const std::vector<SplitCandidate>& candidates, uint64_t seed, int64_t least);

// The lines of a text file that lists files: one a line, # starts a comment, surrounding blanks and a byte
// order mark are dropped. Throws Error where it cannot be read, names nothing, or is no text.
std::set<std::string> read_file_list(const std::filesystem::path& path);

}  // namespace nigiri
