#include "audio/abc_fields.h"

#include <algorithm>
#include <cctype>

#include "audio/score.h"
#include "kernels/error.h"

namespace nigiri::abc {

namespace {

std::string_view next_word(std::string_view& text) {
    text = trimmed(text);
    size_t end = 0;
    bool quoted = false;
    while (end < text.size() && (quoted || (text[end] != ' ' && text[end] != '\t'))) {
        if (text[end] == '"') quoted = !quoted;
        ++end;
    }
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    return word;
}

bool same_letters(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
    });
}

// How many steps along the circle of fifths a mode's tonic lies above the major key with the same signature.
std::optional<int> fifths_of_mode(std::string_view word) {
    if (word.empty() || word == "M") return 0;
    if (word == "m") return 3;
    const std::string_view start = word.substr(0, 3);
    if (same_letters(start, "maj") || same_letters(start, "ion")) return 0;
    if (same_letters(start, "min") || same_letters(start, "aeo")) return 3;
    if (same_letters(start, "mix")) return 1;
    if (same_letters(start, "dor")) return 2;
    if (same_letters(start, "phr")) return 4;
    if (same_letters(start, "loc")) return 5;
    if (same_letters(start, "lyd")) return -1;
    return std::nullopt;
}

KeySignature signature_of(int fifths) {
    // Sharps come as F C G D A E B, flats in the opposite order.
    static constexpr std::array<size_t, 7> sharps = {3, 0, 4, 1, 5, 2, 6};
    KeySignature signature{};
    for (int i = 0; i < fifths; ++i) signature[sharps[static_cast<size_t>(i)]] = 1;
    for (int i = 0; i < -fifths; ++i) signature[sharps[static_cast<size_t>(6 - i)]] = -1;
    return signature;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

std::optional<int64_t> read_number(std::string_view text, size_t& at, int64_t largest) {
    if (at >= text.size() || text[at] < '0' || text[at] > '9') return std::nullopt;
    int64_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        value = value * 10 + (text[at] - '0');
        if (value > largest) throw Error("a number above " + std::to_string(largest));
    }
    return value;
}

int64_t parse_whole_fraction(std::string_view text) {
    size_t at = 0;
    const auto numerator = read_number(text, at, 256);
    std::optional<int64_t> denominator = 1;
    if (at < text.size() && text[at] == '/') denominator = read_number(text, ++at, 256);
    if (!numerator || !denominator || *numerator == 0 || *denominator == 0 || at != text.size())
        throw Error("'" + std::string(text) + "' is not a fraction such as 1/8");
    if (*numerator * ticks_per_whole % *denominator != 0)
        throw Error("'" + std::string(text) + "' of a whole note is too fine a length");
    return *numerator * ticks_per_whole / *denominator;
}

void check_clef_words(std::string_view text) {
    while (!(text = trimmed(text)).empty()) {
        const std::string_view word = next_word(text);
        const std::string_view name = word.substr(0, word.find('='));
        if (name == "octave" || name == "transpose" || name == "middle" || name == "m" || name == "t")
            throw Error("'" + std::string(word) + "' is not read here (write the notes where they sound)");
        if (word.find("-8") != word.npos || word.find("+8") != word.npos || word.find("_8") != word.npos ||
            word.find("^8") != word.npos)
            throw Error("transposing clef '" + std::string(word) +
                        "' is not read here (write the notes where they sound)");
    }
}

Key parse_key(std::string_view text) {
    std::string_view rest = text;
    std::string_view tonic = next_word(rest);
    if (tonic.empty() || tonic == "none") return {true, {}};
    const size_t letter = std::string_view("FCGDAEB").find(tonic[0]);
    if (letter == std::string_view::npos || tonic.find('=') != tonic.npos) {
        check_clef_words(text);
        if (tonic.find('=') == tonic.npos && tonic != "treble" && tonic != "bass" && tonic != "alto" &&
            tonic != "tenor")
            throw Error("unknown key '" + std::string(tonic) + "'");
        return {};
    }
    int fifths = static_cast<int>(letter) - 1;
    size_t at = 1;
    if (at < tonic.size() && (tonic[at] == '#' || tonic[at] == 'b')) fifths += tonic[at++] == '#' ? 7 : -7;
    std::string_view mode = tonic.substr(at);
    if (mode.empty()) {  // "A minor" as well as "Am"
        std::string_view behind = rest;
        const std::string_view word = next_word(behind);
        if (word.find('=') == word.npos && !word.empty() && fifths_of_mode(word)) {
            mode = word;
            rest = behind;
        }
    }
    const auto step = fifths_of_mode(mode);
    if (!step) throw Error("unknown mode '" + std::string(mode) + "' of key '" + std::string(tonic) + "'");
    fifths -= *step;
    if (fifths < -7 || fifths > 7) throw Error("key '" + std::string(text) + "' has more than seven sharps or flats");
    check_clef_words(rest);
    for (std::string_view words = rest; !trimmed(words).empty();) {
        const std::string_view word = next_word(words);
        if (word[0] == '^' || word[0] == '_' || word[0] == '=')
            throw Error("accidentals in a key signature are not read here; write them at the notes");
    }
    return {true, signature_of(fifths)};
}

Metre parse_metre(std::string_view text) {
    if (text == "C") return {ticks_per_whole, false, 1};
    if (text == "C|") return {ticks_per_whole, false, 1};
    if (text == "none" || text.empty()) return {0, false, 1};
    const int64_t bar = parse_whole_fraction(text);
    if (bar > 8 * ticks_per_whole) throw Error("metre '" + std::string(text) + "' is too long");
    size_t at = 0;
    const int64_t beats = read_number(text, at, 256).value_or(1);
    return {bar, beats > 3 && beats % 3 == 0, static_cast<double>(bar) / ticks_per_whole};
}

int64_t parse_unit_length(std::string_view text) {
    const int64_t unit = parse_whole_fraction(text);
    if (unit > ticks_per_whole) throw Error("unit length '" + std::string(text) + "' is above a whole note");
    return unit;
}

std::optional<double> parse_tempo(std::string_view text, int64_t unit) {
    std::string numbers;
    bool quoted = false;
    for (const char c : text) {
        if (c == '"')
            quoted = !quoted;
        else if (!quoted && c != ' ' && c != '\t')
            numbers += c;
    }
    if (numbers.empty()) return std::nullopt;
    const size_t equals = numbers.find('=');
    const int64_t beat =
        equals == numbers.npos ? unit : parse_whole_fraction(std::string_view(numbers).substr(0, equals));
    size_t at = equals == numbers.npos ? 0 : equals + 1;
    const auto per_minute = read_number(numbers, at, 1000);
    if (!per_minute || at != numbers.size()) throw Error("'" + std::string(text) + "' is not a tempo such as 1/4=120");
    const double quarters = static_cast<double>(*per_minute) * static_cast<double>(beat) / ticks_per_quarter;
    if (quarters < 8 || quarters > 600)
        throw Error("tempo '" + std::string(text) + "' is not between 8 and 600 quarters a minute");
    return quarters;
}

}  // namespace nigiri::abc
