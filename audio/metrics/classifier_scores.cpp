#include "audio/metrics/classifier_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

constexpr uint64_t shuffle_stream = 0x73687566, pair_stream = 0x70616972;

void check(const ClassProbabilities& p, int64_t least) {
    if (p.classes < 1 || static_cast<int64_t>(p.logs.size()) != p.count() * p.classes)
        throw Error("probabilities come in rows of one a class");
    if (p.count() < least) throw Error("a score needs " + std::to_string(least) + " sounds at least");
}

double divergence(std::span<const double> p, std::span<const double> q) {
    double sum = 0;
    for (size_t c = 0; c < p.size(); ++c) sum += std::exp(p[c]) * (p[c] - q[c]);
    return sum;
}

// The logarithm of the mean probabilities of some sounds, summed relative to the largest so that nothing underflows.
std::vector<double> log_mean(const ClassProbabilities& p, std::span<const size_t> of) {
    std::vector<double> mean(static_cast<size_t>(p.classes));
    for (size_t c = 0; c < mean.size(); ++c) {
        double highest = -INFINITY, sum = 0;
        for (const size_t i : of) highest = std::max(highest, p.at(static_cast<int64_t>(i))[c]);
        for (const size_t i : of) sum += std::exp(p.at(static_cast<int64_t>(i))[c] - highest);
        mean[c] = highest + std::log(sum / static_cast<double>(of.size()));
    }
    return mean;
}

std::vector<size_t> everything(const ClassProbabilities& p) {
    std::vector<size_t> all(static_cast<size_t>(p.count()));
    std::iota(all.begin(), all.end(), size_t{0});
    return all;
}

}  // namespace

double inception_score(const ClassProbabilities& generated, uint64_t seed) {
    check(generated, 2);
    std::vector<size_t> order = everything(generated);
    Random random(seed, shuffle_stream);
    for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[random.below(k)]);
    const auto first = std::span(order).first(order.size() / 2), second = std::span(order).subspan(first.size());
    const std::vector<double> mean = log_mean(generated, second);
    double sum = 0;
    for (const size_t i : first) sum += divergence(generated.at(static_cast<int64_t>(i)), mean);
    return std::exp(sum / static_cast<double>(first.size()));
}

double modified_inception_score(const ClassProbabilities& generated, uint64_t seed, int64_t pairs) {
    check(generated, 1);
    if (pairs < 1) throw Error("a score needs a pair of sounds at least");
    Random random(seed, pair_stream);
    const auto n = static_cast<uint64_t>(generated.count());
    double sum = 0;
    for (int64_t k = 0; k < pairs; ++k) {
        const auto i = static_cast<int64_t>(random.below(n)), j = static_cast<int64_t>(random.below(n));
        sum += divergence(generated.at(i), generated.at(j));
    }
    return std::exp(sum / static_cast<double>(pairs));
}

double am_score(const ClassProbabilities& real, const ClassProbabilities& generated) {
    check(real, 1);
    check(generated, 1);
    if (real.classes != generated.classes) throw Error("sounds of different classes cannot be compared");
    double entropy = 0;
    for (const double l : generated.logs) entropy -= std::exp(l) * l;
    entropy /= static_cast<double>(generated.count());
    return divergence(log_mean(real, everything(real)), log_mean(generated, everything(generated))) + entropy;
}

}  // namespace nigiri
