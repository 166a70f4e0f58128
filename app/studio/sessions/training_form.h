// What a person chooses before a training, and the plan that follows from it. No drawing.
#pragma once

#include "app/studio/sessions/run_library.h"
#include "app/studio/sessions/training_session.h"

namespace nigiri::studio {

// In words for people who make music rather than networks.
std::string preset_explained(const std::string& preset);
std::string layer_explained(const std::string& layer);

struct TrainingForm {
    std::string preset, layer;
    bool by_steps = false;
    double minutes = 30;
    int steps = 5000;
    int batch = 1, length = 16384, preview_every = 1000;
    double learning_rate = 2e-3;
    int seed = 0;
    std::string name;  // of the run folder

    TrainingForm();
    // Takes the preset's own layer, batch, length, rate and previews.
    void choose_preset(const std::string& chosen);

    Config config() const;
    // "small-mamba-s4", with the first number from 2 on that is free in `runs` where that is taken.
    std::string free_name(const std::filesystem::path& runs) const;
    // Empty, or why the name cannot be a new run's.
    std::string name_problem(const std::filesystem::path& runs) const;
    TrainingPlan plan(const std::filesystem::path& runs, const std::filesystem::path& data) const;
};

// Going on with a run that exists.
struct Continuation {
    std::filesystem::path run, data, files;
    Config config;
    double step = 0, minutes = 0;  // so far
    bool by_steps = false;
    double more = 0;  // steps or minutes on top

    Continuation(const RunEntry& entry, const RunDetails& details, const std::filesystem::path& other_data);
    // What is left of the run's own limit, in its unit; 0 where it has reached it or has none.
    double left() const;
    TrainingPlan plan() const;
};

}  // namespace nigiri::studio
