// From a score to what two hands and a foot do: notes in seconds with velocities, uneven as people play.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "audio/score.h"

namespace nigiri {

struct PlayedNote {
    double start = 0, duration = 0;  // seconds
    int pitch = 60;                  // MIDI note number
    int velocity = 64;               // 1 to 127
};

struct PedalChange {
    double time = 0;  // seconds
    bool down = false;
};

struct Performance {
    std::string title;
    std::vector<PlayedNote> notes;   // by start; notes of one pitch never overlap
    std::vector<PedalChange> pedal;  // by time, alternately down and up, up at the end
    double seconds = 0;              // until the last sound has died away
};

struct PerformanceOptions {
    uint64_t seed = 1;
    double timing = 1;    // 0: exact times; 1: rubato of a few per cent, onsets spread by some milliseconds
    double dynamics = 1;  // 0: velocities as marked; 1: accents, a leading voice, and chance
};

// The same score, options and seed give the same performance.
Performance perform(const Score& score, const PerformanceOptions& options = {});

}  // namespace nigiri
