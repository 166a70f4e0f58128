// The tables that the page and the Markdown file share: a column a model, one for held-out audio.
#pragma once

#include <string>
#include <vector>

#include "app/compare/comparison.h"

namespace nigiri::app {

struct TableRow {
    std::string name, unit;
    std::string definition;          // a sentence; may be empty
    std::string held_out;            // empty: does not apply
    std::vector<std::string> cells;  // one a model; "–" where there is no value
    int best = -1;                   // the model to be emphasised
};

struct Table {
    std::string title;
    std::vector<TableRow> rows;
};

// Bits per sample, size, training, speed.
Table model_table(const ComparisonResult& result);
// similarity_metrics(), with the floor; no rows where nothing was measured.
Table similarity_table(const ComparisonResult& result);
// Bits per sample, a row a recording; no rows where there are none.
Table recording_table(const ComparisonResult& result);

// Sentences: by how much the models' bits differ from the first one's, with the standard error over recordings.
std::vector<std::string> differences(const ComparisonResult& result);
// What was compared, in one sentence.
std::string summary(const ComparisonOptions& options, const ComparisonResult& result);

}  // namespace nigiri::app
