#include "app/studio/pages/blind_test_view.h"

#include <imgui.h>

#include <cmath>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace {

bool pressed(ImGuiKey key) { return ImGui::IsKeyPressed(ImGui::GetKeyIndex(key), false); }

// "0.0013", "3e-07".
std::string p_text(double p) {
    if (p >= 0.0001) return app::fixed(p, 4);
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1e", p);
    return text.data();
}

void centred(float width) {
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + std::max(0.0f, (ImGui::GetContentRegionAvail().x - width) / 2));
}

void centred_text(const std::string& text, ImFont* font, const ImVec4& colour) {
    ImGui::PushFont(font);
    centred(ImGui::CalcTextSize(text.c_str()).x);
    ImGui::TextColored(colour, "%s", text.c_str());
    ImGui::PopFont();
}

}  // namespace

void BlindTestView::begin(Desk& desk, ListeningTest test) {
    desk.deck.clear();  // what is on it has a name and a picture
    test_ = std::move(test);
    showing_ = 0;
    trial_began_ = ImGui::GetTime();
    session_.save(*test_);
}

void BlindTestView::update(Desk& desk) {
    session_.update();
    // The arrows answer, and Space plays: they must not move and press buttons as well.
    ImGuiIO& io = ImGui::GetIO();
    io.ConfigFlags = asked_ ? io.ConfigFlags & ~ImGuiConfigFlags_NavEnableKeyboard
                            : io.ConfigFlags | ImGuiConfigFlags_NavEnableKeyboard;
    asked_ = false;
    const Background::Status saving = session_.saving();
    if (saving.ended != seen_saves_) {
        seen_saves_ = saving.ended;
        if (!saving.error.empty()) desk.messages.fail(saving.error, saving.hint);
    }
    if (!test_ || desk.deck.showing() != showing_) return;
    const PlayerStatus s = desk.deck.player().status();
    // What was played between two looks, unless it jumped.
    const double moved = s.rate > 0 ? static_cast<double>(s.position - last_position_) / s.rate : 0;
    if (s.state == PlayState::playing && moved > 0 && moved < 0.5) test_->hear(s.track, moved);
    last_position_ = s.position;
}

// The sounds of a trial are put on the player when the first of them is asked for, and again if something else was
// played in between.
void BlindTestView::play(Desk& desk, size_t track) {
    if (desk.deck.showing() != showing_) {
        desk.deck.show_tracks("Trial " + std::to_string(test_->answered() + 1), test_->tracks(), false, true);
        showing_ = desk.deck.showing();
    }
    Player& player = desk.deck.player();
    desk.deck.select(track);
    last_position_ = player.status().position;
    if (player.status().state != PlayState::playing) player.play();
}

void BlindTestView::answer(Desk& desk, int choice) {
    if (!test_->can_answer()) return;
    test_->answer(choice, ImGui::GetTime() - trial_began_);
    session_.save(*test_);
    trial_began_ = ImGui::GetTime();
    if (desk.deck.showing() == showing_) desk.deck.clear();
    showing_ = 0;
}

void BlindTestView::leave(Desk& desk) {
    if (showing_ != 0 && desk.deck.showing() == showing_) desk.deck.clear();
    test_.reset();
}

void BlindTestView::draw(Desk& desk) {
    ui::set_page("blind");
    marks().note("blind.answered", std::to_string(test_->answered()));
    marks().note("blind.finished", test_->finished() ? "yes" : "no");
    if (test_->finished()) {
        draw_result(desk);
        return;
    }
    asked_ = true;
    draw_question(desk);
    draw_sounds(desk);
    draw_answers(desk);
    keys(desk);
}

void BlindTestView::draw_question(Desk& desk) {
    ui::title(test_->kind() == app::BlindKind::abx ? "ABX test" : "Preference test");
    ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(110));
    const bool pause = ui::button("Pause the test") || pressed(ImGuiKey_Escape);
    ui::help("Esc");
    if (pause) {
        leave(desk);
        desk.messages.note("The test is kept: go on with it under Results");
        return;
    }
    ui::muted("Trial " + std::to_string(test_->answered() + 1) + " of " + std::to_string(test_->trials()) +
              ". How well you do is shown after the last one.");
    // A lamp a trial.
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const float width = ImGui::GetContentRegionAvail().x, gap = theme().units(3);
    const float each = (width + gap) / static_cast<float>(test_->trials()) - gap;
    const ImVec2 at = ImGui::GetCursorScreenPos();
    for (int i = 0; i < test_->trials() && each > 0.5f; ++i) {
        const float x = at.x + static_cast<float>(i) * (each + gap);
        const Palette& p = theme().colours;
        draw.AddRectFilled({x, at.y}, {x + each, at.y + theme().units(6)},
                           packed(i < test_->answered()    ? p.accent
                                  : i == test_->answered() ? p.text
                                                           : p.raised),
                           2);
    }
    ImGui::Dummy({width, theme().units(44)});
    centred_text(test_->kind() == app::BlindKind::preference ? "Which of the two do you like better?"
                 : test_->other_clip()                       ? "Does X sound as if A's model played it, or B's?"
                                                             : "Is X the same sound as A, or as B?",
                 theme().title, theme().colours.text);
    ImGui::Dummy({0, theme().units(18)});
}

void BlindTestView::draw_sounds(Desk& desk) {
    if (!test_) return;
    const auto labels = test_->labels();
    const PlayerStatus s = desk.deck.player().status();
    const bool ours = showing_ != 0 && desk.deck.showing() == showing_;
    const bool plays = ours && s.state == PlayState::playing;
    const float side = theme().units(120), gap = theme().units(18);
    const auto n = static_cast<float>(labels.size());
    centred(n * side + (n - 1) * gap);
    ImGui::PushFont(theme().title);
    for (size_t i = 0; i < labels.size(); ++i) {
        if (i > 0) ImGui::SameLine(0, gap);
        const bool lit = plays && s.track == i;
        const Palette& p = theme().colours;
        if (lit) {
            ImGui::PushStyleColor(ImGuiCol_Button, p.accent);
            ImGui::PushStyleColor(ImGuiCol_ButtonHovered, p.accent);
            ImGui::PushStyleColor(ImGuiCol_Text, p.accent_text);
        }
        if (ImGui::Button(labels[i].c_str(), {side, side * 0.8f})) play(desk, i);
        ui::mark(labels[i]);
        if (lit) ImGui::PopStyleColor(3);
        const ImVec2 low = ImGui::GetItemRectMin(), high = ImGui::GetItemRectMax();
        ImGui::GetWindowDrawList()->AddRectFilled({low.x + theme().units(12), high.y + theme().units(6)},
                                                  {high.x - theme().units(12), high.y + theme().units(10)},
                                                  packed(test_->heard(i) ? p.good : p.raised), 2);
    }
    ImGui::PopFont();
    ImGui::Dummy({0, theme().units(14)});
    const bool abx = test_->kind() == app::BlindKind::abx;
    centred_text(abx ? "Keys A, B, X switch while it plays. Space stops. All are equally loud."
                     : "Keys A and B switch while it plays. Space stops. Both are equally loud.",
                 theme().small, theme().colours.muted);
    ImGui::Dummy({0, theme().units(18)});
}

void BlindTestView::draw_answers(Desk& desk) {
    if (!test_) return;
    const bool ready = test_->can_answer();
    const auto answers = test_->answers();
    const float width = theme().units(180), height = theme().units(44), gap = theme().units(18);
    centred(2 * width + gap);
    ImGui::BeginDisabled(!ready);
    int chosen = -1;
    for (int i = 0; i < 2; ++i) {
        if (i > 0) ImGui::SameLine(0, gap);
        const std::string text = i == 0 ? "1   " + answers[0] : answers[1] + "   2";
        if (ImGui::Button(text.c_str(), {width, height})) chosen = i;
        ui::mark(answers[static_cast<size_t>(i)]);
    }
    ImGui::EndDisabled();
    ImGui::Dummy({0, theme().units(4)});
    const bool abx = test_->kind() == app::BlindKind::abx;
    centred_text(ready ? "Answer with the keys 1 and 2, or Left and Right."
                       : (abx ? "Listen to X, then answer." : "Listen to both, then answer."),
                 theme().small, theme().colours.muted);
    marks().note("blind.ready", ready ? "yes" : "no");
    if (chosen >= 0) answer(desk, chosen);
}

void BlindTestView::keys(Desk& desk) {
    const ImGuiIO& io = ImGui::GetIO();
    if (!test_ || test_->finished() || io.WantTextInput || desk.dialog.is_open() || io.KeyCtrl || io.KeyAlt) return;
    const bool abx = test_->kind() == app::BlindKind::abx;
    if (ImGui::IsKeyPressed('A', false)) play(desk, 0);
    if (ImGui::IsKeyPressed('B', false)) play(desk, 1);
    if (abx && ImGui::IsKeyPressed('X', false)) play(desk, 2);
    if (ImGui::IsKeyPressed('1', false) || pressed(ImGuiKey_LeftArrow))
        answer(desk, 0);
    else if (ImGui::IsKeyPressed('2', false) || pressed(ImGuiKey_RightArrow))
        answer(desk, 1);
}

void BlindTestView::draw_result(Desk& desk) {
    ui::title("The result");
    ImGui::Dummy({0, theme().units(6)});
    const auto result = *test_->result();
    ui::begin_card("result", 0, 240);
    ImGui::PushFont(theme().title);
    ui::paragraph(test_->verdict());
    ImGui::PopFont();
    ImGui::Dummy({0, theme().units(8)});
    const bool abx = test_->kind() == app::BlindKind::abx;
    ui::fact(abx ? "Right" : "Preferred",
             abx ? std::to_string(result.successes) + " of " + std::to_string(result.trials)
                 : test_->players()[0] + " " + std::to_string(result.successes) + ", " + test_->players()[1] + " " +
                       std::to_string(result.trials - result.successes));
    ui::fact("p-value", p_text(result.p_value) +
                            (abx ? " (exact binomial test, one-sided)" : " (exact binomial test, two-sided)"));
    ui::fact("Saved", test_->file().string());
    ui::fact("", test_->table().string());
    ui::end_card();
    marks().note("blind.verdict", test_->verdict());
    marks().note("blind.p_value", p_text(result.p_value));
    marks().note("blind.file", test_->file().string());
    if (ui::primary("Done")) leave(desk);
}

}  // namespace nigiri::studio
