// A stream's samples one by one.
#pragma once

#include "model/guarded_stream.h"

namespace nigiri::test {

struct Step {
    int64_t position;
    int32_t code;
    double bits, total_bits;
};

inline std::vector<Step> next(GuardedStream& stream) {
    const StreamSteps steps = stream.next(1);
    std::vector<Step> all;
    for (int64_t i = 0; i < stream.streams(); ++i) {
        const auto at = static_cast<size_t>(i);
        const StreamDraw& draw = steps.block.at(0, i);
        all.push_back({steps.positions[at], draw.code, draw.bits, steps.total_bits[at]});
    }
    return all;
}

}  // namespace nigiri::test
