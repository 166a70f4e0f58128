// A comparison on paper: one HTML page that needs nothing else, Markdown, JSON.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/compare/comparison.h"

namespace nigiri::app {

// Where a report goes. A name that ends in .html gives NAME.html, NAME.md, NAME.json and the folder NAME-clips; any
// other name is a folder with report.html, report.md, report.json and clips.
struct ReportFiles {
    std::filesystem::path html, markdown, json, clips;
};
ReportFiles report_files(const std::filesystem::path& output);

// Everything that was measured; docs/metrics.md lists the keys. Paths of clips are relative to the report.
nlohmann::json to_json(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files);
std::string to_markdown(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files);
// Sounds (level-matched, FLAC) and pictures stand inside of the page. No scripts, nothing is fetched.
std::string to_html(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files);

// Replaces the three files, each atomically. Throws Error where that fails.
void write_report(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files);

}  // namespace nigiri::app
