// The share of a task's answers that a network gives, at any length: the state is carried on from piece to piece, so
// that memory grows only where the layers' own states do.
#pragma once

#include <functional>
#include <optional>

#include "app/task/synthetic_task.h"

namespace nigiri::app {

struct TaskResult {
    int64_t length = 0, sequences = 0, answers = 0, right = 0;

    double accuracy() const { return answers > 0 ? static_cast<double>(right) / static_cast<double>(answers) : 0; }
};

// Called with the tokens taken in, of all sequences together; returning false stops early.
using TaskProgress = std::function<bool(int64_t tokens)>;

// Counts a batch's answers, each the most probable token, where its targets are not -1. False where it was stopped.
bool count_answers(const Network& network, const Batch& batch, TaskResult& result, const TaskProgress& progress = {});

// As many sequences of a setting as `sequences` says; 0: what makes 8 million tokens, or one million where a layer
// remembers them all, at least 8 and at most 256.
int64_t test_sequence_count(const ModelConfig& model, const TaskSetting& setting, int64_t sequences);
// Test sequences of the setting's length. Nothing where it was stopped.
std::optional<TaskResult> measure_task(const Network& network, const TaskSetting& setting, int64_t sequences,
                                       uint64_t seed, const TaskProgress& progress = {});

}  // namespace nigiri::app
