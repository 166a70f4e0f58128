// Pictures of numbers as SVG that stands inside of a page. Colours, fonts and the dark theme come from the page's style
// (chart_style).
#pragma once

#include <string>
#include <vector>

namespace nigiri::app {

struct ChartPoint {
    double x = 0, y = 0;
    double low = 0, high = 0;  // of the band or the bar; both y: none
};

struct ChartSeries {
    std::string name;
    std::vector<ChartPoint> points;  // x ascending
    size_t colour = 0;
    double strength = 1;  // of the line, in (0, 1]: paler ones of one colour belong together
};

struct Chart {
    std::string title;  // for those who cannot see it
    std::string x_name, y_name;
    bool log_x = false;
    bool markers = false;  // points with bars, instead of curves with bands
    // Shown from here on: the first steps of training fall so steeply that nothing else could be told apart.
    double focus_x = 0;
    std::vector<ChartSeries> series;
};
// Empty where there is nothing to draw. Names stand at the ends of the curves.
std::string chart_svg(const Chart& chart);

struct DotLine {
    std::string name;
    std::vector<double> values;  // one a seed; empty: a line without dots
    std::string remark;          // in place of dots
    size_t colour = 0;
};
// A line a row, a dot a seed, a bar at the mean. Empty where there are no dots at all.
std::string dots_svg(const std::string& title, const std::string& x_name, const std::vector<DotLine>& lines);

// Round numbers in [low, high], some `wanted` of them, ascending; empty where high <= low.
std::vector<double> ticks(double low, double high, int wanted);
// "0", "2.75", "250 k", "1.05 M".
std::string tick_text(double value);
// The same for several, with as many digits for all.
std::vector<std::string> tick_texts(const std::vector<double>& values);

extern const char* const chart_style;

}  // namespace nigiri::app
