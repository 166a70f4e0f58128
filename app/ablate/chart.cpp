#include "app/ablate/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "app/ablate/statistics.h"
#include "app/compare/markup.h"
#include "app/text.h"

namespace nigiri::app {

namespace {

constexpr size_t colours = 10;
constexpr double chart_width = 600, left_margin = 60, most_right = 180, top_margin = 14, bottom_margin = 48;
constexpr double name_height = 15, letter_width = 6.9;  // of the style's font size

std::string number(double x) { return fixed(x, 1); }

// Colour by number; beyond the last one they come again with another dash.
std::string marks_of(size_t colour) {
    const size_t round = colour / colours;
    return "c" + std::to_string(colour % colours) + (round > 0 ? " d" + std::to_string(1 + (round - 1) % 2) : "");
}

std::string text_at(double x, double y, const std::string& what, const std::string& kind) {
    return "<text class=\"" + kind + "\" x=\"" + number(x) + "\" y=\"" + number(y) + "\">" + html_escape(what) +
           "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const std::string& kind) {
    return "<line class=\"" + kind + "\" x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) +
           "\" y2=\"" + number(y2) + "\" />\n";
}

struct Range {
    double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

    void include(double x) {
        low = std::min(low, x);
        high = std::max(high, x);
    }
    bool empty() const { return !(low <= high); }
    void widen(double share) {
        const double pad = high > low ? share * (high - low) : std::max(0.01, 0.01 * std::abs(high));
        low -= pad;
        high += pad;
    }
};

// From values to the picture.
struct Scale {
    double from = 0, to = 1, begin = 0, end = 1;
    bool logarithmic = false;

    double operator()(double v) const {
        const auto f = [&](double x) { return logarithmic ? std::log(x) : x; };
        return begin + (f(v) - f(from)) / (f(to) - f(from)) * (end - begin);
    }
};

// The names at the right, as near to the ends of their curves as they can be without touching.
struct EndName {
    double y = 0;
    size_t series = 0;
};

void spread_out(std::vector<EndName>& names, double low, double high) {
    std::stable_sort(names.begin(), names.end(), [](const EndName& a, const EndName& b) { return a.y < b.y; });
    double next = low;
    for (EndName& n : names) {
        n.y = std::max(n.y, next);
        next = n.y + name_height;
    }
    next = high;
    for (size_t i = names.size(); i-- > 0;) {
        names[i].y = std::min(names[i].y, next);
        next = names[i].y - name_height;
    }
}

std::string shortened(const std::string& name, double room) {
    const auto most = static_cast<size_t>(room / letter_width);
    return name.size() <= most ? name : name.substr(0, most - 1) + "…";
}

std::string open_svg(const std::string& title, double height) {
    return "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 " + number(chart_width) + " " + number(height) +
           "\" aria-label=\"" + html_escape(title) + "\">\n";
}

class ChartPainter {
  public:
    explicit ChartPainter(const Chart& chart) : chart_(chart) {}

    std::string paint() {
        size_t shown = 0, longest = 0;
        for (const ChartSeries& s : chart_.series) {
            shown += s.points.empty() ? 0 : 1;
            longest = std::max(longest, s.points.empty() ? 0 : s.name.size());
            for (const ChartPoint& p : s.points) {
                if (chart_.log_x && p.x <= 0) return "";
                x_range_.include(p.x);
                if (p.x < chart_.focus_x && &p != &s.points.back()) continue;
                y_range_.include(p.low);
                y_range_.include(p.high);
            }
        }
        if (x_range_.empty() || y_range_.empty()) return "";
        y_range_.widen(0.04);
        if (chart_.markers && !chart_.log_x) x_range_.widen(0.04);
        if (x_range_.low == x_range_.high) x_range_.widen(0.1);
        right_ = chart_width - std::clamp(letter_width * static_cast<double>(longest) + 22, 40.0, most_right);
        height_ = std::max(330.0, top_margin + bottom_margin + name_height * static_cast<double>(shown));
        x_ = {x_range_.low, x_range_.high, left_margin, right_, chart_.log_x};
        y_ = {y_range_.low, y_range_.high, height_ - bottom_margin, top_margin, false};
        out_ = open_svg(chart_.title, height_);
        axes();
        for (size_t i = 0; i < chart_.series.size(); ++i) curve(chart_.series[i], beside(i));
        names();
        return out_ + "</svg>\n";
    }

  private:
    void axes() {
        const std::vector<double> y = ticks(y_range_.low, y_range_.high, 6), x = x_ticks();
        const std::vector<std::string> y_texts = tick_texts(y), x_texts = tick_texts(x);
        for (size_t i = 0; i < y.size(); ++i) {
            out_ += line(left_margin, y_(y[i]), right_, y_(y[i]), "grid");
            out_ += text_at(left_margin - 8, y_(y[i]) + 4, y_texts[i], "y");
        }
        for (size_t i = 0; i < x.size(); ++i) {
            out_ += line(x_(x[i]), height_ - bottom_margin, x_(x[i]), height_ - bottom_margin + 5, "axis");
            out_ += text_at(x_(x[i]), height_ - bottom_margin + 19, x_texts[i], "x");
        }
        out_ += line(left_margin, height_ - bottom_margin, right_, height_ - bottom_margin, "axis");
        out_ += text_at((left_margin + right_) / 2, height_ - 8, chart_.x_name, "x name");
        out_ += "<text class=\"x name\" transform=\"translate(14 " +
                number((top_margin + height_ - bottom_margin) / 2) + ") rotate(-90)\">" + html_escape(chart_.y_name) +
                "</text>\n";
    }

    // On a logarithmic axis the values themselves, where there is room for their texts.
    std::vector<double> x_ticks() const {
        if (!chart_.markers) return ticks(x_range_.low, x_range_.high, 6);
        std::vector<double> all, kept;
        for (const ChartSeries& s : chart_.series)
            for (const ChartPoint& p : s.points) all.push_back(p.x);
        std::sort(all.begin(), all.end());
        for (const double v : all)
            if (kept.empty() || x_(v) - x_(kept.back()) > letter_width * 8) kept.push_back(v);
        return kept;
    }

    double y_of(double v) const { return std::clamp(y_(v), top_margin, height_ - bottom_margin); }

    // Bars at one place stand side by side, a few pixels from each other.
    double beside(size_t series) const {
        if (!chart_.markers) return 0;
        return 4.5 * (static_cast<double>(series) - 0.5 * static_cast<double>(chart_.series.size() - 1));
    }

    void curve(const ChartSeries& s, double aside) {
        if (s.points.empty()) return;
        const std::string marks = marks_of(s.colour);
        if (!chart_.markers) band(s, marks);
        std::string path;
        bool inside = false;
        for (size_t i = 0; i < s.points.size(); ++i) {
            const ChartPoint& p = s.points[i];
            // What is above the picture is left out; the curve comes in where it crosses the edge.
            if (!inside && p.y > y_range_.high) continue;
            if (!inside && i > 0) {
                const ChartPoint& before = s.points[i - 1];
                const double share = (before.y - y_range_.high) / (before.y - p.y);
                if (share > 0 && share < 1)
                    path += number(x_(before.x + share * (p.x - before.x))) + "," + number(top_margin) + " ";
            }
            inside = true;
            path += number(x_(p.x) + aside) + "," + number(y_of(p.y)) + " ";
        }
        out_ += "<polyline class=\"curve " + marks + "\"" +
                (s.strength < 1 ? " opacity=\"" + fixed(s.strength, 2) + "\"" : "") + " points=\"" + path + "\" />\n";
        if (chart_.markers)
            for (const ChartPoint& p : s.points) {
                const double x = x_(p.x) + aside;
                if (p.high > p.low) out_ += line(x, y_of(p.low), x, y_of(p.high), "bar " + marks);
                out_ += "<circle class=\"dot " + marks + "\" cx=\"" + number(x) + "\" cy=\"" + number(y_of(p.y)) +
                        "\" r=\"3.5\" />\n";
            }
    }

    void band(const ChartSeries& s, const std::string& marks) {
        std::string there, back;
        for (const ChartPoint& p : s.points) {
            if (p.high <= p.low || p.low > y_range_.high) continue;
            there += number(x_(p.x)) + "," + number(y_of(p.high)) + " ";
            back = number(x_(p.x)) + "," + number(y_of(p.low)) + " " + back;
        }
        if (!there.empty()) out_ += "<polygon class=\"band " + marks + "\" points=\"" + there + back + "\" />\n";
    }

    void names() {
        std::vector<EndName> names;
        for (size_t i = 0; i < chart_.series.size(); ++i)
            if (!chart_.series[i].points.empty()) names.push_back({y_of(chart_.series[i].points.back().y) + 4, i});
        spread_out(names, top_margin + 8, height_ - bottom_margin + 4);
        for (const EndName& n : names) {
            const ChartSeries& s = chart_.series[n.series];
            const ChartPoint& end = s.points.back();
            const double x = right_ + 14;
            out_ += line(x_(end.x) + beside(n.series) + 4, y_of(end.y), x - 3, n.y - 4, "leader " + marks_of(s.colour));
            out_ += text_at(x, n.y, shortened(s.name, chart_width - right_ - 18),
                            "end t" + std::to_string(s.colour % colours));
        }
    }

    const Chart& chart_;
    Range x_range_, y_range_;
    Scale x_, y_;
    double height_ = 0, right_ = 0;
    std::string out_;
};

}  // namespace

std::vector<double> ticks(double low, double high, int wanted) {
    std::vector<double> all;
    if (!(high > low) || wanted < 1 || !std::isfinite(high - low)) return all;
    const double rough = (high - low) / wanted, power = std::pow(10, std::floor(std::log10(rough)));
    double step = 10 * power;
    for (const double factor : {1.0, 2.0, 2.5, 5.0})
        if (factor * power >= rough) {
            step = factor * power;
            break;
        }
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i)
        all.push_back(i == 0 ? 0.0 : i * step);
    return all;
}

std::string tick_text(double value) {
    const auto plain = [](double x) {
        std::string text = fixed(x, 3);
        while (text.back() == '0') text.pop_back();
        if (text.back() == '.') text.pop_back();
        return text;
    };
    const double size = std::abs(value);
    if (size >= 1e9) return plain(value / 1e9) + " G";
    if (size >= 1e6) return plain(value / 1e6) + " M";
    if (size >= 1e4) return plain(value / 1e3) + " k";
    return plain(value);
}

std::vector<std::string> tick_texts(const std::vector<double>& values) {
    std::vector<std::string> texts;
    size_t digits = 0;
    bool plain = true;
    for (const double v : values) {
        texts.push_back(tick_text(v));
        plain = plain && texts.back().back() >= '0' && texts.back().back() <= '9';
        if (const size_t point = texts.back().find('.'); point != std::string::npos)
            digits = std::max(digits, texts.back().size() - point - 1);
    }
    for (size_t i = 0; plain && i < values.size(); ++i) texts[i] = fixed(values[i], static_cast<int>(digits));
    return texts;
}

std::string chart_svg(const Chart& chart) { return ChartPainter(chart).paint(); }

std::string dots_svg(const std::string& title, const std::string& x_name, const std::vector<DotLine>& lines) {
    constexpr double row = 24;
    Range range;
    size_t longest = 0;
    for (const DotLine& l : lines) {
        longest = std::max(longest, l.name.size());
        for (const double v : l.values) range.include(v);
    }
    if (range.empty()) return "";
    range.widen(0.06);
    const double names = std::clamp(1.1 * letter_width * static_cast<double>(longest) + 20, 80.0, 270.0);
    const double height = top_margin + bottom_margin + row * static_cast<double>(lines.size());
    const Scale x{range.low, range.high, names, chart_width - 24, false};
    std::string out = open_svg(title, height);
    const std::vector<double> places = ticks(range.low, range.high, 7);
    const std::vector<std::string> texts = tick_texts(places);
    for (size_t i = 0; i < places.size(); ++i) {
        out += line(x(places[i]), top_margin, x(places[i]), height - bottom_margin, "grid");
        out += text_at(x(places[i]), height - bottom_margin + 19, texts[i], "x");
    }
    for (size_t i = 0; i < lines.size(); ++i) {
        const DotLine& l = lines[i];
        const double y = top_margin + row * (static_cast<double>(i) + 0.5);
        const std::string marks = marks_of(l.colour);
        out += text_at(names - 10, y + 4, shortened(l.name, names - 10), "y");
        const auto s = spread(l.values);
        if (!s) {
            out += text_at(names + 6, y + 4, l.remark, "remark");
            continue;
        }
        out += line(x(s->least), y, x(s->most), y, "bar " + marks);
        out += line(x(s->mean), y - 8, x(s->mean), y + 8, "mean " + marks);
        for (const double v : l.values)
            out +=
                "<circle class=\"dot " + marks + "\" cx=\"" + number(x(v)) + "\" cy=\"" + number(y) + "\" r=\"4\" />\n";
    }
    out += line(names, height - bottom_margin, chart_width - 24, height - bottom_margin, "axis");
    out += text_at((names + chart_width - 24) / 2, height - 8, x_name, "x name");
    return out + "</svg>\n";
}

const char* const chart_style = R"css(
:root { --c0: #b0442c; --c1: #2b6cb0; --c2: #3f8f4f; --c3: #7d55b8; --c4: #b7791f; --c5: #12868c; --c6: #b8467f;
  --c7: #667a1f; --c8: #77675a; --c9: #4453c4; }
@media (prefers-color-scheme: dark) { :root { --c0: #f0876a; --c1: #6fb1ec; --c2: #74c884; --c3: #b898ea; --c4: #e2ad57;
  --c5: #4cc4ca; --c6: #ea88b8; --c7: #b0c35c; --c8: #bcab9c; --c9: #929df5; } }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: .8rem; }
.chart { display: block; width: 100%; max-width: 44rem; height: auto; margin: 0 auto; }
.chart text { font-size: 13px; fill: var(--soft); }
.chart .x { text-anchor: middle; } .chart .y { text-anchor: end; } .chart .name { fill: var(--ink); }
.chart .remark { font-style: italic; }
.chart .grid { stroke: var(--line); } .chart .axis { stroke: var(--soft); }
.chart .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .chart .band { stroke: none; opacity: .18; }
.chart .bar { stroke-width: 1.4; } .chart .mean { stroke-width: 2.6; } .chart .leader { stroke-width: .7; opacity: .6; }
.chart .d1 { stroke-dasharray: 6 3; } .chart .d2 { stroke-dasharray: 2 3; }
.chart .dot { stroke: var(--card); stroke-width: 1; stroke-dasharray: none; }
)css"
                                R"css(
.c0 { stroke: var(--c0); } .band.c0, .dot.c0 { fill: var(--c0); } .chart .t0 { fill: var(--c0); }
.c1 { stroke: var(--c1); } .band.c1, .dot.c1 { fill: var(--c1); } .chart .t1 { fill: var(--c1); }
.c2 { stroke: var(--c2); } .band.c2, .dot.c2 { fill: var(--c2); } .chart .t2 { fill: var(--c2); }
.c3 { stroke: var(--c3); } .band.c3, .dot.c3 { fill: var(--c3); } .chart .t3 { fill: var(--c3); }
.c4 { stroke: var(--c4); } .band.c4, .dot.c4 { fill: var(--c4); } .chart .t4 { fill: var(--c4); }
.c5 { stroke: var(--c5); } .band.c5, .dot.c5 { fill: var(--c5); } .chart .t5 { fill: var(--c5); }
.c6 { stroke: var(--c6); } .band.c6, .dot.c6 { fill: var(--c6); } .chart .t6 { fill: var(--c6); }
.c7 { stroke: var(--c7); } .band.c7, .dot.c7 { fill: var(--c7); } .chart .t7 { fill: var(--c7); }
.c8 { stroke: var(--c8); } .band.c8, .dot.c8 { fill: var(--c8); } .chart .t8 { fill: var(--c8); }
.c9 { stroke: var(--c9); } .band.c9, .dot.c9 { fill: var(--c9); } .chart .t9 { fill: var(--c9); }
)css";

}  // namespace nigiri::app
