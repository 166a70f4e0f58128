// The tables that the page and the Markdown file of a grid share: a line a row of the grid, or a run.
#pragma once

#include <string>
#include <vector>

#include "app/ablate/summary.h"

namespace nigiri::app {

struct GridColumn {
    std::string name, unit;
    std::string definition;  // a sentence; may be empty
};

struct GridLine {
    std::string name, detail;        // detail: how the row differs from the base
    std::vector<std::string> cells;  // one a column; "–" where there is no value; what is behind a line end is less
    std::string status;              // what is missing; empty: nothing
    int best = -1;                   // the column in which it leads
};

struct GridTable {
    std::string title;
    std::vector<GridColumn> columns;
    std::vector<GridLine> lines;
};

GridTable result_table(const AblationSummary& summary);
// Distances of the clips from held-out audio, whose own are the last line; no lines where none were measured.
GridTable metrics_table(const AblationSummary& summary);
// Every run by itself.
GridTable run_table(const AblationSummary& summary);

// "2.7081 ± 0.0034", or without the deviation where there is none.
std::string mean_text(const Spread& s, int digits);
// "2.7047 to 2.7115, n = 2"
std::string range_text(const Spread& s, int digits);
// "+0.0034 ± 0.0012"
std::string difference_text(const Spread& s);
// What was asked under which conditions, as sentences.
std::string conditions(const AblationSummary& summary);

}  // namespace nigiri::app
