#include "kernels/cpu/lane_fft.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <string>

#include "kernels/error.h"

namespace nigiri::cpu {

namespace {

constexpr double pi = 3.14159265358979323846;

LaneFftPlan make_plan(int64_t size) {
    LaneFftPlan plan;
    plan.size = size;
    int64_t odd = size;
    while (odd % 2 == 0) odd /= 2;
    for (int64_t m = size; m > 1;) {
        LaneFftLevel level;
        level.size = m;
        const bool first = m == size;
        // Radix 4 throughout; one 8 where an odd number of halvings is left for it.
        if (m == odd)
            level.radix = static_cast<int>(odd);
        else
            level.radix = !first && m == 8 * odd ? 8 : 4;
        const int64_t columns = m / level.radix;
        if (first || columns > 1) {
            const double shift = first ? 0.25 : 0;
            for (int64_t j = 0; j < columns; ++j)
                for (int q = first ? 0 : 1; q < level.radix; ++q) {
                    const double angle = -2 * pi * static_cast<double>(j) * (q + shift) / static_cast<double>(m);
                    level.twiddles.push_back(static_cast<float>(std::cos(angle)));
                    level.twiddles.push_back(static_cast<float>(std::sin(angle)));
                }
        }
        plan.levels.push_back(std::move(level));
        m = columns;
    }
    return plan;
}

}  // namespace

int64_t lane_fft_size(int64_t length) {
    int64_t best = 16;
    while (best < length) best *= 2;
    for (const int64_t odd : {3, 5}) {
        int64_t size = odd * 16;
        while (size < length) size *= 2;
        best = std::min(best, size);
    }
    return best;
}

std::shared_ptr<const LaneFftPlan> LaneFftPlan::of_size(int64_t size) {
    static std::mutex mutex;
    static std::map<int64_t, std::shared_ptr<const LaneFftPlan>> plans;
    if (size != lane_fft_size(size)) throw Error("no transform of " + std::to_string(size) + " points");
    const std::lock_guard lock(mutex);
    auto& plan = plans[size];
    if (!plan) plan = std::make_shared<const LaneFftPlan>(make_plan(size));
    return plan;
}

}  // namespace nigiri::cpu
