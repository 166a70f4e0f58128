// What the tests of scores and of their performances share.
#pragma once

#include <gtest/gtest.h>

#include "audio/score.h"

namespace nigiri::test {

// What stands before the music of a test.
inline const std::string head = "X:1\nT:test\nM:4/4\nL:1/4\nQ:1/4=120\nK:C\n";

inline Score parse(const std::string& text) { return parse_score(text, "t.abc"); }

// start/duration in quarters and pitch, "0+1:60 ..."
inline std::string notes_of(const Score& score) {
    std::string out;
    for (const ScoreNote& n : score.notes) {
        char text[64];
        std::snprintf(text, sizeof text, "%s%g+%g:%d", out.empty() ? "" : " ",
                      static_cast<double>(n.start) / ticks_per_quarter,
                      static_cast<double>(n.duration) / ticks_per_quarter, n.pitch);
        out += text;
    }
    return out;
}
inline std::string notes_of(const std::string& music) { return notes_of(parse(head + music)); }

}  // namespace nigiri::test
