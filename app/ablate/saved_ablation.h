// The table and the curves of a grid read back from its report, to be looked at.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "app/ablate/run_result.h"

namespace nigiri::app {

struct SavedRow {
    std::string name, status;  // "done", or what is missing
    // As texts, ready to be shown; empty where there is no value.
    std::string bits, range, difference, parameters, tokens, speed;
    std::vector<CurvePoint> train, valid;  // means over the seeds
};

struct SavedAblation {
    std::string title, about, reference;
    int64_t runs_done = 0, runs = 0;
    std::vector<SavedRow> rows;
};

// Nothing where `report`, a report.json, is not that of a grid: reports are files like any other, and what is missing
// or of another kind in one stays empty.
std::optional<SavedAblation> load_ablation(const std::filesystem::path& report);

}  // namespace nigiri::app
