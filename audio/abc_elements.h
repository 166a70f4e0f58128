// What lies between a score's text and its notes: the voices as sequences of elements, repeats not yet
// written out. Internal to the score parser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "audio/score.h"
#include "kernels/error.h"

namespace nigiri::abc {

struct Place {
    int line = 1, column = 1;
};

struct Pitch {
    int pitch = 60;
    int64_t duration = 0;
    bool tied = false;
};

struct Element {
    enum class Kind : uint8_t {
        notes,          // pitches; takes `duration`
        rest,           // takes `duration`
        bar,            // the four fields below
        dynamic,        // value = velocity
        hairpin_start,  // value = +1 louder, -1 softer
        hairpin_end,
        tempo,        // value = quarters per minute
        pedal,        // value = 1 down, 0 up
        pedal_every,  // change the pedal every `duration` ticks, -1: every bar, 0: no more
    };
    Kind kind = Kind::rest;
    Place place;
    int64_t duration = 0;
    double value = 0;
    std::vector<Pitch> pitches;
    bool staccato = false, accent = false, legato = false, fermata = false, grace = false;
    bool repeat_end = false, repeat_start = false;
    int ending = 0;  // 1 or 2 where an ending starts here
};

struct Voice {
    std::string id;
    std::vector<Element> elements;
};

struct Tune {
    std::string title, composer;
    double tempo = 120;
    std::vector<Voice> voices;
};

// Throws Error located in the text.
Tune parse_tune(std::string_view text, const std::string& name, const ScoreLimits& limits);
// Writes out repeats, joins tied notes, lines the voices up.
Score lay_out(const Tune& tune, const std::string& name, const ScoreLimits& limits);

// An Error whose message already says file:line:column.
class LocatedError : public Error {
  public:
    explicit LocatedError(const std::string& what) : Error(what, "assets/scores/README.md describes the notation") {}
};

[[noreturn]] void fail_at(const std::string& name, Place place, const std::string& why);

}  // namespace nigiri::abc
