#include "app/compare/picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/error.h"

// Static: the studio links a library that has the same functions.
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace nigiri::app {

namespace {

using Colour = std::array<double, 3>;

// From night to candlelight; lightness rises evenly, so that it also reads in grey.
Colour colour_of(double level) {
    constexpr std::array<Colour, 6> stops = {
        {{10, 12, 28}, {38, 32, 92}, {104, 38, 122}, {186, 54, 104}, {240, 128, 66}, {255, 238, 178}}};
    const double at = std::clamp(level, 0.0, 1.0) * (stops.size() - 1);
    const auto i = std::min(static_cast<size_t>(at), stops.size() - 2);
    const double share = at - static_cast<double>(i);
    Colour c;
    for (size_t k = 0; k < 3; ++k) c[k] = stops[i][k] + share * (stops[i + 1][k] - stops[i][k]);
    return c;
}

}  // namespace

Spectrogram picture_spectrogram(std::span<const float> samples, int rate, int columns) {
    MelOptions options;
    options.window = 1024;
    options.hop = std::max(64, static_cast<int>(samples.size() / static_cast<size_t>(columns)) + 1);
    return log_mel(samples, rate, options);
}

std::vector<uint8_t> spectrogram_pixels(const Spectrogram& s, double loudest_db) {
    constexpr double range = 70;  // dB
    constexpr int steps = 32;     // compress well, and differ by less than the eye sees
    std::vector<uint8_t> pixels;
    pixels.reserve(static_cast<size_t>(s.frames * s.bands * 3));
    for (int y = 0; y < s.bands; ++y)
        for (int64_t x = 0; x < s.frames; ++x) {
            const double level = (static_cast<double>(s.at(x, s.bands - 1 - y)) - loudest_db + range) / range;
            for (const double v : colour_of(std::floor(std::clamp(level, 0.0, 1.0) * (steps - 1)) / (steps - 1)))
                pixels.push_back(static_cast<uint8_t>(std::lround(v)));
        }
    return pixels;
}

std::string spectrogram_png(const Spectrogram& s, double loudest_db, double mark) {
    if (s.frames < 1 || s.frames > 1 << 16) throw Error("this spectrogram cannot be drawn");
    const int width = static_cast<int>(s.frames), height = s.bands;
    std::vector<uint8_t> pixels = spectrogram_pixels(s, loudest_db);
    if (const int line = static_cast<int>(mark * width); mark > 0 && line < width)
        for (int y = 0; y < height; ++y) std::fill_n(pixels.begin() + 3 * (y * width + line), 3, uint8_t{235});
    std::string png;
    const auto append = [](void* to, void* data, int size) {
        static_cast<std::string*>(to)->append(static_cast<const char*>(data), static_cast<size_t>(size));
    };
    if (stbi_write_png_to_func(append, &png, width, height, 3, pixels.data(), 3 * width) == 0)
        throw Error("a picture could not be encoded as PNG");
    return png;
}

}  // namespace nigiri::app
