#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/softmax_weights.h"
#include "kernels/error.h"

namespace nigiri {

void validate(const SamplingOptions& options) {
    if (!(options.temperature >= 0 && options.temperature <= 100))
        throw Error("temperature must be between 0 and 100", "1 samples what the model learned");
    if (options.top_k < 0) throw Error("top-k must not be negative", "0 keeps all codes");
    if (!(options.top_p > 0 && options.top_p <= 1))
        throw Error("top-p must be above 0 and at most 1", "1 keeps all codes");
}

// Blocks first, then the codes of one block.
size_t Sampler::pick(double uniform, double total) const {
    double left = uniform * total;
    size_t block = 0, last = blocks_.size() - 1;
    while (last > 0 && blocks_[last] <= 0) --last;  // rounding must not lead to a code of no weight
    while (block < last && left >= blocks_[block]) left -= blocks_[block++];
    const size_t begin = block * weight_block, end = std::min(weights_.size(), begin + weight_block);
    size_t code = begin;
    for (size_t i = begin; i < end; ++i) {
        if (weights_[i] <= 0) continue;
        code = i;
        left -= weights_[i];
        if (left < 0) break;
    }
    return code;
}

// The k codes of the largest weights into the front of kept_; equal weights keep the order of their codes, so that a
// cut falls the same way everywhere.
void Sampler::keep_top_k() {
    const auto k = static_cast<size_t>(options_.top_k);
    if (options_.top_k == 0 || k >= kept_.size()) return;
    std::nth_element(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(k), kept_.end(), [&](int32_t a, int32_t b) {
        const float wa = weights_[static_cast<size_t>(a)], wb = weights_[static_cast<size_t>(b)];
        return wa != wb ? wa > wb : a < b;
    });
    kept_.resize(k);
}

// Leaves the fewest of the largest weights in kept_ that reach top_p of their sum, and returns what they sum up to.
double Sampler::keep_top_p() {
    double total = 0;
    for (const int32_t i : kept_) total += weights_[static_cast<size_t>(i)];
    if (options_.top_p >= 1) return total;
    // All that are below this together weigh less than what may be missing, so the others suffice: usually a few dozen.
    const double least = (1 - options_.top_p) * total / static_cast<double>(kept_.size()) * (1 - 1e-6);
    std::erase_if(kept_, [&](int32_t i) { return weights_[static_cast<size_t>(i)] < least; });
    const auto after = [&](int32_t a, int32_t b) {
        const float wa = weights_[static_cast<size_t>(a)], wb = weights_[static_cast<size_t>(b)];
        return wa != wb ? wa < wb : a > b;
    };
    std::make_heap(kept_.begin(), kept_.end(), after);
    double sum = 0;
    auto end = kept_.end();
    while (end != kept_.begin() && sum < options_.top_p * total) {
        std::pop_heap(kept_.begin(), end, after);
        sum += weights_[static_cast<size_t>(*--end)];
    }
    kept_.erase(kept_.begin(), end);
    return sum;
}

size_t Sampler::pick_likeliest(double uniform) {
    kept_.resize(weights_.size());
    std::iota(kept_.begin(), kept_.end(), 0);
    keep_top_k();
    double left = uniform * keep_top_p();
    std::sort(kept_.begin(), kept_.end());
    size_t code = static_cast<size_t>(kept_.front());
    for (const int32_t i : kept_) {
        if (weights_[static_cast<size_t>(i)] <= 0) continue;
        code = static_cast<size_t>(i);
        left -= weights_[code];
        if (left < 0) break;
    }
    return code;
}

Sampler::Draw Sampler::draw(std::span<const float> logits, double uniform) {
    weights_.resize(logits.size());
    blocks_.resize(weight_blocks(logits.size()));
    const float peak = largest(logits);
    // The exact likelihood is always that of temperature 1; there, drawing needs no other weights.
    const double whole = softmax_weights(logits, peak, 1, weights_, blocks_);
    if (!std::isfinite(whole))
        throw Error("the model's output is not a number", "it has diverged; use an earlier checkpoint");
    size_t code = 0;
    if (options_.temperature > 0) {
        double total = whole;
        if (options_.temperature != 1) {
            const double scale = std::min(1 / options_.temperature, 1e30);  // 0 times infinity is not a number
            total = softmax_weights(logits, peak, static_cast<float>(scale), weights_, blocks_);
        }
        code = options_.top_k > 0 || options_.top_p < 1 ? pick_likeliest(uniform) : pick(uniform, total);
    } else {
        code = static_cast<size_t>(std::find(logits.begin(), logits.end(), peak) - logits.begin());
    }
    const double log_probability = static_cast<double>(logits[code]) - static_cast<double>(peak) - std::log(whole);
    return {static_cast<int32_t>(code), log_probability / std::numbers::ln2};
}

}  // namespace nigiri
