#include "app/studio/widgets/plot_axis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace nigiri::studio {

namespace {

constexpr double far_below = -1e6;  // a share; what is not on a logarithmic axis at all
constexpr double rounding = 1e-9;   // of a step: a tick on the edge counts

// The smallest of 1, 2, 5 times a power of ten that is at least `least`.
double round_step(double least) {
    const double power = std::pow(10, std::floor(std::log10(least)));
    for (const double m : {1.0, 2.0, 5.0})
        if (m * power >= least * (1 - rounding)) return m * power;
    return 10 * power;
}

std::string printed(const char* format, int digits, double value) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), format, digits, value);
    return text.data();
}

int exponent_of(double value) { return static_cast<int>(std::floor(std::log10(value) + rounding)); }

std::vector<Tick> linear_ticks(const Axis& axis, int most) {
    std::vector<Tick> all;
    double step = round_step((axis.end - axis.begin) / most);
    const auto first = [&] { return std::ceil(axis.begin / step - rounding); };
    const auto last = [&] { return std::floor(axis.end / step + rounding); };
    // n intervals may have n + 1 ends.
    if (last() - first() + 1 > most) step = round_step(step * 1.5);
    const double largest = std::max(std::abs(axis.begin), std::abs(axis.end));
    for (double i = first(); i <= last() && static_cast<int>(all.size()) < most; ++i) {
        const double value = i == 0 ? 0 : i * step;
        all.push_back({value, tick_label(value, step, largest)});
    }
    return all;
}

std::vector<Tick> logarithmic_ticks(const Axis& axis, int most) {
    const auto collect = [&](const std::vector<double>& factors, int every) {
        std::vector<Tick> all;
        const int low = exponent_of(axis.begin), high = exponent_of(axis.end);
        const int begin = static_cast<int>(std::floor(static_cast<double>(low) / every)) * every;
        for (int e = begin; e <= high; e += every)
            for (const double f : factors) {
                const double value = f * std::pow(10, e);
                if (value < axis.begin * (1 - rounding) || value > axis.end * (1 + rounding)) continue;
                // Each in its own unit: on such an axis neighbours differ by factors.
                all.push_back({value, tick_label(value, std::pow(10, e), value)});
            }
        return all;
    };
    std::vector<Tick> all = collect({1, 2, 5}, 1);
    for (int every = 1; static_cast<int>(all.size()) > most; ++every) all = collect({1}, every);
    return all;
}

}  // namespace

double Axis::share(double v) const {
    if (scale == AxisScale::linear) return (v - begin) / (end - begin);
    if (!(v > 0)) return far_below;
    return std::log(v / begin) / std::log(end / begin);
}

double Axis::value(double share) const {
    if (scale == AxisScale::linear) return begin + (end - begin) * share;
    return begin * std::pow(end / begin, share);
}

std::vector<Tick> ticks(const Axis& axis, int most) {
    if (most < 1 || !(axis.end > axis.begin) || !std::isfinite(axis.end - axis.begin)) return {};
    if (axis.scale == AxisScale::linear || axis.end / axis.begin < 10) return linear_ticks(axis, most);
    return logarithmic_ticks(axis, most);
}

std::string tick_label(double value, double step, double largest) {
    if (value == 0) return "0";
    if (step < 1e-4 && largest < 1) {
        const int e = exponent_of(std::abs(value));
        const int digits = std::clamp(e - exponent_of(step), 0, 12);
        return printed("%.*f", digits, value / std::pow(10, e)) + "e" + std::to_string(e);
    }
    const auto [unit, sign] = largest >= 1e9 ? std::pair{1e9, " G"}
                            : largest >= 1e6 ? std::pair{1e6, " M"}
                            : largest >= 1e4 ? std::pair{1e3, " k"}
                                             : std::pair{1.0, ""};
    const int digits = std::clamp(-exponent_of(step / unit), 0, 12);
    return printed("%.*f", digits, value / unit) + sign;
}

}  // namespace nigiri::studio
