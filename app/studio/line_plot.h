// Axes, lines and columns: what the pages need to draw numbers over time or frequency.
#pragma once

#include <imgui.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "audio/overview.h"

namespace nigiri::studio {

struct PlotAxes {
    double left = 0, right = 1, bottom = 0, top = 1;
    bool logarithmic = false;          // the horizontal axis; left above 0 then
    std::string horizontal, vertical;  // units, such as "ms"
};

// Where a plot is on the screen, for what is drawn into it.
struct PlotArea {
    ImVec2 at, size;
    PlotAxes axes;
    bool hovered = false;
    std::optional<double> pressed;  // value of the horizontal axis

    float x(double value) const;
    float y(double value) const;
    double value_at(float x) const;
};

// Background, grid and numbers, at the cursor; what follows is clipped to it until end_plot().
PlotArea begin_plot(const char* id, ImVec2 size, const PlotAxes& axes);
void end_plot();

// xs in rising order. More points than pixels are drawn as the range they cover.
void plot_line(const PlotArea& area, std::span<const double> xs, std::span<const float> ys, ImU32 colour);
// A column a pixel: the range of values in it, joined to its neighbour.
void plot_columns(const PlotArea& area, std::span<const SampleSummary> columns, ImU32 colour);
// A vertical line.
void plot_mark(const PlotArea& area, double x, ImU32 colour);

// Least and highest of the finite values, with a little room; {0, 1} of none.
std::pair<double, double> plot_range(std::span<const float> values);

}  // namespace nigiri::studio
