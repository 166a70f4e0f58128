// Piano scores in a subset of the ABC notation (assets/scores/README.md says which) and what is read out of
// them. Scores are untrusted: their size, lengths, counts and times are bounded, and every refusal names
// file:line:column.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nigiri {

// Score time counts in ticks. A whole note has 2^8 * 3^2 * 5 * 7 of them, so that the usual tuplets of the
// usual lengths are whole numbers; a length that is none is refused instead of rounded.
inline constexpr int64_t ticks_per_whole = 80640;
inline constexpr int64_t ticks_per_quarter = ticks_per_whole / 4;

inline constexpr int lowest_piano_pitch = 21, highest_piano_pitch = 108;  // A0 and C8 as MIDI note numbers

struct ScoreNote {
    int64_t start = 0, duration = 0;  // ticks; duration > 0
    int pitch = 60;                   // MIDI note number, 60 = middle C
    int voice = 0;                    // 0 is the first voice, by custom the right hand
    bool staccato = false, accent = false, legato = false, fermata = false;
};

struct TempoMark {
    int64_t start = 0;
    double quarters_per_minute = 120;
};

// From `start` on the voice is at `velocity` (MIDI, 1 to 127); with `gradual` it arrives there at `end`.
struct DynamicMark {
    int64_t start = 0, end = 0;
    int voice = 0;
    double velocity = 72;
    bool gradual = false;
};

struct PedalMark {
    int64_t start = 0;
    bool down = false;
};

// One piece with its repeats written out. Every list is in order of time.
struct Score {
    std::string title, composer;
    int voices = 1;
    int64_t length = 0;         // ticks; all voices end here
    std::vector<int64_t> bars;  // where the bars of the first voice start
    std::vector<ScoreNote> notes;
    std::vector<TempoMark> tempi;
    std::vector<DynamicMark> dynamics;
    std::vector<PedalMark> pedal;

    // Without rubato and fermatas.
    double seconds() const;
};

struct ScoreLimits {
    size_t bytes = 1 << 20;
    size_t notes = 50'000;       // after repeats
    double seconds = 30 * 60.0;  // after repeats
};

// The velocity that a dynamic mark (ppp to fff) stands for, 0 where `name` is none.
double velocity_of_dynamic(std::string_view name);

// `name` stands for the file in messages. Throws Error.
Score parse_score(std::string_view text, const std::string& name, const ScoreLimits& limits = {});
Score read_score(const std::filesystem::path& path, const ScoreLimits& limits = {});

}  // namespace nigiri
