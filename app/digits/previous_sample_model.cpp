#include "app/digits/previous_sample_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "audio/baseline.h"
#include "audio/quantize.h"
#include "kernels/random.h"

namespace nigiri::app {

DigitClips previous_sample_clips(const std::vector<DigitClip>& clips, int64_t count, uint64_t seed) {
    constexpr size_t n = code_count;
    std::vector<double> weights(n * n), share(n, 0.5);  // row: the code before
    for (const DigitClip& clip : clips) {
        size_t before = zero_code;
        for (const uint8_t code : clip.codes) {
            ++weights[before * n + code];
            ++share[code];
            before = code;
        }
    }
    const double all = std::accumulate(share.begin(), share.end(), 0.0);
    for (size_t i = 0; i < n * n; ++i) weights[i] += ContextModel::prior * share[i % n] / all;
    std::vector<double> sums(n * n);
    for (size_t row = 0; row < n; ++row) {
        double sum = 0;
        for (size_t c = 0; c < n; ++c) sums[row * n + c] = sum += weights[row * n + c];
    }
    DigitClips made;
    for (int64_t i = 0; i < count; ++i) {
        Random random(seed, static_cast<uint64_t>(i));
        std::vector<uint8_t> codes;
        double bits = 0;
        size_t before = zero_code;
        for (int64_t t = 0; t < digit_samples; ++t) {
            const auto row = sums.begin() + static_cast<std::ptrdiff_t>(before * n);
            const double total = row[n - 1];
            const auto code = static_cast<size_t>(
                std::min<std::ptrdiff_t>(std::upper_bound(row, row + n, random.uniform() * total) - row, n - 1));
            bits -= std::log2(weights[before * n + code] / total);
            codes.push_back(static_cast<uint8_t>(code));
            before = code;
        }
        made.codes.push_back(std::move(codes));
        made.bits.push_back(bits);
    }
    return made;
}

}  // namespace nigiri::app
