// Compare: models side by side, by ear and by number.
#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "app/studio/blind_test_view.h"
#include "app/studio/compare_table.h"
#include "app/studio/file_names.h"
#include "app/studio/marks.h"
#include "app/studio/model_list.h"
#include "app/studio/theme.h"
#include "app/studio/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr const char* no_data = "none: only listening";
constexpr const char* abx_name = "ABX: can I tell them apart?";
constexpr const char* preference_name = "Preference: which do I like better?";
constexpr float label_width = 104;

class ComparePage final : public Page {
  public:
    explicit ComparePage(const Wake& wake) : session_(wake), blind_(wake) {}

    const char* name() const override { return "compare"; }
    const char* title() const override { return "Compare"; }
    std::string unfinished() const override {
        return making_ && session_.status().running ? "models are compared" : "";
    }

    bool dropped(Desk& desk, const fs::path& path) override {
        std::error_code code;
        if (fs::exists(app::report_files(path).json, code))
            open(path);
        else if (path.extension() == ".safetensors" || fs::exists(path / "checkpoints", code))
            add_model(desk, path);
        else
            return false;
        return true;
    }

    void update(Desk& desk) override {
        const Background::Status status = session_.status();
        if (status.ended != seen_) {
            seen_ = status.ended;
            if (!status.error.empty())
                desk.messages.fail(status.error, status.hint);
            else if (const fs::path report = session_.report_written(); !report.empty() && report != told_report_)
                desk.messages.note("The report is " + (told_report_ = report).string());
            making_ = false;
            earlier_ = list_comparisons(comparisons_folder(desk));
        }
        if (const auto fresh = session_.comparison(); fresh != shown_) {
            const bool another = !shown_ || !fresh || fresh->folder != shown_->folder;
            shown_ = fresh;
            if (another) row_ = 0, player_ = 0, first_ = 0, second_ = 1, deck_showing_ = 0;
        }
        if (!status.running && !resume_.empty()) resume_now(desk);
        blind_.update(desk);
    }

    void draw(Desk& desk) override {
        if (blind_.active()) {
            ImGui::BeginChild("test", {0, 0}, false, ImGuiWindowFlags_NoNav);
            blind_.draw(desk);
            ImGui::EndChild();
            return;
        }
        ui::title("Compare");
        ui::begin_card("setup", 330, 0);
        draw_models(desk);
        draw_conditions(desk);
        draw_start(desk);
        draw_earlier(desk);
        ui::end_card();
        ImGui::SameLine();
        ImGui::BeginChild("result");
        draw_right(desk);
        ImGui::EndChild();
    }

  private:
    static fs::path comparisons_folder(const Desk& desk) { return desk.settings.clips_folder() / "comparisons"; }

    void open(const fs::path& folder) { session_.open(folder); }

    // ---- what to compare

    void add_model(Desk& desk, const fs::path& path) {
        remember(desk.settings.recent_models, path);
        if (!is_chosen(path)) chosen_.push_back(path);
        refresh(desk);
    }

    bool is_chosen(const fs::path& path) const {
        return std::find(chosen_.begin(), chosen_.end(), path) != chosen_.end();
    }

    void refresh(const Desk& desk) {
        models_ = list_models(desk.settings.runs_folder(), desk.settings.recent_models,
                              fs::path(NIGIRI_ASSETS_DIR) / "models");
        earlier_ = list_comparisons(comparisons_folder(desk));
        refreshed_ = ImGui::GetTime();
    }

    void draw_models(Desk& desk) {
        if (refreshed_ < 0 || ImGui::GetTime() - refreshed_ > 10) refresh(desk);
        ui::heading("Models");
        ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(52));
        if (ui::small_button("Add\u2026##model"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Open a model",
                              .start = {},
                              .endings = {".safetensors"},
                              .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                             [this, &desk](const fs::path& path) { add_model(desk, path); });
        const float row = ImGui::GetFrameHeight() + theme().units(4);
        ImGui::BeginChild("models", {0, row * static_cast<float>(std::clamp<size_t>(models_.size(), 2, 4))});
        for (const ModelEntry& m : models_) {
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

    void draw_conditions(Desk& desk) {
        std::vector<std::string> folders = {no_data};
        const auto offer = [&](const fs::path& folder) {
            if (!folder.empty() && std::find(folders.begin(), folders.end(), folder.string()) == folders.end())
                folders.push_back(folder.string());
        };
        offer(desk.data);
        for (const fs::path& folder : desk.settings.recent_data) offer(folder);
        if (!data_chosen_) data_ = desk.data.empty() ? no_data : desk.data.string();
        ui::label("Recordings", label_width);
        if (ui::choice("##data", data_, folders, 0)) data_chosen_ = true;
        ui::help(
            "Recordings to measure the clips against and to begin them with; only what no model of them was trained "
            "on is used: " +
            data_);
        const bool measured = data_ != no_data;
        ui::label("Clips", label_width);
        ui::number("##clips", options_.clips, 1, 64, 0);
        ui::label("Seconds", label_width);
        ui::slider("##seconds", options_.seconds, 0.5, 60, "%.1f s", 0);
        ImGui::BeginDisabled(!measured);
        ui::label("Begin with", label_width);
        ui::slider("##prompt", options_.prompt_seconds, 0, 10,
                   options_.prompt_seconds > 0 ? "%.1f s of a recording" : "silence", 0);
        ui::help("Every model continues the same recordings, another one for each clip.");
        ImGui::EndDisabled();
        ui::label("Temperature", label_width);
        ui::slider("##temperature", options_.sampling.temperature, 0, 1.5, "%.2f", 0);
        ui::label("Top p", label_width);
        ui::slider("##top-p", options_.sampling.top_p, 0.05, 1, "%.2f", 0);
        ui::label("Seed", label_width);
        ui::number("##seed", seed_, 0, 999'999'999, 0);
        ui::help("The same for every model: differences are the models', not the dice's.");
        ImGui::BeginDisabled(!measured);
        ui::checkbox("Exact bits per sample", options_.evaluate);
        ui::help("How well each model predicts recordings that it never heard: the most reliable number, and slow.");
        if (options_.evaluate && measured) {
            ui::label("of the first", label_width);
            ui::slider("##bits-seconds", options_.evaluation_seconds, 0, 600,
                       options_.evaluation_seconds > 0 ? "%.0f s" : "all of it", 0);
        }
        ImGui::EndDisabled();
    }

    void draw_start(Desk& desk) {
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

    void start(Desk& desk) {
        app::ComparisonOptions options = options_;
        options.models = chosen_;
        options.data = data_ == no_data ? fs::path() : fs::path(data_);
        if (options.data.empty()) options.prompt_seconds = 0;
        options.sampling.seed = static_cast<uint64_t>(seed_);
        options.threads = desk.settings.threads;
        making_ = session_.start(options, desk.settings.compute_device, comparisons_folder(desk));
    }

    void draw_earlier(Desk& desk) {
        ImGui::Dummy({0, theme().units(2)});
        ImGui::BeginDisabled(session_.status().running);
        std::vector<std::string> names;
        for (const fs::path& folder : earlier_) names.push_back(folder.filename().string());
        std::string chosen = names.empty() ? "No earlier comparison" : "Open an earlier comparison";
        if (ui::choice("##earlier", chosen, names, 226)) open(comparisons_folder(desk) / chosen);
        ImGui::SameLine();
        if (ui::small_button("Folder\u2026"))
            desk.dialog.open(
                {.wanted = FileDialog::Wanted::folder, .title = "Open a comparison", .start = comparisons_folder(desk)},
                [this](const fs::path& folder) { open(folder); });
        ui::help("Also one that was made by nigiri compare.");
        ImGui::EndDisabled();
    }

    // ---- what was compared

    void draw_right(Desk& desk) {
        if (!ImGui::BeginTabBar("tabs")) return;
        tab("Listen", [&] { draw_listen(desk); });
        tab("Blind test", [&] { draw_blind(desk); });
        tab("Numbers", [&] { draw_numbers(); });
        tab("Results", [&] { draw_results(desk); });
        ImGui::EndTabBar();
    }

    template <class Draw>
    void tab(const char* label, Draw&& draw) {
        const bool show = wanted_tab_ == label;
        if (show) wanted_tab_.clear();
        const bool open = ImGui::BeginTabItem(label, nullptr, show ? ImGuiTabItemFlags_SetSelected : 0);
        ui::mark(std::string("tab/") + label);
        if (!open) return;
        ImGui::BeginChild(label);
        ImGui::Dummy({0, theme().units(2)});
        draw();
        ImGui::EndChild();
        ImGui::EndTabItem();
    }

    bool nothing_yet() const {
        if (shown_) return false;
        ui::heading(making_ ? "The first clips appear here as soon as they are made." : "Nothing is compared yet.");
        ui::muted(
            "Choose models on the left and press Make clips. Every model gets the same random numbers and the same "
            "beginnings. Then listen with or without names, and see the numbers.");
        return true;
    }

    void play(Desk& desk, size_t row, size_t player) {
        const auto& tracks = shown_->rows[row].tracks;
        if (player >= tracks.size() || !tracks[player].sound) return;
        const bool here = deck_showing_ != 0 && desk.deck.showing() == deck_showing_ && row == row_;
        row_ = row, player_ = player;
        // The deck knows only sounds that exist.
        std::vector<Track> present;
        size_t index = 0;
        for (size_t i = 0; i < tracks.size(); ++i) {
            if (i == player) index = present.size();
            if (tracks[i].sound) present.push_back(tracks[i]);
        }
        if (!here) {
            desk.deck.show_tracks("clip " + std::to_string(row + 1), present, false);
            deck_showing_ = desk.deck.showing();
        }
        desk.deck.select(index);
        if (desk.deck.player().status().state != PlayState::playing) desk.deck.player().play();
    }

    void draw_listen(Desk& desk) {
        if (nothing_yet()) return;
        const Comparison& c = *shown_;
        ui::muted(app::summary(c.options, c.result));
        const bool here = deck_showing_ != 0 && desk.deck.showing() == deck_showing_;
        draw_switches(desk, here);
        draw_grid(desk, here);
    }

    void draw_switches(Desk& desk, bool here) {
        const Comparison& c = *shown_;
        if (row_ >= c.rows.size()) return;
        ImGui::Dummy({0, theme().units(2)});
        for (size_t i = 0; i < c.players.size(); ++i) {
            if (i > 0) ImGui::SameLine();
            const bool lit = here && i == player_;
            if (lit) {
                ImGui::PushStyleColor(ImGuiCol_Button, theme().colours.accent);
                ImGui::PushStyleColor(ImGuiCol_Text, theme().colours.accent_text);
            }
            const std::string label = std::to_string(i + 1) + "  " + ui::shortened(c.players[i], theme().units(170));
            if (ui::button((label + "##switch" + std::to_string(i)).c_str(), c.rows[row_].tracks[i].sound != nullptr))
                play(desk, row_, i);
            if (lit) ImGui::PopStyleColor(2);
        }
        const double lufs = c.rows[row_].lufs;
        ui::muted("Switch with the keys 1 to " + std::to_string(std::min<size_t>(c.players.size(), 9)) +
                  " while it plays. " +
                  (std::isfinite(lufs) ? "Levels matched to " + app::fixed(lufs, 1) + " LUFS." : "All are silent."));
        marks().note("compare.player", here ? std::to_string(player_ + 1) : "");
        const ImGuiIO& io = ImGui::GetIO();
        if (io.WantTextInput || desk.dialog.is_open() || io.KeyCtrl || io.KeyAlt) return;
        for (size_t i = 0; i < std::min<size_t>(c.players.size(), 9); ++i)
            if (ImGui::IsKeyPressed('1' + static_cast<int>(i), false)) play(desk, row_, i);
    }

    void draw_grid(Desk& desk, bool here) {
        const Comparison& c = *shown_;
        const int columns = static_cast<int>(c.players.size()) + 1;
        if (!ImGui::BeginTable("grid", columns,
                               ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerV))
            return;
        ImGui::TableSetupScrollFreeze(0, 1);
        ImGui::TableSetupColumn("Clip", ImGuiTableColumnFlags_WidthFixed, theme().units(44));
        for (const std::string& p : c.players) ImGui::TableSetupColumn(p.c_str(), ImGuiTableColumnFlags_WidthStretch);
        ImGui::TableHeadersRow();
        for (size_t r = 0; r < c.rows.size(); ++r) {
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            ImGui::Text("%zu", r + 1);
            for (size_t p = 0; p < c.players.size(); ++p) {
                ImGui::TableNextColumn();
                const auto* clip = clip_of(p, r);
                if (clip == nullptr) continue;
                ImGui::PushID(static_cast<int>(r * c.players.size() + p));
                if (ImGui::Selectable("##clip", here && r == row_ && p == player_)) play(desk, r, p);
                ui::mark("clip/" + std::to_string(r + 1) + "/" + std::to_string(p + 1));
                ui::help(clip->file.string());
                ImGui::SameLine();
                const bool odd = clip->ran_away != Runaway::none;
                ImGui::PushStyleColor(ImGuiCol_Text, odd ? theme().colours.warning : theme().colours.muted);
                ImGui::TextUnformatted(facts_of(*clip, p < c.result.models.size()).c_str());
                ImGui::PopStyleColor();
                ImGui::PopID();
            }
        }
        ImGui::EndTable();
    }

    const app::ComparedClip* clip_of(size_t player, size_t row) const {
        const auto& r = shown_->result;
        const auto& clips = player < r.models.size() ? r.models[player].clips : r.held_out;
        return row < clips.size() ? &clips[row] : nullptr;
    }

    static std::string facts_of(const app::ComparedClip& clip, bool generated) {
        std::string text = generated ? app::fixed(-clip.log2_likelihood_per_sample, 2) + " bits" : "as recorded";
        if (clip.ran_away != Runaway::none) text += std::string("  \u00b7  ran away: ") + name_of(clip.ran_away);
        return text;
    }

    void draw_blind(Desk& desk) {
        if (nothing_yet()) return;
        const Comparison& c = *shown_;
        if (c.players.size() < 2 || session_.status().running) {
            ui::muted("A listening test needs clips of two models; wait until they are all made.");
            return;
        }
        ui::paragraph(
            "Names hide, the order is shuffled, and nothing is shown before the last answer. Decide on the number of "
            "trials "
            "now: whoever stops at a lucky moment proves nothing.");
        ImGui::Dummy({0, theme().units(6)});
        std::string kind = kind_ == app::BlindKind::abx ? abx_name : preference_name;
        ui::label("Question", label_width);
        if (ui::choice("##kind", kind, {preference_name, abx_name}, 330))
            kind_ = kind == abx_name ? app::BlindKind::abx : app::BlindKind::preference;
        choose_player("First", first_);
        choose_player("Second", second_);
        ui::label("Trials", label_width);
        ui::number("##trials", trials_, 1, 200, 160);
        ui::help("Ten answer a clear question; twenty or more find smaller differences.");
        const auto clips = first_ == second_ ? std::vector<int>() : c.common_clips(first_, second_);
        ui::muted(first_ == second_    ? "Choose two different ones."
                  : clips.empty()      ? "These two have no clips of one length in common."
                  : clips.size() == 1u ? "They have one clip in common; with more, the result says more."
                                       : "They have " + std::to_string(clips.size()) + " clips in common.");
        if (kind_ == app::BlindKind::abx)
            ui::muted(
                "X is the very same clip as A or as B. Where the models play different music this is easy; it is hard "
                "where they continue the same beginning alike.");
        ImGui::Dummy({0, theme().units(6)});
        if (ui::primary("Begin the test", !clips.empty())) begin(desk);
    }

    void choose_player(const char* label, size_t& player) {
        std::string chosen = shown_->players[std::min(player, shown_->players.size() - 1)];
        ui::label(label, label_width);
        if (ui::choice(("##" + std::string(label)).c_str(), chosen, shown_->players, 330))
            player = static_cast<size_t>(std::find(shown_->players.begin(), shown_->players.end(), chosen) -
                                         shown_->players.begin());
    }

    template <class Make>
    void begin_with(Desk& desk, Make&& make) {
        try {
            blind_.begin(desk, make());
        } catch (const Error& e) {
            desk.messages.fail(e.what(), e.hint());
        }
    }

    void begin(Desk& desk) {
        const fs::path file =
            free_name(desk.settings.results_folder(),
                      time_stamp() + (kind_ == app::BlindKind::abx ? " abx" : " preference"), ".json");
        const uint64_t seed = std::random_device{}();
        begin_with(desk, [&] {
            return ListeningTest(
                shown_, {.kind = kind_, .trials = trials_, .first = first_, .second = second_, .seed = seed}, file);
        });
    }

    void resume_now(Desk& desk) {
        const fs::path file = std::exchange(resume_, {});
        if (shown_ && shown_->folder == resume_from_) begin_with(desk, [&] { return ListeningTest(shown_, file); });
    }

    void draw_numbers() {
        if (nothing_yet()) return;
        const Background::Status status = session_.status();
        if (ui::button("Write report", !status.running)) session_.write_report();
        ui::help("One page with players, pictures and all tables, and the same as Markdown and JSON, in " +
                 shown_->folder.string());
        ImGui::SameLine();
        ui::muted(told_report_ == shown_->files.html ? told_report_.string()
                                                     : "Rest the pointer on a row to learn what it means.");
        draw_compare_tables(*shown_);
    }

    void draw_results(Desk& desk) {
        ListeningSession& tests = blind_.session();
        if (listed_ != desk.settings.results_folder()) tests.list(listed_ = desk.settings.results_folder());
        if (tests.tests().empty()) {
            ui::muted(tests.listing() ? "Reading\u2026" : "Listening tests appear here, also those that were paused.");
            return;
        }
        ui::muted("JSON and CSV files in " + listed_.string());
        if (!ImGui::BeginTable("results", 3, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg)) return;
        ImGui::TableSetupColumn("Begun", ImGuiTableColumnFlags_WidthFixed, theme().units(150));
        ImGui::TableSetupColumn("Result", ImGuiTableColumnFlags_WidthStretch);
        ImGui::TableSetupColumn("", ImGuiTableColumnFlags_WidthFixed, theme().units(70));
        ImGui::TableHeadersRow();
        int row = 0;
        for (const SavedTest& t : tests.tests()) {
            ImGui::PushID(row);
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            ImGui::TextUnformatted(t.file.stem().string().substr(0, 19).c_str());
            ui::help(t.file.string());
            ImGui::TableNextColumn();
            const std::string kind = t.kind == app::BlindKind::abx ? "ABX" : "Preference";
            if (!t.verdict.empty())
                ui::paragraph(kind + ": " + t.verdict);
            else
                ui::muted(kind + ", " + t.players[0] + " and " + t.players[1] + ": " + std::to_string(t.answered) +
                          " of " + std::to_string(t.trials) + " answered");
            ImGui::TableNextColumn();
            if (t.verdict.empty() &&
                ui::small_button(("Go on##" + std::to_string(row)).c_str(), !session_.status().running)) {
                resume_ = t.file;
                resume_from_ = t.comparison;
                if (!shown_ || shown_->folder != t.comparison) open(t.comparison);
            }
            ImGui::PopID();
            ++row;
        }
        ImGui::EndTable();
    }

    ComparisonSession session_;
    BlindTestView blind_;
    app::ComparisonOptions options_{.clips = 6, .evaluation_seconds = 60};
    int seed_ = 1;
    std::string data_ = no_data;
    bool data_chosen_ = false, making_ = false;
    std::vector<ModelEntry> models_;
    std::vector<fs::path> chosen_, earlier_;
    double refreshed_ = -1;
    uint64_t seen_ = 0;
    fs::path told_report_, listed_, resume_, resume_from_;
    std::string wanted_tab_;

    std::shared_ptr<const Comparison> shown_;
    size_t row_ = 0, player_ = 0;
    uint64_t deck_showing_ = 0;
    app::BlindKind kind_ = app::BlindKind::preference;
    size_t first_ = 0, second_ = 1;
    int trials_ = 10;
};

}  // namespace

std::unique_ptr<Page> make_compare_page(const Wake& wake) { return std::make_unique<ComparePage>(wake); }

}  // namespace nigiri::studio
