#include "audio/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>

namespace nigiri {
namespace {

// The length of the valid UTF-8 sequence at text[at], or 0.
size_t sequence(const std::string& text, size_t at) {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u; };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    const size_t length = first >= 0xC2 && first <= 0xDF ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
    for (size_t i = 1; i < length; ++i)
        if ((byte(at + i) & 0xC0) != 0x80) return 0;
    const unsigned second = byte(at + 1);
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool beyond =
        (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);  // surrogates, above U+10FFFF
    return overlong || beyond ? 0 : length;
}

}  // namespace

std::string printable(const std::string& text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        const size_t length = sequence(text, at);
        const uint8_t first = static_cast<uint8_t>(text[at]);
        const bool control = first < 0x20 || first == 0x7F ||
                             (first == 0xC2 && length == 2 && static_cast<uint8_t>(text[at + 1]) < 0xA0);
        if (length == 0 || control)
            out += '?';
        else
            out.append(text, at, length);
        at += std::max<size_t>(length, 1);
    }
    return out;
}

std::string shown(double x, int decimals) {
    char text[64];
    std::snprintf(text, sizeof(text), "%.*f", decimals, x);
    return text;
}

std::string duration(double seconds) {
    if (seconds < 60) return shown(seconds, 1) + " s";
    const auto whole = static_cast<int64_t>(std::llround(seconds));
    std::string text = whole >= 3600 ? std::to_string(whole / 3600) + " h " : "";
    return text + std::to_string(whole / 60 % 60) + " min " + std::to_string(whole % 60) + " s";
}

bool has_sound_ending(const std::string& name) {
    static constexpr std::array<const char*, 20> endings = {".wav",  ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3",
                                                            ".aif",  ".aiff", ".aifc", ".au",  ".snd", ".caf",  ".w64",
                                                            ".rf64", ".m4a",  ".aac",  ".mp4", ".wma", ".ape"};
    std::string ending = std::filesystem::path(name).extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
    return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

}  // namespace nigiri
