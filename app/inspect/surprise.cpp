#include "app/inspect/surprise.h"

#include <algorithm>
#include <numbers>

#include "model/generator.h"
#include "model/parameter.h"

namespace nigiri::app {

std::vector<float> sample_bits(const Network& network, std::span<const uint8_t> codes, const Progress& progress) {
    Backend& backend = network.backend();
    const int64_t unit = network.config().pool_product(), total = static_cast<int64_t>(codes.size());
    const int64_t piece = std::max<int64_t>(unit, 4096 / unit * unit);  // a cancel is noticed between pieces
    NetworkState state = network.make_state(1);
    std::vector<float> bits;
    bits.reserve(codes.size());
    for (int64_t at = 0; at < total; at += piece) {
        if (progress && !progress(static_cast<double>(at) / static_cast<double>(total), "surprise")) throw Cancelled();
        const int64_t length = std::min(piece, total - at);
        // The tail is filled up to a whole coarse step: nothing looks ahead.
        const int64_t whole = (length + unit - 1) / unit * unit;
        std::vector<int32_t> tokens(static_cast<size_t>(whole), 0), targets(static_cast<size_t>(whole), -1);
        for (int64_t i = 0; i < length; ++i) {
            const int64_t before = at + i - 1;
            tokens[static_cast<size_t>(i)] =
                before < 0 ? start_code(network.config()) : codes[static_cast<size_t>(before)];
            targets[static_cast<size_t>(i)] = codes[static_cast<size_t>(at + i)];
        }
        const Tensor input = backend.allocate({1, whole}, DType::i32),
                     target = backend.allocate({1, whole}, DType::i32);
        backend.upload(tokens.data(), input);
        backend.upload(targets.data(), target);
        const Tensor logits = network.advance(input, state);
        const Tensor losses = backend.allocate({logits.rows()}, logits.dtype());
        backend.cross_entropy({.logits = logits, .targets = target, .losses = losses, .dlogits = {}});
        const std::vector<double> nats = download_values(backend, losses);
        for (int64_t i = 0; i < length; ++i)
            bits.push_back(static_cast<float>(nats[static_cast<size_t>(i)] / std::numbers::ln2));
    }
    return bits;
}

std::vector<float> smoothed(std::span<const float> values, int64_t window) {
    const auto n = static_cast<int64_t>(values.size());
    std::vector<double> sums(values.size() + 1, 0.0);
    for (size_t i = 0; i < values.size(); ++i) sums[i + 1] = sums[i] + static_cast<double>(values[i]);
    std::vector<float> means(values.size());
    const int64_t before = window / 2, after = window - before;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t begin = std::max<int64_t>(i - before, 0), end = std::min(i + after, n);
        means[static_cast<size_t>(i)] = static_cast<float>(
            (sums[static_cast<size_t>(end)] - sums[static_cast<size_t>(begin)]) / static_cast<double>(end - begin));
    }
    return means;
}

std::vector<SurprisingPlace> most_surprising(std::span<const float> bits, int64_t window, int64_t apart, size_t count) {
    const auto n = static_cast<int64_t>(bits.size());
    std::vector<double> sums(bits.size() + 1, 0.0);
    for (size_t i = 0; i < bits.size(); ++i) sums[i + 1] = sums[i] + static_cast<double>(bits[i]);
    if (n == 0) return {};
    window = std::clamp<int64_t>(window, 1, std::max<int64_t>(n, 1));
    // Windows begin a quarter of their length apart: fine enough for a list to press on.
    std::vector<SurprisingPlace> all;
    for (int64_t begin = 0; begin + window <= n; begin += std::max<int64_t>(window / 4, 1)) {
        const double sum = sums[static_cast<size_t>(begin + window)] - sums[static_cast<size_t>(begin)];
        all.push_back(
            {begin, begin + window, sum / static_cast<double>(window), sums.back() > 0 ? sum / sums.back() : 0});
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.mean_bits > b.mean_bits; });
    std::vector<SurprisingPlace> places;
    for (const SurprisingPlace& p : all) {
        if (places.size() >= count) break;
        const bool free = std::none_of(places.begin(), places.end(), [&](const SurprisingPlace& q) {
            return p.begin < q.end + apart && q.begin < p.end + apart;
        });
        if (free) places.push_back(p);
    }
    return places;
}

}  // namespace nigiri::app
