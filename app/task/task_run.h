// A synthetic task as a run: the network and the recipe that were published for it, and what the run's folder keeps.
#pragma once

#include <filesystem>
#include <optional>

#include "app/task/synthetic_task.h"

namespace nigiri::app {

// The named layer (layer_names()) of a block, plain, h3 or mamba, around a sequence layer, s4, s6, hyena or attention.
std::string task_layer(const std::string& block, const std::string& sequence);

// Mamba paper, E.1: two layers, no pools, Adam at a constant rate without decay, in float32. For induction heads the
// paper has width 64 and rate 1e-3 for Mamba, 128 and 2e-4 for all others, and as many steps as each took.
Config task_config(const TaskSetting& setting, const LayerConfig& layer);

// The lengths of the published table, powers of two up to 2^20, or to 2^14 where what a layer remembers grows with the
// length; of selective copying only the length trained at.
std::vector<int64_t> test_lengths(const TaskSetting& setting, const LayerConfig& layer);

// What a run's folder was trained on. Nothing where it holds no run; throws Error where that is no task's.
struct TaskOfRun {
    TaskSetting setting;
    Config config;
};
std::optional<TaskOfRun> task_of_run(const std::filesystem::path& run);
// The setting as a checkpoint keeps it.
ModelFacts task_facts(const TaskSetting& setting);

}  // namespace nigiri::app
