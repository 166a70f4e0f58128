// Runs a grid: trains what is not trained yet, asks every finished run the same questions, and goes on where it stood.
// Nothing is kept in memory between runs, and whatever is finished lies in the run's folder (run_result.h).
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "app/ablate/run_result.h"
#include "app/training_run.h"

namespace nigiri::app {

// What stays of a finished run's checkpoints.
enum class Keep : uint8_t {
    all,      // best and last, with the optimizer
    weights,  // the last step's weights, matrices rounded to bfloat16 (StoredAs::half)
    none,
};
Keep keep_by_name(const std::string& name);  // "all", "weights", "none"; throws Error on another

struct AblationOptions {
    Grid grid;
    std::filesystem::path data;     // raw or prepared; divided once for all seeds, with the grid's first
    std::filesystem::path files;    // if set: the list of training files to keep
    std::filesystem::path folder;   // of the runs and the report
    std::vector<std::string> rows;  // patterns (chosen_rows); empty: all
    double minutes = 0;             // this session stops after so many; 0: no limit
    Keep keep = Keep::all;
    int threads = 0;
    std::string version, command;  // noted with what they made
};

struct AblationProgress {
    size_t run = 0, runs = 0;  // the run under way, from 1, of those chosen
    std::string row;
    uint64_t seed = 0;
    std::string what;               // "step 120 of 500, 2.913 bits, 8.1 M tokens/s", or what else is done
    double remaining_seconds = -1;  // of all chosen runs; negative: unknown
};

enum class AblationEvent : uint8_t {
    moved,     // progress has something new to say
    note,      // `what` is a sentence for the reader
    finished,  // the run has all its answers
    failed,    // `what` says why
};
using AblationCallback = std::function<void(AblationEvent, const AblationProgress&)>;

struct AblationEnd {
    bool finished = false;              // every chosen run has its answers, or can never have them
    std::vector<std::string> failures;  // runs that may do better the next time: "ROW, seed 0: out of memory"
};

// Until everything is done, `stop` becomes true or the minutes are over; a run under way is then saved. One pass a
// seed: all rows with the first seed come before any with the second, so that a table stands early. A run that fails
// does not keep the others from running. Throws Error where the data cannot be read or a folder holds another grid's
// run.
AblationEnd run_ablation(const AblationOptions& options, const std::shared_ptr<Backend>& backend,
                         const std::atomic<bool>& stop, const AblationCallback& callback);

}  // namespace nigiri::app
