// Ten "digits" that are told apart by ear: two tones each, one after the other, in the folders that spoken ones have.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "audio/write.h"
#include "kernels/random.h"

namespace nigiri::test {

inline std::vector<float> spoken_digit(int digit, Random& random) {
    std::vector<float> x(static_cast<size_t>(5000 + random.below(3000)));
    const double first = 250 * std::pow(1.5, digit % 5), second = digit < 5 ? 200 : 2000;
    double phase = 0;
    for (size_t i = 0; i < x.size(); ++i) {
        phase += 6.283185307179586 * (i < x.size() / 2 ? first : second) / 16000;
        x[i] = static_cast<float>(0.3 * std::sin(phase) + 0.3 * std::sin(2 * phase) + 0.002 * random.normal());
    }
    return x;
}

// `count` clips of each digit in FOLDER/SPLIT/DIGIT_NUMBER.wav.
inline void make_digits(const std::filesystem::path& folder, const std::string& split, int count, uint64_t seed) {
    std::filesystem::create_directories(folder / split);
    Random random(seed, std::hash<std::string>{}(split));
    for (int digit = 0; digit < 10; ++digit)
        for (int i = 0; i < count; ++i)
            write_audio(folder / split / (std::to_string(digit) + "_" + std::to_string(i) + ".wav"),
                        spoken_digit(digit, random), 16000);
}

}  // namespace nigiri::test
