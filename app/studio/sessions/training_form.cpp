#include "app/studio/sessions/training_form.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr int previews_of_small_networks = 500;  // steps; their presets make none, for the sake of scripts
constexpr double usual_minutes = 10, usual_steps = 1000;

int to_int(int64_t value) { return static_cast<int>(std::clamp<int64_t>(value, 0, std::numeric_limits<int>::max())); }

}  // namespace

std::string preset_explained(const std::string& preset) {
    static const std::map<std::string, std::string> texts = {
        {"tiny", "The smallest. Within minutes one hears that it learns; for a first try."},
        {"small",
         "About a million numbers to learn. Half an hour gives the sound of the instrument, and a laptop generates "
         "with it."},
        {"base", "The networks of the papers: eight layers a stage. Days on a processor, minutes on a large GPU."},
        {"base-unet", "As base, with layers on the way in as well as on the way out; twice the work."},
        {"paper-youtubemix", "Five stages that each look much further back, few layers in each; from the Mamba paper."},
        {"large", "Fifteen layers a stage. For a GPU and patience."}};
    const auto it = texts.find(preset);
    return it != texts.end() ? it->second : "";
}

std::string layer_explained(const std::string& layer) {
    static const std::map<std::string, std::string> texts = {
        {"mamba-s4", "Remembers with a set of learned resonances, the same at all times; a good start for audio."},
        {"mamba-s6", "Decides at every sample what to keep in mind: the selective layer of Mamba."},
        {"s4-mlp", "The layer of SaShiMi. Learns fastest by the clock."}};
    const auto it = texts.find(layer);
    return it != texts.end() ? it->second : "A variant, for comparing.";
}

TrainingForm::TrainingForm() { choose_preset("small"); }

void TrainingForm::choose_preset(const std::string& chosen) {
    const Config c = preset_by_name(chosen);
    preset = chosen;
    layer = layer_name(c.model);
    propose(c.training);
}

void TrainingForm::choose_model(const fs::path& chosen) {
    if (chosen == from) return;
    from = chosen;
    model.reset();
    propose(preset_by_name(preset).training);
}

void TrainingForm::take_model(const ModelNetwork& read) {
    model = read;
    propose(preset_by_name(training_preset()).training);
    learning_rate *= app::tuning_rate;
}

void TrainingForm::propose(const TrainingConfig& training) {
    batch = to_int(training.batch);
    length = to_int(training.length);
    learning_rate = training.learning_rate;
    preview_every = training.preview_every > 0 ? to_int(training.preview_every) : previews_of_small_networks;
}

std::string TrainingForm::training_preset() const { return model && !model->preset.empty() ? model->preset : preset; }

std::string TrainingForm::size() const {
    if (!model) return preset;
    return !model->preset.empty() ? model->preset
                                  : app::thousands(static_cast<double>(model->parameters)) + " parameters";
}

Config TrainingForm::config() const {
    Config c = preset_by_name(training_preset());
    if (model) {
        c.model = model->config.model;
        c.signal = model->config.signal;
        c.training.state_space_rate *= app::tuning_rate;
    } else {
        c.model.outer = c.model.centre = layer_by_name(layer);
    }
    c.training.batch = batch;
    c.training.length = length;
    c.training.learning_rate = learning_rate;
    c.training.preview_every = preview_every;
    c.training.seed = static_cast<uint64_t>(std::max(seed, 0));
    c.training.steps = by_steps ? steps : 0;
    c.training.minutes = by_steps ? 0 : minutes;
    return c;
}

std::string TrainingForm::free_name(const fs::path& runs) const {
    const std::string base = from.empty() ? app::run_name(preset, config().model) : app::tuned_name(from);
    std::error_code code;
    for (int i = 1;; ++i) {
        const std::string candidate = i == 1 ? base : base + "-" + std::to_string(i);
        if (!fs::exists(runs / candidate, code)) return candidate;
    }
}

std::string TrainingForm::name_problem(const fs::path& runs) const {
    if (name.empty()) return "The run needs a name";
    if (name.find('/') != std::string::npos || name == "." || name == ".." || name.size() > 200)
        return "This is no name for a folder";
    std::error_code code;
    if (fs::exists(runs / name, code)) return "There is a run of this name; select it in the list to go on with it";
    return {};
}

TrainingPlan TrainingForm::plan(const fs::path& runs, const fs::path& data) const {
    return {.data = data, .run = runs / name, .from = from, .config = config()};
}

Continuation::Continuation(const RunEntry& entry, const RunDetails& details, const fs::path& other_data)
    : run(entry.path),
      data(details.facts.data),
      files(details.facts.files),
      from(details.facts.from),
      config(details.facts.config.value_or(Config{})) {
    std::error_code code;
    if (data.empty() || !fs::is_directory(data, code)) {
        data = other_data;
        files.clear();  // it names files of the other folder
    }
    if (entry.summary) {
        step = entry.summary->last.step;
        if (std::isfinite(entry.summary->last.seconds)) minutes = std::max(entry.summary->last.seconds, 0.0) / 60;
    }
    by_steps = config.training.minutes <= 0 && config.training.steps > 0;
    more = left() > 0 ? left() : by_steps ? usual_steps : usual_minutes;
}

double Continuation::left() const {
    const TrainingConfig& t = config.training;
    if (by_steps) return std::max(static_cast<double>(t.steps) - step, 0.0);
    return t.minutes > 0 ? std::max(t.minutes - minutes, 0.0) : 0;
}

TrainingPlan Continuation::plan() const {
    TrainingPlan plan{.data = data, .files = files, .run = run, .from = from, .config = config};
    plan.config.training.steps = 0;
    plan.config.training.minutes = 0;
    if (more == left()) return plan;  // the run's own limit, to the last digit
    if (by_steps)
        plan.config.training.steps = static_cast<int64_t>(step + more);
    else
        plan.config.training.minutes = minutes + more;
    return plan;
}

}  // namespace nigiri::studio
