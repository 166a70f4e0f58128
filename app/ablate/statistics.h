// Numbers of several seeds as one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "app/ablate/run_result.h"

namespace nigiri::app {

// Of n values: mean, sample standard deviation sqrt(sum (x - mean)^2 / (n - 1)), none of a single one, and range.
struct Spread {
    size_t n = 0;
    double mean = 0, least = 0, most = 0;
    std::optional<double> deviation;
};
// Nothing of no values.
std::optional<Spread> spread(std::span<const double> values);

struct MeanPoint {
    int64_t tokens = 0;
    Spread bits;
};
// Curves of one row's seeds as one: the spread at every position that all of them have. An unfinished run's curve is
// shorter, and beyond its end it would change the mean, so the mean ends there.
std::vector<MeanPoint> mean_curve(const std::vector<std::vector<CurvePoint>>& curves);

}  // namespace nigiri::app
