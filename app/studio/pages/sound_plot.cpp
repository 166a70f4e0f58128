#include "app/studio/pages/sound_plot.h"

#include <algorithm>
#include <cmath>

#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr int64_t overview_budget = 4'000'000;  // new values a frame: some eight milliseconds

struct Area {
    ImVec2 at, size;
    Axis seconds, vertical;

    float x(double value) const { return at.x + size.x * static_cast<float>(seconds.share(value)); }
    float y(double value) const { return at.y + size.y * static_cast<float>(1 - vertical.share(value)); }
};

void draw_grid(ImDrawList& draw, const Area& a, const std::string& unit) {
    const ImU32 line = packed(theme().colours.line, 0.7f), text = packed(theme().colours.muted);
    const float u = theme().units(1);
    ImGui::PushFont(theme().small);
    for (const Tick& t : ticks(a.seconds, static_cast<int>(a.size.x / (90 * u)))) {
        const float x = a.x(t.value);
        draw.AddLine({x, a.at.y}, {x, a.at.y + a.size.y}, line);
        if (x < a.at.x + a.size.x - 50 * u)
            draw.AddText({x + 3 * u, a.at.y + a.size.y - 15 * u}, text, (t.label + " s").c_str());
    }
    for (const Tick& t : ticks(a.vertical, static_cast<int>(a.size.y / (36 * u)))) {
        const float y = a.y(t.value);
        draw.AddLine({a.at.x, y}, {a.at.x + a.size.x, y}, line);
        if (y > a.at.y + 12 * u && y < a.at.y + a.size.y - 18 * u)
            draw.AddText({a.at.x + 3 * u, y - 14 * u}, text, t.label.c_str());
    }
    draw.AddText({a.at.x + a.size.x - ImGui::CalcTextSize(unit.c_str()).x - 5 * u, a.at.y + 2 * u}, text, unit.c_str());
    ImGui::PopFont();
}

// A column a pixel: the range of values in it, joined to its neighbour.
void draw_columns(ImDrawList& draw, const Area& a, const std::vector<SampleSummary>& columns, ImU32 colour) {
    float last_top = 0, last_bottom = 0;
    bool follows = false;
    for (size_t i = 0; i < columns.size(); ++i) {
        const SampleSummary& c = columns[i];
        if (c.lowest > c.highest) {
            follows = false;
            continue;
        }
        const float own_top = a.y(static_cast<double>(c.highest)), own_bottom = a.y(static_cast<double>(c.lowest));
        const float top = follows ? std::min(own_top, last_bottom) : own_top;
        const float bottom = follows ? std::max(own_bottom, last_top) : own_bottom;
        const float x = a.at.x + static_cast<float>(i);
        draw.AddRectFilled({x, top}, {x + 1, std::max(bottom, top + theme().units(1.3f))}, colour);
        last_top = own_top, last_bottom = own_bottom, follows = true;
    }
}

}  // namespace

void SoundCurve::set(std::shared_ptr<const Sound> values) {
    overview_.reset();
    if (values) overview_.emplace(std::move(values));
}

const std::vector<SampleSummary>& SoundCurve::columns(double begin, double end, size_t count) {
    columns_.assign(count, {});
    if (!overview_ || count == 0) return columns_;
    overview_->update(overview_budget);
    const auto first = static_cast<int64_t>(std::floor(begin));
    overview_->query(first, std::max(first + 1, static_cast<int64_t>(std::ceil(end))), columns_);
    return columns_;
}

void draw_sound_plot(Deck& deck, const char* id, ImVec2 size, const Axis& vertical, const std::string& unit,
                     const std::vector<SoundPlotLine>& lines) {
    if (!deck.sound()) return;
    ViewRange& view = deck.range();
    const double rate = deck.sound()->rate();
    Area a{.at = ImGui::GetCursorScreenPos(), .size = {}, .seconds = {}, .vertical = vertical};
    a.size = {std::floor(std::max(size.x, 32.0f)), std::floor(std::max(size.y, 32.0f))};
    a.seconds = {.begin = view.begin() / rate, .end = std::max(view.end(), view.begin() + 1) / rate};
    if (!(a.vertical.end > a.vertical.begin)) a.vertical.end = a.vertical.begin + 1;
    const bool pressed = ImGui::InvisibleButton(id, a.size);
    ui::mark(id);
    const bool hovered = ImGui::IsItemHovered();
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const ImVec2 end = {a.at.x + a.size.x, a.at.y + a.size.y};
    draw.AddRectFilled(a.at, end, packed(theme().colours.panel), theme().units(6));
    draw.PushClipRect(a.at, end, true);
    draw_grid(draw, a, unit);
    for (const SoundPlotLine& l : lines)
        draw_columns(draw, a,
                     l.curve->columns(view.begin() * l.values_per_sample, view.end() * l.values_per_sample,
                                      static_cast<size_t>(a.size.x)),
                     l.colour);
    const float x = a.x(static_cast<double>(deck.player().status().position) / rate);
    draw.AddLine({x, a.at.y}, {x, end.y}, packed(theme().colours.playhead), theme().units(1.5f));
    draw.PopClipRect();

    const ImGuiIO& io = ImGui::GetIO();
    const double here = view.sample_at(io.MousePos.x, a.at.x, a.size.x);
    if (hovered && io.MouseWheel != 0) view.zoom(std::pow(ui::zoom_step, static_cast<double>(io.MouseWheel)), here);
    if (pressed) deck.player().seek(static_cast<int64_t>(std::max(here, 0.0)));
}

}  // namespace nigiri::studio
