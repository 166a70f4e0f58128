// Notes, chords, rests, rhythm and bars.
#include "audio/abc_parser.h"

namespace nigiri::abc {

namespace {

constexpr size_t max_chord = 12, max_graces = 8, max_slurs = 8;
constexpr int64_t max_element = 16 * ticks_per_whole;
constexpr int64_t max_rest_bars = 100;

using Kind = Element::Kind;

}  // namespace

void Parser::parse_item() {
    const char c = peek();
    if (c == '[' && peek(2) == ':' && peek(1) != '|') {  // before a voice is asked for: this may be its name
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
        fail(std::string("unexpected character ") + (c > ' ' && c < 127
                                                         ? std::string("'") + c + "'"
                                                         : "code " + std::to_string(static_cast<unsigned char>(c))));
}

bool Parser::starts_note(char c) {
    return (c >= 'A' && c <= 'G') || (c >= 'a' && c <= 'g') || c == '^' || c == '_' || c == '=';
}

Pitch Parser::parse_pitch() {
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
    if (p.pitch < lowest_piano_pitch || p.pitch > highest_piano_pitch) fail("a note beyond the piano's keys");
    p.duration = scaled(unit_of(s), parse_length());
    if (p.duration > max_element) fail("a note longer than 16 whole notes");
    if (peek() == '-') p.tied = true, ++at_;
    return p;
}

Parser::Fraction Parser::parse_length() {
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

int64_t Parser::scaled(int64_t ticks, Fraction f) const {
    if (ticks * f.by % f.of != 0) fail("a length that is no multiple of 1/80640 of a whole note");
    return ticks * f.by / f.of;
}

void Parser::parse_chord() {
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

void Parser::parse_graces() {
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

void Parser::add_notes(std::vector<Pitch> pitches, bool grace) {
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

void Parser::parse_rest() {
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

void Parser::take_time(Element& e) {
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

void Parser::stretch(Element& e, Fraction f) const {
    e.duration = scaled(e.duration, f);
    for (Pitch& p : e.pitches) p.duration = scaled(p.duration, f);
}

void Parser::parse_broken() {
    VoiceState& s = current();
    const char sign = peek();
    int dots = 0;
    for (; peek() == sign; ++at_) ++dots;
    if (s.last_timed < 0 || s.broken_of != 1 || dots > 3) fail("a broken rhythm needs a note on either side");
    const int64_t of = int64_t{1} << dots;
    Element& before = (*elements_)[static_cast<size_t>(s.last_timed)];
    s.bar_time -= before.duration;
    stretch(before, sign == '>' ? Fraction{2 * of - 1, of} : Fraction{1, of});
    s.bar_time += before.duration;
    s.broken_by = sign == '>' ? 1 : 2 * of - 1;
    s.broken_of = of;
}

void Parser::parse_parenthesis() {
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

void Parser::close_slur() {
    VoiceState& s = current();
    if (s.slurs == 0) fail("a slur ends that did not start");
    --s.slurs;
    // The last note under a slur is not bound to what follows.
    if (s.last_timed >= 0) (*elements_)[static_cast<size_t>(s.last_timed)].legato = s.slurs > 0;
    ++at_;
}

void Parser::parse_bar() {
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

void Parser::close_bar(bool short_allowed) {
    VoiceState& s = current();
    if (s.broken_of != 1 || s.tuplet_left > 0) fail("a bar ends within a rhythm");
    const auto beats = [](int64_t ticks) { return std::to_string(static_cast<double>(ticks) / ticks_per_quarter); };
    if (s.metre.bar > 0 && s.bar_time > s.metre.bar)
        fail("this bar has " + beats(s.bar_time) + " quarters, the metre allows " + beats(s.metre.bar));
    if (s.metre.bar > 0 && s.bar_time > 0 && s.bar_time < s.metre.bar && !short_allowed && !s.short_allowed)
        fail("this bar has only " + beats(s.bar_time) + " quarters, the metre wants " + beats(s.metre.bar));
    s.bar_time = 0;
    s.last_timed = -1;
    s.accidentals.clear();
}

}  // namespace nigiri::abc
