// How like held-out recordings a set of sounds is: all the metrics of this folder, with the value that recordings
// themselves get. docs/metrics.md says how to read them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "audio/metrics/runaway.h"
#include "audio/metrics/sounds.h"
#include "audio/progress.h"

namespace nigiri {

enum class Better : uint8_t {
    lower,  // 0 would be perfect, held-out audio's own value is as low as one can expect
    near,   // the nearer to held-out audio's own value
};

struct MetricInfo {
    std::string key;   // in JSON
    std::string name;  // for people
    std::string unit;  // may be empty
    Better better = Better::lower;
    std::string definition;  // one sentence
};
// In the order of Similarity::values.
const std::vector<MetricInfo>& similarity_metrics();

struct Similarity {
    // One a metric; none where a set has nothing to measure (too short, silent, no onsets).
    std::vector<std::optional<double>> values;
    std::optional<int> transposition;  // semitones up by which the sounds' pitch classes fit best
    std::vector<Runaway> ran_away;     // one a sound

    std::optional<double> value(const std::string& key) const;  // throws Error on an unknown key
};

struct SimilarityOptions {
    // How many sounds a set has that will be compared: as many of the held-out ones are kept apart for the floor.
    size_t count = 8;
    // At most; one for ten held-out patches, and one for eight of a set as large as the pieces kept apart: of a cluster
    // with fewer one could not say that it is missing.
    int clusters = 50;
    uint64_t seed = 1;  // of the clusters' start
};

// Held-out audio in pieces that are as long as the sounds it will be compared with.
class HeldOut {
  public:
    // Throws Error where `pieces` is empty, and Cancelled.
    HeldOut(SoundSet pieces, const SimilarityOptions& options, const Progress& progress = {});
    ~HeldOut();
    HeldOut(HeldOut&&) noexcept;

    // `sounds` against the held-out pieces that were not kept apart. Throws Error where the rates differ.
    Similarity measure(const SoundSet& sounds) const;
    // What held-out pieces that were kept apart get: the floor. None of a single piece.
    const std::optional<Similarity>& floor() const;
    // The pieces kept apart.
    const SoundSet& sample() const;
    // Seconds of those that sounds are compared with.
    double seconds() const;
    const WindowRange& range() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace nigiri
