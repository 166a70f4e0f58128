// The Frechet distance between two sets of points, each taken for a normal distribution.
#pragma once

#include <cstdint>
#include <vector>

#include "audio/metrics/mel_features.h"

namespace nigiri {

struct Gaussian {
    std::vector<double> mean;        // n numbers
    std::vector<double> covariance;  // n x n, symmetric, positive semidefinite
};

// Mean and unbiased covariance (divided by count - 1). Throws Error of fewer than two points.
Gaussian fit_gaussian(const Features& features);

// |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2): the square of the smallest root mean square distance by which
// one distribution can be moved into the other (Dowson and Landau 1982, "The Frechet distance between multivariate
// normal distributions", Journal of Multivariate Analysis 12). Taken as a metric of generated sets by Heusel et al.
// 2017 (arXiv:1706.08500) on a picture classifier's features and by Kilgour et al. 2019 (arXiv:1812.08466) on an audio
// classifier's; here of log-mel levels, so its unit is dB^2 and no classifier's taste is in it. Roots come from
// eigenvalues, those below zero by rounding count as zero. Throws Error where the dimensions differ.
double frechet_distance(const Gaussian& a, const Gaussian& b);

}  // namespace nigiri
