#include "app/ablate/grid_text.h"

#include <algorithm>
#include <charconv>

namespace nigiri::app {

namespace {

constexpr size_t most_grid_bytes = 1 << 20, longest_value = 4096, most_values = 1024;

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// One line, read from left to right.
class Line {
  public:
    Line(std::string_view text, const std::string& file, int number) : rest_(text), file_(file), number_(number) {}

    [[noreturn]] void wrong(const std::string& what, const std::string& hint = "") const {
        throw grid_error(file_, number_, what, hint);
    }

    // Blanks and a comment; whether nothing else is left.
    bool ended() {
        while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
        if (!rest_.empty() && rest_[0] == '#') rest_ = {};
        return rest_.empty();
    }

    bool take(char c) {
        if (ended() || rest_[0] != c) return false;
        rest_.remove_prefix(1);
        return true;
    }

    void expect(char c) {
        if (!take(c)) wrong(std::string("a '") + c + "' is missing");
    }

    void expect_end() {
        if (!ended()) wrong("there is something behind the value", "begin a new line, or a comment with #");
    }

    std::string word(const char* what) {
        ended();
        size_t n = 0;
        while (n < rest_.size() && is_word(rest_[n])) ++n;
        if (n == 0) wrong(std::string("there is no ") + what, "a line is key = value or [section]");
        return take_text(n);
    }

    std::string value() {
        if (ended()) wrong("there is no value", "a text stands in double quotes");
        return rest_[0] == '"' ? quoted() : bare();
    }

  private:
    std::string take_text(size_t n) {
        if (n > longest_value) wrong("this is too long");
        const std::string text(rest_.substr(0, n));
        rest_.remove_prefix(n);
        return text;
    }

    std::string quoted() {
        std::string text;
        for (size_t i = 1; i < rest_.size(); ++i) {
            char c = rest_[i];
            if (c == '"') {
                rest_.remove_prefix(i + 1);
                if (text.size() > longest_value) wrong("this text is too long");
                return text;
            }
            if (c == '\\') {
                if (++i == rest_.size() || (rest_[i] != '"' && rest_[i] != '\\'))
                    wrong("a backslash stands before \" and \\ only");
                c = rest_[i];
            }
            if (static_cast<unsigned char>(c) < 0x20 && c != '\t') wrong("a text has a control character");
            text += c;
        }
        wrong("a text has no end", "it stands in double quotes, on one line");
    }

    // A number, with '_' for the eye, or true or false. Its text is kept: who asks for it knows the kind.
    std::string bare() {
        size_t n = 0;
        while (n < rest_.size() && (is_word(rest_[n]) || rest_[n] == '+')) ++n;
        std::string text = take_text(n);
        if (text == "true" || text == "false") return text;
        std::string digits = text;
        std::erase(digits, '_');
        double number = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (digits.empty() || error != std::errc() || end != digits.data() + digits.size())
            wrong("'" + (text.empty() ? std::string(rest_.substr(0, 20)) : text) + "' is no value",
                  "give a number, true, false, a text in double quotes, or a list of those");
        return digits;
    }

    std::string_view rest_;
    const std::string& file_;
    int number_;
};

GridEntry entry(Line& line, int number) {
    GridEntry e;
    e.line = number;
    e.key = line.word("key");
    line.expect('=');
    if (!line.take('[')) {
        e.values.push_back(line.value());
    } else {
        e.is_list = true;
        while (!line.take(']')) {
            if (!e.values.empty()) {
                line.expect(',');
                if (line.take(']')) break;
            }
            e.values.push_back(line.value());
            if (e.values.size() > most_values) line.wrong("this list is too long");
        }
    }
    line.expect_end();
    return e;
}

}  // namespace

std::string GridEntry::text() const {
    std::string all;
    for (size_t i = 0; i < values.size(); ++i) all += (i ? "," : "") + values[i];
    return all;
}

Error grid_error(const std::string& file, int line, const std::string& what, const std::string& hint) {
    return Error(file + (line > 0 ? ", line " + std::to_string(line) : "") + ": " + what, hint);
}

std::vector<GridSection> parse_grid_text(std::string_view text, const std::string& file) {
    if (text.size() > most_grid_bytes) throw Error(file + " is too large for a grid", "a grid is a small text");
    std::vector<GridSection> sections(1);
    for (int number = 1; !text.empty(); ++number) {
        const size_t end = std::min(text.find('\n'), text.size());
        Line line(text.substr(0, end), file, number);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ended()) continue;
        if (line.take('[')) {
            GridSection section;
            section.line = number;
            section.name = line.word("section's name");
            line.expect(']');
            line.expect_end();
            for (const GridSection& s : sections)
                if (s.name == section.name)
                    line.wrong("[" + s.name + "] stands in line " + std::to_string(s.line) + " already");
            sections.push_back(std::move(section));
            continue;
        }
        GridEntry e = entry(line, number);
        for (const GridEntry& earlier : sections.back().entries)
            if (earlier.key == e.key)
                line.wrong("'" + e.key + "' stands in line " + std::to_string(earlier.line) + " already");
        sections.back().entries.push_back(std::move(e));
    }
    return sections;
}

}  // namespace nigiri::app
