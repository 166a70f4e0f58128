#include <imgui.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/pages/train_panels.h"
#include "app/studio/widgets/widgets.h"
#include "app/model_file.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr double lately = 20;  // seconds; a run whose log was written since is taken to be running

std::string age(fs::file_time_type changed) {
    const double s = std::chrono::duration<double>(fs::file_time_type::clock::now() - changed).count();
    if (s < lately) return "now";
    if (s < 3600) return std::to_string(std::max(static_cast<int>(s / 60), 1)) + " min ago";
    if (s < 48 * 3600) return std::to_string(static_cast<int>(s / 3600)) + " h ago";
    return std::to_string(static_cast<int>(s / (24 * 3600))) + " days ago";
}

// Training bits at the last line up to `step`; NaN where there is none.
double bits_at(const RunLog& log, int64_t step) {
    const RunLog::View view = log.view();
    const auto after = std::upper_bound(view.points.begin(), view.points.end(), static_cast<double>(step),
                                        [](double value, const MetricPoint& p) { return value < p.step; });
    return after == view.points.begin() ? std::nan("") : (after - 1)->train_bits;
}

}  // namespace

void RunPanel::draw(Desk& desk, TrainView& view, const TrainingSnapshot& now, float height) {
    const float width = ImGui::GetContentRegionAvail().x, details = std::min(theme().units(330), 0.5f * width);
    ImGui::BeginChild("runs", {width - details - ImGui::GetStyle().ItemSpacing.x, height});
    draw_list(desk, view);
    ImGui::EndChild();
    ImGui::SameLine();
    ImGui::PushStyleColor(ImGuiCol_ChildBg, theme().colours.panel);
    ImGui::BeginChild("selected", {details, height}, false, ImGuiWindowFlags_AlwaysUseWindowPadding);
    ImGui::PopStyleColor();
    draw_selected(desk, view, now);
    ImGui::EndChild();
}

void RunPanel::draw_list(Desk& desk, TrainView& view) {
    ImGui::AlignTextToFramePadding();
    ui::heading("Runs");
    ImGui::SameLine();
    if (ui::small_button("Open a run"))
        desk.dialog.open({.wanted = FileDialog::Wanted::folder,
                          .title = "Open the folder of a run",
                          .start = desk.settings.runs_folder(),
                          .places = {desk.settings.runs_folder()}},
                         [&view, &desk](const fs::path& folder) { view.open(desk, folder); });
    ui::help("Also one that nigiri train is writing at this moment.");
    marks().note("runs", std::to_string(view.all_runs.runs().size()));
    if (view.all_runs.runs().empty()) {
        ui::muted(view.all_runs.ready() ? "What you train is listed here." : "Looking for runs\u2026");
        return;
    }
    const bool narrow = ImGui::GetContentRegionAvail().x < theme().units(330);
    const ImGuiTableColumnFlags where_wide =
        ImGuiTableColumnFlags_WidthFixed | (narrow ? ImGuiTableColumnFlags_Disabled : 0);
    if (!ImGui::BeginTable("table", 5, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg)) return;
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("##shown", ImGuiTableColumnFlags_WidthFixed, theme().units(20));
    ImGui::TableSetupColumn("Name", ImGuiTableColumnFlags_WidthStretch);
    ImGui::TableSetupColumn("Steps", where_wide, theme().units(70));
    ImGui::TableSetupColumn("Bits", ImGuiTableColumnFlags_WidthFixed, theme().units(52));
    ImGui::TableSetupColumn("Changed", where_wide, theme().units(86));
    ImGui::TableHeadersRow();
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(view.all_runs.runs().size()));
    while (clipper.Step())
        for (int row = clipper.DisplayStart; row < clipper.DisplayEnd; ++row) {
            const RunEntry& run = view.all_runs.runs()[static_cast<size_t>(row)];
            ImGui::PushID(row);
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            const auto shown = std::find_if(view.shown.begin(), view.shown.end(),
                                            [&](const ShownRun& s) { return s.run == run.path; });
            const bool on = shown != view.shown.end();
            const ImVec2 at = ImGui::GetCursorScreenPos();
            const float box = ImGui::GetTextLineHeight() * 0.8f, top = at.y + ImGui::GetTextLineHeight() * 0.15f;
            if (ImGui::InvisibleButton("show", {box, ImGui::GetTextLineHeight()})) view.show(run.path, !on);
            ui::mark("show/" + run.name);
            ui::help(on ? "Hide its curves" : "Show its curves beside the others");
            ImDrawList& draw = *ImGui::GetWindowDrawList();
            const ImVec2 from = {at.x, top}, to = {at.x + box, top + box};
            if (on) draw.AddRectFilled(from, to, series_colour(shown->colour), theme().units(3));
            draw.AddRect(from, to, on ? series_colour(shown->colour) : packed(theme().colours.muted), theme().units(3));
            ImGui::TableNextColumn();
            if (ImGui::Selectable(run.name.c_str(), view.selected == run.path, ImGuiSelectableFlags_SpanAllColumns))
                view.select(run.path);
            ui::mark("run/" + run.name);
            ui::help(run.path.string());
            ImGui::TableNextColumn();
            if (run.summary) ImGui::TextUnformatted(with_commas(static_cast<int64_t>(run.summary->last.step)).c_str());
            ImGui::TableNextColumn();
            if (run.summary) {
                const bool checked = run.summary->valid_bits >= 0;
                const double bits = checked ? run.summary->valid_bits : run.summary->last.train_bits;
                if (std::isfinite(bits)) ImGui::Text("%.3f", bits);
                ui::help(checked ? "Validation bits per sample, as last measured"
                                 : "Training bits per sample; it was not checked on other recordings lately");
            }
            ImGui::TableNextColumn();
            ImGui::TextDisabled("%s", age(run.changed).c_str());
            ImGui::PopID();
        }
    ImGui::EndTable();
}

void RunPanel::draw_selected(Desk& desk, TrainView& view, const TrainingSnapshot& now) {
    const RunEntry* entry = view.all_runs.find(view.selected);
    if (entry == nullptr) {
        ui::muted("Select a run to hear its previews, to generate with it or to train it further.");
        return;
    }
    const float width = ImGui::GetContentRegionAvail().x;
    ui::heading(ui::shortened(entry->name, width).c_str());
    const auto details = view.all_runs.details(view.selected);
    const auto log = view.all_runs.log(view.selected);
    if (!details || !log) return;
    const RunFacts& facts = details->facts;
    ImGui::PushFont(theme().small);
    if (facts.config) {
        std::string text =
            layer_name(facts.config->model) + ", " + with_commas(parameter_count(facts.config->model)) + " parameters";
        if (!facts.data.empty()) text += ", on " + facts.data.filename().string();
        if (!facts.from.empty()) text += ", begun with " + app::model_name(facts.from);
        if (const size_t bad = log->damaged(); bad > 0) text += "; " + std::to_string(bad) + " damaged lines left out";
        ui::muted(text);
    } else {
        ui::problem(facts.problem);
    }
    ImGui::PopFont();
    if (ui::small_button("Generate with this", entry->has_model)) {
        desk.model = entry->path;
        desk.page = "generate";
    }
    if (width > theme().units(270)) ImGui::SameLine();
    const bool idle = !now.active() && !now.resumable;
    if (ui::small_button("Train further", idle && facts.config.has_value() && entry->has_model))
        view.go_on.emplace(*entry, *details, desk.data);
    ui::help("Goes on where it was left. Not while another training is under way here.");
    draw_previews(desk, details->previews, log.get());
}

void RunPanel::draw_previews(Desk& desk, const std::vector<Preview>& previews, const RunLog* log) {
    if (previews_of_ != log->run()) previews_of_ = log->run(), step_ = -1;
    if (previews.empty()) {
        ImGui::PushFont(theme().small);
        ui::muted("No previews: short clips that a network plays while it learns.");
        ImGui::PopFont();
        return;
    }
    size_t at = previews.size() - 1;
    for (size_t i = 0; i < previews.size(); ++i)
        if (previews[i].step == step_) at = i;
    const auto play = [&](size_t i) {
        at = i;
        step_ = previews[i].step;
        desk.deck.open(previews[i].file);
    };
    marks().note("previews", std::to_string(previews.size()));
    if (ui::icon_button("preview", ui::Icon::play, "Plays the preview of this step")) play(at);
    ImGui::SameLine();
    double position = static_cast<double>(at);
    const std::string format = "Preview of step " + with_commas(previews[at].step);
    ImGui::BeginDisabled(previews.size() < 2);
    if (ui::slider("##preview-step", position, 0, static_cast<double>(std::max<size_t>(previews.size() - 1, 1)),
                   format.c_str()))
        if (const auto i = static_cast<size_t>(std::lround(position)); i != at) play(i);
    ImGui::EndDisabled();
    ui::help("Every preview begins alike, with the same seed: step through them to hear it learn.");
    ImGui::BeginChild("previews");
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(previews.size()));
    while (clipper.Step())
        for (int row = clipper.DisplayStart; row < clipper.DisplayEnd; ++row) {
            const size_t i = previews.size() - 1 - static_cast<size_t>(row);  // latest first
            std::string text = "Step " + with_commas(previews[i].step);
            if (const double bits = bits_at(*log, previews[i].step); std::isfinite(bits))
                text += "  \u00b7  " + app::fixed(bits, 3) + " bits";
            ImGui::PushID(row);
            if (ImGui::Selectable(text.c_str(), i == at)) play(i);
            ImGui::PopID();
            ui::mark("preview/" + std::to_string(previews[i].step));
        }
    ImGui::EndChild();
}

}  // namespace nigiri::studio
