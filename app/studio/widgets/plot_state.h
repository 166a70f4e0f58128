// What part of the curves is shown: fitted to the data until somebody zooms. Plain state, so that tests need no window.
#pragma once

#include <optional>

#include "app/studio/widgets/plot_curve.h"

namespace nigiri::studio {

struct PlotRange {
    double least = 0, most = 0;
    bool operator==(const PlotRange&) const = default;
};

class PlotState {
  public:
    const Axis& x() const { return x_; }
    const Axis& y() const { return y_; }
    bool zoomed() const { return zoomed_x_ || zoomed_y_; }

    // A change of scale shows everything again.
    void set_scales(AxisScale x, AxisScale y);
    // Every frame, before drawing: the axes follow the visible series. Where x is not zoomed it covers all of them and
    // y takes `lines` in too; y covers what is seen, with some room around it.
    void fit(const std::vector<PlotSeries>& series, const std::vector<double>& lines);
    void reset() { zoomed_x_ = zoomed_y_ = false; }

    // `factor` below 1 shows less; the value at `share` of the axis stays where it is. Zooming out ends where
    // everything is seen.
    void zoom_x(double factor, double share);
    void zoom_y(double factor, double share);
    // By shares of the axes; moves only what is zoomed.
    void move(double x_share, double y_share);
    // Shows the rectangle between two shares of each axis; a height of 0 leaves y fitted.
    void show(PlotRange x_shares, PlotRange y_shares);

  private:
    static Axis zoomed(const Axis& axis, double from_share, double to_share);

    Axis x_, y_;
    bool zoomed_x_ = false, zoomed_y_ = false;
    Axis whole_x_, whole_y_;
};

// The least and the most of the series' x; on a logarithmic axis of those above 0. Nothing where there are no points.
std::optional<PlotRange> x_range(const std::vector<PlotSeries>& series, AxisScale scale);
// Of the values as drawn (smoothed where they are) between x.begin and x.end.
std::optional<PlotRange> y_range(const std::vector<PlotSeries>& series, const Axis& x, AxisScale scale);

}  // namespace nigiri::studio
