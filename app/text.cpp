#include "app/text.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>

#include "app/stop_signals.h"

namespace nigiri::app {

std::string fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string duration(double seconds) {
    const auto s = static_cast<int64_t>(std::lround(std::max(0.0, seconds)));
    char text[64];
    if (s >= 3600)
        std::snprintf(text, sizeof text, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        std::snprintf(text, sizeof text, "%ld min %02ld s", s / 60, s % 60);
    else
        std::snprintf(text, sizeof text, "%ld s", s);
    return text;
}

std::string thousands(double value) {
    if (value >= 1e6) return fixed(value / 1e6, 2) + " M";
    if (value >= 1e3) return fixed(value / 1e3, 1) + " k";
    return fixed(value, 0) + " ";
}

std::string rounded(double value) {
    std::string text = thousands(value);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

std::string bytes_text(double bytes) {
    if (bytes >= 1e9) return fixed(bytes / 1e9, 1) + " GB";
    if (bytes >= 1e6) return fixed(bytes / 1e6, 0) + " MB";
    return fixed(bytes / 1e3, bytes < 1e4 ? 1 : 0) + " kB";
}

ProgressLine::ProgressLine(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() { finish(); }

void ProgressLine::show(const std::string& text, bool always) {
    if (quiet_) return;
    const auto now = std::chrono::steady_clock::now();
    const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
    if (!always && now - last_ < pause) return;
    last_ = now;
    if (terminal_) {
        std::string padded = text;
        if (padded.size() < width_) padded.resize(width_, ' ');
        width_ = text.size();
        std::cerr << "\r" << padded << std::flush;
        open_ = true;
    } else {
        std::cerr << text << "\n";
    }
}

void ProgressLine::finish() {
    if (open_) std::cerr << "\n";
    open_ = false;
    width_ = 0;
}

Progress show_progress(ProgressLine& line) {
    return [&line](double fraction, const std::string& what) {
        line.show(what + " " + fixed(100 * fraction, 0) + " %");
        return !stop_requested().load();
    };
}

}  // namespace nigiri::app
