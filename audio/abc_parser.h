// The parser of the ABC subset: from the text of a score to the elements of its voices, one pass, one
// character at a time, no recursion. abc_parser.cpp reads lines and fields, abc_music.cpp what stands between
// the bars.
#pragma once

#include <map>

#include "audio/abc_elements.h"
#include "audio/abc_fields.h"

namespace nigiri::abc {

// Where a voice stands while it is read.
struct VoiceState {
    KeySignature key{};
    Metre metre;
    int64_t unit = 0;
    std::map<int, int> accidentals;  // of this bar, by 7 * octave + letter
    int64_t bar_time = 0;            // since the last bar sign
    bool short_allowed = true;       // an upbeat, or a bar next to a repeat or a double bar
    int tuplet_left = 0;
    int64_t tuplet_by = 1, tuplet_of = 1;  // lengths are multiplied by by/of
    int64_t broken_by = 1, broken_of = 1;  // what `>` before the next note does to it
    size_t slurs = 0;
    int64_t last_timed = -1;  // index of the last note or rest of this bar
    bool staccato = false, accent = false, fermata = false, tenuto = false;
};

class Parser {
  public:
    Parser(std::string_view text, std::string name, const ScoreLimits& limits)
        : name_(std::move(name)), text_(text), limits_(limits) {}

    Tune run();

  private:
    [[noreturn]] void fail(const std::string& why) const;

    // Field parsers say why; this adds where.
    template <class F>
    void located(F&& f) {
        try {
            f();
        } catch (const LocatedError&) {
            throw;
        } catch (const Error& e) {
            fail(e.what());
        }
    }

    char peek(size_t ahead = 0) const { return at_ + ahead < line_.size() ? line_[at_ + ahead] : '\0'; }

    // Lines and fields.
    void parse_line();
    void parse_field(char letter, std::string_view value);
    void parse_voice(std::string_view value);
    void select_voice(const std::string& id);
    void parse_instruction(std::string_view value);

    VoiceState& current();
    static int64_t unit_of(const VoiceState& s);
    Element& push(Element::Kind kind);

    // Music.
    void parse_item();
    static bool starts_note(char c);
    void skip_quoted();
    void parse_inline_field();
    void parse_decoration();
    struct Fraction {
        int64_t by = 1, of = 1;
    };
    // Accidental, letter, octave marks, length, tie.
    Pitch parse_pitch();
    Fraction parse_length();
    int64_t scaled(int64_t ticks, Fraction f) const;
    void parse_chord();
    void parse_graces();
    void add_notes(std::vector<Pitch> pitches, bool grace);
    void parse_rest();
    // Applies tuplets and broken rhythm to a new note or rest, and counts its time.
    void take_time(Element& e);
    void stretch(Element& e, Fraction f) const;
    void parse_broken();
    void parse_parenthesis();
    void close_slur();
    void parse_bar();
    // Accidentals end; the bar must be full unless it stands at a repeat, a double bar or an end.
    void close_bar(bool short_allowed);

    std::string name_;
    std::string_view text_, line_;
    ScoreLimits limits_;
    Place place_;
    size_t at_ = 0;
    bool started_ = false, numbered_ = false, in_body_ = false;
    size_t notes_ = 0, element_count_ = 0;
    Tune tune_;
    VoiceState header_;
    std::vector<VoiceState> states_;
    VoiceState* state_ = nullptr;
    std::vector<Element>* elements_ = nullptr;
};

}  // namespace nigiri::abc
