#include "app/ablate/report.h"
#include "app/ablate/table.h"
#include "app/compare/markup.h"

namespace nigiri::app {

namespace {

std::string table_text(const GridTable& table) {
    if (table.lines.empty()) return "";
    std::string head = "| |", rule = "|---|";
    for (const GridColumn& c : table.columns) {
        head += " " + markdown_escape(c.name) + (c.unit.empty() ? "" : ", " + markdown_escape(c.unit)) + " |";
        rule += "--:|";
    }
    std::string text = "## " + table.title + "\n\n" + head + "\n" + rule + "\n";
    for (const GridLine& line : table.lines) {
        text += "| " + markdown_escape(line.name) +
                (line.status.empty() ? "" : " (" + markdown_escape(line.status) + ")") + " |";
        for (size_t i = 0; i < line.cells.size(); ++i) {
            std::string cell = markdown_escape(line.cells[i].substr(0, line.cells[i].find('\n')));
            if (static_cast<int>(i) == line.best) cell = "**" + cell + "**";
            if (const size_t end = line.cells[i].find('\n'); end != std::string::npos)
                cell += " (" + markdown_escape(line.cells[i].substr(end + 1)) + ")";
            text += " " + cell + " |";
        }
        text += "\n";
    }
    return text + "\n";
}

std::string definitions(const GridTable& table) {
    std::string text;
    for (const GridColumn& c : table.columns)
        if (!c.definition.empty()) text += "- **" + markdown_escape(c.name) + "**: " + c.definition + "\n";
    return text;
}

// A block that no line of the text can end.
std::string code_block(const std::string& text) {
    std::string fence = "```";
    while (text.find(fence) != std::string::npos) fence += "`";
    return fence + "\n" + text + (text.empty() || text.back() == '\n' ? "" : "\n") + fence + "\n\n";
}

}  // namespace

std::string to_markdown(const AblationSummary& s) {
    std::string text = "# " + markdown_escape(s.grid.title.empty() ? "Ablation" : s.grid.title) + "\n\n";
    if (!s.grid.about.empty()) text += markdown_escape(s.grid.about) + "\n\n";
    text += markdown_escape(conditions(s)) + "\n\n";
    for (const std::string& note : s.notes) text += "- Note: " + markdown_escape(note) + "\n";
    if (!s.notes.empty()) text += "\n";
    const GridTable results = result_table(s), metrics = metrics_table(s);
    text += table_text(results) + table_text(metrics) + table_text(run_table(s));
    text += "## What the numbers mean\n\n" + definitions(results) + definitions(metrics) + "\n";
    text += "## To repeat it\n\n";
    if (!s.started.empty())
        text += "Begun " + s.started + " UTC" +
                (s.finished.empty() ? "" : ", last run finished " + s.finished + " UTC") + ".\n\n";
    for (const std::string& d : s.devices) text += "- Device: " + markdown_escape(d) + "\n";
    for (const std::string& v : s.versions) text += "- Version: nigiri " + markdown_escape(v) + "\n";
    if (!s.devices.empty()) text += "\n";
    std::string commands;
    for (const std::string& c : s.commands) commands += c + "\n";
    if (!commands.empty()) text += code_block(commands);
    return text + "Grid file " + markdown_escape(s.grid.file) + ":\n\n" + code_block(s.grid.text);
}

}  // namespace nigiri::app
