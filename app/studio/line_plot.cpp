#include "app/studio/line_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "app/studio/marks.h"
#include "app/studio/theme.h"
#include "app/studio/widgets.h"

namespace nigiri::studio {

namespace {

// The first of 1, 2, 5, 10, 20, ... times any power of ten that is not below `least`.
double nice_step(double least) {
    const double power = std::pow(10.0, std::floor(std::log10(std::max(least, 1e-12))));
    for (const double factor : {1.0, 2.0, 5.0})
        if (factor * power >= least) return factor * power;
    return 10 * power;
}

std::string number_text(double value) {
    if (std::abs(value) < 1e-9) return "0";
    std::array<char, 32> text{};
    if (std::abs(value) >= 1000)
        std::snprintf(text.data(), text.size(), "%gk", value / 1000);
    else
        std::snprintf(text.data(), text.size(), "%.3g", value);
    return text.data();
}

void draw_grid(const PlotArea& a) {
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const ImU32 line = packed(theme().colours.line, 0.7f), text = packed(theme().colours.muted);
    const float u = theme().units(1);
    ImGui::PushFont(theme().small);
    const auto vertical = [&](double value, bool labelled) {
        const float x = a.x(value);
        draw.AddLine({x, a.at.y}, {x, a.at.y + a.size.y}, line);
        if (labelled) draw.AddText({x + 3 * u, a.at.y + a.size.y - 15 * u}, text, number_text(value).c_str());
    };
    if (a.axes.logarithmic) {
        for (double decade = std::pow(10.0, std::floor(std::log10(a.axes.left))); decade < a.axes.right; decade *= 10)
            for (const double factor : {1.0, 2.0, 5.0})
                if (decade * factor >= a.axes.left && decade * factor < a.axes.right) vertical(decade * factor, true);
    } else {
        const double step = nice_step((a.axes.right - a.axes.left) * static_cast<double>(80 * u / a.size.x));
        for (double v = std::ceil(a.axes.left / step) * step; v < a.axes.right; v += step) vertical(v, true);
    }
    const double step = nice_step((a.axes.top - a.axes.bottom) * static_cast<double>(34 * u / a.size.y));
    for (double v = std::ceil(a.axes.bottom / step) * step; v <= a.axes.top; v += step) {
        const float y = a.y(v);
        draw.AddLine({a.at.x, y}, {a.at.x + a.size.x, y}, line);
        if (y > a.at.y + 12 * u && y < a.at.y + a.size.y - 18 * u)
            draw.AddText({a.at.x + 3 * u, y - 13 * u}, text, number_text(v).c_str());
    }
    const ImVec2 wide = ImGui::CalcTextSize(a.axes.horizontal.c_str());
    draw.AddText({a.at.x + a.size.x - wide.x - 4 * u, a.at.y + a.size.y - 15 * u}, text, a.axes.horizontal.c_str());
    draw.AddText({a.at.x + 3 * u, a.at.y + 1 * u}, text, a.axes.vertical.c_str());
    ImGui::PopFont();
}

}  // namespace

float PlotArea::x(double value) const {
    const double share = axes.logarithmic
                           ? std::log(std::max(value, axes.left) / axes.left) / std::log(axes.right / axes.left)
                           : (value - axes.left) / (axes.right - axes.left);
    return at.x + static_cast<float>(share) * size.x;
}

float PlotArea::y(double value) const {
    return at.y + static_cast<float>((axes.top - value) / (axes.top - axes.bottom)) * size.y;
}

double PlotArea::value_at(float px) const {
    const double share = static_cast<double>((px - at.x) / size.x);
    return axes.logarithmic ? axes.left * std::pow(axes.right / axes.left, share)
                            : axes.left + share * (axes.right - axes.left);
}

PlotArea begin_plot(const char* id, ImVec2 size, const PlotAxes& axes) {
    PlotArea a;
    a.at = ImGui::GetCursorScreenPos();
    a.size = {std::floor(std::max(size.x, 32.0f)), std::floor(std::max(size.y, 32.0f))};
    a.axes = axes;
    if (!(a.axes.right > a.axes.left)) a.axes.right = a.axes.left + 1;
    if (!(a.axes.top > a.axes.bottom)) a.axes.top = a.axes.bottom + 1;
    const bool pressed = ImGui::InvisibleButton(id, a.size);
    ui::mark(id);
    a.hovered = ImGui::IsItemHovered();
    if (pressed) a.pressed = a.value_at(ImGui::GetIO().MousePos.x);
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const ImVec2 end = {a.at.x + a.size.x, a.at.y + a.size.y};
    draw.AddRectFilled(a.at, end, packed(theme().colours.panel), theme().units(6));
    draw.PushClipRect(a.at, end, true);
    draw_grid(a);
    return a;
}

void end_plot() { ImGui::GetWindowDrawList()->PopClipRect(); }

void plot_line(const PlotArea& area, std::span<const double> xs, std::span<const float> ys, ImU32 colour) {
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const size_t n = std::min(xs.size(), ys.size());
    std::vector<ImVec2> points;
    // Of the points on one pixel, the first, the least, the highest and the last say all there is to see.
    for (size_t i = 0; i < n;) {
        const float x = std::floor(area.x(xs[i]));
        size_t end = i, low = i, high = i;
        for (; end < n && std::floor(area.x(xs[end])) == x; ++end) {
            if (ys[end] < ys[low]) low = end;
            if (ys[end] > ys[high]) high = end;
        }
        for (const size_t k : {i, std::min(low, high), std::max(low, high), end - 1})
            if (std::isfinite(ys[k])) points.push_back({area.x(xs[k]), area.y(static_cast<double>(ys[k]))});
        i = end;
    }
    draw.AddPolyline(points.data(), static_cast<int>(points.size()), colour, 0, theme().units(1.3f));
}

void plot_columns(const PlotArea& area, std::span<const SampleSummary> columns, ImU32 colour) {
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    float last_top = 0, last_bottom = 0;
    bool follows = false;
    for (size_t i = 0; i < columns.size(); ++i) {
        const SampleSummary& c = columns[i];
        if (c.lowest > c.highest) {
            follows = false;
            continue;
        }
        float top = area.y(static_cast<double>(c.highest)), bottom = area.y(static_cast<double>(c.lowest));
        const float own_top = top, own_bottom = bottom;
        if (follows) top = std::min(top, last_bottom), bottom = std::max(bottom, last_top);  // joined to its neighbour
        const float x = area.at.x + static_cast<float>(i);
        draw.AddRectFilled({x, top}, {x + 1, std::max(bottom, top + theme().units(1.3f))}, colour);
        last_top = own_top, last_bottom = own_bottom, follows = true;
    }
}

void plot_mark(const PlotArea& area, double x, ImU32 colour) {
    const float at = area.x(x);
    ImGui::GetWindowDrawList()->AddLine({at, area.at.y}, {at, area.at.y + area.size.y}, colour, theme().units(1.5f));
}

std::pair<double, double> plot_range(std::span<const float> values) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const float v : values)
        if (std::isfinite(v))
            low = std::min(low, static_cast<double>(v)), high = std::max(high, static_cast<double>(v));
    if (low > high) return {0, 1};
    const double room = 0.05 * std::max(high - low, 1e-9);
    return {low - room, high + room};
}

}  // namespace nigiri::studio
