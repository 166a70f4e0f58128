// Reading sound files: whatever libsndfile reads (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF, AU, ...) as
// mono samples at a wanted rate. Files are untrusted: every one ends in samples or in an AudioError, and the
// memory used does not depend on what a header claims.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "audio/progress.h"
#include "kernels/error.h"

namespace nigiri {

// Why a file gives no samples, or none that are wanted.
enum class AudioFault {
    none,
    unreadable,     // cannot be opened or read; the text says what the system said
    not_regular,    // a folder, pipe or device that is named like a file
    not_audio,      // no format libsndfile knows
    bad_format,     // a rate or number of channels nobody records with
    truncated,      // fewer samples than the header promises
    damaged,        // the decoder lost its way, or a prepared file is not what was written
    empty,          // zero samples
    too_short,      // fewer than the smallest useful number of samples
    too_long,       // more than max_hours
    silent,         // no sample differs from the others by a 16-bit step
    non_finite,     // NaN or infinity
    out_of_range,   // floating-point samples far beyond full scale: integers stored as floats
    duplicate,      // the same samples as another file
    outside_split,  // beside the train, valid and test folders instead of in one
    not_listed,     // a training file that the list of files leaves out
};

// "truncated", "not audio", ...: for tables and JSON.
const char* name_of(AudioFault fault);

class AudioError : public Error {
  public:
    AudioError(AudioFault fault, const std::string& what, std::string hint = {})
        : Error(what, std::move(hint)), fault_(fault) {}
    AudioFault fault() const { return fault_; }

  private:
    AudioFault fault_;
};

struct AudioInfo {
    int rate = 0;  // Hz, of the file
    int channels = 0;
    int64_t frames = -1;  // as the header says; -1 where it does not know
    uint64_t bytes = 0;   // size of the file
    std::string format;   // "WAV (Microsoft), Signed 16 bit PCM"

    double seconds() const { return rate > 0 && frames > 0 ? static_cast<double>(frames) / rate : 0; }
};

// Longer files are refused (a small compressed file may claim days).
inline constexpr int max_hours = 24;

// Reads one file in blocks: channels averaged, then resampled to `rate` Hz (0: the file's own rate).
class AudioReader {
  public:
    // Throws AudioError: unreadable, not_regular, not_audio, bad_format, empty, truncated (known from the
    // container's header).
    explicit AudioReader(const std::filesystem::path& path, int rate = 0);
    ~AudioReader();
    AudioReader(AudioReader&&) noexcept;

    const AudioInfo& info() const;
    int rate() const;  // of the samples read() gives
    // The next samples, as many as fit; fewer only at the end, 0 after it. Throws AudioError: non_finite,
    // truncated, damaged, too_long.
    size_t read(std::span<float> out);
    // Share of the file's promised frames read so far, in [0, 1].
    double fraction() const;
    // Samples (of all channels) at or beyond full scale so far, and the largest magnitude.
    int64_t clipped() const;
    double peak() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// A whole file; `rate` as above. Memory: the result.
struct Audio {
    std::vector<float> samples;
    int rate = 0;
};
Audio read_audio(const std::filesystem::path& path, int rate = 0, const Progress& progress = {});

// The header only.
AudioInfo read_audio_info(const std::filesystem::path& path);

// Text fields of a sound file by name: title, copyright, software, artist, comment, date, album, license,
// tracknumber, genre.
using Tags = std::map<std::string, std::string>;
Tags read_tags(const std::filesystem::path& path);

}  // namespace nigiri
