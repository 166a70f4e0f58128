#include "app/studio/pages/compare_setup.h"

#include <imgui.h>

#include <algorithm>

#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr const char* no_data = "none: only listening";

fs::path comparisons_folder(const Desk& desk) { return desk.settings.clips_folder() / "comparisons"; }

}  // namespace

void CompareSetup::draw(Desk& desk) {
    ui::begin_card("setup", 330, 0);
    // The button and the progress stay in sight, however many models there are.
    const bool running = session_.status().running;
    ImGui::BeginChild("what", {0, -theme().units(running ? 92 : 44)});
    draw_models(desk);
    draw_conditions(desk);
    ImGui::EndChild();
    draw_start(desk);
    ui::end_card();
}

void CompareSetup::add_model(Desk& desk, const fs::path& path) {
    remember(desk.settings.recent_models, path);
    if (!is_chosen(path)) chosen_.push_back(path);
}

bool CompareSetup::is_chosen(const fs::path& path) const {
    return std::find(chosen_.begin(), chosen_.end(), path) != chosen_.end();
}

void CompareSetup::refresh() {
    models_.refresh();
    earlier_.refresh();
}

void CompareSetup::draw_models(Desk& desk) {
    models_.want(model_places(desk.settings));
    const std::vector<ModelEntry>& models = models_.value();
    ui::heading("Models");
    ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(52));
    if (ui::small_button("Add\u2026##model"))
        desk.dialog.open({.wanted = FileDialog::Wanted::file,
                          .title = "Open a model",
                          .start = {},
                          .endings = {".safetensors"},
                          .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                         [this, &desk](const fs::path& path) { add_model(desk, path); });
    const float row = ImGui::GetFrameHeightWithSpacing();
    ImGui::BeginChild("models", {0, row * static_cast<float>(std::clamp<size_t>(models.size(), 2, 4))});
    for (const ModelEntry& m : models) {
        bool on = is_chosen(m.path);
        ImGui::PushID(m.path.c_str());
        const float avail = ImGui::GetContentRegionAvail().x - ImGui::GetFrameHeight() - theme().units(8);
        if (ImGui::Checkbox(ui::shortened(m.label, avail).c_str(), &on)) {
            if (on)
                chosen_.push_back(m.path);
            else
                std::erase(chosen_, m.path);
        }
        ui::mark("model/" + m.label);
        ui::help(m.path.string());
        ImGui::PopID();
    }
    ImGui::EndChild();
}

void CompareSetup::draw_conditions(Desk& desk) {
    std::vector<std::string> folders = {no_data};
    const auto offer = [&](const fs::path& folder) {
        if (!folder.empty() && std::find(folders.begin(), folders.end(), folder.string()) == folders.end())
            folders.push_back(folder.string());
    };
    offer(desk.data);
    for (const fs::path& folder : desk.settings.recent_data) offer(folder);
    if (!data_chosen_) data_ = desk.data.empty() ? no_data : desk.data.string();
    ui::label("Recordings", compare_label_width);
    if (ui::choice("##data", data_, folders, 0)) data_chosen_ = true;
    ui::help(
        "Recordings to measure the clips against and to begin them with; only what no model of them was trained "
        "on is used: " +
        data_);
    const bool measured = data_ != no_data;
    ui::label("Clips", compare_label_width);
    ui::number("##clips", options_.clips, 1, 64, 0);
    ui::label("Seconds", compare_label_width);
    ui::slider("##seconds", options_.seconds, 0.5, 60, "%.1f s", 0);
    ImGui::BeginDisabled(!measured);
    ui::label("Begin with", compare_label_width);
    ui::slider("##prompt", options_.prompt_seconds, 0, 10,
               options_.prompt_seconds > 0 ? "%.1f s of a recording" : "silence", 0);
    ui::help("Every model continues the same recordings, another one for each clip.");
    ImGui::EndDisabled();
    ui::label("Temperature", compare_label_width);
    ui::slider("##temperature", options_.sampling.temperature, 0, 1.5, "%.2f", 0);
    ui::label("Top p", compare_label_width);
    ui::slider("##top-p", options_.sampling.top_p, 0.05, 1, "%.2f", 0);
    ui::label("Seed", compare_label_width);
    ui::number("##seed", seed_, 0, 999'999'999, 0);
    ui::help("The same for every model: differences are the models', not the dice's.");
    ImGui::BeginDisabled(!measured);
    draw_measures();
    ImGui::EndDisabled();
}

void CompareSetup::draw_measures() {
    ui::checkbox("Exact bits per sample", options_.evaluate);
    ui::help("How well each model predicts recordings that it never heard: the most reliable number, and slow.");
    if (options_.evaluate && data_ != no_data) {
        ImGui::SameLine();
        ui::slider("##bits-seconds", options_.evaluation_seconds, 0, 600,
                   options_.evaluation_seconds > 0 ? "%.0f s" : "all", 0);
        ui::help("How much of the recordings they are measured on.");
    }
}

void CompareSetup::draw_start(Desk& desk) {
    const Background::Status status = session_.status();
    if (status.running) {
        if (ui::button("Stop", !status.stopping)) session_.cancel();
        ui::help("What is made so far is kept.");
        ui::progress(status.fraction, status.what);
        return;
    }
    if (ui::primary("Make clips", chosen_.size() >= 2)) start(desk);
    if (chosen_.size() < 2) {
        ImGui::SameLine();
        ui::muted("Choose two models or more.");
    }
}

void CompareSetup::start(Desk& desk) {
    app::ComparisonOptions options = options_;
    options.models = chosen_;
    options.data = data_ == no_data ? fs::path() : fs::path(data_);
    if (options.data.empty()) options.prompt_seconds = 0;
    options.sampling.seed = static_cast<uint64_t>(seed_);
    options.threads = desk.settings.threads;
    session_.start(options, desk.settings.compute_device, comparisons_folder(desk));
}

void CompareSetup::draw_earlier(Desk& desk) {
    ImGui::BeginDisabled(session_.status().running);
    std::vector<std::string> names;
    earlier_.want(comparisons_folder(desk));
    for (const fs::path& folder : earlier_.value()) names.push_back(folder.filename().string());
    std::string chosen = names.empty() ? "No earlier comparison" : "Open an earlier comparison";
    if (ui::choice("##earlier", chosen, names, 226))
        for (const fs::path& folder : earlier_.value())
            if (folder.filename() == chosen) session_.open(folder);
    ImGui::SameLine();
    if (ui::small_button("Folder\u2026"))
        desk.dialog.open(
            {.wanted = FileDialog::Wanted::folder, .title = "Open a comparison", .start = comparisons_folder(desk)},
            [this](const fs::path& folder) { session_.open(folder); });
    ui::help("Also one that was made by nigiri compare, or a grid of nigiri ablate.");
    ImGui::EndDisabled();
}

}  // namespace nigiri::studio
