#include "app/studio/widgets/theme.h"

#include <backends/imgui_impl_opengl3.h>

#include <filesystem>
#include <string>

namespace nigiri::studio {

namespace {

Theme current;

ImVec4 rgb(unsigned hex, float alpha = 1) {
    return {static_cast<float>(hex >> 16 & 255) / 255, static_cast<float>(hex >> 8 & 255) / 255,
            static_cast<float>(hex & 255) / 255, alpha};
}

Palette dark() {
    return {.background = rgb(0x15171b),
            .panel = rgb(0x1c1f25),
            .raised = rgb(0x2a2e37),
            .line = rgb(0x3a3f4b),
            .text = rgb(0xe8eaee),
            .muted = rgb(0x9aa1ae),
            .accent = rgb(0xff8a66),
            .accent_text = rgb(0x23130d),
            .good = rgb(0x6fcf97),
            .warning = rgb(0xf2c14e),
            .error = rgb(0xff6b6b),
            .wave = rgb(0x7fb8ff),
            .wave_ahead = rgb(0x4a5568),
            .selection = rgb(0xff8a66, 0.25f),
            .playhead = rgb(0xffffff),
            .series = {rgb(0x56b4e9), rgb(0xe69f00), rgb(0x2fc79a), rgb(0xf0e442), rgb(0xcc79a7), rgb(0xff7f50),
                       rgb(0xb0b7c3), rgb(0x8f7fff)}};
}

Palette light() {
    return {.background = rgb(0xf4f5f7),
            .panel = rgb(0xffffff),
            .raised = rgb(0xe4e7ec),
            .line = rgb(0xc9ced8),
            .text = rgb(0x1b1e24),
            .muted = rgb(0x5c6470),
            .accent = rgb(0xd9532c),
            .accent_text = rgb(0xffffff),
            .good = rgb(0x1f8a53),
            .warning = rgb(0x9a6a00),
            .error = rgb(0xc62f2f),
            .wave = rgb(0x2a6fc4),
            .wave_ahead = rgb(0xb9c2cf),
            .selection = rgb(0xd9532c, 0.2f),
            .playhead = rgb(0x000000),
            .series = {rgb(0x0072b2), rgb(0xd08700), rgb(0x009e73), rgb(0x9a8c00), rgb(0xb0558a), rgb(0xd55e00),
                       rgb(0x5c6470), rgb(0x5b48d9)}};
}

ImFont* load(const char* name, float size) {
    ImFontAtlas& atlas = *ImGui::GetIO().Fonts;
    // Latin with its accents, Greek and Cyrillic, and the signs the texts use.
    static const ImWchar ranges[] = {0x0020, 0x024f, 0x0370, 0x03ff, 0x0400, 0x04ff, 0x2010, 0x2027, 0x2030,
                                     0x203a, 0x2070, 0x209f, 0x2190, 0x21ff, 0x2200, 0x22ff, 0};
    ImFontConfig config;
    config.OversampleH = 2, config.OversampleV = 1;
    const std::string path = std::string(NIGIRI_ASSETS_DIR) + "/fonts/" + name;
    std::error_code code;
    if (std::filesystem::is_regular_file(path, code))
        if (ImFont* font = atlas.AddFontFromFileTTF(path.c_str(), size, &config, ranges)) return font;
    // Moved away from its assets, the studio still has ImGui's own letters.
    ImFontConfig plain;
    plain.SizePixels = size;
    return atlas.AddFontDefault(&plain);
}

void set_colours(const Palette& p) {
    ImVec4* c = ImGui::GetStyle().Colors;
    const auto with = [](ImVec4 colour, float alpha) { return ImVec4(colour.x, colour.y, colour.z, alpha); };
    c[ImGuiCol_Text] = p.text;
    c[ImGuiCol_TextDisabled] = p.muted;
    c[ImGuiCol_WindowBg] = p.background;
    c[ImGuiCol_ChildBg] = with(p.panel, 0);
    c[ImGuiCol_PopupBg] = p.panel;
    c[ImGuiCol_Border] = p.line;
    c[ImGuiCol_FrameBg] = p.raised;
    c[ImGuiCol_FrameBgHovered] = c[ImGuiCol_FrameBgActive] = p.line;
    c[ImGuiCol_TitleBg] = c[ImGuiCol_TitleBgActive] = c[ImGuiCol_MenuBarBg] = p.panel;
    c[ImGuiCol_ScrollbarBg] = with(p.panel, 0);
    c[ImGuiCol_ScrollbarGrab] = p.line;
    c[ImGuiCol_ScrollbarGrabHovered] = c[ImGuiCol_ScrollbarGrabActive] = p.muted;
    c[ImGuiCol_CheckMark] = c[ImGuiCol_SliderGrab] = c[ImGuiCol_SliderGrabActive] = p.accent;
    c[ImGuiCol_Button] = p.raised;
    c[ImGuiCol_ButtonHovered] = c[ImGuiCol_ButtonActive] = p.line;
    c[ImGuiCol_Header] = with(p.accent, 0.22f);
    c[ImGuiCol_HeaderHovered] = with(p.accent, 0.14f);
    c[ImGuiCol_HeaderActive] = with(p.accent, 0.3f);
    c[ImGuiCol_Separator] = p.line;
    c[ImGuiCol_SeparatorHovered] = c[ImGuiCol_SeparatorActive] = p.accent;
    c[ImGuiCol_PlotHistogram] = p.accent;
    c[ImGuiCol_TableHeaderBg] = p.raised;
    c[ImGuiCol_TableBorderStrong] = c[ImGuiCol_TableBorderLight] = p.line;
    c[ImGuiCol_TableRowBgAlt] = with(p.raised, 0.35f);
    c[ImGuiCol_TextSelectedBg] = with(p.accent, 0.35f);
    c[ImGuiCol_Tab] = c[ImGuiCol_TabUnfocused] = p.panel;
    c[ImGuiCol_TabHovered] = p.raised;
    c[ImGuiCol_TabActive] = c[ImGuiCol_TabUnfocusedActive] = p.raised;
    c[ImGuiCol_DragDropTarget] = c[ImGuiCol_NavHighlight] = p.accent;
    c[ImGuiCol_ModalWindowDimBg] = {0, 0, 0, 0.5f};
}

}  // namespace

const Theme& theme() { return current; }

void apply_theme(bool light_theme, float scale) {
    ImGui::GetStyle() = ImGuiStyle();
    ImGuiStyle& style = ImGui::GetStyle();
    style.WindowPadding = {14, 12};
    style.FramePadding = {10, 6};
    style.ItemSpacing = {10, 8};
    style.ItemInnerSpacing = {8, 6};
    style.CellPadding = {8, 5};
    style.ScrollbarSize = 13;
    style.GrabMinSize = 14;
    style.WindowRounding = style.ChildRounding = style.PopupRounding = 8;
    style.FrameRounding = style.GrabRounding = style.ScrollbarRounding = 6;
    style.WindowBorderSize = 0;
    style.FrameBorderSize = 0;
    style.ScaleAllSizes(scale);
    current.colours = light_theme ? light() : dark();
    current.scale = scale;
    set_colours(current.colours);

    ImGui::GetIO().Fonts->Clear();
    current.body = load("Inter-Regular.otf", 16 * scale);
    current.strong = load("Inter-SemiBold.otf", 16 * scale);
    current.title = load("Inter-SemiBold.otf", 24 * scale);
    current.small = load("Inter-Regular.otf", 13.5f * scale);
    ImGui_ImplOpenGL3_DestroyFontsTexture();
    ImGui_ImplOpenGL3_CreateFontsTexture();
}

}  // namespace nigiri::studio
