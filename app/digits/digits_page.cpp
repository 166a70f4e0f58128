// Scored digits as an HTML page and as Markdown.
#include <algorithm>
#include <limits>

#include "app/compare/level_match.h"
#include "app/compare/markup.h"
#include "app/compare/picture.h"
#include "app/compare/report_style.h"
#include "app/digits/digits_report.h"
#include "app/text.h"
#include "audio/flac_memory.h"

namespace nigiri::app {

namespace {

bool is_best(const DigitTable::Row& row, size_t cell) {
    return std::find(row.best.begin(), row.best.end(), static_cast<int>(cell)) != row.best.end();
}

std::string table_html(const DigitTable& table) {
    std::string out = "<h2>" + html_escape(table.title) + "</h2>\n<div class=\"scroll\"><table>\n<thead><tr><td></td>";
    const std::string narrow = table.columns.size() > 10 ? " style=\"min-width: 0\"" : "";
    for (size_t c = 1; c < table.columns.size(); ++c)
        out += "<th scope=\"col\"" + narrow + ">" + html_escape(table.columns[c]) + "</th>";
    out += "</tr></thead>\n<tbody>\n";
    for (const DigitTable::Row& r : table.rows) {
        out += "<tr><th scope=\"row\">" + html_escape(r.cells[0]) + "</th>";
        for (size_t c = 1; c < r.cells.size(); ++c)
            out += std::string(is_best(r, c) ? "<td class=\"best\">"
                               : r.floor     ? "<td class=\"floor\">"
                                             : "<td>") +
                   html_escape(r.cells[c]) + "</td>";
        out += "</tr>\n";
    }
    return out + "</tbody>\n</table></div>\n";
}

std::string table_text(const DigitTable& table) {
    if (table.rows.empty()) return "";
    std::string text = "## " + table.title + "\n\n|", rule = "|";
    for (size_t c = 0; c < table.columns.size(); ++c) {
        text += " " + markdown_escape(table.columns[c]) + " |";
        rule += c == 0 ? "---|" : "--:|";
    }
    text += "\n" + rule + "\n";
    for (const DigitTable::Row& r : table.rows) {
        text += "|";
        for (size_t c = 0; c < r.cells.size(); ++c) {
            const std::string cell = markdown_escape(r.cells[c]);
            text += is_best(r, c) ? " **" + cell + "** |" : " " + cell + " |";
        }
        text += "\n";
    }
    return text + "\n";
}

std::string sound_html(const DigitExample& e, bool generated, double gain) {
    std::vector<float> samples = e.samples;
    for (float& x : samples) x = static_cast<float>(x * gain);
    const Spectrogram picture = picture_spectrogram(samples, digit_rate, 160);
    double loudest = -std::numeric_limits<double>::infinity();
    for (const float v : picture.values) loudest = std::max(loudest, static_cast<double>(v));
    std::string facts = "heard as " + std::to_string(e.heard) + ", " + fixed(100 * e.probability, 1) + " %";
    if (generated) facts += ", " + fixed(e.bits_per_sample, 2) + " bits/sample";
    return "<figure><figcaption><b>" + std::to_string(e.heard) + "</b> <small>" + facts +
           "</small></figcaption>\n<img alt=\"Spectrogram\" src=\"data:image/png;base64," +
           base64(spectrogram_png(picture, loudest)) +
           "\" />\n<audio controls=\"controls\" preload=\"metadata\" aria-label=\"clip " + std::to_string(e.clip) +
           "\" src=\"data:audio/flac;base64," + base64(flac_bytes(samples, digit_rate)) + "\"></audio></figure>\n";
}

std::string sounds_html(const std::vector<DigitExample>& examples, bool generated) {
    std::vector<std::vector<float>> sounds;
    for (const DigitExample& e : examples) sounds.push_back(e.samples);
    const LevelMatch match = match_levels(sounds, digit_rate);
    std::string out = "<div class=\"sounds\">\n";
    for (size_t i = 0; i < examples.size(); ++i) out += sound_html(examples[i], generated, match.gains[i]);
    return out + "</div>\n";
}

std::vector<std::string> remarks(const DigitScoring& result) {
    std::vector<std::string> all = result.notes;
    for (const DigitRow& r : result.rows)
        if (!r.error.empty()) all.push_back(r.name + " failed: " + r.error);
    return all;
}

}  // namespace

std::string to_markdown(const DigitScoringOptions& options, const DigitScoring& result) {
    std::string text = "# Spoken digits scored\n\n" + markdown_escape(digit_summary(options, result)) + "\n\n**" +
                       markdown_escape(comparability(result)) + "**\n\n";
    for (const std::string& note : remarks(result)) text += "- Note: " + markdown_escape(note) + "\n";
    if (!remarks(result).empty()) text += "\n";
    text += table_text(score_table(result)) + table_text(unselected_table(result)) + table_text(heard_table(result));
    text += "## What the numbers mean\n\n";
    for (const DigitDefinition& d : digit_definitions()) text += "- **" + d.name + "**: " + d.text + "\n";
    return text;
}

std::string to_html(const DigitScoringOptions& options, const DigitScoring& result) {
    std::string notes;
    for (const std::string& note : remarks(result)) notes += "<li>" + html_escape(note) + "</li>";
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>Nigiri: spoken digits "
        "scored</title>\n<style>" +
        std::string(report_style) +
        "</style></head>\n<body>\n<header><h1>Spoken digits scored</h1>\n<p class=\"soft\">" +
        html_escape(digit_summary(options, result)) + "</p>\n<div class=\"notes\"><ul><li><b>" +
        html_escape(comparability(result)) + "</b></li>" + notes + "</ul></div>\n</header>\n<main>\n" +
        table_html(score_table(result));
    if (const DigitTable all = unselected_table(result); !all.rows.empty()) out += table_html(all);
    out += table_html(heard_table(result)) +
           "<h2>Listen</h2>\n<p>All at one loudness. The clearest clips are the classifier's choice, so they flatter; "
           "those "
           "that nobody chose stand evenly spread over what was scored.</p>\n";
    for (const DigitRow& r : result.rows) {
        if (r.clearest.empty() && r.unchosen.empty()) continue;
        const bool generated = r.kind != DigitRowKind::recordings;
        out += "<section class=\"clip\"><h3>" + html_escape(r.name) + "</h3><small>Nobody's choice.</small>" +
               sounds_html(r.unchosen, generated) + "<small>The clearest of each digit.</small>" +
               sounds_html(r.clearest, generated) + "</section>\n";
    }
    out += "<h2>What the numbers mean</h2>\n<dl>\n";
    for (const DigitDefinition& d : digit_definitions())
        out += "<dt>" + html_escape(d.name) + "</dt><dd>" + html_escape(d.text) + "</dd>\n";
    return out +
           "</dl>\n<p class=\"soft\">Formulas, sources and limits: docs/digits.md of the project.</p>\n</main>\n"
           "</body></html>\n";
}

}  // namespace nigiri::app
