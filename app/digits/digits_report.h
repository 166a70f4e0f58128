// Scored digits on paper: one HTML page that needs nothing else, Markdown, JSON, in the style of nigiri compare.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/compare/report.h"
#include "app/digits/scoring.h"

namespace nigiri::app {

// A table with a row a set of clips, as text.
struct DigitTable {
    std::string title;
    std::vector<std::string> columns;  // the first heads the rows' names
    struct Row {
        std::vector<std::string> cells;
        bool floor = false;          // recordings: what a model could reach
        std::vector<int> best = {};  // cells to be emphasised: the best of the models
    };
    std::vector<Row> rows;
};
DigitTable score_table(const DigitScoring& result);
DigitTable unselected_table(const DigitScoring& result);  // no rows where there are no models
DigitTable heard_table(const DigitScoring& result);

// Sentences.
std::string digit_summary(const DigitScoringOptions& options, const DigitScoring& result);
std::string comparability(const DigitScoring& result);  // what the values may be compared with
struct DigitDefinition {
    std::string name, text;
};
const std::vector<DigitDefinition>& digit_definitions();

// docs/digits.md lists the keys.
nlohmann::json to_json(const DigitScoringOptions& options, const DigitScoring& result);
std::string to_markdown(const DigitScoringOptions& options, const DigitScoring& result);
std::string to_html(const DigitScoringOptions& options, const DigitScoring& result);
// Replaces the three files, each atomically. Throws Error where that fails.
void write_report(const DigitScoringOptions& options, const DigitScoring& result, const ReportFiles& files);

}  // namespace nigiri::app
