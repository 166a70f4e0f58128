// Curves on the screen: grid, lines, read-out under the pointer, zoom, legend.
#pragma once

#include <imgui.h>

#include <optional>

#include "app/studio/widgets/plot_state.h"

namespace nigiri::studio {

// A horizontal line to compare with.
struct ReferenceLine {
    double y = 0;
    std::string label;
};

class Plot {
  public:
    // Fills `size` pixels at the cursor, legend included. `x_name` and `y_name` stand at the axes, `empty` where there
    // is no point. Wheel: zoom at the pointer (over the numbers at the left: up and down). Drag: zooms into the
    // rectangle. Right or middle button: moves. Double click: all again.
    void draw(const char* id, ImVec2 size, std::vector<PlotSeries>& series, const std::vector<ReferenceLine>& lines,
              const char* x_name, const char* y_name, const char* empty);

    PlotState state;

  private:
    struct Frame {
        ImVec2 from, to;  // of the plot area in pixels
        float x_of(const Axis& axis, double v) const;
        float y_of(const Axis& axis, double v) const;
    };
    void handle(const Frame& frame);
    void draw_grid(ImDrawList& draw, const Frame& frame) const;
    void draw_lines(ImDrawList& draw, const Frame& frame, const std::vector<ReferenceLine>& lines) const;
    void draw_curve(ImDrawList& draw, const Frame& frame, PlotSeries& series);
    void draw_readout(ImDrawList& draw, const Frame& frame, const std::vector<PlotSeries>& series, const char* x_name);
    static void draw_legend(std::vector<PlotSeries>& series);

    std::optional<ImVec2> drag_from_;
    std::vector<ImVec2> pixels_;
};

}  // namespace nigiri::studio
