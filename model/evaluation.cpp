#include "model/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/random.h"
#include "kernels/softmax_weights.h"
#include "model/generator.h"

namespace nigiri {

namespace {

// Tokens are the codes one step late, behind the start code or the code before.
Tensor upload_tokens(Backend& backend, const std::vector<int32_t>& host, int64_t batch) {
    const Tensor t = backend.allocate({batch, static_cast<int64_t>(host.size()) / batch}, DType::i32);
    backend.upload(host.data(), t);
    return t;
}

// Sum of nats over the positions whose target is not -1.
double sum_of_losses(Backend& backend, const Tensor& logits, const std::vector<int32_t>& targets) {
    const Tensor t = upload_tokens(backend, targets, 1);
    const Tensor losses = backend.allocate({logits.rows()}, logits.dtype());
    backend.cross_entropy({.logits = logits, .targets = t, .losses = losses, .dlogits = {}});
    return backend.sum(losses);
}

}  // namespace

Evaluation evaluate_sequence(const Network& network, std::span<const uint8_t> codes,
                             const EvaluationProgress& progress) {
    Backend& backend = network.backend();
    const int64_t unit = network.config().pool_product(), total = static_cast<int64_t>(codes.size());
    const int64_t piece = std::max<int64_t>(unit, 16384 / unit * unit);
    NetworkState state = network.make_state(1);
    Evaluation result;
    for (int64_t at = 0; at < total; at += piece) {
        const int64_t length = std::min(piece, total - at);
        std::vector<int32_t> tokens, targets(codes.begin() + at, codes.begin() + at + length);
        tokens.push_back(at == 0 ? start_code(network.config()) : codes[static_cast<size_t>(at - 1)]);
        tokens.insert(tokens.end(), codes.begin() + at, codes.begin() + at + length - 1);
        // The tail is filled up to a whole coarse step: nothing looks ahead, and filled positions do not count.
        const int64_t whole = (length + unit - 1) / unit * unit;
        tokens.resize(static_cast<size_t>(whole), 0);
        targets.resize(static_cast<size_t>(whole), -1);
        const Tensor logits = network.advance(upload_tokens(backend, tokens, 1), state);
        result.bits += sum_of_losses(backend, logits, targets) / std::numbers::ln2;
        result.samples += length;
        if (progress && !progress(result.samples)) break;
    }
    return result;
}

Evaluation evaluate_segments(const Network& network, const std::vector<std::span<const uint8_t>>& segments,
                             const EvaluationProgress& progress) {
    Backend& backend = network.backend();
    const int64_t unit = network.config().pool_product();
    constexpr int64_t tokens_at_once = 65536;  // bounds the memory of a batch
    Evaluation result;
    for (size_t first = 0; first < segments.size();) {
        // Neighbours of equal length share a batch.
        const int64_t length = static_cast<int64_t>(segments[first].size());
        size_t last = first;
        while (last < segments.size() && static_cast<int64_t>(segments[last].size()) == length &&
               (last == first || static_cast<int64_t>(last - first + 1) * length <= tokens_at_once))
            ++last;
        const int64_t batch = static_cast<int64_t>(last - first);
        if (length > 0) {
            const int64_t whole = (length + unit - 1) / unit * unit;
            std::vector<int32_t> tokens(static_cast<size_t>(batch * whole), 0), targets(tokens.size(), -1);
            for (int64_t b = 0; b < batch; ++b) {
                const auto& codes = segments[first + static_cast<size_t>(b)];
                const auto row = static_cast<size_t>(b * whole);
                tokens[row] = start_code(network.config());
                for (size_t t = 0; t < codes.size(); ++t) {
                    if (t + 1 < codes.size()) tokens[row + t + 1] = codes[t];
                    targets[row + t] = codes[t];
                }
            }
            const Tensor uploaded = upload_tokens(backend, tokens, batch);
            Tensor logits;
            if (whole <= network.longest_forward()) {
                logits = network.logits(uploaded);
            } else {
                NetworkState state = network.make_state(batch);
                logits = network.advance(uploaded, state);
            }
            result.bits += sum_of_losses(backend, logits, targets) / std::numbers::ln2;
            result.samples += batch * length;
            if (progress && !progress(result.samples)) break;
        }
        first = last;
    }
    return result;
}

Evaluation evaluate_segments(RecurrentEngine& engine, const std::vector<std::span<const uint8_t>>& segments,
                             const EvaluationProgress& progress) {
    const auto streams = static_cast<size_t>(engine.streams()), vocabulary = static_cast<size_t>(engine.vocabulary());
    std::vector<StreamState> start;
    for (size_t i = 0; i < streams; ++i) start.push_back(engine.state(static_cast<int64_t>(i)));
    const auto rewind = [&] {
        for (size_t i = 0; i < streams; ++i) engine.set_state(static_cast<int64_t>(i), start[i]);
    };
    // Neighbours in length run together, so that few streams have nothing to do.
    std::vector<std::span<const uint8_t>> ordered = segments;
    std::stable_sort(ordered.begin(), ordered.end(), [](auto a, auto b) { return a.size() > b.size(); });

    std::vector<int32_t> codes(streams);
    std::vector<float> logits(streams * vocabulary), weights(vocabulary), blocks(weight_blocks(vocabulary));
    Evaluation result;
    for (size_t first = 0; first < ordered.size(); first += streams) {
        const size_t together = std::min(streams, ordered.size() - first);
        std::fill(codes.begin(), codes.end(), start_code(engine.vocabulary()));
        for (size_t t = 0; t < ordered[first].size(); ++t) {
            if (t % 1024 == 0 && progress && !progress(result.samples)) {
                rewind();
                return result;
            }
            engine.advance(codes.data(), logits.data());
            for (size_t i = 0; i < together; ++i) {
                const auto segment = ordered[first + i];
                if (t >= segment.size()) break;  // and so have all behind it
                codes[i] = segment[t];
                const std::span<const float> row(logits.data() + i * vocabulary, vocabulary);
                const float peak = largest(row);
                const double sum = softmax_weights(row, peak, 1, weights, blocks);
                if (!std::isfinite(sum))
                    throw Error("the model's output is not a number", "it has diverged; use an earlier checkpoint");
                result.bits += std::log2(sum) - (static_cast<double>(row[segment[t]]) - peak) / std::numbers::ln2;
                ++result.samples;
            }
        }
        rewind();
    }
    return result;
}

SelfCheck selfcheck(const Network& network, int64_t length, uint64_t seed) {
    Backend& backend = network.backend();
    Random random(seed, 0x73636b);
    const int64_t vocabulary = network.config().vocabulary;
    std::vector<int32_t> codes(static_cast<size_t>(length));
    for (auto& c : codes) c = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary)));

    const auto log_probabilities = [&](const Tensor& logits) {
        std::vector<double> values = download_values(backend, logits);
        for (size_t row = 0; row < values.size(); row += static_cast<size_t>(vocabulary)) {
            const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row), end = begin + vocabulary;
            const double peak = *std::max_element(begin, end);
            double sum = 0;
            for (auto it = begin; it != end; ++it) sum += std::exp(*it - peak);
            for (auto it = begin; it != end; ++it) *it -= peak + std::log(sum);
        }
        return values;
    };
    const std::vector<double> parallel = log_probabilities(network.logits(upload_tokens(backend, codes, 1)));
    const auto in_pieces = [&](const std::function<int64_t()>& next) {
        NetworkState state = network.make_state(1);
        double worst = 0;
        for (int64_t at = 0; at < length;) {
            const int64_t count = std::min(next(), length - at);
            const std::vector<int32_t> piece(codes.begin() + at, codes.begin() + at + count);
            const auto values = log_probabilities(network.advance(upload_tokens(backend, piece, 1), state));
            for (size_t i = 0; i < values.size(); ++i) {
                const double d = std::abs(values[i] - parallel[static_cast<size_t>(at * vocabulary) + i]);
                if (!(d <= worst)) worst = d;
            }
            at += count;
        }
        return worst;
    };
    SelfCheck result;
    result.length = length;
    result.step_difference = in_pieces([] { return int64_t{1}; });
    result.piece_difference = in_pieces([&] { return static_cast<int64_t>(1 + random.below(100)); });
    return result;
}

}  // namespace nigiri
