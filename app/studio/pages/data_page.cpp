// Data: a folder of recordings, what can be used of it and why the rest cannot.
#include <imgui.h>

#include <algorithm>

#include "app/studio/sessions/folder_scan.h"
#include "app/studio/widgets/marks.h"
#include "app/studio/studio.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"
#include "audio/demo_data.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr double demo_minutes = 45;

class DataPage final : public Page {
  public:
    explicit DataPage(const Wake& wake) : scan_(wake), demo_(wake) {}

    const char* name() const override { return "data"; }
    const char* title() const override { return "Data"; }
    bool moving() const override { return false; }
    std::string unfinished() const override { return demo_.running() ? "the demo recordings are being made" : ""; }

    bool dropped(Desk& desk, const fs::path& path) override {
        std::error_code code;
        if (fs::is_directory(path, code))
            open(desk, path);
        else
            desk.deck.open(path);
        return true;
    }

    void update(Desk& desk) override {
        if (!desk.data.empty() && desk.data != scan_.folder()) scan_.start(desk.data, desk.settings.threads);
        scan_.update();
        const Background::Status scanning = scan_.status(), rendering = demo_.status();
        if (scanning.ended != seen_scans_) {
            seen_scans_ = scanning.ended;
            if (!scanning.error.empty()) desk.messages.fail(scanning.error, scanning.hint);
            if (const auto report = scan_.report(); report && report->folder == scan_.folder()) filter(*report);
        }
        if (rendering.ended != seen_demos_) {
            seen_demos_ = rendering.ended;
            if (!rendering.error.empty())
                desk.messages.fail(rendering.error, rendering.hint);
            else if (!demo_.stopping().load())
                open(desk, demo_folder(desk));
        }
    }

    void draw(Desk& desk) override {
        draw_choice(desk);
        const Background::Status scanning = scan_.status();
        if (scan_.running()) {
            ui::progress(scanning.fraction, "Reading " + scanning.what);
            if (ui::small_button("Cancel##scan")) scan_.cancel();
        }
        if (!scanning.error.empty()) ui::problem(scanning.error, scanning.hint);
        const auto report = scan_.report();
        if (!report || report->folder != scan_.folder()) {
            if (!scan_.running() && desk.data.empty()) draw_welcome();
            return;
        }
        draw_totals(desk, *report);
        draw_files(desk, *report);
    }

  private:
    static fs::path demo_folder(const Desk& desk) {
        return desk.settings.runs_folder().parent_path() / "demo-recordings";
    }

    static void open(Desk& desk, const fs::path& folder) {
        desk.data = desk.settings.last_data = folder;
        remember(desk.settings.recent_data, folder);
    }

    void draw_choice(Desk& desk) {
        ui::title("Recordings");
        if (ui::primary("Choose a folder"))
            desk.dialog.open({.wanted = FileDialog::Wanted::folder,
                              .title = "Choose a folder of recordings",
                              .start = desk.data,
                              .places = desk.settings.recent_data},
                             [&desk](const fs::path& folder) { open(desk, folder); });
        ui::help(
            "Any format that libsndfile reads: WAV, FLAC, MP3, Ogg, AIFF and more. You can also drop a folder here.");
        ImGui::SameLine();
        draw_recent(desk);
        ImGui::SameLine();
        draw_demo(desk);
        if (!desk.data.empty()) {
            ImGui::SameLine();
            if (ui::button("Read again", !scan_.running())) scan_.start(desk.data, desk.settings.threads);
            ui::muted(ui::shortened(desk.data.string(), ImGui::GetContentRegionAvail().x));
        }
    }

    static void draw_recent(Desk& desk) {
        std::vector<std::string> names;
        for (const fs::path& p : desk.settings.recent_data) names.push_back(p.string());
        ImGui::BeginDisabled(names.empty());
        std::string chosen = "Recent";
        if (ui::choice("##recent", chosen, names, 130)) open(desk, fs::path(chosen));
        ImGui::EndDisabled();
    }

    void draw_demo(Desk& desk) {
        const Background::Status status = demo_.status();
        if (!status.running) {
            if (ui::button("Make demo recordings")) make_demo(desk);
            ui::help(
                "Renders 45 minutes of piano from the scores that come with Nigiri, on FluidSynth's grand piano: "
                "enough to try everything without recordings of your own.");
            return;
        }
        if (ui::button("Stop rendering", !status.stopping)) demo_.stop();
        ImGui::SameLine();
        ImGui::BeginGroup();
        ImGui::ProgressBar(static_cast<float>(status.fraction), {theme().units(220), theme().units(8)}, "");
        ImGui::PushFont(theme().small);
        ImGui::TextDisabled("%s", ui::shortened(status.what, theme().units(220)).c_str());
        ImGui::PopFont();
        ImGui::EndGroup();
    }

    void make_demo(const Desk& desk) {
        demo_.start([this, folder = demo_folder(desk), threads = desk.settings.threads] {
            render_demo_data(fs::path(NIGIRI_ASSETS_DIR) / "scores", folder, {.minutes = demo_minutes, .jobs = threads},
                             [&](const DemoPiece& piece, size_t done, size_t total) {
                                 demo_.report(static_cast<double>(done) / static_cast<double>(total), piece.title);
                                 if (demo_.stopping().load()) throw Cancelled();
                             });
        });
    }

    static void draw_welcome() {
        ImGui::Dummy({0, theme().units(24)});
        ui::heading("Drop a folder of recordings into this window to begin.");
        ui::muted(
            "Half an hour of solo piano is a good start. Nigiri reads every format, mixes to mono at 16 kHz and keeps "
            "some recordings aside, so that it can tell learning from memorising. Nothing leaves this computer and no "
            "file is changed.");
    }

    void draw_totals(Desk& desk, const ScanReport& report) {
        ui::begin_card("totals", 0, 92);
        const auto column = [](const char* name, const std::string& value) {
            ImGui::BeginGroup();
            ui::heading(value.c_str());
            ui::muted(name);
            ImGui::EndGroup();
            ImGui::SameLine(0, theme().units(36));
        };
        const size_t used = report.used_files();
        column("to learn from", app::duration(report.seconds(Split::train)));
        column("to check with", app::duration(report.seconds(Split::valid)));
        column("kept for the test", app::duration(report.seconds(Split::test)));
        column("files used", std::to_string(used));
        column("skipped", std::to_string(report.files.size() - used));
        marks().note("data.used", std::to_string(used));
        marks().note("data.skipped", std::to_string(report.files.size() - used));
        const bool enough = report.samples(Split::train) > 0;
        ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(160));
        if (ui::primary("Train on this", enough)) desk.page = "train";
        ui::end_card();
        for (const std::string& note : report.notes) ui::muted(note);
        if (!enough) ui::problem("There is no recording to learn from in this folder", "choose another one");
    }

    void filter(const ScanReport& report) {
        shown_.clear();
        for (size_t i = 0; i < report.files.size(); ++i) {
            const bool used = report.files[i].used();
            if (show_ == "All files" || (show_ == "Used") == used) shown_.push_back(i);
        }
    }

    void draw_files(Desk& desk, const ScanReport& report) {
        if (ui::choice("##show", show_, {"All files", "Used", "Skipped"}, 130)) filter(report);
        ImGui::SameLine();
        ui::label("Press a file to listen to it.", 0);
        ImGui::NewLine();
        const float height = std::max(ImGui::GetContentRegionAvail().y, theme().units(120));
        if (!ImGui::BeginTable("files", 5, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg | ImGuiTableFlags_Resizable,
                               {0, height}))
            return;
        ImGui::TableSetupScrollFreeze(0, 1);
        ImGui::TableSetupColumn("File", ImGuiTableColumnFlags_WidthStretch, 4);
        ImGui::TableSetupColumn("Length", ImGuiTableColumnFlags_WidthFixed, theme().units(100));
        ImGui::TableSetupColumn("Part", ImGuiTableColumnFlags_WidthFixed, theme().units(80));
        ImGui::TableSetupColumn("Format", ImGuiTableColumnFlags_WidthFixed, theme().units(150));
        ImGui::TableSetupColumn("Remark", ImGuiTableColumnFlags_WidthStretch, 3);
        ImGui::TableHeadersRow();
        std::vector<std::string> parts(report.files.size());
        for (const Part& p : report.parts) {
            std::string& text = parts[p.file];
            text += (text.empty() ? "" : ", ") + std::string(name_of(p.split));
        }
        ImGuiListClipper clipper;
        clipper.Begin(static_cast<int>(shown_.size()));
        while (clipper.Step())
            for (int row = clipper.DisplayStart; row < clipper.DisplayEnd; ++row) {
                const size_t i = shown_[static_cast<size_t>(row)];
                draw_file(desk, report.files[i], parts[i], row);
            }
        ImGui::EndTable();
    }

    static void draw_file(Desk& desk, const FileReport& file, const std::string& part, int row) {
        ImGui::PushID(row);
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        const bool playing = desk.deck.path() == file.path;
        if (ImGui::Selectable(file.name.c_str(), playing, ImGuiSelectableFlags_SpanAllColumns))
            desk.deck.open(file.path);
        ui::mark("file/" + file.name);
        ImGui::TableNextColumn();
        if (file.info.frames > 0) ImGui::TextUnformatted(app::duration(file.info.seconds()).c_str());
        ImGui::TableNextColumn();
        ImGui::TextDisabled("%s", part.c_str());
        ImGui::TableNextColumn();
        if (file.info.rate > 0)
            ImGui::TextDisabled("%.1f kHz, %s", file.info.rate / 1000.0,
                                file.info.channels == 1   ? "mono"
                                : file.info.channels == 2 ? "stereo"
                                                          : (std::to_string(file.info.channels) + " channels").c_str());
        ImGui::TableNextColumn();
        if (!file.used()) {
            ImGui::PushStyleColor(ImGuiCol_Text, theme().colours.warning);
            ImGui::TextUnformatted(file.reason.c_str());
            ImGui::PopStyleColor();
            ui::help(file.reason);
        } else if (file.clipped > 0) {
            ImGui::TextDisabled("%lld samples at full scale", static_cast<long long>(file.clipped));
        }
        ImGui::PopID();
    }

    FolderScan scan_;
    Background demo_;
    uint64_t seen_scans_ = 0, seen_demos_ = 0;
    std::string show_ = "All files";
    std::vector<size_t> shown_;
};

}  // namespace

std::unique_ptr<Page> make_data_page(const Wake& wake) { return std::make_unique<DataPage>(wake); }

}  // namespace nigiri::studio
