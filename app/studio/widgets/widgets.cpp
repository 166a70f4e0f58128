#include "app/studio/widgets/widgets.h"

#include <imgui_stdlib.h>

#include <algorithm>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"

namespace nigiri::studio::ui {

namespace {

std::string page;

float wide(float design) { return design > 0 ? theme().units(design) : -1.0f; }

struct Colour {
    Colour(ImGuiCol which, const ImVec4& colour) { ImGui::PushStyleColor(which, colour); }
    ~Colour() { ImGui::PopStyleColor(); }
    Colour(const Colour&) = delete;
    Colour& operator=(const Colour&) = delete;
};

struct Font {
    explicit Font(ImFont* font) { ImGui::PushFont(font); }
    ~Font() { ImGui::PopFont(); }
    Font(const Font&) = delete;
    Font& operator=(const Font&) = delete;
};

void draw_icon(ImDrawList& draw, Icon icon, ImVec2 c, float r, ImU32 colour) {
    switch (icon) {
        case Icon::play:
            draw.AddTriangleFilled({c.x - 0.6f * r, c.y - r}, {c.x - 0.6f * r, c.y + r}, {c.x + r, c.y}, colour);
            break;
        case Icon::pause:
            draw.AddRectFilled({c.x - 0.8f * r, c.y - r}, {c.x - 0.2f * r, c.y + r}, colour);
            draw.AddRectFilled({c.x + 0.2f * r, c.y - r}, {c.x + 0.8f * r, c.y + r}, colour);
            break;
        case Icon::stop:
            draw.AddRectFilled({c.x - 0.8f * r, c.y - 0.8f * r}, {c.x + 0.8f * r, c.y + 0.8f * r}, colour);
            break;
        case Icon::loop:
            draw.PathArcTo(c, r * 0.9f, -0.6f, 4.6f, 20);
            draw.PathStroke(colour, 0, r * 0.28f);
            draw.AddTriangleFilled({c.x + 0.3f * r, c.y - 0.75f * r}, {c.x + 1.25f * r, c.y - 0.75f * r},
                                   {c.x + 0.75f * r, c.y + 0.15f * r}, colour);
            break;
        case Icon::record:
            draw.AddCircleFilled(c, r * 0.85f, colour, 24);
            break;
        case Icon::to_start:
            draw.AddRectFilled({c.x - r, c.y - r}, {c.x - 0.65f * r, c.y + r}, colour);
            draw.AddTriangleFilled({c.x + 0.9f * r, c.y - r}, {c.x - 0.6f * r, c.y}, {c.x + 0.9f * r, c.y + r}, colour);
            break;
        case Icon::to_end:
            draw.AddRectFilled({c.x + 0.65f * r, c.y - r}, {c.x + r, c.y + r}, colour);
            draw.AddTriangleFilled({c.x - 0.9f * r, c.y - r}, {c.x - 0.9f * r, c.y + r}, {c.x + 0.6f * r, c.y}, colour);
            break;
    }
}

void wrapped(const std::string& text) {
    ImGui::PushTextWrapPos(0);
    ImGui::TextUnformatted(text.data(), text.data() + text.size());
    ImGui::PopTextWrapPos();
}

}  // namespace

void set_page(const std::string& name) { page = name; }
void mark(const std::string& label) {
    if (marks().on()) marks().item(page + "/" + label);
}

void title(const char* text) {
    const Font font(theme().title);
    ImGui::TextUnformatted(text);
}

void heading(const char* text) {
    const Font font(theme().strong);
    ImGui::TextUnformatted(text);
}

void muted(const std::string& text) {
    const Colour colour(ImGuiCol_Text, theme().colours.muted);
    wrapped(text);
}

void paragraph(const std::string& text) { wrapped(text); }

void problem(const std::string& text, const std::string& hint) {
    const Colour colour(ImGuiCol_Text, theme().colours.error);
    wrapped(text + (hint.empty() ? "" : "; " + hint));
    mark("problem");
}

void warning(const std::string& text) {
    const Colour colour(ImGuiCol_Text, theme().colours.warning);
    wrapped(text);
}

void help(const std::string& text) {
    if (!ImGui::IsItemHovered(ImGuiHoveredFlags_AllowWhenDisabled)) return;
    ImGui::BeginTooltip();
    ImGui::PushTextWrapPos(theme().units(340));
    ImGui::TextUnformatted(text.data(), text.data() + text.size());
    ImGui::PopTextWrapPos();
    ImGui::EndTooltip();
}

bool primary(const char* label, bool enabled) {
    const Palette& p = theme().colours;
    const Colour back(ImGuiCol_Button, p.accent), hovered(ImGuiCol_ButtonHovered, p.accent),
        active(ImGuiCol_ButtonActive, p.accent), text(ImGuiCol_Text, p.accent_text);
    const Font font(theme().strong);
    return button(label, enabled);
}

bool button(const char* label, bool enabled) {
    ImGui::BeginDisabled(!enabled);
    const bool pressed = ImGui::Button(label);
    ImGui::EndDisabled();
    mark(label);
    return pressed;
}

bool small_button(const char* label, bool enabled) {
    ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {theme().units(7), theme().units(3)});
    const bool pressed = button(label, enabled);
    ImGui::PopStyleVar();
    return pressed;
}

bool icon_button(const char* label, Icon icon, const std::string& text, bool lit, bool enabled) {
    const float size = ImGui::GetFrameHeight() * 1.15f;
    ImGui::BeginDisabled(!enabled);
    if (lit) ImGui::PushStyleColor(ImGuiCol_Button, theme().colours.accent);
    const std::string id = "##" + std::string(label);
    const bool pressed = ImGui::Button(id.c_str(), {size, size});
    if (lit) ImGui::PopStyleColor();
    mark(label);
    const ImVec2 a = ImGui::GetItemRectMin(), b = ImGui::GetItemRectMax();
    const ImVec4& colour = !enabled ? theme().colours.muted : lit ? theme().colours.accent_text : theme().colours.text;
    draw_icon(*ImGui::GetWindowDrawList(), icon, {(a.x + b.x) / 2, (a.y + b.y) / 2}, size * 0.22f, packed(colour));
    ImGui::EndDisabled();
    help(text);
    return pressed;
}

bool checkbox(const char* label, bool& value) {
    const bool changed = ImGui::Checkbox(label, &value);
    mark(label);
    return changed;
}

bool choice(const char* label, std::string& value, const std::vector<std::string>& entries, float width) {
    ImGui::SetNextItemWidth(wide(width));
    bool changed = false;
    const float room = ImGui::CalcItemWidth() - ImGui::GetFrameHeight() - ImGui::GetStyle().FramePadding.x;
    const bool open = ImGui::BeginCombo(label, shortened(value, room).c_str());
    mark(label);
    if (open) {
        for (const std::string& entry : entries) {
            const bool selected = entry == value;
            if (ImGui::Selectable(entry.c_str(), selected) && !selected) value = entry, changed = true;
            mark(std::string(label) + "/" + entry);
            if (selected) ImGui::SetItemDefaultFocus();
        }
        ImGui::EndCombo();
    }
    return changed;
}

bool number(const char* label, int& value, int least, int most, float width) {
    ImGui::SetNextItemWidth(wide(width));
    const bool changed = ImGui::InputInt(label, &value);
    mark(label);
    value = std::clamp(value, least, most);
    return changed;
}

bool slider(const char* label, double& value, double least, double most, const char* format, float width) {
    ImGui::SetNextItemWidth(wide(width));
    const bool changed =
        ImGui::SliderScalar(label, ImGuiDataType_Double, &value, &least, &most, format, ImGuiSliderFlags_AlwaysClamp);
    mark(label);
    return changed;
}

bool text_field(const char* label, std::string& value, float width) {
    ImGui::SetNextItemWidth(wide(width));
    const bool changed = ImGui::InputText(label, &value);
    mark(label);
    return changed;
}

void label(const char* text, float width) {
    ImGui::AlignTextToFramePadding();
    const float left = ImGui::GetCursorPosX();
    {
        const Colour colour(ImGuiCol_Text, theme().colours.muted);
        ImGui::TextUnformatted(text);
    }
    ImGui::SameLine(left + theme().units(width));
}

void fact(const char* name, const std::string& value, float width) {
    const float left = ImGui::GetCursorPosX();
    {
        const Colour colour(ImGuiCol_Text, theme().colours.muted);
        ImGui::TextUnformatted(name);
    }
    ImGui::SameLine(left + theme().units(width));
    wrapped(value);
}

void progress(double fraction, const std::string& text) {
    ImGui::ProgressBar(static_cast<float>(std::clamp(fraction, 0.0, 1.0)), {-1, theme().units(8)}, "");
    muted(text);
}

void begin_card(const char* id, float width, float height) {
    ImGui::PushStyleColor(ImGuiCol_ChildBg, theme().colours.panel);
    ImGui::BeginChild(id, {theme().units(width), theme().units(height)}, false,
                      ImGuiWindowFlags_AlwaysUseWindowPadding);
    ImGui::PopStyleColor();
}

void end_card() { ImGui::EndChild(); }

std::string shortened(const std::string& text, float width) {
    const auto fits = [&](const std::string& s) { return ImGui::CalcTextSize(s.c_str()).x <= width; };
    if (fits(text)) return text;
    // Half of what is left from either end, cut between characters of UTF-8.
    size_t keep = text.size();
    std::string cut;
    do {
        keep = keep > 2 ? keep - 2 : 0;
        size_t head = keep / 2, tail = text.size() - (keep - keep / 2);
        while (head > 0 && (static_cast<unsigned char>(text[head]) & 0xc0) == 0x80) --head;
        while (tail < text.size() && (static_cast<unsigned char>(text[tail]) & 0xc0) == 0x80) ++tail;
        cut = text.substr(0, head) + "\u2026" + text.substr(tail);
    } while (keep > 0 && !fits(cut));
    return cut;
}

}  // namespace nigiri::studio::ui
