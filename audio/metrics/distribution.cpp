#include "audio/metrics/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"

namespace nigiri {
namespace {

double total(std::span<const double> w) { return std::accumulate(w.begin(), w.end(), 0.0); }

// -p log2 p, which is 0 at 0.
double surprise(double p) { return p > 0 ? -p * std::log2(p) : 0; }

}  // namespace

std::optional<double> jensen_shannon_bits(std::span<const double> p, std::span<const double> q) {
    if (p.size() != q.size()) throw Error("distributions of different events cannot be compared");
    const double sum_p = total(p), sum_q = total(q);
    if (!(sum_p > 0) || !(sum_q > 0)) return {};
    double divergence = 0;
    for (size_t i = 0; i < p.size(); ++i) {
        const double a = p[i] / sum_p, b = q[i] / sum_q;
        divergence += surprise((a + b) / 2) - (surprise(a) + surprise(b)) / 2;
    }
    return std::clamp(divergence, 0.0, 1.0);  // rounding
}

std::optional<double> entropy_bits(std::span<const double> weights) {
    const double sum = total(weights);
    if (!(sum > 0)) return {};
    double entropy = 0;
    for (const double w : weights) entropy += surprise(w / sum);
    return entropy;
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) throw Error("no values have no quantile");
    std::sort(values.begin(), values.end());
    const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(at);
    const double low = values[below], high = values[std::min(below + 1, values.size() - 1)];
    const double share = at - static_cast<double>(below);
    if (share == 0 || low == high) return low;
    return low + share * (high - low);
}

}  // namespace nigiri
