#include "app/studio/widgets/messages.h"

#include <imgui.h>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr double seconds_shown = 6;
constexpr size_t kept = 200;

const ImVec4& colour_of(Messages::Kind kind) {
    const Palette& p = theme().colours;
    return kind == Messages::Kind::note ? p.text : kind == Messages::Kind::warning ? p.warning : p.error;
}

}  // namespace

void Messages::fail(const std::string& text, const std::string& hint) {
    add(Kind::failure, hint.empty() ? text : text + "; " + hint);
}

void Messages::add(Kind kind, const std::string& text) {
    if (!all_.empty() && all_.front().text == text && !all_.front().gone) {
        ++all_.front().times;
        all_.front().shown_at = -1;
        return;
    }
    all_.push_front({kind, text});
    if (all_.size() > kept) all_.pop_back();
}

bool Messages::showing() const {
    for (const Message& m : all_)
        if (!m.gone) return true;
    return false;
}

void Messages::draw(float bottom) {
    const ImGuiViewport& view = *ImGui::GetMainViewport();
    const float width = theme().units(420), gap = theme().units(12);
    bottom -= gap;
    const double now = ImGui::GetTime();
    int index = 0;
    for (Message& m : all_) {
        if (m.gone || index >= 4) continue;
        if (m.shown_at < 0) m.shown_at = now;
        if (m.kind != Kind::failure && now - m.shown_at > seconds_shown) {
            m.gone = true;
            continue;
        }
        const std::string id = "message" + std::to_string(index++);
        ImGui::SetNextWindowPos({view.WorkPos.x + view.WorkSize.x - gap, bottom}, ImGuiCond_Always, {1, 1});
        ImGui::SetNextWindowSizeConstraints({width, 0}, {width, view.WorkSize.y / 2});
        ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, theme().units(1));
        ImGui::PushStyleColor(ImGuiCol_WindowBg, theme().colours.raised);
        ImGui::PushStyleColor(ImGuiCol_Border, colour_of(m.kind));
        ImGui::Begin(id.c_str(), nullptr,
                     ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoNav |
                         ImGuiWindowFlags_NoFocusOnAppearing | ImGuiWindowFlags_NoSavedSettings);
        ImGui::PushStyleColor(ImGuiCol_Text, colour_of(m.kind));
        ImGui::PushTextWrapPos(width - theme().units(24));
        const std::string text = m.times > 1 ? m.text + " (" + std::to_string(m.times) + " times)" : m.text;
        ImGui::TextUnformatted(text.c_str());
        ImGui::PopTextWrapPos();
        ImGui::PopStyleColor();
        if (ImGui::IsWindowHovered() && ImGui::IsMouseClicked(ImGuiMouseButton_Left)) m.gone = true;
        const ImVec2 p = ImGui::GetWindowPos(), s = ImGui::GetWindowSize();
        marks().rectangle(id, p.x, p.y, p.x + s.x, p.y + s.y);
        marks().note(id, m.text);
        bottom -= s.y + gap / 2;
        ImGui::End();
        ImGui::PopStyleColor(2);
        ImGui::PopStyleVar();
    }
}

void Messages::draw_log() const {
    if (all_.empty()) ui::muted("Nothing yet.");
    for (const Message& m : all_) {
        ImGui::PushStyleColor(ImGuiCol_Text, colour_of(m.kind));
        ui::paragraph(m.text);
        ImGui::PopStyleColor();
    }
}

}  // namespace nigiri::studio
