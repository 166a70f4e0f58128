#include <imgui.h>

#include <algorithm>

#include "app/studio/widgets/theme.h"
#include "app/studio/pages/train_panels.h"
#include "app/studio/widgets/widgets.h"
#include "app/write_file.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr double most_smoothing = 0.99;

// On the same line as the last item where `width` design units are left beside it, else on the next.
void flow(float width) {
    const float right = ImGui::GetWindowPos().x + ImGui::GetContentRegionMax().x;
    const float end = ImGui::GetItemRectMax().x + ImGui::GetStyle().ItemSpacing.x + theme().units(width);
    if (end <= right) ImGui::SameLine();
}

template <class Kind>
bool choose(const char* label, Kind& value, std::initializer_list<Kind> all, float width) {
    std::vector<std::string> names;
    for (const Kind kind : all) names.emplace_back(name_of(kind));
    std::string name = name_of(value);
    if (!ui::choice(label, name, names, width)) return false;
    for (const Kind kind : all)
        if (name == name_of(kind)) value = kind;
    return true;
}

}  // namespace

void ChartPanel::update(Desk& desk) {
    const Background::Status status = exporting_.status();
    if (status.ended == exports_) return;
    exports_ = status.ended;
    if (status.error.empty())
        desk.messages.note("Exported to " + exported_.string());
    else
        desk.messages.fail(status.error, status.hint);
}

void ChartPanel::draw_choices(Desk& desk) {
    choose("##measure", measure_, {Measure::bits, Measure::learning_rate, Measure::gradient_norm, Measure::speed}, 146);
    ui::help(measure_ == Measure::bits            ? bits_explained
             : measure_ == Measure::learning_rate ? "How far a step moves the network; it rises at first and falls "
                                                    "towards the end."
             : measure_ == Measure::gradient_norm
                 ? "How strongly the last step pulled at the network. Calm is good; leaps that come again and again "
                   "ask for a lower learning rate."
                 : "How many samples were learned from in a second, over all pieces of a batch.");
    flow(124);
    choose("##against", against_, {Against::steps, Against::tokens, Against::minutes}, 124);
    ui::help("What the curves are drawn over.");
    flow(66);
    ui::checkbox("log x", log_x_);
    ui::help("Steps from 10 to 100 as wide as those from 100 to 1,000.");
    flow(66);
    ui::checkbox("log y", log_y_);
    flow(110);
    ui::slider("##smoothing", smoothing_, 0, most_smoothing, "smooth %.2f", 110);
    ui::help(
        "Each point as a running mean of those before it. The pale line is what was measured; validation is never "
        "smoothed.");
    flow(74);
    if (ui::button("Show all", plot_.state.zoomed())) plot_.state.reset();
    ui::help("As a double click on the curves. Wheel: zoom at the pointer. Drag: zoom into what is marked.");
    flow(64);
    if (ui::button("Export", !exporting_.running() && !charts_.series().empty()))
        desk.dialog.open(
            {.wanted = FileDialog::Wanted::new_file,
             .title = "Export the curves shown as a table (.csv)",
             .start = (desk.dialog.folder.empty() ? desk.settings.runs_folder() : desk.dialog.folder) / "curves.csv"},
            [this](const fs::path& file) { save(file); });
    ui::help("The curves that are shown, as a table for other programs (CSV).");
}

void ChartPanel::save(const fs::path& file) {
    exported_ = file;
    exporting_.start([file, series = charts_.series(), x_name = std::string(name_of(against_))] {
        app::write_file(file, to_csv(series, x_name));
    });
}

void ChartPanel::draw(Desk& desk, TrainView& view, const TrainingSnapshot& now, float height) {
    const float top = ImGui::GetCursorPosY();
    draw_choices(desk);
    charts_.choose(measure_, against_);
    charts_.set_runs(view.shown);
    charts_.set_smoothing(smoothing_);
    charts_.update(view.all_runs);
    plot_.state.set_scales(log_x_ ? AxisScale::logarithmic : AxisScale::linear,
                           log_y_ ? AxisScale::logarithmic : AxisScale::linear);

    // What simple statistics of the selected run's audio would need.
    std::vector<ReferenceLine> lines;
    if (measure_ == Measure::bits) {
        const auto details = view.all_runs.details(view.selected);
        auto baseline = details ? details->facts.baseline : std::nullopt;
        if (!baseline && now.run == view.selected) baseline = now.baseline;
        if (baseline && view.is_shown(view.selected))
            lines = {{baseline->order0, "order 0: how often each value occurs"},
                     {baseline->order1, "order 1: given the sample before"}};
    }
    plot_.draw("curves", {ImGui::GetContentRegionAvail().x, height - (ImGui::GetCursorPosY() - top)}, charts_.series(),
               lines, name_of(against_), name_of(measure_),
               view.shown.empty() ? "Curves of what is trained appear here" : "Nothing was measured yet");
}

}  // namespace nigiri::studio
