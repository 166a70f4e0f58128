#include "audio/metrics/bins.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/error.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

double squared_distance(std::span<const float> a, std::span<const float> b) {
    float sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

int64_t nearest(std::span<const float> point, const Features& centres) {
    int64_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t c = 0; c < centres.count(); ++c)
        if (const double d = squared_distance(point, centres.at(c)); d < least) least = d, best = c;
    return best;
}

void append(Features& set, std::span<const float> point) {
    set.values.insert(set.values.end(), point.begin(), point.end());
}

// Each further centre is a point drawn with probability proportional to its squared distance from the nearest so far.
Features draw_centres(const Features& points, int clusters, Random random) {
    Features centres;
    centres.dimensions = points.dimensions;
    append(centres, points.at(static_cast<int64_t>(random.below(static_cast<uint64_t>(points.count())))));
    std::vector<double> distances(static_cast<size_t>(points.count()), std::numeric_limits<double>::infinity());
    while (centres.count() < clusters) {
        const auto last = centres.at(centres.count() - 1);
        double sum = 0;
        for (size_t i = 0; i < distances.size(); ++i) {
            distances[i] = std::min(distances[i], squared_distance(points.at(static_cast<int64_t>(i)), last));
            sum += distances[i];
        }
        if (!(sum > 0)) break;  // every point is a centre already
        double at = random.uniform() * sum;
        size_t chosen = distances.size();
        for (size_t i = 0; i < distances.size() && (chosen == distances.size() || at >= 0); ++i) {
            if (!(distances[i] > 0)) continue;  // rounding must not choose a centre twice
            chosen = i;
            at -= distances[i];
        }
        append(centres, points.at(static_cast<int64_t>(chosen)));
    }
    return centres;
}

}  // namespace

Features k_means(const Features& points, int clusters, uint64_t seed, int iterations) {
    if (clusters < 1) throw Error("k-means needs one cluster at least");
    if (points.count() == 0) return Features{points.dimensions, {}};
    Features centres = draw_centres(points, clusters, Random(seed, 0x6b6d65616e73));
    const auto d = static_cast<size_t>(points.dimensions);
    std::vector<int64_t> belongs(static_cast<size_t>(points.count()), -1);
    for (int round = 0; round < iterations; ++round) {
        bool changed = false;
        for (size_t i = 0; i < belongs.size(); ++i) {
            const int64_t c = nearest(points.at(static_cast<int64_t>(i)), centres);
            changed |= c != belongs[i];
            belongs[i] = c;
        }
        if (!changed) break;
        std::vector<double> sums(centres.values.size(), 0.0);
        std::vector<int64_t> counts(static_cast<size_t>(centres.count()), 0);
        for (size_t i = 0; i < belongs.size(); ++i) {
            const auto c = static_cast<size_t>(belongs[i]);
            ++counts[c];
            const auto point = points.at(static_cast<int64_t>(i));
            for (size_t k = 0; k < d; ++k) sums[c * d + k] += point[k];
        }
        for (size_t c = 0; c < counts.size(); ++c)
            if (counts[c] > 0)  // a centre that lost its points stays where it is
                for (size_t k = 0; k < d; ++k)
                    centres.values[c * d + k] = static_cast<float>(sums[c * d + k] / static_cast<double>(counts[c]));
    }
    return centres;
}

std::vector<int64_t> count_nearest(const Features& points, const Features& centres) {
    if (points.dimensions != centres.dimensions) throw Error("points and centres of different dimensions");
    std::vector<int64_t> counts(static_cast<size_t>(centres.count()), 0);
    if (counts.empty()) return counts;
    for (int64_t i = 0; i < points.count(); ++i) ++counts[static_cast<size_t>(nearest(points.at(i), centres))];
    return counts;
}

BinComparison compare_bins(std::span<const int64_t> a, std::span<const int64_t> b) {
    const double sum_a = static_cast<double>(std::accumulate(a.begin(), a.end(), int64_t{0}));
    const double sum_b = static_cast<double>(std::accumulate(b.begin(), b.end(), int64_t{0}));
    if (a.size() != b.size() || !(sum_a > 0) || !(sum_b > 0)) throw Error("empty or different bins cannot be compared");
    BinComparison result;
    for (size_t i = 0; i < a.size(); ++i) {
        const double in_a = static_cast<double>(a[i]), in_b = static_cast<double>(b[i]);
        if (in_a + in_b == 0) continue;
        ++result.bins;
        const double p = (in_a + in_b) / (sum_a + sum_b);
        const double deviation = std::sqrt(p * (1 - p) * (1 / sum_a + 1 / sum_b));
        constexpr double limit = 1.959963984540054;  // the normal distribution's 97.5 % quantile
        result.different += std::abs(in_a / sum_a - in_b / sum_b) > limit * deviation;
    }
    return result;
}

}  // namespace nigiri
