#include "app/studio/widgets/plot_state.h"

#include <algorithm>
#include <cmath>

namespace nigiri::studio {

namespace {

constexpr double margin = 0.05;      // of the range, above and below
constexpr double least_span = 1e-9;  // of the larger end: closer, doubles run out of digits

void widen(std::optional<PlotRange>& range, double value, AxisScale scale) {
    if (!std::isfinite(value) || (scale == AxisScale::logarithmic && value <= 0)) return;
    if (!range) range = PlotRange{value, value};
    range->least = std::min(range->least, value);
    range->most = std::max(range->most, value);
}

// An axis that covers the range with `room` (a share of it) on either side; a single value gets some width.
Axis axis_of(const std::optional<PlotRange>& range, AxisScale scale, double room) {
    Axis axis{scale, scale == AxisScale::linear ? 0.0 : 1.0, scale == AxisScale::linear ? 1.0 : 10.0};
    if (!range) return axis;
    axis.begin = range->least, axis.end = range->most;
    if (axis.end - axis.begin <= std::abs(axis.end) * least_span) {
        const double width = scale == AxisScale::linear ? std::max(std::abs(axis.end) * 0.1, 0.5) : 0;
        axis.begin = scale == AxisScale::linear ? axis.begin - width : axis.begin / 2;
        axis.end = scale == AxisScale::linear ? axis.end + width : axis.end * 2;
        return axis;
    }
    if (room <= 0) return axis;
    const Axis tight = axis;
    axis.begin = tight.value(-room);
    axis.end = tight.value(1 + room);
    return axis;
}

}  // namespace

std::optional<PlotRange> x_range(const std::vector<PlotSeries>& series, AxisScale scale) {
    std::optional<PlotRange> range;
    for (const PlotSeries& s : series) {
        if (!s.visible || s.raw().size() == 0) continue;
        const PlotCurve& curve = s.raw();
        const size_t first = scale == AxisScale::logarithmic ? curve.first_above(0) : 0;
        if (first == curve.size()) continue;
        widen(range, curve[first].x, scale);
        widen(range, curve[curve.size() - 1].x, scale);
    }
    return range;
}

std::optional<PlotRange> y_range(const std::vector<PlotSeries>& series, const Axis& x, AxisScale scale) {
    std::optional<PlotRange> range;
    for (const PlotSeries& s : series) {
        if (!s.visible) continue;
        const PlotCurve& curve = s.smooth();
        const size_t begin = curve.first_at(x.begin), end = curve.first_above(x.end);
        if (begin >= end) continue;
        const auto [low, high] = curve.extremes(begin, end);
        if (scale == AxisScale::linear || curve[low].y > 0) {
            widen(range, curve[low].y, scale);
            widen(range, curve[high].y, scale);
        } else {  // the least above 0 has to be looked for
            for (size_t i = begin; i < end; ++i) widen(range, curve[i].y, scale);
        }
    }
    return range;
}

void PlotState::set_scales(AxisScale x, AxisScale y) {
    if (x == x_.scale && y == y_.scale) return;
    x_ = axis_of({}, x, 0);
    y_ = axis_of({}, y, 0);
    reset();
}

void PlotState::fit(const std::vector<PlotSeries>& series, const std::vector<double>& lines) {
    whole_x_ = axis_of(x_range(series, x_.scale), x_.scale, 0);
    if (!zoomed_x_) x_ = whole_x_;
    auto seen = y_range(series, x_, y_.scale);
    if (!zoomed_x_)
        for (const double line : lines) widen(seen, line, y_.scale);
    whole_y_ = axis_of(seen, y_.scale, margin);
    if (!zoomed_y_) y_ = whole_y_;
}

Axis PlotState::zoomed(const Axis& axis, double from_share, double to_share) {
    const Axis result{axis.scale, axis.value(from_share), axis.value(to_share)};
    const double largest = std::max(std::abs(result.begin), std::abs(result.end));
    const bool sound = std::isfinite(result.begin) && std::isfinite(result.end) &&
                       result.end - result.begin > largest * least_span &&
                       (axis.scale == AxisScale::linear || result.begin > 0);
    return sound ? result : axis;
}

void PlotState::zoom_x(double factor, double share) {
    x_ = zoomed(x_, share - share * factor, share + (1 - share) * factor);
    zoomed_x_ = x_.begin > whole_x_.begin || x_.end < whole_x_.end;
    if (!zoomed_x_) x_ = whole_x_;
    x_.begin = std::max(x_.begin, whole_x_.begin);
    x_.end = std::min(x_.end, whole_x_.end);
}

void PlotState::zoom_y(double factor, double share) {
    y_ = zoomed(y_, share - share * factor, share + (1 - share) * factor);
    zoomed_y_ = y_.begin > whole_y_.begin || y_.end < whole_y_.end;
    if (!zoomed_y_) y_ = whole_y_;
}

void PlotState::move(double x_share, double y_share) {
    if (zoomed_x_) {
        const double least = x_.share(whole_x_.begin), most = x_.share(whole_x_.end) - 1;
        const double by = std::clamp(x_share, std::min(least, 0.0), std::max(most, 0.0));
        x_ = zoomed(x_, by, 1 + by);
    }
    if (zoomed_y_) y_ = zoomed(y_, y_share, 1 + y_share);
}

void PlotState::show(PlotRange x_shares, PlotRange y_shares) {
    if (x_shares.most > x_shares.least) {
        x_ = zoomed(x_, x_shares.least, x_shares.most);
        zoomed_x_ = true;
    }
    if (y_shares.most > y_shares.least) {
        y_ = zoomed(y_, y_shares.least, y_shares.most);
        zoomed_y_ = true;
    }
}

}  // namespace nigiri::studio
