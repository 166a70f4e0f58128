#include "app/compare/held_out_pieces.h"

#include <algorithm>

namespace nigiri::app {

std::vector<Segment> held_out_pieces(const Dataset& data, Split split, int64_t length, bool shorter_too, size_t most) {
    if (length < 1 || most < 1) throw Error("pieces of held-out audio need a length");
    std::vector<Segment> all;
    const auto& recordings = data.recordings(split);
    for (size_t r = 0; r < recordings.size(); ++r) {
        const int64_t samples = recordings[r].samples();
        if (samples < length && shorter_too && samples > 0) all.push_back({r, 0, samples});
        for (int64_t begin = 0; begin + length <= samples; begin += length) all.push_back({r, begin, length});
    }
    if (all.size() <= most) return all;
    std::vector<Segment> chosen;
    for (size_t i = 0; i < most; ++i) chosen.push_back(all[(2 * i + 1) * all.size() / (2 * most)]);
    return chosen;
}

}  // namespace nigiri::app
