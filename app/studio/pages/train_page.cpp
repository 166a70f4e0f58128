// Train: a network learns a folder of recordings; its curves, its previews, and those of other runs.
#include <imgui.h>

#include <algorithm>

#include "app/studio/widgets/theme.h"
#include "app/studio/pages/train_panels.h"
#include "app/studio/widgets/widgets.h"
#include "app/model_file.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

void TrainView::show(const fs::path& run, bool on) {
    const auto it = std::find_if(shown.begin(), shown.end(), [&](const ShownRun& s) { return s.run == run; });
    if (on == (it != shown.end())) return;
    if (!on) {
        shown.erase(it);
        return;
    }
    size_t colour = 0;  // the first that no other run has
    const auto taken = [&] {
        return std::any_of(shown.begin(), shown.end(), [&](const ShownRun& s) { return s.colour == colour; });
    };
    while (taken()) ++colour;
    shown.push_back({run, colour});
}

bool TrainView::is_shown(const fs::path& run) const {
    return std::any_of(shown.begin(), shown.end(), [&](const ShownRun& s) { return s.run == run; });
}

void TrainView::select(const fs::path& run) {
    selected = run;
    show(run, true);
}

void TrainView::open(Desk& desk, const fs::path& folder) {
    fs::path run = run_path(folder);
    if (!is_run(run) && is_run(run.parent_path())) run = run.parent_path();
    if (!is_run(run)) {
        desk.messages.fail(folder.string() + " is no run",
                           "choose a folder that nigiri train or the studio wrote: it holds metrics.jsonl");
        return;
    }
    remember(desk.settings.open_runs, run);
    select(run);
}

namespace {

class TrainPage final : public Page {
  public:
    explicit TrainPage(const Wake& wake) : training_(wake), chart_(wake), view_(wake) {}

    const char* name() const override { return "train"; }
    const char* title() const override { return "Train"; }

    std::string unfinished() const override {
        const TrainingSnapshot now = view_.session.snapshot();
        if (now.active()) return "a network is being trained";
        return now.resumable && now.stage == TrainingStage::failed ? "a training could not be saved yet" : "";
    }

    bool dropped(Desk& desk, const fs::path& path) override {
        if (path.extension() == ".safetensors") {
            training_.begin_with(desk, path);
            view_.go_on.reset();
            desk.messages.note("The next new training begins with " + app::model_name(path));
            return true;
        }
        std::error_code code;
        if (!fs::is_directory(path, code)) return false;
        if (is_run(path)) {
            view_.open(desk, path);
        } else {
            desk.data = desk.settings.last_data = path;
            remember(desk.settings.recent_data, path);
        }
        return true;
    }

    void update(Desk& desk) override {
        now_ = view_.session.snapshot();
        if (now_.stage != seen_) tell(desk);
        chart_.update(desk);
        RunLibrary& library = view_.all_runs;
        library.set_folders(desk.settings.runs_folder(), desk.settings.open_runs);
        std::vector<fs::path> looked_at;
        for (const ShownRun& s : view_.shown) looked_at.push_back(s.run);
        if (!view_.selected.empty() && !view_.is_shown(view_.selected)) looked_at.push_back(view_.selected);
        library.look_at(looked_at);
        library.watch(desk.page == name());
        library.update();
        if (view_.selected.empty() && !library.runs().empty()) view_.select(library.runs().front().path);
    }

    void draw(Desk& desk) override {
        training_.draw(desk, view_, now_);
        ImGui::SameLine();
        ImGui::BeginChild("right", {0, 0}, false, ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse);
        const float height = ImGui::GetContentRegionAvail().y, below = std::max(height * 0.36f, theme().units(196));
        chart_.draw(desk, view_, now_, height - below - ImGui::GetStyle().ItemSpacing.y);
        runs_.draw(desk, view_, now_, below);
        ImGui::EndChild();
    }

  private:
    void tell(Desk& desk) {
        seen_ = now_.stage;
        view_.all_runs.refresh();
        const std::string run = now_.run.filename().string();
        if (now_.stage == TrainingStage::failed)
            desk.messages.fail(run + ": " + now_.error, now_.hint);
        else if (now_.stage == TrainingStage::finished)
            desk.messages.note(
                run + " is trained" +
                (now_.valid_bits >= 0 ? ": " + app::fixed(now_.valid_bits, 3) + " bits per sample" : ""));
    }

    TrainingPanel training_;
    ChartPanel chart_;
    RunPanel runs_;
    TrainingSnapshot now_;
    TrainingStage seen_ = TrainingStage::idle;
    TrainView view_;
};

}  // namespace

std::unique_ptr<Page> make_train_page(const Wake& wake) { return std::make_unique<TrainPage>(wake); }

}  // namespace nigiri::studio
