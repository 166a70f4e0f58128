#include <algorithm>
#include <charconv>
#include <map>

#include "app/ablate/chart.h"
#include "app/ablate/report.h"
#include "app/ablate/table.h"
#include "app/compare/markup.h"
#include "app/compare/report_sounds.h"
#include "app/compare/report_style.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

std::string cell_html(const std::string& cell) {
    const size_t end = cell.find('\n');
    if (end == std::string::npos) return html_escape(cell);
    return html_escape(cell.substr(0, end)) + "<br /><small>" + html_escape(cell.substr(end + 1)) + "</small>";
}

std::string table_html(const GridTable& table) {
    std::string out = "<div class=\"scroll\"><table>\n<thead><tr><td></td>";
    for (const GridColumn& c : table.columns)
        out += "<th scope=\"col\">" + html_escape(c.name) +
               (c.unit.empty() ? "" : "<br /><small>" + html_escape(c.unit) + "</small>") + "</th>";
    out += "</tr></thead>\n<tbody>\n";
    for (const GridLine& line : table.lines) {
        out += "<tr><th scope=\"row\">" + html_escape(line.name);
        if (!line.detail.empty()) out += "<small>" + html_escape(line.detail) + "</small>";
        if (!line.status.empty()) out += "<small><b>" + html_escape(line.status) + "</b></small>";
        out += "</th>";
        for (size_t i = 0; i < line.cells.size(); ++i)
            out += std::string(static_cast<int>(i) == line.best ? "<td class=\"best\">" : "<td>") +
                   cell_html(line.cells[i]) + "</td>";
        out += "</tr>\n";
    }
    return out + "</tbody>\n</table></div>\n";
}

std::string definition_list(const GridTable& table) {
    std::string out;
    for (const GridColumn& c : table.columns)
        if (!c.definition.empty())
            out += "<dt>" + html_escape(c.name) + "</dt><dd>" + html_escape(c.definition) + "</dd>\n";
    return out;
}

std::string section(const std::string& title, const std::string& content, const std::string& caption = "") {
    if (content.empty()) return "";
    return "<h2>" + html_escape(title) + "</h2>\n" + content +
           (caption.empty() ? "" : "<p class=\"soft\">" + html_escape(caption) + "</p>\n");
}

std::string framed(const std::string& picture) { return picture.empty() ? "" : "<figure>" + picture + "</figure>\n"; }

ChartPoint point(double x, const Spread& s) {
    const double d = s.deviation.value_or(0);
    return {x, s.mean, s.mean - d, s.mean + d};
}

// Rows of one family share a colour, the paler the nearer to the beginning of the axes; where a family is a row, each
// has its own colour.
struct Look {
    size_t colour = 0;
    double strength = 1;
};

Look look_of(const AblationSummary& s, size_t row) {
    std::vector<std::string> families;
    size_t before = 0, all = 0;
    for (size_t i = 0; i < s.rows.size(); ++i) {
        const std::string& family = s.rows[i].family;
        if (std::find(families.begin(), families.end(), family) == families.end()) families.push_back(family);
        if (family != s.rows[row].family) continue;
        ++all;
        if (i < row) ++before;
    }
    if (families.size() < 2 || families.size() == s.rows.size()) return {row, 1};
    const auto place = std::find(families.begin(), families.end(), s.rows[row].family) - families.begin();
    constexpr double palest = 0.3;
    const double share = all > 1 ? static_cast<double>(before) / static_cast<double>(all - 1) : 1;
    return {static_cast<size_t>(place), palest + (1 - palest) * share};
}

std::string seeds_picture(const AblationSummary& s) {
    std::vector<DotLine> lines;
    for (size_t i = 0; i < s.rows.size(); ++i) {
        DotLine line{s.rows[i].name, {}, s.rows[i].status, look_of(s, i).colour};
        for (const SeedRun& run : s.rows[i].runs)
            if (run.result && run.result->bits) line.values.push_back(run.result->bits->total.bits_per_sample());
        lines.push_back(std::move(line));
    }
    return dots_svg("Bits per sample of every row and seed",
                    std::string("bits per sample, ") + name_of(s.grid.evaluation.split), lines);
}

std::string curves_picture(const AblationSummary& s, std::vector<MeanPoint> RowSummary::*curve,
                           const std::string& name) {
    Chart chart;
    chart.title = name + " against tokens";
    chart.x_name = "tokens";
    chart.y_name = name;
    double most = 0;
    for (size_t i = 0; i < s.rows.size(); ++i) {
        const Look look = look_of(s, i);
        ChartSeries series{s.rows[i].name, {}, look.colour, look.strength};
        for (const MeanPoint& p : s.rows[i].*curve) {
            series.points.push_back(point(static_cast<double>(p.tokens), p.bits));
            most = std::max(most, static_cast<double>(p.tokens));
        }
        chart.series.push_back(std::move(series));
    }
    chart.focus_x = 0.12 * most;
    return chart_svg(chart);
}

// Bits against a numeric axis of the grid: a curve for everything that is otherwise equal.
std::string axis_picture(const AblationSummary& s, size_t axis) {
    std::vector<double> values;
    for (const std::string& text : s.grid.axes[axis].values) {
        double x = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
        if (error != std::errc() || end != text.data() + text.size()) return "";
        values.push_back(x);
    }
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (values.size() < 2 || *least == *most) return "";
    Chart chart;
    chart.title = "Bits per sample against " + s.grid.axes[axis].key;
    chart.x_name = s.grid.axes[axis].key;
    chart.y_name = std::string("bits per sample, ") + name_of(s.grid.evaluation.split);
    chart.log_x = *least > 0 && *most >= 8 * *least;
    chart.markers = true;
    std::map<std::string, size_t> known;
    for (const RowSummary& row : s.rows) {
        std::string name = row.family;
        for (size_t a = 0; a < row.place.size(); ++a)
            if (a != axis && !row.place[a].empty()) name += (name.empty() ? "" : ", ") + row.place[a];
        if (row.place[axis].empty()) continue;
        const auto [it, is_new] = known.emplace(name, chart.series.size());
        if (is_new) chart.series.push_back({name.empty() ? "bits" : name, {}, it->second});
        if (!row.bits) continue;
        double x = 0;
        std::from_chars(row.place[axis].data(), row.place[axis].data() + row.place[axis].size(), x);
        chart.series[it->second].points.push_back(point(x, *row.bits));
    }
    for (ChartSeries& series : chart.series)
        std::sort(series.points.begin(), series.points.end(),
                  [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
    return chart_svg(chart);
}

std::string notes_html(const AblationSummary& s) {
    std::string items;
    for (const std::string& n : s.notes) items += "<li>" + html_escape(n) + "</li>";
    return items.empty() ? "" : "<div class=\"notes\"><ul>" + items + "</ul></div>\n";
}

std::string listening(const AblationSummary& s, const ComparisonResult& clips, const fs::path& folder) {
    if (std::all_of(clips.models.begin(), clips.models.end(), [](const ComparedModel& m) { return m.clips.empty(); }))
        return "";
    return "<p>All rows at equal tokens, from the same random numbers and equally loud; in every clip the sounds stand "
           "in another order. Judge first, then show the names.</p>\n<input type=\"checkbox\" id=\"reveal\" /><label "
           "class=\"switch\" for=\"reveal\">Show who made which sound</label>\n<div class=\"clips\">\n" +
           sounds_html(comparison_options_of(s, folder), clips) + "</div>\n";
}

std::string repeating(const AblationSummary& s) {
    std::string out = "<dl>";
    const auto item = [&](const std::string& name, const std::vector<std::string>& values) {
        for (const std::string& v : values) out += "<dt>" + name + "</dt><dd>" + html_escape(v) + "</dd>\n";
    };
    if (!s.started.empty()) item("Begun", {s.started + " UTC"});
    if (!s.finished.empty()) item("Last run finished", {s.finished + " UTC"});
    item("Device", s.devices);
    item("Version", s.versions);
    item("Grid file", {s.grid.file});
    out += "</dl>\n";
    std::string commands;
    for (const std::string& c : s.commands) commands += html_escape(c) + "\n";
    if (!commands.empty()) out += "<pre>" + commands + "</pre>\n";
    std::string grid;  // line by line: what shows a text makes one line of it otherwise
    for (size_t at = 0; at < s.grid.text.size();) {
        const size_t end = std::min(s.grid.text.find('\n', at), s.grid.text.size());
        grid += html_escape(s.grid.text.substr(at, end - at)) + "\n";
        at = end + 1;
    }
    return out + "<details><summary>The grid file</summary><pre>" + grid + "</pre></details>\n";
}

constexpr const char* page_style = R"css(
pre { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.45; white-space: pre-wrap; }
th b { font-weight: 600; color: var(--accent); }
thead th { overflow-wrap: normal; min-width: 4.4rem; max-width: 9.5rem; }
tbody th { min-width: 11rem; }
.scroll + figure { margin-top: .8rem; }
)css";

}  // namespace

std::string to_html(const AblationSummary& s, const ComparisonResult& clips, const fs::path& folder) {
    const GridTable results = result_table(s), metrics = metrics_table(s);
    const std::string title = s.grid.title.empty() ? "Ablation" : s.grid.title;
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>Nigiri: " +
        html_escape(title) + "</title>\n<style>" + report_style + chart_style + page_style +
        "</style></head>\n<body>\n<header><h1>" + html_escape(title) + "</h1>\n";
    if (!s.grid.about.empty()) out += "<p>" + html_escape(s.grid.about) + "</p>\n";
    out += "<p class=\"soft\">" + html_escape(conditions(s)) + "</p>\n" + notes_html(s) + "</header>\n<main>\n";
    out +=
        section(results.title, table_html(results) + framed(seeds_picture(s)), "A dot is a seed, the bar their mean.");
    std::string axes;
    for (size_t a = 0; a < s.grid.axes.size(); ++a) axes += framed(axis_picture(s, a));
    out += section("Along the axes", axes.empty() ? "" : "<div class=\"charts\">" + axes + "</div>\n",
                   "Means over the seeds; bars are their sample standard deviation.");
    const std::string curves = framed(curves_picture(s, &RowSummary::valid_curve, "validation bits per sample")) +
                               framed(curves_picture(s, &RowSummary::train_curve, "training bits per sample"));
    out += section("Learning", curves.empty() ? "" : "<div class=\"charts\">" + curves + "</div>\n",
                   "Means over the seeds with bands of their sample standard deviation. The steep first part is cut "
                   "off above. Training bits are means between two lines of the log.");
    if (!metrics.lines.empty())
        out += section(metrics.title, table_html(metrics),
                       "Means over the seeds. Held-out audio against itself is the floor: a row at it cannot be told "
                       "from recordings by that number.");
    out += section("Listen", listening(s, clips, folder));
    out += section("Run by run", "<details><summary>" + std::to_string(s.grid.runs()) + " runs</summary>\n" +
                                     table_html(run_table(s)) + "</details>\n");
    out += section("To repeat it", repeating(s));
    return out + "<h2>What the numbers mean</h2>\n<dl>\n" + definition_list(results) + definition_list(metrics) +
           "</dl>\n</main>\n<footer><p>Runs, with their models, logs and clips: the folder runs. All numbers: "
           "report.json.</p></footer>\n</body></html>\n";
}

}  // namespace nigiri::app
