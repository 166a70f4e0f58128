// A curve of any number of points: what of it is seen at a width of some hundred pixels, and smoothed.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "app/studio/widgets/plot_axis.h"

namespace nigiri::studio {

struct PlotPoint {
    double x = 0, y = 0;
    bool operator==(const PlotPoint&) const = default;
};

// Points in ascending x, with the lowest and highest of every 256 kept, so that millions cost no more than thousands.
class PlotCurve {
  public:
    // Points that are not numbers, or whose x lies below the last one's, are left out.
    void append(double x, double y);
    void clear();

    size_t size() const { return points_.size(); }
    const PlotPoint& operator[](size_t i) const { return points_[i]; }
    // The first point with x at least (above) the given one; size() where there is none.
    size_t first_at(double x) const;
    size_t first_above(double x) const;
    // Indices of the lowest and the highest of points [begin, end), the first of equal ones; begin < end.
    std::pair<size_t, size_t> extremes(size_t begin, size_t end) const;
    // The point nearest in x; the curve is not empty.
    size_t nearest(double x) const;

  private:
    struct Block {
        size_t lowest, highest;
    };
    void take(std::pair<size_t, size_t>& extremes, size_t i) const;

    std::vector<PlotPoint> points_;
    std::vector<Block> blocks_;
};

// What to draw of a curve on an axis `columns` pixels wide, one point beyond either edge included: all points where
// there are at most four a column; else of each column the first, the lowest, the highest and the last. Drawn as one
// line it covers the same pixels as the whole curve.
std::vector<PlotPoint> decimated(const PlotCurve& curve, const Axis& axis, size_t columns);

// Exponential moving average, m = w m + (1 - w) y, divided by 1 - w^n as the sum of its n weights (the bias correction
// of Adam, Kingma and Ba 2015), so that it begins at the first value. A weight of 0 leaves values as they are.
class Smoother {
  public:
    explicit Smoother(double weight) : weight_(weight) {}
    double next(double y);

  private:
    double weight_, mean_ = 0, remaining_ = 1;
};

// A curve as it is shown.
class PlotSeries {
  public:
    std::string name;
    size_t colour = 0;  // index of Palette::series
    bool dots = false;  // few points, each worth a dot, never smoothed
    bool visible = true;

    void append(double x, double y);
    void clear();
    // In [0, 1).
    void set_smoothing(double weight);

    const PlotCurve& raw() const { return raw_; }
    const PlotCurve& smooth() const { return smooths() ? smooth_ : raw_; }
    bool smooths() const { return weight_ > 0 && !dots; }
    // decimated(), kept until curve, axis or width change.
    const std::vector<PlotPoint>& raw_line(const Axis& axis, size_t columns) {
        return line(raw_, raw_drawn_, axis, columns);
    }
    const std::vector<PlotPoint>& smooth_line(const Axis& axis, size_t columns) {
        return smooths() ? line(smooth_, smooth_drawn_, axis, columns) : raw_line(axis, columns);
    }

  private:
    struct Drawn {
        Axis axis;
        size_t columns = 0, size = 0;
        std::vector<PlotPoint> points;
    };
    static const std::vector<PlotPoint>& line(const PlotCurve& curve, Drawn& drawn, const Axis& axis, size_t columns);

    PlotCurve raw_, smooth_;
    Drawn raw_drawn_, smooth_drawn_;
    double weight_ = 0;
    Smoother smoother_{0};
};

// The visible series as CSV (RFC 4180), a line a point: curve, x, value, smoothed. `x_name` heads the second column.
std::string to_csv(const std::vector<PlotSeries>& series, const std::string& x_name);

}  // namespace nigiri::studio
