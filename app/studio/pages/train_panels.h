// The parts of the Train page: what to train and how it goes, the curves, the runs and their previews.
#pragma once

#include "app/studio/sessions/memory_estimate.h"
#include "app/studio/sessions/model_list.h"
#include "app/studio/widgets/plot.h"
#include "app/studio/sessions/run_charts.h"
#include "app/studio/studio.h"
#include "app/studio/sessions/training_form.h"

namespace nigiri::studio {

// What the parts share.
struct TrainView {
    explicit TrainView(const Wake& wake) : all_runs(wake), session(wake) {}

    // Whose curves are drawn, and the one whose facts and previews are shown.
    std::vector<ShownRun> shown;
    std::filesystem::path selected;
    std::optional<Continuation> go_on;  // instead of a new run

    void show(const std::filesystem::path& run, bool on);
    bool is_shown(const std::filesystem::path& run) const;
    void select(const std::filesystem::path& run);
    // Opens a run's folder, or one inside of it (checkpoints, previews).
    void open(Desk& desk, const std::filesystem::path& folder);

    RunLibrary all_runs;
    TrainingSession session;  // last: it trains until it is destroyed
};

// "12,345".
std::string with_commas(int64_t value);
// How many yes-or-no questions a sample is worth; for the help of whatever shows bits.
extern const char* const bits_explained;

// Left: the form, or the training under way.
class TrainingPanel {
  public:
    explicit TrainingPanel(const Wake& wake) : memory_(wake), models_(wake, list_models), starting_(wake) {}
    void draw(Desk& desk, TrainView& view, const TrainingSnapshot& now);
    // A model's file or run folder, for a new run to begin with.
    void begin_with(Desk& desk, const std::filesystem::path& model);

  private:
    void draw_form(Desk& desk, TrainView& view);
    void draw_continuation(Desk& desk, TrainView& view);
    void draw_data(Desk& desk);
    void draw_model(Desk& desk);
    void draw_network();
    void draw_amount();
    void draw_advanced();
    void draw_memory(const Desk& desk, const Config& config);
    void draw_work(Desk& desk, TrainView& view, const TrainingSnapshot& now);
    void draw_controls(Desk& desk, TrainView& view, const TrainingSnapshot& now);
    void start(Desk& desk, TrainView& view, TrainingPlan plan);

    TrainingForm form_;
    std::string suggested_;  // the name last put into the form by itself
    MemoryEstimate memory_;
    ModelList models_;
    StartingModel starting_;
    bool done_ = false;  // what ended was read, the form is wanted again
};

// Right, above: the curves.
class ChartPanel {
  public:
    explicit ChartPanel(Wake wake) : exporting_(std::move(wake)) {}
    void update(Desk& desk);
    void draw(Desk& desk, TrainView& view, const TrainingSnapshot& now, float height);

  private:
    void draw_choices(Desk& desk);
    void save(const std::filesystem::path& file);

    Plot plot_;
    RunCharts charts_;
    Measure measure_ = Measure::bits;
    Against against_ = Against::steps;
    bool log_x_ = false, log_y_ = false;
    double smoothing_ = 0.6;
    uint64_t exports_ = 0;
    std::filesystem::path exported_;
    Background exporting_;
};

// Right, below: the runs, and what is known of the selected one.
class RunPanel {
  public:
    void draw(Desk& desk, TrainView& view, const TrainingSnapshot& now, float height);

  private:
    void draw_list(Desk& desk, TrainView& view);
    void draw_selected(Desk& desk, TrainView& view, const TrainingSnapshot& now);
    void draw_previews(Desk& desk, const std::vector<Preview>& previews, const RunLog* log);

    std::filesystem::path previews_of_;
    int64_t step_ = -1;  // of the preview chosen; -1: the last
};

}  // namespace nigiri::studio
