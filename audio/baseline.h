// What codes cost without a network: the scale on which a network's bits per sample are read.
#pragma once

#include <cstdint>
#include <vector>

#include "audio/dataset.h"
#include "audio/progress.h"

namespace nigiri {

// The distribution of a code given the `order` codes before it (0, 1 or 2), from counts. Order 0 is
// Krichevsky and Trofimov's estimate, (n_c + 1/2) / (N + 128); order k mixes in the order below with the
// weight of `prior` samples: p_k(c | context) = (n(c, context) + prior p_{k-1}(c | shorter context)) /
// (N(context) + prior). Before a segment's first sample stand zero codes, as before a network's.
class ContextModel {
  public:
    // Counts the samples of a split, in segments as Dataset::segments. Throws Error where there are none, or
    // on another order. Memory: 4 * 256^(order + 1) bytes and the lower orders, 64 MB for order 2.
    static ContextModel fit(const Dataset& data, Split split, int order, int64_t segment_length = 0,
                            const Progress& progress = {});

    int order() const { return static_cast<int>(counts_.size()) - 1; }
    // Of `code` after `previous`, before which came `before`.
    double probability(int code, int previous = zero_code, int before = zero_code) const;
    // Mean of -log2 p over every sample of the split; NaN where the split is empty.
    double bits_per_sample(const Dataset& data, Split split, int64_t segment_length = 0,
                           const Progress& progress = {}) const;

    static constexpr double prior = 16;

  private:
    std::vector<std::vector<uint32_t>> counts_;  // [k]: 256^k contexts, 256 codes each
    std::vector<std::vector<uint32_t>> totals_;  // [k]: of each context
};

}  // namespace nigiri
