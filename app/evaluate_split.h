// Exact bits per sample of a part of a data set: what nigiri eval and nigiri compare share.
#pragma once

#include <functional>
#include <span>
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

// Bits of some segments, each from a zero state; returns early where `progress` says so.
using SegmentJudge = std::function<Evaluation(const std::vector<std::span<const uint8_t>>& segments,
                                              const EvaluationProgress& progress)>;

// Throws Error where the part is empty, and Cancelled.
SplitEvaluation evaluate_split(const SegmentJudge& judge, const Dataset& data, Split split,
                               const SplitEvaluationOptions& options, const Progress& progress = {});
// By the network's parallel pass; a recording as one sequence in pieces, so that memory does not grow with its length.
SplitEvaluation evaluate_split(const Network& network, const Dataset& data, Split split,
                               const SplitEvaluationOptions& options, const Progress& progress = {});

}  // namespace nigiri::app
