// From the text of a score to the elements of its voices: one pass, one character at a time, no recursion.
#include "audio/score.h"

#include <algorithm>
#include <fstream>
#include <map>

#include "audio/abc_elements.h"
#include "audio/abc_fields.h"
#include "kernels/error.h"

namespace nigiri {

namespace abc {

namespace {

constexpr size_t max_voices = 8, max_chord = 12, max_graces = 8, max_slurs = 8;
constexpr int64_t max_element = 16 * ticks_per_whole;
constexpr int64_t max_rest_bars = 100;

using Kind = Element::Kind;

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
    std::vector<Element> graces;
    bool staccato = false, accent = false, fermata = false, tenuto = false;
};

class Parser {
  public:
    Parser(std::string_view text, std::string name, const ScoreLimits& limits)
        : name_(std::move(name)), text_(text), limits_(limits) {}

    Tune run() {
        bool ended = false;
        for (size_t begin = 0; begin < text_.size(); ++place_.line) {
            size_t end = text_.find('\n', begin);
            if (end == text_.npos) end = text_.size();
            line_ = text_.substr(begin, end - begin);
            if (!line_.empty() && line_.back() == '\r') line_.remove_suffix(1);
            begin = end + 1;
            at_ = 0;
            if (const size_t comment = line_.find('%'); comment != line_.npos) {
                if (trimmed(line_.substr(0, comment)).empty()) continue;
                line_ = line_.substr(0, comment);
            }
            if (trimmed(line_).empty()) {
                ended = ended || started_;
                continue;
            }
            if (ended)
                fail("one file holds one piece; this line comes after its end (an empty line ends a piece)");
            started_ = true;
            located([&] { parse_line(); });
        }
        at_ = 0;
        line_ = {};
        if (!in_body_) fail("no 'K:' field, so there is no music");
        for (size_t v = 0; v < tune_.voices.size(); ++v) {
            state_ = &states_[v];
            elements_ = &tune_.voices[v].elements;
            if (state_->slurs > 0) fail("a slur of voice " + tune_.voices[v].id + " does not end");
            if (state_->tuplet_left > 0 || state_->broken_of != 1)
                fail("voice " + tune_.voices[v].id + " ends within a rhythm");
            close_bar(true);
        }
        if (notes_ == 0) fail("the score has no notes");
        return std::move(tune_);
    }

  private:
    [[noreturn]] void fail(const std::string& why) const {
        fail_at(name_, {place_.line, static_cast<int>(at_) + 1}, why);
    }

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

    void parse_line() {
        const bool field = line_.size() >= 2 && line_[1] == ':' &&
                           ((line_[0] >= 'A' && line_[0] <= 'Z') || (line_[0] >= 'a' && line_[0] <= 'z'));
        if (field) {
            at_ = 2;
            parse_field(line_[0], trimmed(line_.substr(2)));
            return;
        }
        if (!in_body_) fail("expected a header field such as 'T:title'; the header ends with 'K:'");
        while (at_ < line_.size()) parse_item();
    }

    void parse_field(char letter, std::string_view value) {
        if (!in_body_ && letter != 'X' && !numbered_) fail("a score starts with the field 'X:1'");
        switch (letter) {
            case 'X':
                if (numbered_) fail("a second 'X:': one file holds one piece");
                numbered_ = true;
                return;
            case 'T':
                if (tune_.title.empty()) tune_.title = value.substr(0, 200);
                return;
            case 'C':
                if (tune_.composer.empty()) tune_.composer = value.substr(0, 200);
                return;
            case 'M':
                current().metre = parse_metre(value);
                return;
            case 'L':
                current().unit = parse_unit_length(value);
                return;
            case 'Q':
                if (const auto tempo = parse_tempo(value, unit_of(current()))) {
                    if (in_body_)
                        push(Kind::tempo).value = *tempo;
                    else
                        tune_.tempo = *tempo;
                }
                return;
            case 'K': {
                const Key key = parse_key(value);
                if (key.given) current().key = key.signature;
                if (!in_body_ && !key.given) fail("the header's 'K:' needs a key, such as 'K:C'");
                in_body_ = true;
                return;
            }
            case 'V':
                parse_voice(value);
                return;
            case 'I':
                parse_instruction(value);
                return;
            case 'P':
                if (!in_body_) fail("a parts field 'P:' in the header is not read here; write repeats out");
                return;
            case 'm':
            case 'U':
                fail(std::string("field '") + letter + ":' (macros) is not read here");
            default:
                return;  // words about the piece, lyrics, and the like
        }
    }

    void parse_voice(std::string_view value) {
        const std::string id(value.substr(0, value.find_first_of(" \t")));
        if (id.empty() || id.size() > 32) fail("'V:' needs a short name");
        check_clef_words(value.substr(id.size()));
        if (!in_body_) return;  // voices are counted in the order in which they sing
        select_voice(id);
    }

    void select_voice(const std::string& id) {
        size_t v = 0;
        while (v < tune_.voices.size() && tune_.voices[v].id != id) ++v;
        if (v == tune_.voices.size()) {
            if (v == max_voices) fail("more than 8 voices");
            tune_.voices.push_back({id, {}});
            states_.resize(max_voices);  // once: pointers into it stay good
            states_[v] = header_;
        }
        state_ = &states_[v];
        elements_ = &tune_.voices[v].elements;
    }

    void parse_instruction(std::string_view value) {
        constexpr std::string_view word = "pedal";
        if (value.substr(0, word.size()) != word) return;
        if (!in_body_) fail("'I:pedal' belongs behind the 'K:' field");
        const std::string_view every = trimmed(value.substr(word.size()));
        int64_t ticks = 0;
        if (every == "bar")
            ticks = -1;
        else if (every != "off")
            ticks = parse_whole_fraction(every);
        if (ticks > 0 && ticks < ticks_per_whole / 16) fail("the pedal cannot change that often");
        push(Kind::pedal_every).duration = ticks;
    }

    VoiceState& current() {
        if (!in_body_) return header_;
        if (state_ == nullptr) select_voice("1");
        return *state_;
    }

    static int64_t unit_of(const VoiceState& s) {
        return s.unit > 0 ? s.unit : s.metre.ratio < 0.75 ? ticks_per_whole / 16 : ticks_per_whole / 8;
    }

    Element& push(Kind kind) {
        current();
        if (++element_count_ > 8 * limits_.notes) fail("the score is too long");
        Element e;
        e.kind = kind;
        e.place = {place_.line, static_cast<int>(at_) + 1};
        elements_->push_back(std::move(e));
        return elements_->back();
    }

    void parse_item() {
        const char c = peek();
        if (c == '[' && peek(2) == ':' &&
            peek(1) != '|') {  // before a voice is asked for: this may be its name
            parse_inline_field();
            return;
        }
        VoiceState& s = current();
        if (c == ' ' || c == '\t' || c == '`' || c == '\\' || c == '$' || c == '*')
            ++at_;
        else if (c == '"')
            skip_quoted();
        else if (c == '!')
            parse_decoration();
        else if (c == '.')
            s.staccato = true, ++at_;
        else if (c == 'H')
            s.fermata = true, ++at_;
        else if (c == 'L')
            s.accent = true, ++at_;
        else if (c != '\0' && std::string_view("~MOPRSTuv").find(c) != std::string_view::npos)
            ++at_;
        else if (c == 'y')
            ++at_, read_number(line_, at_, 1000);
        else if (c == '{')
            parse_graces();
        else if (c == '(')
            parse_parenthesis();
        else if (c == ')')
            close_slur();
        else if (c == '>' || c == '<')
            parse_broken();
        else if (c == '-')
            fail("a tie without a note before it");
        else if (c == '&')
            fail("overlaid voices ('&') are not read here; use another voice 'V:'");
        else if (c == 'z' || c == 'x' || c == 'Z')
            parse_rest();
        else if (c == '|' || c == ':' || (c == '[' && (peek(1) == '|' || peek(1) == '1' || peek(1) == '2')))
            parse_bar();
        else if (c == '[')
            parse_chord();
        else if (starts_note(c))
            add_notes({parse_pitch()}, false);
        else
            fail(std::string("unexpected character ") +
                 (c > ' ' && c < 127 ? std::string("'") + c + "'"
                                     : "code " + std::to_string(static_cast<unsigned char>(c))));
    }

    static bool starts_note(char c) {
        return (c >= 'A' && c <= 'G') || (c >= 'a' && c <= 'g') || c == '^' || c == '_' || c == '=';
    }

    void skip_quoted() {
        const size_t end = line_.find('"', at_ + 1);
        if (end == line_.npos) fail("the text in quotes does not end on its line");
        at_ = end + 1;
    }

    void parse_inline_field() {
        const size_t end = line_.find(']', at_);
        if (end == line_.npos) fail("the field in brackets does not end on its line");
        const char letter = line_[at_ + 1];
        if (std::string_view("KMLQVIPRrNw").find(letter) == std::string_view::npos)
            fail("this field cannot stand within music");
        const std::string_view value = trimmed(line_.substr(at_ + 3, end - at_ - 3));
        parse_field(letter, value);
        at_ = end + 1;
    }

    void parse_decoration() {
        const size_t end = line_.find('!', at_ + 1);
        if (end == line_.npos || end - at_ > 32) fail("a mark such as !p! does not end");
        const std::string_view mark = line_.substr(at_ + 1, end - at_ - 1);
        VoiceState& s = current();
        const auto any_of = [&](std::initializer_list<std::string_view> names) {
            return std::find(names.begin(), names.end(), mark) != names.end();
        };
        if (const double velocity = velocity_of_dynamic(mark); velocity > 0)
            push(Kind::dynamic).value = velocity;
        else if (any_of({"<(", "crescendo("}))
            push(Kind::hairpin_start).value = 1;
        else if (any_of({">(", "diminuendo("}))
            push(Kind::hairpin_start).value = -1;
        else if (any_of({"<)", "crescendo)", ">)", "diminuendo)"}))
            push(Kind::hairpin_end);
        else if (mark == "ped")
            push(Kind::pedal).value = 1;
        else if (mark == "ped-up")
            push(Kind::pedal).value = 0;
        else if (any_of({">", "accent", "emphasis", "sfz", "marcato"}))
            s.accent = true;
        else if (mark == "fermata")
            s.fermata = true;
        else if (mark == "tenuto")
            s.tenuto = true;
        else if (any_of({"staccato", "wedge"}))
            s.staccato = true;
        at_ = end + 1;  // other marks are for the eye or for ornaments, and change nothing here
    }

    // Accidental, letter, octave marks, length, tie.
    Pitch parse_pitch() {
        const size_t begin = at_;
        int alter = 0;
        bool explicit_accidental = false;
        if (peek() == '=')
            explicit_accidental = true, ++at_;
        else
            for (const char sign : {'^', '_'})
                for (int i = 0; i < 2 && peek() == sign; ++i, ++at_) {
                    explicit_accidental = true;
                    alter += sign == '^' ? 1 : -1;
                }
        const char c = peek();
        const bool high = c >= 'a' && c <= 'g';
        const size_t letter = letters.find(high ? static_cast<char>(c - 'a' + 'A') : c);
        if (c == '\0' || letter == letters.npos) fail("expected the letter of a note");
        ++at_;
        int octave = high ? 5 : 4;  // C is middle C, the C of octave 4
        for (; peek() == '\'' || peek() == ','; ++at_) {
            octave += peek() == '\'' ? 1 : -1;
            if (octave < 0 || octave > 9) fail("a note beyond the piano's keys");
        }
        VoiceState& s = current();
        const int degree = 7 * octave + static_cast<int>(letter);
        if (explicit_accidental)
            s.accidentals[degree] = alter;
        else if (const auto it = s.accidentals.find(degree); it != s.accidentals.end())
            alter = it->second;
        else {
            alter = s.key[letter];
            // Readers of ABC differ in whether an accidental holds in other octaves too, so it must be
            // written again.
            for (const auto& [other, value] : s.accidentals)
                if (other % 7 == static_cast<int>(letter) && value != alter) {
                    at_ = begin;
                    fail(
                        "an accidental in another octave of this bar makes this note ambiguous; write its "
                        "accidental");
                }
        }
        Pitch p;
        p.pitch = 12 * (octave + 1) + semitones[letter] + alter;
        if (p.pitch < lowest_piano_pitch || p.pitch > highest_piano_pitch)
            fail("a note beyond the piano's keys");
        p.duration = scaled(unit_of(s), parse_length());
        if (p.duration > max_element) fail("a note longer than 16 whole notes");
        if (peek() == '-') p.tied = true, ++at_;
        return p;
    }

    struct Fraction {
        int64_t by = 1, of = 1;
    };

    Fraction parse_length() {
        Fraction f;
        if (const auto n = read_number(line_, at_, 1024)) f.by = *n;
        if (f.by == 0) fail("a length of zero");
        while (peek() == '/') {
            ++at_;
            const auto n = read_number(line_, at_, 256);
            if (n && *n == 0) fail("a length divided by zero");
            f.of *= n ? *n : 2;
            if (f.of > 256) fail("a length shorter than is read here");
        }
        return f;
    }

    int64_t scaled(int64_t ticks, Fraction f) const {
        if (ticks * f.by % f.of != 0) fail("a length that is no multiple of 1/80640 of a whole note");
        return ticks * f.by / f.of;
    }

    void parse_chord() {
        const size_t begin = at_++;
        std::vector<Pitch> pitches;
        while (peek() != ']') {
            if (peek() == '"')
                skip_quoted();
            else if (peek() == '.' || peek() == ' ')
                ++at_;
            else if (starts_note(peek()))
                pitches.push_back(parse_pitch());
            else {
                if (peek() == '\0') at_ = begin;
                fail("a chord holds notes and ends with ']' on its line");
            }
            if (pitches.size() > max_chord) fail("more than 12 notes in a chord");
        }
        ++at_;
        if (pitches.empty()) fail("an empty chord");
        const Fraction f = parse_length();
        const bool tied = peek() == '-';
        if (tied) ++at_;
        for (Pitch& p : pitches) {
            p.duration = scaled(p.duration, f);
            p.tied = p.tied || tied;
            if (p.duration > max_element) fail("a note longer than 16 whole notes");
        }
        add_notes(std::move(pitches), false);
    }

    void parse_graces() {
        ++at_;
        if (peek() == '/') ++at_;
        size_t count = 0;
        while (peek() != '}') {
            if (peek() == ' ')
                ++at_;
            else if (starts_note(peek())) {
                if (++count > max_graces) fail("more than 8 grace notes");
                add_notes({parse_pitch()}, true);
            } else
                fail("grace notes are single notes and end with '}' on their line");
        }
        ++at_;
    }

    void add_notes(std::vector<Pitch> pitches, bool grace) {
        notes_ += pitches.size();
        if (notes_ > limits_.notes) fail("more than " + std::to_string(limits_.notes) + " notes");
        VoiceState& s = current();
        Element& e = push(Kind::notes);
        e.pitches = std::move(pitches);
        e.grace = grace;
        if (grace) return;
        e.staccato = s.staccato;
        e.accent = s.accent;
        e.fermata = s.fermata;
        e.legato = s.slurs > 0 || s.tenuto;
        s.staccato = s.accent = s.fermata = s.tenuto = false;
        e.duration = e.pitches.front().duration;
        take_time(e);
    }

    void parse_rest() {
        const bool bars = peek() == 'Z';
        VoiceState& s = current();
        ++at_;
        if (bars) {
            const int64_t count = read_number(line_, at_, max_rest_bars).value_or(1);
            if (count == 0) fail("a rest of no bars");
            if (s.metre.bar == 0) fail("'Z' (bars of rest) needs a metre 'M:'");
            if (s.bar_time != 0) fail("'Z' (bars of rest) must stand alone in its bar");
            push(Kind::rest).duration = s.metre.bar;
            // The bars within a rest of several are elements too, so that the voices' bars can be compared.
            for (int64_t i = 1; i < count; ++i) {
                push(Kind::bar);
                push(Kind::rest).duration = s.metre.bar;
            }
            s.bar_time = s.metre.bar;
            return;
        }
        const int64_t duration = scaled(unit_of(s), parse_length());
        if (duration > max_element) fail("a rest longer than 16 whole notes");
        Element& e = push(Kind::rest);
        e.duration = duration;
        take_time(e);
    }

    // Applies tuplets and broken rhythm to a new note or rest, and counts its time.
    void take_time(Element& e) {
        VoiceState& s = current();
        Fraction f{s.broken_by, s.broken_of};
        s.broken_by = s.broken_of = 1;
        if (s.tuplet_left > 0) {
            --s.tuplet_left;
            f.by *= s.tuplet_by;
            f.of *= s.tuplet_of;
        }
        stretch(e, f);
        s.bar_time += e.duration;
        s.last_timed = static_cast<int64_t>(elements_->size()) - 1;
    }

    void stretch(Element& e, Fraction f) const {
        e.duration = scaled(e.duration, f);
        for (Pitch& p : e.pitches) p.duration = scaled(p.duration, f);
    }

    void parse_broken() {
        VoiceState& s = current();
        const char sign = peek();
        int dots = 0;
        for (; peek() == sign; ++at_) ++dots;
        if (s.last_timed < 0 || s.broken_of != 1 || dots > 3)
            fail("a broken rhythm needs a note on either side");
        const int64_t of = int64_t{1} << dots;
        Element& before = (*elements_)[static_cast<size_t>(s.last_timed)];
        s.bar_time -= before.duration;
        stretch(before, sign == '>' ? Fraction{2 * of - 1, of} : Fraction{1, of});
        s.bar_time += before.duration;
        s.broken_by = sign == '>' ? 1 : 2 * of - 1;
        s.broken_of = of;
    }

    void parse_parenthesis() {
        ++at_;
        VoiceState& s = current();
        const auto p = read_number(line_, at_, 9);
        if (!p) {
            if (++s.slurs > max_slurs) fail("slurs within more than 8 slurs");
            return;
        }
        static constexpr int64_t usual[10] = {0, 0, 3, 2, 3, 2, 2, 2, 3, 2};
        if (*p < 2) fail("a tuplet of fewer than two notes");
        const bool odd = *p == 5 || *p == 7 || *p == 9;
        int64_t q = odd && s.metre.compound ? 3 : usual[*p], r = *p;
        if (peek() == ':') {
            ++at_;
            if (const auto n = read_number(line_, at_, 16)) q = *n;
            if (peek() == ':') {
                ++at_;
                if (const auto n = read_number(line_, at_, 32)) r = *n;
            }
        }
        if (q == 0 || r == 0) fail("a tuplet of nothing");
        if (s.tuplet_left > 0) fail("a tuplet within a tuplet is not read here");
        s.tuplet_left = static_cast<int>(r);
        s.tuplet_by = q;
        s.tuplet_of = *p;
    }

    void close_slur() {
        VoiceState& s = current();
        if (s.slurs == 0) fail("a slur ends that did not start");
        --s.slurs;
        // The last note under a slur is not bound to what follows.
        if (s.last_timed >= 0) (*elements_)[static_cast<size_t>(s.last_timed)].legato = s.slurs > 0;
        ++at_;
    }

    void parse_bar() {
        const size_t begin = at_;
        if (peek() == '[') ++at_;
        while (peek() == '|' || peek() == ':' || peek() == ']') ++at_;
        const std::string_view sign = line_.substr(begin, at_ - begin);
        if (sign.find('|') == sign.npos && sign != "::" && sign != "[") fail("a ':' without a bar");
        size_t digit = at_;
        if (sign != "[" && peek() == '[' && (peek(1) == '1' || peek(1) == '2')) ++digit;
        int ending = 0;
        if (digit < line_.size() && (line_[digit] == '1' || line_[digit] == '2')) {
            ending = line_[digit] - '0';
            at_ = digit + 1;
            if (peek() >= '0' && peek() <= '9') fail("only the endings 1 and 2 are read here");
        } else if (peek() >= '0' && peek() <= '9')
            fail("only the endings 1 and 2 are read here");
        const bool special = sign != "|" || ending != 0;
        close_bar(special);
        VoiceState& s = current();
        s.short_allowed = special;
        Element& e = push(Kind::bar);
        e.repeat_end = sign[0] == ':';
        e.repeat_start = sign.size() > 1 && sign.back() == ':';
        e.ending = ending;
    }

    // Accidentals end; the bar must be full unless it stands at a repeat, a double bar or an end.
    void close_bar(bool short_allowed) {
        VoiceState& s = current();
        if (s.broken_of != 1 || s.tuplet_left > 0) fail("a bar ends within a rhythm");
        const auto beats = [](int64_t ticks) {
            return std::to_string(static_cast<double>(ticks) / ticks_per_quarter);
        };
        if (s.metre.bar > 0 && s.bar_time > s.metre.bar)
            fail("this bar has " + beats(s.bar_time) + " quarters, the metre allows " + beats(s.metre.bar));
        if (s.metre.bar > 0 && s.bar_time > 0 && s.bar_time < s.metre.bar && !short_allowed &&
            !s.short_allowed)
            fail("this bar has only " + beats(s.bar_time) + " quarters, the metre wants " +
                 beats(s.metre.bar));
        s.bar_time = 0;
        s.last_timed = -1;
        s.accidentals.clear();
    }

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

}  // namespace

void fail_at(const std::string& name, Place place, const std::string& why) {
    throw LocatedError(name + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": " +
                       why);
}

Tune parse_tune(std::string_view text, const std::string& name, const ScoreLimits& limits) {
    return Parser(text, name, limits).run();
}

}  // namespace abc

double velocity_of_dynamic(std::string_view name) {
    static constexpr std::string_view names[] = {"ppp", "pp", "p", "mp", "mf", "f", "ff", "fff"};
    static constexpr double velocities[] = {24, 34, 46, 58, 70, 84, 98, 112};
    for (size_t i = 0; i < std::size(names); ++i)
        if (names[i] == name) return velocities[i];
    return 0;
}

Score parse_score(std::string_view text, const std::string& name, const ScoreLimits& limits) {
    if (text.size() > limits.bytes)
        throw Error(name + " is larger than a score may be (" + std::to_string(limits.bytes) + " bytes)");
    return abc::lay_out(abc::parse_tune(text, name, limits), name, limits);
}

Score read_score(const std::filesystem::path& path, const ScoreLimits& limits) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) throw Error(path.string() + " is a folder, not a score");
    std::ifstream in(path, std::ios::binary);
    if (!in) throw Error("cannot read the score " + path.string(), "check the path");
    std::string text(limits.bytes + 1, '\0');  // one more than allowed shows that there is more
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    return parse_score(text, path.string(), limits);
}

}  // namespace nigiri
