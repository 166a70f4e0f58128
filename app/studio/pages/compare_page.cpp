// Compare: models side by side, by ear and by number.
#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "app/studio/pages/blind_test_view.h"
#include "app/studio/pages/compare_setup.h"
#include "app/studio/pages/compare_table.h"
#include "app/studio/pages/grid_view.h"
#include "app/studio/sessions/file_names.h"
#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr const char* abx_name = "ABX: can I tell them apart?";
constexpr const char* abx_other_name = "ABX, X another clip: can I tell the models?";
constexpr const char* preference_name = "Preference: which do I like better?";

class ComparePage final : public Page {
  public:
    explicit ComparePage(const Wake& wake) : session_(wake), setup_(session_, wake), blind_(wake) {}

    const char* name() const override { return "compare"; }
    const char* title() const override { return "Compare"; }
    std::string unfinished() const override { return session_.making() ? "models are compared" : ""; }

    bool dropped(Desk& desk, const fs::path& path) override {
        std::error_code code;
        if (fs::exists(app::report_files(path).json, code))
            session_.open(path);
        else if (path.extension() == ".safetensors" || fs::exists(path / "checkpoints", code))
            setup_.add_model(desk, path);
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
            setup_.refresh();
        }
        if (const auto fresh = session_.comparison(); fresh != shown_) {
            const bool another = !shown_ || !fresh || fresh->folder != shown_->folder;
            shown_ = fresh;
            deck_showing_ = 0;  // what the deck holds is of the one before
            if (another) row_ = 0, player_ = 0, first_ = 0, second_ = 1;
        }
        if (!status.running && !resume_.empty()) resume_now(desk);
        blind_.update(desk);
    }

    void draw(Desk& desk) override {
        if (blind_.active()) {
            ImGui::BeginChild("test");
            blind_.draw(desk);
            ImGui::EndChild();
            return;
        }
        ui::title("Compare");
        ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(310));
        setup_.draw_earlier(desk);
        setup_.draw(desk);
        ImGui::SameLine();
        ImGui::BeginChild("result");
        draw_right(desk);
        ImGui::EndChild();
    }

  private:
    void draw_right(Desk& desk) {
        if (!ImGui::BeginTabBar("tabs")) return;
        if (shown_ && shown_->grid) tab("Grid", [&] { grid_.draw(shown_); });
        tab("Listen", [&] { draw_listen(desk); });
        tab("Blind test", [&] { draw_blind(desk); });
        tab("Numbers", [&] { draw_numbers(); });
        tab("Results", [&] { draw_results(desk); });
        ImGui::EndTabBar();
    }

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

    bool nothing_yet() const {
        if (shown_) return false;
        ui::heading(session_.making() ? "The first clips appear here as soon as they are made."
                                      : "Nothing is compared yet.");
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
        desk.deck.rename("clip " + std::to_string(row + 1) + ", " + shown_->players[player]);
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
        std::string kind = kind_ == app::BlindKind::preference ? preference_name
                         : other_clip_                         ? abx_other_name
                                                               : abx_name;
        ui::label("Question", compare_label_width);
        if (ui::choice("##kind", kind, {preference_name, abx_other_name, abx_name}, 330)) {
            kind_ = kind == preference_name ? app::BlindKind::preference : app::BlindKind::abx;
            other_clip_ = kind == abx_other_name;
        }
        choose_player("First", first_);
        choose_player("Second", second_);
        ui::label("Trials", compare_label_width);
        ui::number("##trials", trials_, 1, 200, 160);
        ui::help("Ten answer a clear question; twenty or more find smaller differences.");
        const auto clips = first_ == second_ ? std::vector<int>() : c.common_clips(first_, second_);
        ui::muted(first_ == second_    ? "Choose two different ones."
                  : clips.empty()      ? "These two have no clips of one length in common."
                  : clips.size() == 1u ? "They have one clip in common; with more, the result says more."
                                       : "They have " + std::to_string(clips.size()) + " clips in common.");
        if (kind_ == app::BlindKind::abx)
            ui::muted(
                other_clip_
                    ? "A and B are a clip of each model, X is another clip of one of them: can the models be told "
                      "by their sound?"
                    : "X is the very same clip as A or as B. Where the models play different music this is easy; "
                      "it is hard where they continue the same beginning alike.");
        const bool enough = clips.size() > (other_clip_ ? 1u : 0u);
        ImGui::Dummy({0, theme().units(6)});
        if (ui::primary("Begin the test", enough)) begin(desk);
    }

    void choose_player(const char* label, size_t& player) {
        std::string chosen = shown_->players[std::min(player, shown_->players.size() - 1)];
        ui::label(label, compare_label_width);
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
            return ListeningTest(shown_,
                                 {.kind = kind_,
                                  .trials = trials_,
                                  .first = first_,
                                  .second = second_,
                                  .seed = seed,
                                  .other_clip = other_clip_},
                                 file);
        });
    }

    void resume_now(Desk& desk) {
        const fs::path file = std::exchange(resume_, {});
        if (shown_ && shown_->folder == resume_from_) begin_with(desk, [&] { return ListeningTest(shown_, file); });
    }

    void draw_numbers() {
        if (nothing_yet()) return;
        const Background::Status status = session_.status();
        if (ui::button("Write report", !status.running && !shown_->grid)) session_.write_report();
        ui::help(shown_->grid
                     ? "This is a grid of nigiri ablate, whose report is " + shown_->files.html.string()
                     : "One page with players, pictures and all tables, and the same as Markdown and JSON, in " +
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
                if (!shown_ || shown_->folder != t.comparison) session_.open(t.comparison);
            }
            ImGui::PopID();
            ++row;
        }
        ImGui::EndTable();
    }

    ComparisonSession session_;
    CompareSetup setup_;
    BlindTestView blind_;
    GridView grid_;
    uint64_t seen_ = 0;
    fs::path told_report_, listed_, resume_, resume_from_;

    std::shared_ptr<const Comparison> shown_;
    size_t row_ = 0, player_ = 0;
    uint64_t deck_showing_ = 0;
    app::BlindKind kind_ = app::BlindKind::preference;
    bool other_clip_ = false;
    size_t first_ = 0, second_ = 1;
    int trials_ = 10;
};

}  // namespace

std::unique_ptr<Page> make_compare_page(const Wake& wake) { return std::make_unique<ComparePage>(wake); }

}  // namespace nigiri::studio
