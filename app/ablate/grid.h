// A grid of configurations under one budget: what `nigiri ablate` runs. docs/ablations.md says how to write one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "audio/split.h"
#include "model/config.h"
#include "model/sampler.h"

namespace nigiri::app {

// An option by its name on the command line ("state"), or a field by its path ("model.centre.ssm.state").
struct GridOption {
    std::string key, text;
    int line = 0;
};

struct GridRow {
    std::string name;                // unique in the grid; also a folder's name
    std::string family;              // the row without its place on the axes; empty where there are only axes
    std::vector<GridOption> own;     // what differs from the base, the place on the axes included
    std::vector<std::string> place;  // one value an axis, in the order of Grid::axes; empty where it is on none
    Config config;                   // complete but for the seed
};

struct GridAxis {
    std::string key;
    std::vector<std::string> values;
};

// What every finished run is asked.
struct GridEvaluation {
    Split split = Split::test;
    int64_t segment = 0;  // samples a segment, each from a zero state; 0: every recording as one sequence
    double seconds = 0;   // of held-out audio; 0: all
    Precision precision = Precision::f32;
    int clips = 2;            // a run; 0: none
    double clip_seconds = 4;  // each
    SamplingOptions sampling;
    bool metrics = false;  // distances of the clips from held-out audio (docs/metrics.md)
};

struct Grid {
    std::string file;  // as given
    std::string text;  // its content
    std::string title, about;
    std::vector<uint64_t> seeds;
    std::vector<GridAxis> axes;
    std::vector<GridRow> rows;
    size_t reference = 0;  // the row that the others are compared with
    GridEvaluation evaluation;

    size_t runs() const { return rows.size() * seeds.size(); }
};

// `file` stands for the text in messages. Throws Error that names file and line.
Grid parse_grid(const std::string& text, const std::string& file);
Grid read_grid(const std::filesystem::path& path);

// Whether a row is meant by one of `patterns`: its name, its family, or either with the wildcards * and ?; all rows are
// where there are no patterns. Throws Error where a pattern means no row.
std::vector<bool> chosen_rows(const Grid& grid, const std::vector<std::string>& patterns);

// Whether two configurations train the same network the same way: all but how often a run says and saves something,
// and what changes memory or speed only.
bool same_experiment(const Config& a, const Config& b);

}  // namespace nigiri::app
