// An engine beside the reference: the greatest difference of the log2 probabilities that they give.
#pragma once

#include <algorithm>
#include <numbers>

#include "kernels/recurrent_engine.h"
#include "tests/support/recurrent_reference.h"

namespace nigiri::test {

template <class T>
std::vector<double> log_probabilities(const T* logits, int64_t count) {
    const double peak = *std::max_element(logits, logits + count);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += std::exp(logits[i] - peak);
    std::vector<double> r;
    for (int64_t i = 0; i < count; ++i) r.push_back((logits[i] - peak - std::log(sum)) / std::numbers::ln2);
    return r;
}

// Not a number counts as far away.
inline double difference(const float* logits, const std::vector<double>& expected) {
    const auto a = log_probabilities(logits, static_cast<int64_t>(expected.size()));
    const auto b = log_probabilities(expected.data(), static_cast<int64_t>(expected.size()));
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::isfinite(a[i]) ? std::abs(a[i] - b[i]) : 1e9);
    return most;
}

// Feeds every stream and its judge codes of their own.
inline double compare(RecurrentEngine& engine, std::vector<RecurrentReference>& judges, int64_t samples,
                      Random& random) {
    const auto vocabulary = static_cast<size_t>(engine.vocabulary());
    std::vector<int32_t> codes(judges.size());
    std::vector<float> logits(judges.size() * vocabulary);
    double most = 0;
    for (int64_t t = 0; t < samples; ++t) {
        for (auto& c : codes) c = static_cast<int32_t>(random.below(vocabulary));
        engine.advance(codes.data(), logits.data());
        for (size_t s = 0; s < judges.size(); ++s)
            most = std::max(most, difference(logits.data() + s * vocabulary, judges[s].step(codes[s])));
    }
    return most;
}

// From the beginning.
inline double compare(RecurrentEngine& engine, const RecurrentProgram& program, int64_t samples, uint64_t seed) {
    Random random(seed, 3);
    std::vector<RecurrentReference> judges(static_cast<size_t>(engine.streams()), RecurrentReference(program));
    return compare(engine, judges, samples, random);
}

// The greatest difference of two states, as a share of the second one's 2-norm in each array.
inline double state_difference(const StreamState& a, const StreamState& b) {
    double most = a.position == b.position ? 0 : 1e9;
    const auto arrays = [&](const auto& x, const auto& y) {
        if (x.size() != y.size()) {
            most = 1e9;
            return;
        }
        double error = 0, size = 0;
        for (size_t i = 0; i < x.size(); ++i) {
            const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
            error += d * d, size += static_cast<double>(y[i]) * static_cast<double>(y[i]);
        }
        if (!(error <= 1e-30)) most = std::max(most, std::isfinite(error) ? std::sqrt(error / size) : 1e9);
    };
    if (a.blocks.size() != b.blocks.size() || a.down.size() != b.down.size()) return 1e9;
    for (size_t i = 0; i < a.blocks.size(); ++i)
        arrays(a.blocks[i].ssm, b.blocks[i].ssm), arrays(a.blocks[i].conv, b.blocks[i].conv);
    for (size_t i = 0; i < a.down.size(); ++i) arrays(a.down[i], b.down[i]), arrays(a.up[i], b.up[i]);
    return most;
}

}  // namespace nigiri::test
