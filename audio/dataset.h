// Training data in memory: the recordings of a folder as codes, and the ways to walk through them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "audio/progress.h"
#include "audio/quantize.h"
#include "audio/scan.h"
#include "kernels/random.h"

namespace nigiri {

struct DataOptions {
    int sample_rate = 16000;
    Quantization quantization = Quantization::mu_law;
    Scaling scaling = Scaling::full_scale;
    std::filesystem::path files = {};  // ScanOptions::files
    uint64_t seed = 1;                 // ScanOptions::seed
    int threads = 0;                   // ScanOptions::threads
};

// The target of a position that does not count (the padding of a recording shorter than its segment).
inline constexpr int32_t ignored_target = -1;

// A recording, or the piece of one that fell to a split. One byte a sample (an hour at 16 kHz: 57.6 MB); with
// Scaling::segment_minmax two, because the codes depend on the segment.
struct Recording {
    std::string name;
    std::vector<uint8_t> codes;  // Scaling::full_scale
    std::vector<int16_t> pcm;    // Scaling::segment_minmax

    int64_t samples() const { return static_cast<int64_t>(codes.empty() ? pcm.size() : codes.size()); }
};

// Samples [begin, begin + length) of recording `recording` of a split.
struct Segment {
    size_t recording = 0;
    int64_t begin = 0, length = 0;
};

class Dataset {
  public:
    // Reads a raw or a prepared folder (scan.h). Throws Error where it has no usable training audio, and
    // Cancelled.
    static Dataset load(const std::filesystem::path& folder, const DataOptions& options = {},
                        const Progress& progress = {});
    // From samples at hand, e.g. for tests and synthetic signals.
    static Dataset from_samples(const std::vector<std::vector<int16_t>>& train,
                                const std::vector<std::vector<int16_t>>& valid,
                                const std::vector<std::vector<int16_t>>& test, const DataOptions& options = {});

    const DataOptions& options() const { return options_; }
    // What was read, skipped and noted on the way; empty for from_samples.
    const ScanReport& report() const { return report_; }
    const std::vector<Recording>& recordings(Split split) const { return recordings_[static_cast<size_t>(split)]; }
    int64_t samples(Split split) const;
    double seconds(Split split) const { return static_cast<double>(samples(split)) / options_.sample_rate; }

    // The codes of a segment; `codes` has segment.length elements. With Scaling::segment_minmax the segment
    // is what is scaled.
    void codes(Split split, const Segment& segment, std::span<uint8_t> codes) const;
    // The waveform of a segment at full scale, as quantised (decode(codes)) or, with Scaling::segment_minmax,
    // as recorded.
    std::vector<float> waveform(Split split, const Segment& segment) const;

    // Every recording cut into consecutive segments of `length` samples, a shorter last one included; length
    // 0: whole recordings. In the order of the recordings: this is what evaluation walks through, and every
    // sample is in it exactly once.
    std::vector<Segment> segments(Split split, int64_t length = 0) const;

    // A segment for training, with two draws of `random`: first a recording, with probability proportional to
    // max(its samples, length), then its begin, uniform over the places where it fits. So on average every
    // sample is visited equally often, whatever the lengths of the recordings. A recording shorter than
    // `length` is taken whole. Throws Error where the split is empty.
    Segment random_segment(Split split, Random& random, int64_t length) const;

    // `batch` random segments, each as a row of `length`: targets q_0 .. q_{L-1}, inputs zero_code, q_0 ..
    // q_{L-2}. Rows of short recordings are filled with input zero_code and ignored_target. Both vectors get
    // batch * length elements (no allocation if they have the room). Reproducible: (random's seed, stream and
    // position) decide everything.
    void sample_batch(Split split, Random& random, int batch, int64_t length, std::vector<int32_t>& inputs,
                      std::vector<int32_t>& targets) const;
    // One row of the same form from a given segment, filled up to `length` (at least segment.length).
    void row(Split split, const Segment& segment, int64_t length, std::span<int32_t> inputs,
             std::span<int32_t> targets) const;

  private:
    friend class DatasetBuilder;

    DataOptions options_;
    ScanReport report_;
    std::vector<Recording> recordings_[3];
};

}  // namespace nigiri
