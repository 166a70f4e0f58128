// Writing mono sound files: WAV and FLAC.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "audio/file.h"

namespace nigiri {

enum class SampleFormat { pcm16, pcm24, float32 };

enum class FileLife {
    whole,  // there once it is closed, and not before
    // There from the start, and readable wherever it is cut off, up to a second before. Where there is a file of that
    // name already, it grows as NAME.part.ENDING beside it and takes its place when closed.
    growing,
};

// FileLife::whole: writes under a temporary name beside `path`, and renames it when closed: `path` is at every moment
// either what it was before or the whole new file. A writer that is destroyed without close() leaves nothing behind.
// Growing files stay, where they have got to.
class AudioWriter {
  public:
    // The ending of `path` (.wav or .flac, any case) chooses the container; FLAC has no float32. Throws Error
    // where the ending, the rate or a tag's name is unknown, or the file cannot be created.
    AudioWriter(const std::filesystem::path& path, int rate, SampleFormat format = SampleFormat::pcm16,
                const Tags& tags = {}, FileLife life = FileLife::whole);
    ~AudioWriter();
    AudioWriter(AudioWriter&&) noexcept;

    // Samples in [-1, 1]. The integer formats round to the nearest step, clamp, and write NaN as 0; float32
    // keeps every value.
    void write(std::span<const float> samples);
    // v / 32768, exactly in every format.
    void write(std::span<const int16_t> samples);
    // Where the samples are until close().
    const std::filesystem::path& written_to() const;
    // Samples the container can hold in all: a WAV file 4 GB.
    int64_t most() const;
    // Flushes to the disk and renames. Throws Error where that fails; the temporary file goes with the
    // writer.
    void close();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

void write_audio(const std::filesystem::path& path, std::span<const float> samples, int rate,
                 SampleFormat format = SampleFormat::pcm16, const Tags& tags = {});

}  // namespace nigiri
