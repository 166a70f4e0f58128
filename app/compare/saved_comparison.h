// A comparison read back from its folder, so that its clips can be listened to and its tables seen without making
// anything again.
#pragma once

#include "app/compare/report.h"
#include "audio/progress.h"

namespace nigiri::app {

struct SavedComparison {
    ComparisonOptions options;
    ComparisonResult result;
    ReportFiles files;
    size_t missing_clips = 0;  // that the report names and that cannot be read
};

// `report`: a folder or a .html or .json file, as `nigiri compare` and the studio write them. A clip that is no longer
// there ends its model's list of clips and is said in the notes. Throws Error where there is no such report, and
// Cancelled.
SavedComparison load_comparison(const std::filesystem::path& report, const Progress& progress = {});

}  // namespace nigiri::app
