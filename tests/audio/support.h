// What the audio tests share: a folder that goes away, signals, and files written byte by byte.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numbers>
#include <string>
#include <vector>

#include "audio/quantize.h"
#include "audio/write.h"
#include "kernels/random.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::test {

namespace fs = std::filesystem;

// Of most sounds, in hertz.
constexpr int sound_rate = 16000;

inline std::vector<float> sine(double hertz, double seconds, int rate, double amplitude = 0.5) {
    std::vector<float> x(static_cast<size_t>(std::llround(seconds * rate)));
    for (size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(amplitude * std::sin(2 * std::numbers::pi * hertz * static_cast<double>(i) / rate));
    return x;
}

inline std::vector<float> noise(size_t samples, double deviation, uint64_t seed) {
    Random random(seed);
    std::vector<float> x(samples);
    for (float& v : x) v = static_cast<float>(deviation * random.normal());
    return x;
}

inline std::vector<int16_t> noise16(size_t samples, double deviation, uint64_t seed) {
    std::vector<int16_t> out;
    for (const float v : noise(samples, deviation, seed)) out.push_back(to_pcm16(v));
    return out;
}

inline std::string bytes_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_bytes(const fs::path& path, const std::string& bytes) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string little(uint64_t x, int bytes) {
    std::string s;
    for (int i = 0; i < bytes; ++i) s += static_cast<char>(x >> (8 * i));
    return s;
}

// A WAV file written by hand: whatever header and data a test wants. format 1: integers, 3: floats.
inline std::string wav_bytes(const std::string& data, int rate = 16000, int channels = 1, int bits = 16, int format = 1,
                             uint64_t data_size = ~0ull) {
    const int frame = channels * bits / 8;
    const uint64_t size = data_size == ~0ull ? data.size() : data_size;
    return "RIFF" + little(36 + size, 4) + "WAVEfmt " + little(16, 4) + little(static_cast<uint64_t>(format), 2) +
           little(static_cast<uint64_t>(channels), 2) + little(static_cast<uint64_t>(rate), 4) +
           little(static_cast<uint64_t>(rate) * static_cast<uint64_t>(frame), 4) +
           little(static_cast<uint64_t>(frame), 2) + little(static_cast<uint64_t>(bits), 2) + "data" + little(size, 4) +
           data;
}

inline std::string pcm16_bytes(const std::vector<float>& x) {
    std::string s;
    for (const float v : x) s += little(static_cast<uint16_t>(to_pcm16(v)), 2);
    return s;
}

inline std::string float_bytes(const std::vector<float>& x) {
    std::string s;
    for (const float v : x) {
        uint32_t bits;
        std::memcpy(&bits, &v, 4);
        s += little(bits, 4);
    }
    return s;
}

// Every file under a folder, with its content: to see that nothing has changed.
inline std::map<std::string, std::string> snapshot(const fs::path& folder) {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        all[fs::relative(entry.path(), folder).string()] = entry.is_regular_file() ? bytes_of(entry.path()) : "";
    return all;
}

inline int open_descriptors() {
    int n = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++n;
    return n;
}

}  // namespace nigiri::test
