#include "app/compare/markup.h"
#include "app/compare/report.h"
#include "app/compare/report_sounds.h"
#include "app/compare/report_style.h"
#include "app/compare/report_table.h"
#include "app/text.h"

namespace nigiri::app {

namespace {

std::string table_html(const Table& table, const ComparisonResult& result, bool held_out) {
    std::string out = "<div class=\"scroll\"><table>\n<thead><tr><td></td>";
    if (held_out) out += "<th scope=\"col\">held-out audio (floor)</th>";
    for (const ComparedModel& m : result.models) out += "<th scope=\"col\">" + html_escape(m.name) + "</th>";
    out += "</tr></thead>\n<tbody>\n";
    for (const TableRow& r : table.rows) {
        out += "<tr><th scope=\"row\">" + html_escape(r.name);
        if (!r.unit.empty()) out += "<small>" + html_escape(r.unit) + "</small>";
        out += "</th>";
        if (held_out) out += "<td class=\"floor\">" + html_escape(r.held_out) + "</td>";
        for (size_t i = 0; i < r.cells.size(); ++i)
            out += std::string(static_cast<int>(i) == r.best ? "<td class=\"best\">" : "<td>") +
                   html_escape(r.cells[i]) + "</td>";
        out += "</tr>\n";
    }
    return out + "</tbody>\n</table></div>\n";
}

std::string definition_list(const Table& table) {
    std::string out;
    for (const TableRow& r : table.rows)
        if (!r.definition.empty())
            out += "<dt>" + html_escape(r.name) + "</dt><dd>" + html_escape(r.definition) + "</dd>\n";
    return out;
}

std::string notes_html(const ComparisonResult& result) {
    std::string items;
    for (const std::string& n : result.notes) items += "<li>" + html_escape(n) + "</li>";
    for (const ComparedModel& m : result.models)
        if (!m.error.empty()) items += "<li>" + html_escape(m.name + " failed: " + m.error) + "</li>";
    return items.empty() ? "" : "<div class=\"notes\"><ul>" + items + "</ul></div>\n";
}

}  // namespace

std::string to_html(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files) {
    const Table models = model_table(result), similarity = similarity_table(result),
                recordings = recording_table(result);
    const std::string title =
        std::to_string(result.models.size()) + (result.models.size() == 1 ? " model judged" : " models compared");
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>Nigiri: " +
        title + "</title>\n<style>" + report_style + "</style></head>\n<body>\n<header><h1>" + title +
        "</h1>\n<p class=\"soft\">" + html_escape(summary(options, result)) + "</p>\n" + notes_html(result) +
        "</header>\n<main>\n";
    out += "<h2>" + html_escape(models.title) + "</h2>\n" + table_html(models, result, false);
    for (const std::string& d : differences(result)) out += "<p class=\"soft\">" + html_escape(d) + "</p>\n";
    if (!similarity.rows.empty())
        out += "<h2>" + html_escape(similarity.title) + "</h2>\n" + table_html(similarity, result, true) +
               "<p class=\"soft\">The column of held-out audio is the floor: what pieces of recordings score against "
               "other "
               "pieces. A model at the floor cannot be told from recordings by that number; differences well below the "
               "floor mean nothing. The best value of a row is marked where it leads by more than half of the "
               "floor.</p>\n";
    out +=
        "<h2>Listen</h2>\n<p>First without names: in every row the sounds stand in another order, one of them is a "
        "real recording where there was one to spare, and all have the same loudness, because the louder sound is "
        "easily taken for the better one. Note your choice for every clip, then show the names. For a number that "
        "holds, decide beforehand how many trials you will do and do not look in between.</p>\n"
        "<input type=\"checkbox\" id=\"reveal\" /><label class=\"switch\" for=\"reveal\">Show who made which "
        "sound</label>\n<div class=\"clips\">\n" +
        sounds_html(options, result) + "</div>\n";
    if (!recordings.rows.empty())
        out += "<h2>" + html_escape(recordings.title) + "</h2>\n<details><summary>" +
               std::to_string(recordings.rows.size()) + " recordings</summary>\n" +
               table_html(recordings, result, false) + "</details>\n";
    out += "<h2>What the numbers mean</h2>\n<dl>\n" + definition_list(models) + definition_list(similarity) +
           "</dl>\n<p class=\"soft\">Formulas, sources and limits: docs/metrics.md of the project.</p>\n</main>\n"
           "<footer><p>The clips as they were generated, unchanged in level, with their settings in their comments: "
           "the folder " +
           html_escape(files.clips.filename().string()) +
           ". All numbers: " + html_escape(files.json.filename().string()) + ".</p></footer>\n</body></html>\n";
    return out;
}

}  // namespace nigiri::app
