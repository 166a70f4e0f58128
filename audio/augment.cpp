#include "audio/augment.h"

#include <algorithm>
#include <cmath>

namespace nigiri {

std::vector<float> augmented(std::span<const float> samples, int rate, const Augmentation& how, Random& random) {
    const double shift = random.uniform(-how.earlier, how.later) * rate;
    const double speed = std::exp(random.uniform(-1, 1) * std::log(how.speed));
    const double gain = std::pow(10, random.uniform(-how.gain_db, how.gain_db) / 20);
    const double level = random.uniform(how.noise_low_db, how.noise_high_db);
    const double noise = random.uniform() < 0.5 ? 0 : std::pow(10, level / 20);
    std::vector<float> out(samples.size());
    const auto n = static_cast<int64_t>(samples.size());
    for (int64_t i = 0; i < n; ++i) {
        // Between neighbours linearly: what that adds lies far above the words' own frequencies.
        const double at = (static_cast<double>(i) - shift) * speed;
        const auto left = static_cast<int64_t>(std::floor(at));
        const double part = at - static_cast<double>(left);
        const auto sample = [&](int64_t k) { return k >= 0 && k < n ? samples[static_cast<size_t>(k)] : 0.0f; };
        double x = gain * ((1 - part) * sample(left) + part * sample(left + 1));
        if (noise > 0) x += noise * random.normal();
        out[static_cast<size_t>(i)] = static_cast<float>(std::clamp(x, -1.0, 1.0));
    }
    return out;
}

}  // namespace nigiri
