// Inspect: what a model's layers learned, and where a sound surprises it.
#include <imgui.h>

#include <algorithm>

#include "app/studio/pages/inspect_layers.h"
#include "app/studio/widgets/marks.h"
#include "app/studio/sessions/model_list.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

class InspectPage final : public Page {
  public:
    explicit InspectPage(const Wake& wake) : session_(wake), models_(wake, list_models), delta_(wake) {}

    const char* name() const override { return "inspect"; }
    const char* title() const override { return "Inspect"; }

    bool dropped(Desk& desk, const fs::path& path) override {
        std::error_code code;
        if (path.extension() != ".safetensors" && !fs::exists(path / "checkpoints", code)) return false;
        choose(desk, path);
        return true;
    }

    void update(Desk& desk) override {
        session_.update();
        const Background::Status status = session_.status();
        if (status.ended != seen_) {
            seen_ = status.ended;
            if (!status.error.empty()) desk.messages.fail(status.error, status.hint);
        }
        if (session_.surprise() != surprise_) {
            surprise_ = session_.surprise();
            take_surprise();
        }
    }

    void draw(Desk& desk) override {
        ui::title("Inspect");
        draw_model(desk);
        const Background::Status status = session_.status();
        if (session_.running()) {
            ImGui::SameLine();
            if (ui::button("Cancel", !status.stopping)) session_.cancel();
            ui::progress(status.fraction, status.what);
        }
        if (!session_.model() || !ImGui::BeginTabBar("tabs")) return;
        tab("Surprise", [&] { draw_surprise(desk); });
        tab("Kernels", [&] { kernels_.draw(session_); });
        tab("Delta", [&] { delta_.draw(desk, session_); });
        ImGui::EndTabBar();
    }

  private:
    template <class Draw>
    void tab(const char* label, Draw&& draw) {
        const bool open = ImGui::BeginTabItem(label);
        ui::mark(std::string("tab/") + label);
        if (!open) return;
        ImGui::BeginChild(label);
        ImGui::Dummy({0, theme().units(2)});
        draw();
        ImGui::EndChild();
        ImGui::EndTabItem();
    }

    void choose(Desk& desk, const fs::path& path) {
        desk.model = path;
        remember(desk.settings.recent_models, path);
    }

    void draw_model(Desk& desk) {
        models_.want(model_places(desk.settings));
        const std::vector<ModelEntry>& models = models_.value();
        if (desk.model.empty() && !models.empty()) desk.model = models.back().path;
        std::string chosen = desk.model.filename().string();
        std::vector<std::string> labels;
        for (const ModelEntry& m : models) {
            labels.push_back(m.label);
            if (m.path == desk.model) chosen = m.label;
        }
        if (ui::choice("##model", chosen, labels, 330))
            for (const ModelEntry& m : models)
                if (m.label == chosen) desk.model = m.path;
        ImGui::SameLine();
        if (ui::button("Open\u2026"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Open a model",
                              .start = {},
                              .endings = {".safetensors"},
                              .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                             [this, &desk](const fs::path& path) { choose(desk, path); });
        ImGui::SameLine();
        if (ui::button("Open a sound\u2026"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Choose a sound to look at",
                              .start = desk.data,
                              .endings = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf"}},
                             [&desk](const fs::path& path) { desk.deck.open(path); });
        ui::help("What is looked at is what the player below holds.");
        if (desk.model != opened_ && !desk.model.empty()) {
            opened_ = desk.model;
            session_.open(opened_, desk.settings.compute_device, desk.settings.threads);
        }
    }

    // The sound below, if there is one to look at.
    std::shared_ptr<const Sound> sound_of(Desk& desk) const { return desk.deck.sound(); }

    void take_surprise() {
        raw_.set(surprise_ ? surprise_->bits : nullptr);
        means_.set(surprise_ ? surprise_->means : nullptr);
    }

    void draw_surprise(Desk& desk) {
        const auto sound = sound_of(desk);
        if (ui::primary("Measure the surprise", sound != nullptr && !session_.running()))
            session_.ask_surprise(sound, window_ms_ / 1000);
        ImGui::SameLine();
        ui::muted(sound ? "of " + desk.deck.name()
                        : "Play a recording or a clip first: it is looked at as it stands below.");
        if (!surprise_ || surprise_->sound != sound) {
            ui::paragraph(
                "The model tells for every sample how likely it was, given all that came before. What it did not "
                "expect costs "
                "many bits: note beginnings, noise, a wrong note. Their mean is its bits per sample.");
            return;
        }
        const double n = static_cast<double>(std::max<int64_t>(surprise_->bits->size(), 1));
        ui::heading((app::fixed(surprise_->total / n, 3) + " bits per sample, " + app::thousands(surprise_->total) +
                     " bits in all")
                        .c_str());
        marks().note("inspect.bits", app::fixed(surprise_->total, 3));
        ui::checkbox("every sample", show_raw_);
        ImGui::SameLine(0, theme().units(20));
        ui::label("Mean over", 76);
        if (ui::slider("##window", window_ms_, 1, 1000, "%.0f ms", 200)) stale_ = true;
        // Not at every move of the slider: a long sound takes a moment.
        if (stale_ && !ImGui::IsItemActive()) stale_ = false, session_.ask_means(window_ms_ / 1000);
        const float list = theme().units(300);
        const ImVec2 size = {ImGui::GetContentRegionAvail().x - list - theme().units(10),
                             std::max(ImGui::GetContentRegionAvail().y, theme().units(120))};
        const double scale = static_cast<double>(surprise_->rate) / sound->rate();
        const double highest = static_cast<double>(show_raw_ ? surprise_->highest : surprise_->highest_mean);
        std::vector<SoundPlotLine> lines;
        if (show_raw_) lines.push_back({&raw_, scale, packed(theme().colours.wave, 0.35f)});
        lines.push_back({&means_, scale, packed(theme().colours.accent)});
        draw_sound_plot(desk.deck, "surprise", size, {.begin = 0, .end = 1.05 * highest}, "bits", lines);
        ImGui::SameLine(0, theme().units(10));
        draw_places(desk, scale);
    }

    void draw_places(Desk& desk, double scale) {
        if (!ImGui::BeginTable("places", 3, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg)) return;
        ImGui::TableSetupScrollFreeze(0, 1);
        ImGui::TableSetupColumn("Most surprising at", ImGuiTableColumnFlags_WidthStretch, 1.6f);
        ImGui::TableSetupColumn("Bits", ImGuiTableColumnFlags_WidthStretch, 1);
        ImGui::TableSetupColumn("Of all", ImGuiTableColumnFlags_WidthStretch, 1);
        ImGui::TableHeadersRow();
        for (size_t i = 0; i < surprise_->places.size(); ++i) {
            const app::SurprisingPlace& p = surprise_->places[i];
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            const std::string at = time_text(static_cast<double>(p.begin) / surprise_->rate, 1);
            ImGui::PushID(static_cast<int>(i));
            if (ImGui::Selectable(at.c_str(), false, ImGuiSelectableFlags_SpanAllColumns)) {
                const double begin = static_cast<double>(p.begin) / scale;
                desk.deck.player().seek(static_cast<int64_t>(begin));
                desk.deck.range().follow(begin);
            }
            ui::mark("place/" + std::to_string(i + 1));
            ui::help("Press to hear it from here.");
            ImGui::PopID();
            ImGui::TableNextColumn();
            ImGui::Text("%.2f", p.mean_bits);
            ImGui::TableNextColumn();
            ImGui::Text("%.2f %%", 100 * p.share);
        }
        ImGui::EndTable();
    }

    InspectSession session_;
    ModelList models_;
    fs::path opened_;
    uint64_t seen_ = 0;

    std::shared_ptr<const InspectedSurprise> surprise_;
    SoundCurve raw_, means_;
    double window_ms_ = 50;
    bool show_raw_ = true, stale_ = false;

    KernelView kernels_;
    DeltaView delta_;
};

}  // namespace

std::unique_ptr<Page> make_inspect_page(const Wake& wake) { return std::make_unique<InspectPage>(wake); }

}  // namespace nigiri::studio
