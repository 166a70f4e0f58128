// What a grid's run folders say so far, row by row over the seeds: everything that a report shows. Made from files
// alone, so that it is the same whoever made the runs, and whenever.
#pragma once

#include "app/ablate/statistics.h"
#include "app/compare/comparison.h"

namespace nigiri::app {

struct SeedRun {
    uint64_t seed = 0;
    std::optional<RunResult> result;  // none: nothing finished
    RunCurves curves;                 // also of a run under way
    std::string status;               // "done", "not run", "step 120 of 500", "failed: ..."
    bool done = false;
};

struct RowSummary {
    std::string name, family;
    std::vector<GridOption> own;
    std::vector<std::string> place;
    Config config;
    std::vector<SeedRun> runs;  // one a seed
    std::string status;         // empty: all seeds are done; else what is missing

    int64_t parameters = 0, tokens = 0;  // 0: unknown
    std::optional<Spread> bits;          // of the held-out part
    // Bits less those of the grid's reference row, seed by seed; none for that row.
    std::optional<Spread> difference;
    std::optional<Spread> valid_bits, tokens_per_second, training_seconds, memory_bytes;
    std::vector<std::optional<Spread>> metrics;  // in the order of similarity_metrics(); empty: none were measured
    std::vector<MeanPoint> train_curve, valid_curve;
};

struct AblationSummary {
    Grid grid;
    std::vector<RowSummary> rows;
    size_t done = 0;                  // runs that have all their answers, or can never have them
    std::optional<Similarity> floor;  // what held-out audio scores against itself
    int64_t held_out_samples = 0;     // that bits are a mean of
    double train_seconds = 0;
    std::string data;
    // All there are, in the order of their names.
    std::vector<std::string> devices, versions, commands;
    std::string started, finished;   // of the first and of the last run
    std::vector<std::string> notes;  // sentences for the reader: what limits the table

    bool complete() const { return done == grid.runs(); }
    bool has_metrics() const;
};

// Reads the run folders; what cannot be used there becomes a note.
AblationSummary summarize(const Grid& grid, const std::filesystem::path& folder);

// The rows as models of a comparison: bits as means over the seeds, the clips of the first finished seed.
ComparisonResult comparison_of(const AblationSummary& summary, const std::filesystem::path& folder);
ComparisonOptions comparison_options_of(const AblationSummary& summary, const std::filesystem::path& folder);

}  // namespace nigiri::app
