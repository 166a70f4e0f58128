// The report of a grid: report.html, report.md and report.json in its folder, written anew after every finished run.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "app/ablate/summary.h"

namespace nigiri::app {

// Of numbers only, without the sounds. Its keys are those of a comparison's report and more, so that what opens the one
// opens the other.
nlohmann::json to_json(const AblationSummary& summary, const ComparisonResult& clips,
                       const std::filesystem::path& folder);
std::string to_markdown(const AblationSummary& summary);
// A page that stands alone: tables, curves and clips in one file, no scripts.
std::string to_html(const AblationSummary& summary, const ComparisonResult& clips, const std::filesystem::path& folder);

struct AblationFiles {
    std::filesystem::path html, markdown, json;
};
AblationFiles ablation_files(const std::filesystem::path& folder);
// Summarises the folder and replaces the three files, and grid.toml beside them.
AblationSummary write_ablation_report(const Grid& grid, const std::filesystem::path& folder);

}  // namespace nigiri::app
