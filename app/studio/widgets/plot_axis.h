// Axes of a plot: where a value stands, and which values to write beside them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nigiri::studio {

enum class AxisScale : uint8_t { linear, logarithmic };

// From `begin` at share 0 to `end` at share 1; begin < end, both above 0 where logarithmic.
struct Axis {
    AxisScale scale = AxisScale::linear;
    double begin = 0, end = 1;

    // Where a value stands; below 0 and above 1 outside. Values that a logarithm does not have stand far below.
    double share(double value) const;
    double value(double share) const;
    bool operator==(const Axis&) const = default;
};

struct Tick {
    double value = 0;
    std::string label;
    bool operator==(const Tick&) const = default;
};

// At most `most` round values inside the axis, ascending: multiples of 1, 2 or 5 times a power of ten; on a logarithmic
// axis 1, 2 and 5 times powers of ten, powers of ten alone, or every second, third, ... of them, whatever fits. An axis
// of less than a decade has the ticks of a linear one.
std::vector<Tick> ticks(const Axis& axis, int most);

// A value with as many digits as values `step` apart need; `largest` decides for all ticks together whether thousands
// ("k"), millions ("M") or billions ("G") are counted. Steps below 0.0001 are written as "2.5e-5".
std::string tick_label(double value, double step, double largest);

}  // namespace nigiri::studio
