// Looking through a folder of audio: what can be used, what cannot and why, and how it is divided into train,
// valid and test.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "audio/file.h"
#include "audio/progress.h"
#include "audio/split.h"

namespace nigiri {

// Recordings shorter than this, after resampling, are of no use (64 ms at 16 kHz).
inline constexpr int64_t least_samples = 1024;

struct ScanOptions {
    int sample_rate = 16000;  // Hz, of the samples
    uint64_t seed = 1;        // of the division into train, valid and test
    // If set: a list that restricts the training files (read_file_list). An entry is a path relative to the
    // folder or to its train folder, a file's name, or, of prepared data, the source's.
    std::filesystem::path files = {};
    int threads = 0;  // files read at once; 0: as the machine has cores
};

struct FileReport {
    std::string name;  // relative to the folder, in UTF-8
    std::filesystem::path path;
    AudioFault fault = AudioFault::none;
    std::string reason;           // a sentence; empty for a used file
    AudioInfo info;               // of the file itself, as far as it was read
    int64_t samples = 0;          // at the scan's rate
    double peak = 0;              // largest magnitude of any channel; 1 is full scale
    int64_t clipped = 0;          // samples of any channel at or beyond full scale
    uint64_t hash = 0;            // fnv1a of the 16-bit samples
    int64_t modified = 0;         // last change, nanoseconds since 1970
    std::optional<Split> folder;  // the split folder it lies in
    std::string source;           // of prepared data: the name of the file it was made from

    bool used() const { return fault == AudioFault::none; }
};

struct ScanReport {
    std::filesystem::path folder;
    int sample_rate = 0;
    bool prepared = false;           // written by prepare()
    std::vector<FileReport> files;   // sorted by name
    std::vector<Part> parts;         // of the used files, in samples at the scan's rate
    std::vector<std::string> notes;  // sentences for the user

    size_t used_files() const;
    int64_t samples(Split split) const;
    double seconds(Split split) const { return static_cast<double>(samples(split)) / sample_rate; }
};

// Takes the samples as they are read, so that a file is decoded once whatever is made of it. Files are
// numbered as in ScanReport::files. Called from several threads at once, for one file from one thread, in
// order.
class SampleSink {
  public:
    virtual ~SampleSink() = default;
    // Once, before anything else, on the calling thread.
    virtual void begin(const std::vector<FileReport>& files) = 0;
    // True for a file that need not be read again; then sets samples, hash and whatever else reading would
    // tell.
    virtual bool known(size_t /*file*/, FileReport& /*report*/) { return false; }
    virtual void samples(size_t file, std::span<const int16_t> block) = 0;
    // The file's last call; what came before is worthless unless report.used().
    virtual void end(size_t file, const FileReport& report) = 0;
};

// Reads every file under `folder` (links are followed, each folder once; names that begin with a dot are left
// out). A folder that prepare() wrote is read by its manifest. Otherwise, if it has a folder train, then
// train, valid (or validation, val) and test are the split; if not, the files are divided by the seed
// (split.h). Broken files never stop it: they are in the report. Throws Error where the folder cannot be read
// or the list of files names no training file, and Cancelled.
ScanReport scan(const std::filesystem::path& folder, const ScanOptions& options = {}, const Progress& progress = {},
                SampleSink* sink = nullptr);

// For people: the files (all, or only those that cannot be used), the notes, the totals. Names are printed
// without control characters.
std::string to_text(const ScanReport& report, bool all_files = true);
// {"folder", "sample_rate", "prepared", "used", "skipped", "notes",
//  "files": [{"name", "used", "fault", "reason", "seconds", "rate", "channels", "format", "peak",
//  "clipped"}], "parts": [{"name", "split", "begin", "end"}], "splits": {"train": {"files", "seconds",
//  "samples"}, ...}}
nlohmann::json to_json(const ScanReport& report);

}  // namespace nigiri
