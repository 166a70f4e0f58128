#include "app/compare/markup.h"
#include "app/compare/report.h"
#include "app/compare/report_table.h"
#include "app/text.h"

namespace nigiri::app {

namespace {

std::string head_line(const std::string& first, const ComparisonResult& result, bool held_out) {
    std::string head = "| " + first + " |", rule = "|---|";
    if (held_out) head += " held-out audio (floor) |", rule += "--:|";
    for (const ComparedModel& m : result.models) head += " " + markdown_escape(m.name) + " |", rule += "--:|";
    return head + "\n" + rule + "\n";
}

std::string table_text(const Table& table, const ComparisonResult& result, bool held_out) {
    if (table.rows.empty()) return "";
    std::string text = "## " + table.title + "\n\n" + head_line("", result, held_out);
    for (const TableRow& r : table.rows) {
        text += "| " + markdown_escape(r.name) + (r.unit.empty() ? "" : ", " + r.unit) + " |";
        if (held_out) text += " " + markdown_escape(r.held_out) + " |";
        for (size_t i = 0; i < r.cells.size(); ++i) {
            const std::string cell = markdown_escape(r.cells[i]);
            text += static_cast<int>(i) == r.best ? " **" + cell + "** |" : " " + cell + " |";
        }
        text += "\n";
    }
    return text + "\n";
}

std::string definitions(const Table& table) {
    std::string text;
    for (const TableRow& r : table.rows)
        if (!r.definition.empty()) text += "- **" + markdown_escape(r.name) + "**: " + r.definition + "\n";
    return text;
}

}  // namespace

std::string to_markdown(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files) {
    std::string text = "# Models compared\n\n" + markdown_escape(summary(options, result)) + "\n\n";
    for (const std::string& note : result.notes) text += "- Note: " + markdown_escape(note) + "\n";
    for (const ComparedModel& m : result.models)
        if (!m.error.empty()) text += "- " + markdown_escape(m.name) + " failed: " + markdown_escape(m.error) + "\n";
    if (text.back() == '\n' && text[text.size() - 2] != '\n') text += "\n";
    const Table models = model_table(result), similarity = similarity_table(result);
    text += table_text(models, result, false);
    for (const std::string& d : differences(result)) text += markdown_escape(d) + "\n\n";
    text += table_text(similarity, result, true);
    if (!similarity.rows.empty())
        text +=
            "The best value of a row is bold where it leads by more than half of the floor. What held-out audio itself "
            "scores, pieces of it against the rest, is the "
            "floor: a model at it cannot be told from recordings by that number. What is above it by less than the "
            "floor "
            "itself hardly counts. The definitions with their sources are in the project's docs/metrics.md.\n\n";
    text += table_text(recording_table(result), result, false);
    text += "## What the numbers mean\n\n" + definitions(models) + definitions(similarity) + "\n";
    text += "## Clips\n\n";
    for (const ComparedModel& m : result.models) {
        text += markdown_escape(m.name) + (m.clips_complete ? "" : " (stopped before their end)") + "\n\n";
        for (const ComparedClip& c : m.clips) {
            const auto file = c.file.lexically_relative(files.markdown.parent_path()).generic_string();
            text += "- " + markdown_escape(file) + ": " + fixed(c.log2_likelihood_per_sample, 3) + " bits";
            if (c.ran_away != Runaway::none) text += std::string(", ran away: ") + name_of(c.ran_away);
            text += "\n";
        }
        text += "\n";
    }
    return text;
}

}  // namespace nigiri::app
