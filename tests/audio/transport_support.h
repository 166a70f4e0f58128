// What the tests of the transport share.
#pragma once

#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "audio/transport.h"
#include "tests/audio/support.h"

namespace nigiri::test {

constexpr int fade_samples = 160;

inline std::shared_ptr<Sound> finished(std::vector<float> samples, int hertz = sound_rate) {
    return std::make_shared<Sound>(hertz, std::move(samples));
}

inline std::vector<float> render(Transport& t, size_t n) {
    std::vector<float> out(n);
    out.resize(t.render(out));
    return out;
}

// Everything until the transport has nothing more to give.
inline std::vector<float> render_all(Transport& t, size_t block = 333) {
    std::vector<float> all;
    while (true) {
        const auto part = render(t, block);
        all.insert(all.end(), part.begin(), part.end());
        if (part.size() < block) return all;
    }
}

// sin^2 from 0 to 1 over a fade.
inline double fade_in(int64_t i) {
    return i >= fade_samples ? 1 : std::pow(std::sin(std::numbers::pi / 2 * static_cast<double>(i) / fade_samples), 2);
}

}  // namespace nigiri::test
