#include "app/studio/widgets/plot_curve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace nigiri::studio {

namespace {

constexpr size_t block = 256;
constexpr size_t points_a_column = 4;

std::string number(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.10g", value);
    return text.data();
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
}

}  // namespace

void PlotCurve::append(double x, double y) {
    if (!std::isfinite(x) || !std::isfinite(y) || (!points_.empty() && x < points_.back().x)) return;
    const size_t i = points_.size();
    points_.push_back({x, y});
    if (i % block == 0) {
        blocks_.push_back({i, i});
        return;
    }
    Block& b = blocks_.back();
    if (y < points_[b.lowest].y) b.lowest = i;
    if (y > points_[b.highest].y) b.highest = i;
}

void PlotCurve::clear() {
    points_.clear();
    blocks_.clear();
}

size_t PlotCurve::first_at(double x) const {
    return static_cast<size_t>(
        std::lower_bound(points_.begin(), points_.end(), x, [](const PlotPoint& p, double v) { return p.x < v; }) -
        points_.begin());
}

size_t PlotCurve::first_above(double x) const {
    return static_cast<size_t>(
        std::upper_bound(points_.begin(), points_.end(), x, [](double v, const PlotPoint& p) { return v < p.x; }) -
        points_.begin());
}

void PlotCurve::take(std::pair<size_t, size_t>& found, size_t i) const {
    if (points_[i].y < points_[found.first].y) found.first = i;
    if (points_[i].y > points_[found.second].y) found.second = i;
}

std::pair<size_t, size_t> PlotCurve::extremes(size_t begin, size_t end) const {
    std::pair<size_t, size_t> found{begin, begin};
    for (size_t i = begin; i < end;) {
        if (i % block == 0 && i + block <= end) {
            take(found, blocks_[i / block].lowest);
            take(found, blocks_[i / block].highest);
            i += block;
        } else {
            take(found, i++);
        }
    }
    return found;
}

size_t PlotCurve::nearest(double x) const {
    const size_t after = std::min(first_at(x), points_.size() - 1);
    if (after == 0) return 0;
    return x - points_[after - 1].x <= points_[after].x - x ? after - 1 : after;
}

std::vector<PlotPoint> decimated(const PlotCurve& curve, const Axis& axis, size_t columns) {
    std::vector<PlotPoint> out;
    size_t begin = curve.first_at(axis.begin), end = curve.first_above(axis.end);
    if (begin > 0) --begin;
    if (end < curve.size()) ++end;
    if (columns == 0 || begin >= end) return out;
    if (end - begin <= points_a_column * columns) {
        for (size_t i = begin; i < end; ++i) out.push_back(curve[i]);
        return out;
    }
    out.reserve(points_a_column * columns);
    for (size_t column = 0; column < columns && begin < end; ++column) {
        const bool last = column + 1 == columns;
        const double edge = axis.value(static_cast<double>(column + 1) / static_cast<double>(columns));
        const size_t to = last ? end : std::min(curve.first_at(edge), end);
        if (to <= begin) continue;
        const auto [low, high] = curve.extremes(begin, to);
        std::array<size_t, points_a_column> kept = {begin, low, high, to - 1};
        std::sort(kept.begin(), kept.end());
        for (size_t k = 0; k < kept.size(); ++k)
            if (k == 0 || kept[k] != kept[k - 1]) out.push_back(curve[kept[k]]);
        begin = to;
    }
    return out;
}

double Smoother::next(double y) {
    mean_ = weight_ * mean_ + (1 - weight_) * y;
    remaining_ *= weight_;
    return mean_ / (1 - remaining_);
}

void PlotSeries::append(double x, double y) {
    const size_t before = raw_.size();
    raw_.append(x, y);
    if (smooths() && raw_.size() > before) smooth_.append(x, smoother_.next(y));
}

void PlotSeries::clear() {
    raw_.clear();
    smooth_.clear();
    raw_drawn_ = smooth_drawn_ = {};
    smoother_ = Smoother(weight_);
}

void PlotSeries::set_smoothing(double weight) {
    if (weight == weight_) return;
    weight_ = weight;
    smoother_ = Smoother(weight);
    smooth_.clear();
    smooth_drawn_ = {};
    if (!smooths()) return;
    for (size_t i = 0; i < raw_.size(); ++i) smooth_.append(raw_[i].x, smoother_.next(raw_[i].y));
}

const std::vector<PlotPoint>& PlotSeries::line(const PlotCurve& curve, Drawn& drawn, const Axis& axis, size_t columns) {
    if (drawn.columns != columns || drawn.size != curve.size() || !(drawn.axis == axis))
        drawn = {axis, columns, curve.size(), decimated(curve, axis, columns)};
    return drawn.points;
}

std::string to_csv(const std::vector<PlotSeries>& series, const std::string& x_name) {
    std::string out = "curve," + x_name + ",value,smoothed\r\n";
    for (const PlotSeries& s : series) {
        if (!s.visible) continue;
        const std::string name = quoted(s.name);
        for (size_t i = 0; i < s.raw().size(); ++i)
            out +=
                name + "," + number(s.raw()[i].x) + "," + number(s.raw()[i].y) + "," + number(s.smooth()[i].y) + "\r\n";
    }
    return out;
}

}  // namespace nigiri::studio
