// How well sounds fall into classes, and into how many: the scores that published work on spoken digits gives, from the
// probabilities of a classifier. They say as much about the classifier as about the sounds: values of two classifiers
// cannot be compared. (The fourth of these scores, FID, is frechet.h's distance of a classifier's features.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nigiri {

// Natural logarithms of probabilities, a row of `classes` a sound; finite, however unlikely a class is.
struct ClassProbabilities {
    int classes = 0;
    std::vector<double> logs;

    int64_t count() const { return classes ? static_cast<int64_t>(logs.size()) / classes : 0; }
    std::span<const double> at(int64_t i) const {
        return std::span(logs).subspan(static_cast<size_t>(i * classes), static_cast<size_t>(classes));
    }
};

// Inception score (Salimans et al. 2016, arXiv:1606.03498) as the published SaShiMi evaluation has it (Goel et al.
// 2022): exp(mean KL(p_i || m)), p_i from the first half of a shuffle, m the mean of its second half; 1 where all
// sounds are alike, at best about `classes` (more where the halves differ by chance). Half as many sounds count, but no
// sound is judged by a mean that it is part of. The shuffle is ours (Philox from `seed`), not NumPy's. Throws Error of
// fewer than two sounds.
double inception_score(const ClassProbabilities& generated, uint64_t seed = 0);

// Modified inception score (Gurumurthy et al. 2017, arXiv:1706.02071): exp(mean KL(p_i || p_j)) over `pairs` pairs
// drawn with replacement; high is good, without a limit: a surer classifier makes it larger. Throws Error of no sounds.
double modified_inception_score(const ClassProbabilities& generated, uint64_t seed = 0, int64_t pairs = 10000);

// AM score (Zhou et al. 2018, arXiv:1703.02000): KL(mean real || mean generated) + mean entropy of the generated, in
// nats; low is good. 0: every sound is surely of one class, and the classes are as frequent as in the real ones. Throws
// Error where either set is empty or their classes differ in number.
double am_score(const ClassProbabilities& real, const ClassProbabilities& generated);

}  // namespace nigiri
