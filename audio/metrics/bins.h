// Which kinds of sound occur how often: the number of statistically different bins (NDB) and the Jensen-Shannon
// divergence over clusters of log-mel patches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "audio/metrics/mel_features.h"

namespace nigiri {

// k-means (Lloyd 1982) from k-means++ seeds (Arthur and Vassilvitskii 2007), Euclidean. The same seed gives the same
// centres. Fewer than `clusters` where there are fewer different points; none of no points.
Features k_means(const Features& points, int clusters, uint64_t seed, int iterations = 100);
// How many points are nearest to each centre; the first of several that are equally near.
std::vector<int64_t> count_nearest(const Features& points, const Features& centres);

struct BinComparison {
    int bins = 0;       // that hold anything of either set
    int different = 0;  // of those: bins whose share differs significantly
    double share() const { return bins ? static_cast<double>(different) / bins : 0; }
};

// Richardson and Weiss 2018, "On GANs and GMMs" (arXiv:1805.12462), as used for audio by Engel et al. 2019, "GANSynth"
// (arXiv:1902.08710): a bin is different if a two-sided two-proportion z-test with the pooled share,
// z = (a/A - b/B) / sqrt(p (1 - p) (1/A + 1/B)), p = (a + b) / (A + B), has |z| > 1.96 (5 %). a and b are the counts of
// the bin in both sets, A and B their sums. Of sets that differ by chance only, and whose points are independent, 5 %
// of the bins are different. Throws Error where the sets have different bins or either is empty.
BinComparison compare_bins(std::span<const int64_t> a, std::span<const int64_t> b);

}  // namespace nigiri
