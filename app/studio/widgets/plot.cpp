#include "app/studio/widgets/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr size_t points_a_stroke = 4000;  // vertices have 16-bit indices
constexpr size_t most_dots = 150;         // more of them would be a band
constexpr float column_width = 1;         // pixels that share one lowest and highest value

std::string readable(double value) {
    char text[32];
    if (value == 0 || (std::abs(value) >= 1e-3 && std::abs(value) < 1e5))
        std::snprintf(text, sizeof text, std::abs(value) < 1 ? "%.5f" : std::abs(value) < 100 ? "%.4f" : "%.1f", value);
    else
        std::snprintf(text, sizeof text, "%.4g", value);
    return text;
}

// Whole numbers where the axis spans many of them.
std::string readable_x(double value, const Axis& axis) {
    char text[32];
    std::snprintf(text, sizeof text, axis.end - axis.begin > 50 ? "%.0f" : "%.2f", value);
    return text;
}

}  // namespace

float Plot::Frame::x_of(const Axis& axis, double v) const {
    return from.x + static_cast<float>(std::clamp(axis.share(v), -10.0, 11.0)) * (to.x - from.x);
}
float Plot::Frame::y_of(const Axis& axis, double v) const {
    return to.y - static_cast<float>(std::clamp(axis.share(v), -10.0, 11.0)) * (to.y - from.y);
}

void Plot::draw(const char* id, ImVec2 size, std::vector<PlotSeries>& series, const std::vector<ReferenceLine>& lines,
                const char* x_name, const char* y_name, const char* empty) {
    const Theme& t = theme();
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float legend = series.empty() ? 0 : t.units(24);
    size.x = std::floor(std::max(size.x, t.units(200)));
    size.y = std::floor(std::max(size.y - legend, t.units(120)));
    ImGui::InvisibleButton(id, size, ImGuiButtonFlags_MouseButtonLeft);
    ui::mark(id);
    const bool hovered = ImGui::IsItemHovered();
    draw.AddRectFilled(at, {at.x + size.x, at.y + size.y}, packed(t.colours.panel), t.units(6));

    const bool any = std::any_of(series.begin(), series.end(), [](const PlotSeries& s) { return s.raw().size() > 0; });
    if (marks().on()) {
        size_t points = 0;
        for (const PlotSeries& one : series) points += one.raw().size();
        marks().note(std::string("plot.points.") + id, std::to_string(points));
    }
    std::vector<double> values;
    if (any)
        for (const ReferenceLine& line : lines) values.push_back(line.y);
    state.fit(series, values);

    ImGui::PushFont(t.small);
    const float line_height = ImGui::GetTextLineHeight();
    const Frame frame{{at.x + t.units(58), at.y + line_height + t.units(10)},
                      {at.x + size.x - t.units(14), at.y + size.y - line_height - t.units(10)}};
    draw.AddText({at.x + t.units(10), at.y + t.units(5)}, packed(t.colours.muted), y_name);
    if (any) {
        const float width = ImGui::CalcTextSize(x_name).x;
        draw.AddText({frame.to.x - width, at.y + t.units(5)}, packed(t.colours.muted), x_name);
        handle(frame);
        draw_grid(draw, frame);
        const float dot = t.units(4);  // on the edge it is seen whole
        draw.PushClipRect({frame.from.x - dot, frame.from.y - dot}, {frame.to.x + dot, frame.to.y + dot}, true);
        draw_lines(draw, frame, lines);
        for (PlotSeries& s : series)
            if (s.visible) draw_curve(draw, frame, s);
        if (drag_from_) {
            const ImVec2 mouse = ImGui::GetIO().MousePos;
            draw.AddRectFilled(*drag_from_, mouse, packed(t.colours.selection));
        }
        draw.PopClipRect();
        if (hovered && !drag_from_) draw_readout(draw, frame, series, x_name);
    } else {
        const ImVec2 text = ImGui::CalcTextSize(empty);
        draw.AddText({at.x + (size.x - text.x) / 2, at.y + (size.y - text.y) / 2}, packed(t.colours.muted), empty);
    }
    draw_legend(series);
    ImGui::PopFont();
}

void Plot::handle(const Frame& frame) {
    const ImGuiIO& io = ImGui::GetIO();
    const float width = frame.to.x - frame.from.x, height = frame.to.y - frame.from.y;
    const auto x_share = [&](float x) { return static_cast<double>((x - frame.from.x) / width); };
    const auto y_share = [&](float y) { return static_cast<double>((frame.to.y - y) / height); };
    if (ImGui::IsItemHovered()) {
        const double factor = std::pow(ui::zoom_step, static_cast<double>(io.MouseWheel));
        if (io.MouseWheel != 0 && io.KeyShift)
            state.move(-0.1 * static_cast<double>(io.MouseWheel), 0);
        else if (io.MouseWheel != 0 && io.MousePos.x < frame.from.x)
            state.zoom_y(factor, y_share(io.MousePos.y));
        else if (io.MouseWheel != 0)
            state.zoom_x(factor, std::clamp(x_share(io.MousePos.x), 0.0, 1.0));
        if (ImGui::IsMouseDragging(ImGuiMouseButton_Middle) || ImGui::IsMouseDragging(ImGuiMouseButton_Right))
            state.move(-static_cast<double>(io.MouseDelta.x / width), static_cast<double>(io.MouseDelta.y / height));
        if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) state.reset();
    }
    if (ImGui::IsItemActive() && ImGui::IsMouseDragging(ImGuiMouseButton_Left, theme().units(4)))
        drag_from_ = io.MouseClickedPos[ImGuiMouseButton_Left];
    if (!ImGui::IsItemDeactivated() || !drag_from_) return;
    const auto range = [](double a, double b) {
        return PlotRange{std::clamp(std::min(a, b), 0.0, 1.0), std::clamp(std::max(a, b), 0.0, 1.0)};
    };
    // A flat stroke means a stretch of time, not a sliver of values.
    const bool flat = std::abs(io.MousePos.y - drag_from_->y) < theme().units(24);
    state.show(range(x_share(drag_from_->x), x_share(io.MousePos.x)),
               flat ? PlotRange{} : range(y_share(drag_from_->y), y_share(io.MousePos.y)));
    drag_from_.reset();
}

void Plot::draw_grid(ImDrawList& draw, const Frame& f) const {
    const Theme& t = theme();
    const ImU32 line = packed(t.colours.line, 0.6f), text = packed(t.colours.muted);
    const int columns = std::max(static_cast<int>((f.to.x - f.from.x) / t.units(70)), 2);
    const int rows = std::max(static_cast<int>((f.to.y - f.from.y) / t.units(28)), 2);
    for (const Tick& tick : ticks(state.x(), columns)) {
        const float x = std::round(f.x_of(state.x(), tick.value));
        draw.AddLine({x, f.from.y}, {x, f.to.y}, line);
        const float width = ImGui::CalcTextSize(tick.label.c_str()).x;
        draw.AddText({x - width / 2, f.to.y + t.units(4)}, text, tick.label.c_str());
    }
    for (const Tick& tick : ticks(state.y(), rows)) {
        const float y = std::round(f.y_of(state.y(), tick.value));
        draw.AddLine({f.from.x, y}, {f.to.x, y}, line);
        const ImVec2 size = ImGui::CalcTextSize(tick.label.c_str());
        draw.AddText({f.from.x - size.x - t.units(6), y - size.y / 2}, text, tick.label.c_str());
    }
}

void Plot::draw_lines(ImDrawList& draw, const Frame& f, const std::vector<ReferenceLine>& lines) const {
    const Theme& t = theme();
    const ImU32 colour = packed(t.colours.muted);
    for (const ReferenceLine& line : lines) {
        const float y = std::round(f.y_of(state.y(), line.y)), dash = t.units(6);
        if (y < f.from.y || y > f.to.y) continue;
        for (float x = f.from.x; x < f.to.x; x += 2 * dash)
            draw.AddLine({x, y}, {std::min(x + dash, f.to.x), y}, colour, t.units(1));
        const ImVec2 size = ImGui::CalcTextSize(line.label.c_str());
        draw.AddText({f.to.x - size.x - t.units(4), y - size.y - t.units(1)}, colour, line.label.c_str());
    }
}

void Plot::draw_curve(ImDrawList& draw, const Frame& f, PlotSeries& series) {
    const Theme& t = theme();
    const auto columns = static_cast<size_t>(std::max((f.to.x - f.from.x) / column_width, 1.0f));
    const auto stroke = [&](const std::vector<PlotPoint>& points, float alpha, float width) {
        // Whole pixels are drawn from a texture, with a third of the triangles of other widths.
        const float pixels = std::max(std::round(t.units(width)), 1.0f);
        pixels_.clear();
        for (const PlotPoint& p : points) pixels_.push_back({f.x_of(state.x(), p.x), f.y_of(state.y(), p.y)});
        for (size_t i = 0; i + 1 < pixels_.size(); i += points_a_stroke - 1)
            draw.AddPolyline(pixels_.data() + i, static_cast<int>(std::min(points_a_stroke, pixels_.size() - i)),
                             series_colour(series.colour, alpha), 0, pixels);
    };
    if (series.smooths()) stroke(series.raw_line(state.x(), columns), 0.25f, 1);
    stroke(series.smooth_line(state.x(), columns), 1, series.dots ? 2 : 1.5f);
    if (!series.dots || pixels_.size() > most_dots) return;
    for (const ImVec2& p : pixels_) draw.AddCircleFilled(p, t.units(3), series_colour(series.colour), 12);
}

void Plot::draw_readout(ImDrawList& draw, const Frame& f, const std::vector<PlotSeries>& series, const char* x_name) {
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    if (mouse.x < f.from.x || mouse.x > f.to.x || mouse.y < f.from.y || mouse.y > f.to.y) return;
    const Theme& t = theme();
    const double x = state.x().value(static_cast<double>((mouse.x - f.from.x) / (f.to.x - f.from.x)));
    bool open = false;
    for (const PlotSeries& s : series) {
        if (!s.visible || s.raw().size() == 0) continue;
        const PlotCurve& curve = s.smooth();
        const size_t i = curve.nearest(x);
        const ImVec2 at = {f.x_of(state.x(), curve[i].x), f.y_of(state.y(), curve[i].y)};
        if (at.x < f.from.x - 1 || at.x > f.to.x + 1) continue;
        if (!open) {
            open = true;
            draw.AddLine({mouse.x, f.from.y}, {mouse.x, f.to.y}, packed(t.colours.muted, 0.7f));
            ImGui::BeginTooltip();
            ImGui::PushFont(t.small);
            ImGui::TextDisabled("%s %s", readable_x(x, state.x()).c_str(), x_name);
        }
        draw.AddCircleFilled(at, t.units(4), series_colour(s.colour), 16);
        ImGui::PushStyleColor(ImGuiCol_Text, t.colours.series[s.colour % 8]);
        ImGui::TextUnformatted(s.name.c_str());
        ImGui::PopStyleColor();
        ImGui::SameLine();
        std::string value = readable(curve[i].y) + " at " + readable_x(curve[i].x, state.x());
        if (s.smooths()) value += " (" + readable(s.raw()[i].y) + " unsmoothed)";
        ImGui::TextUnformatted(value.c_str());
    }
    if (!open) return;
    ImGui::PopFont();
    ImGui::EndTooltip();
}

void Plot::draw_legend(std::vector<PlotSeries>& series) {
    const Theme& t = theme();
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const float right = ImGui::GetCursorScreenPos().x + ImGui::GetContentRegionAvail().x;
    for (size_t i = 0; i < series.size(); ++i) {
        PlotSeries& s = series[i];
        const ImVec2 text = ImGui::CalcTextSize(s.name.c_str());
        const ImVec2 size = {text.x + t.units(30), text.y + t.units(4)};
        if (i > 0) {
            ImGui::SameLine();
            if (ImGui::GetCursorScreenPos().x + size.x > right) {  // the rest is found by its colour in the list
                ImGui::TextUnformatted("\u2026");
                return;
            }
        }
        ImGui::PushID(static_cast<int>(i));
        if (ImGui::InvisibleButton("legend", size)) s.visible = !s.visible;
        ui::mark("legend/" + s.name);
        ui::help(s.visible ? "Press to hide this curve" : "Press to show this curve");
        ImGui::PopID();
        const ImVec2 at = ImGui::GetItemRectMin();
        const float middle = at.y + size.y / 2, alpha = s.visible ? 1.0f : 0.3f;
        draw.AddLine({at.x, middle}, {at.x + t.units(20), middle}, series_colour(s.colour, alpha),
                     t.units(s.dots ? 2.2f : 1.4f));
        if (s.dots)
            draw.AddCircleFilled({at.x + t.units(10), middle}, t.units(3.5f), series_colour(s.colour, alpha), 12);
        draw.AddText({at.x + t.units(26), at.y + t.units(2)}, packed(s.visible ? t.colours.text : t.colours.muted),
                     s.name.c_str());
    }
}

}  // namespace nigiri::studio
