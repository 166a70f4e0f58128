// What a person chooses before a training, and the plan that follows from it. No drawing.
#pragma once

#include "app/studio/sessions/run_library.h"
#include "app/studio/sessions/starting_model.h"
#include "app/studio/sessions/training_session.h"

namespace nigiri::studio {

// In words for people who make music rather than networks.
std::string preset_explained(const std::string& preset);
std::string layer_explained(const std::string& layer);

struct TrainingForm {
    std::string preset, layer;          // of a network that begins from nothing
    std::filesystem::path from;         // the model whose weights the run begins with; empty: from nothing
    std::optional<ModelNetwork> model;  // that model's, once it was read (StartingModel)
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
    // A file or a run folder to begin with; empty: from nothing, with the preset and the layer chosen before.
    void choose_model(const std::filesystem::path& chosen);
    // What was read of the model chosen. Batch, length and previews become those of the preset of its size, if there is
    // one, else of the preset chosen; the rate a quarter of that preset's.
    void take_model(const ModelNetwork& read);
    // Whether nothing is left to be read.
    bool ready() const { return from.empty() || model.has_value(); }
    // Of the network to be trained: its preset, or the number of its parameters where it is none's.
    std::string size() const;

    Config config() const;
    // "small-mamba-s4", or "MODEL-tuned" where it begins with a model; with the first number from 2 on that is free in
    // `runs` where that is taken.
    std::string free_name(const std::filesystem::path& runs) const;
    // Empty, or why the name cannot be a new run's.
    std::string name_problem(const std::filesystem::path& runs) const;
    TrainingPlan plan(const std::filesystem::path& runs, const std::filesystem::path& data) const;

  private:
    // Whose training is proposed.
    std::string training_preset() const;
    void propose(const TrainingConfig& training);
};

// Going on with a run that exists.
struct Continuation {
    std::filesystem::path run, data, files, from;
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
