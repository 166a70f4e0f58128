#include "audio/baseline.h"

#include <cmath>
#include <limits>

namespace nigiri {
namespace {

// Calls f(code, previous, before) for every sample of the split.
template <class F>
void walk(const Dataset& data, Split split, int64_t segment_length, const Progress& progress, F&& f) {
    const auto segments = data.segments(split, segment_length);
    std::vector<uint8_t> codes;
    for (size_t i = 0; i < segments.size(); ++i) {
        report(progress, static_cast<double>(i) / static_cast<double>(segments.size()), "counting codes");
        codes.resize(static_cast<size_t>(segments[i].length));
        data.codes(split, segments[i], codes);
        size_t previous = zero_code, before = zero_code;
        for (const uint8_t code : codes) {
            f(code, previous, before);
            before = previous;
            previous = code;
        }
    }
}

}  // namespace

ContextModel ContextModel::fit(const Dataset& data, Split split, int order, int64_t segment_length,
                               const Progress& progress) {
    if (order < 0 || order > 2) throw Error("context models have order 0, 1 or 2");
    if (data.samples(split) == 0) throw Error(std::string("there is no audio for ") + name_of(split));
    ContextModel model;
    size_t contexts = 1;
    for (int k = 0; k <= order; ++k, contexts *= code_count) {
        model.counts_.emplace_back(contexts * code_count, 0u);
        model.totals_.emplace_back(contexts, 0u);
    }
    // The highest order's counts hold the others.
    auto& top = model.counts_.back();
    walk(data, split, segment_length, progress, [&](size_t code, size_t previous, size_t before) {
        const size_t context = order == 0 ? 0 : order == 1 ? previous : before * code_count + previous;
        ++top[context * code_count + code];
    });
    for (size_t k = model.counts_.size(); k-- > 0;) {
        const size_t contexts_here = model.totals_[k].size();
        for (size_t context = 0; context < contexts_here; ++context)
            for (size_t code = 0; code < code_count; ++code) {
                const uint32_t n = model.counts_[k][context * code_count + code];
                model.totals_[k][context] += n;
                // Forgetting the oldest code of the context leaves its last k - 1.
                if (k > 0) model.counts_[k - 1][context % (contexts_here / code_count) * code_count + code] += n;
            }
    }
    return model;
}

double ContextModel::probability(int code, int previous, int before) const {
    const size_t c = static_cast<size_t>(code),
                 contexts[] = {0, static_cast<size_t>(previous),
                               static_cast<size_t>(before) * code_count + static_cast<size_t>(previous)};
    double p = (counts_[0][c] + 0.5) / (totals_[0][0] + 0.5 * code_count);
    for (size_t k = 1; k < counts_.size(); ++k)
        p = (counts_[k][contexts[k] * code_count + c] + prior * p) / (totals_[k][contexts[k]] + prior);
    return p;
}

double ContextModel::bits_per_sample(const Dataset& data, Split split, int64_t segment_length,
                                     const Progress& progress) const {
    double bits = 0;
    int64_t samples = 0;
    walk(data, split, segment_length, progress, [&](size_t code, size_t previous, size_t before) {
        bits -= std::log2(probability(static_cast<int>(code), static_cast<int>(previous), static_cast<int>(before)));
        ++samples;
    });
    return samples > 0 ? bits / static_cast<double>(samples) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace nigiri
