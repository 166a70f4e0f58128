// What the metrics share: distances of distributions, quantiles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace nigiri {

// Jensen-Shannon divergence in bits (Lin 1991, "Divergence measures based on the Shannon entropy", IEEE Transactions on
// Information Theory 37): H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, 1]; 0 for equal distributions, 1 where no event is
// possible in both. p and q are weights of the same events and are normalised here; none where either has no weight at
// all.
std::optional<double> jensen_shannon_bits(std::span<const double> p, std::span<const double> q);

// Shannon entropy in bits of weights; none where they are all zero.
std::optional<double> entropy_bits(std::span<const double> weights);

// The q-quantile (q in [0, 1]) of values that need not be sorted, between neighbours linearly (Hyndman and Fan 1996,
// definition 7). Throws Error where there are none. Infinite values stand at their end.
double quantile(std::vector<double> values, double q);

}  // namespace nigiri
