// What the tests of the player share.
#pragma once

#include <vector>

#include "tests/audio/controlled_output.h"
#include "tests/audio/transport_support.h"
#include "tests/support/wait.h"

namespace nigiri::test {

// 60 ms, as a player has it that was told nothing else: nothing is sent further ahead than this.
constexpr size_t ahead = 960;

// A waveform that says where it is: value i is (i + 1) / 65536, exactly.
inline std::vector<float> ramp(size_t n) {
    std::vector<float> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i + 1) / 65536.0f;
    return x;
}

}  // namespace nigiri::test
