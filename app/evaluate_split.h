// Exact bits per sample of a part of a data set: what nigiri eval and nigiri compare share.
#pragma once

#include <string>
#include <vector>

#include "audio/dataset.h"
#include "model/evaluation.h"

namespace nigiri::app {

struct SplitEvaluationOptions {
    int64_t segment = 0;       // samples a segment, each from a zero state; 0: every recording as one sequence
    int64_t most_samples = 0;  // of all recordings together, an equal share of each one's beginning; 0: everything
};

struct RecordingEvaluation {
    std::string name;
    Evaluation bits;
};

struct SplitEvaluation {
    Evaluation total;
    std::vector<RecordingEvaluation> recordings;
};

// Throws Error where the part is empty, and Cancelled.
SplitEvaluation evaluate_split(const Network& network, const Dataset& data, Split split,
                               const SplitEvaluationOptions& options, const Progress& progress = {});

}  // namespace nigiri::app
