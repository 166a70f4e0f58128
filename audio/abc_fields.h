// The header fields of the ABC notation that carry numbers: key, metre, unit length, tempo. Internal to the
// score parser.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nigiri::abc {

// Semitones that the key signature adds to the letters C D E F G A B.
using KeySignature = std::array<int, 7>;

inline constexpr std::string_view letters = "CDEFGAB";
inline constexpr std::array<int, 7> semitones = {0, 2, 4, 5, 7, 9, 11};

// Each parser takes a field's text without leading blanks, and throws Error whose message is the reason
// alone; the caller adds where.
struct Key {
    bool given = false;  // false where the field only names a clef
    KeySignature signature{};
};
Key parse_key(std::string_view text);

struct Metre {
    int64_t bar = 0;        // ticks, 0 without metre
    bool compound = false;  // 6/8, 9/8, 12/8: affects the tuplets (5 and (7
    double ratio = 1;       // numerator / denominator, which decides the default unit length
};
Metre parse_metre(std::string_view text);

int64_t parse_unit_length(std::string_view text);

// Quarters per minute; nothing where the field holds words alone.
std::optional<double> parse_tempo(std::string_view text, int64_t unit);

// A fraction such as "3/8" of a whole note, in ticks.
int64_t parse_whole_fraction(std::string_view text);

// The attributes after a voice's or a key's name; those that would change pitches are refused.
void check_clef_words(std::string_view text);

// Reads digits from text[at]; nothing without digits, Error above `largest`.
std::optional<int64_t> read_number(std::string_view text, size_t& at, int64_t largest);

std::string_view trimmed(std::string_view text);

}  // namespace nigiri::abc
