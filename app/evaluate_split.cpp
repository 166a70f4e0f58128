#include "app/evaluate_split.h"

#include <algorithm>

namespace nigiri::app {

namespace {

// How much of each recording is taken.
std::vector<int64_t> shares(const std::vector<Recording>& recordings, int64_t most) {
    std::vector<int64_t> lengths;
    for (const Recording& r : recordings) lengths.push_back(r.samples());
    if (most <= 0) return lengths;
    // The shortest first: what they leave of their equal share falls to the longer ones.
    std::vector<size_t> order(lengths.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths[a] < lengths[b]; });
    for (size_t i = 0; i < order.size(); ++i) {
        int64_t& length = lengths[order[i]];
        length = std::min(length, std::max<int64_t>(1, most / static_cast<int64_t>(order.size() - i)));
        most -= std::min(most, length);
    }
    return lengths;
}

}  // namespace

SplitEvaluation evaluate_split(const SegmentJudge& judge, const Dataset& data, Split split,
                               const SplitEvaluationOptions& options, const Progress& progress) {
    const std::vector<Recording>& recordings = data.recordings(split);
    const std::vector<int64_t> lengths = shares(recordings, options.most_samples);
    int64_t all = 0;
    for (const int64_t length : lengths) all += length;
    if (all == 0) throw Error(std::string("there is no audio in the ") + name_of(split) + " part to evaluate on");

    SplitEvaluation result;
    for (size_t r = 0; r < recordings.size(); ++r) {
        bool stopped = false;
        const auto show = [&](int64_t samples) {
            const double fraction = static_cast<double>(result.total.samples + samples) / static_cast<double>(all);
            stopped = progress && !progress(fraction, recordings[r].name);
            return !stopped;
        };
        const int64_t step = options.segment > 0 ? options.segment : lengths[r];
        std::vector<std::vector<uint8_t>> codes;
        for (int64_t begin = 0; begin < lengths[r]; begin += step) {
            const Segment segment{r, begin, std::min(step, lengths[r] - begin)};
            codes.emplace_back(static_cast<size_t>(segment.length));
            data.codes(split, segment, codes.back());
        }
        const Evaluation one = judge({codes.begin(), codes.end()}, show);
        if (stopped) throw Cancelled();
        result.total.bits += one.bits;
        result.total.samples += one.samples;
        result.recordings.push_back({recordings[r].name, one});
    }
    return result;
}

SplitEvaluation evaluate_split(const Network& network, const Dataset& data, Split split,
                               const SplitEvaluationOptions& options, const Progress& progress) {
    const auto judge = [&](const std::vector<std::span<const uint8_t>>& segments, const EvaluationProgress& show) {
        if (options.segment == 0 && segments.size() == 1) return evaluate_sequence(network, segments[0], show);
        return evaluate_segments(network, segments, show);
    };
    return evaluate_split(judge, data, split, options, progress);
}

}  // namespace nigiri::app
