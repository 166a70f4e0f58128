#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/error.h"

namespace nigiri {

void validate(const SamplingOptions& options) {
    if (!(options.temperature >= 0 && options.temperature <= 100))
        throw Error("temperature must be between 0 and 100", "1 samples what the model learned");
    if (options.top_k < 0) throw Error("top-k must not be negative", "0 keeps all codes");
    if (!(options.top_p > 0 && options.top_p <= 1))
        throw Error("top-p must be above 0 and at most 1", "1 keeps all codes");
}

double log2_probability(std::span<const float> logits, int32_t code) {
    const double peak = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x) - peak);
    return (static_cast<double>(logits[static_cast<size_t>(code)]) - peak - std::log(sum)) / std::numbers::ln2;
}

Sampler::Draw Sampler::draw(std::span<const float> logits, double uniform) {
    const size_t n = logits.size();
    const auto likeliest = static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    const double peak = logits[likeliest];
    if (!std::isfinite(peak))
        throw Error("the model's output is not a number", "it has diverged; use an earlier checkpoint");
    size_t code = likeliest;
    if (options_.temperature > 0) {
        weights_.resize(n);
        for (size_t i = 0; i < n; ++i)
            weights_[i] = std::exp((static_cast<double>(logits[i]) - peak) / options_.temperature);
        if (options_.top_k > 0 || options_.top_p < 1) {
            order_.resize(n);
            std::iota(order_.begin(), order_.end(), 0);
            // Equal weights keep the order of their codes, so that a cut falls the same way everywhere.
            std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
                const double wa = weights_[static_cast<size_t>(a)], wb = weights_[static_cast<size_t>(b)];
                return wa != wb ? wa > wb : a < b;
            });
            size_t keep = options_.top_k > 0 ? std::min<size_t>(n, static_cast<size_t>(options_.top_k)) : n;
            if (options_.top_p < 1) {
                double total = 0;
                for (size_t i = 0; i < keep; ++i) total += weights_[static_cast<size_t>(order_[i])];
                double sum = 0;
                for (size_t i = 0; i < keep; ++i) {
                    sum += weights_[static_cast<size_t>(order_[i])];
                    if (sum >= options_.top_p * total) keep = i + 1;
                }
            }
            for (size_t i = keep; i < n; ++i) weights_[static_cast<size_t>(order_[i])] = 0;
        }
        const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
        double left = uniform * total;
        for (size_t i = 0; i < n; ++i) {
            if (weights_[i] <= 0) continue;
            code = i;  // the last code with weight, should rounding leave something over
            left -= weights_[i];
            if (left < 0) break;
        }
    }
    return {static_cast<int32_t>(code), log2_probability(logits, static_cast<int32_t>(code))};
}

}  // namespace nigiri
