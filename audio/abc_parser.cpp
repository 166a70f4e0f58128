#include "audio/abc_parser.h"

#include <algorithm>

namespace nigiri::abc {

namespace {

constexpr size_t max_voices = 8;

using Kind = Element::Kind;

}  // namespace

Tune Parser::run() {
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
        if (ended) fail("one file holds one piece; this line comes after its end (an empty line ends a piece)");
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

void Parser::fail(const std::string& why) const { fail_at(name_, {place_.line, static_cast<int>(at_) + 1}, why); }

void Parser::parse_line() {
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

void Parser::parse_field(char letter, std::string_view value) {
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

void Parser::parse_voice(std::string_view value) {
    const std::string id(value.substr(0, value.find_first_of(" \t")));
    if (id.empty() || id.size() > 32) fail("'V:' needs a short name");
    check_clef_words(value.substr(id.size()));
    if (!in_body_) return;  // voices are counted in the order in which they sing
    select_voice(id);
}

void Parser::select_voice(const std::string& id) {
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

void Parser::parse_instruction(std::string_view value) {
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

VoiceState& Parser::current() {
    if (!in_body_) return header_;
    if (state_ == nullptr) select_voice("1");
    return *state_;
}

int64_t Parser::unit_of(const VoiceState& s) {
    return s.unit > 0 ? s.unit : s.metre.ratio < 0.75 ? ticks_per_whole / 16 : ticks_per_whole / 8;
}

Element& Parser::push(Kind kind) {
    current();
    if (++element_count_ > 8 * limits_.notes) fail("the score is too long");
    Element e;
    e.kind = kind;
    e.place = {place_.line, static_cast<int>(at_) + 1};
    elements_->push_back(std::move(e));
    return elements_->back();
}

void Parser::skip_quoted() {
    const size_t end = line_.find('"', at_ + 1);
    if (end == line_.npos) fail("the text in quotes does not end on its line");
    at_ = end + 1;
}

void Parser::parse_inline_field() {
    const size_t end = line_.find(']', at_);
    if (end == line_.npos) fail("the field in brackets does not end on its line");
    const char letter = line_[at_ + 1];
    if (std::string_view("KMLQVIPRrNw").find(letter) == std::string_view::npos)
        fail("this field cannot stand within music");
    const std::string_view value = trimmed(line_.substr(at_ + 3, end - at_ - 3));
    parse_field(letter, value);
    at_ = end + 1;
}

void Parser::parse_decoration() {
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

void fail_at(const std::string& name, Place place, const std::string& why) {
    throw LocatedError(name + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": " + why);
}

Tune parse_tune(std::string_view text, const std::string& name, const ScoreLimits& limits) {
    return Parser(text, name, limits).run();
}

}  // namespace nigiri::abc
