// Colours, fonts and sizes of the studio.
#pragma once

#include <imgui.h>

namespace nigiri::studio {

struct Palette {
    ImVec4 background, panel, raised, line, text, muted, accent, accent_text, good, warning, error;
    ImVec4 wave, wave_ahead, selection, playhead;
    // Curves of several runs and models, told apart by colour-blind eyes too (after Okabe and Ito).
    ImVec4 series[8];
};

struct Theme {
    Palette colours;
    float scale = 1;  // pixels a design unit
    ImFont *body = nullptr, *strong = nullptr, *title = nullptr, *small = nullptr;

    float units(float design) const { return design * scale; }
};

// The theme in use.
const Theme& theme();
// Sets style and fonts for a scale; called again when scale or colours change, between two frames.
void apply_theme(bool light, float scale);

inline ImU32 packed(const ImVec4& colour, float alpha = 1) {
    return ImGui::ColorConvertFloat4ToU32({colour.x, colour.y, colour.z, colour.w * alpha});
}
inline ImU32 series_colour(size_t i, float alpha = 1) { return packed(theme().colours.series[i % 8], alpha); }

}  // namespace nigiri::studio
