// Numbers and progress for people.
#pragma once

#include <chrono>
#include <string>

#include "audio/progress.h"

namespace nigiri::app {

std::string fixed(double value, int digits);
std::string duration(double seconds);         // "1 h 02 min", "3 min 05 s", "12 s"
std::string thousands(double value);          // "21.3 k", "1.20 M"; "859 ", so that a unit may follow
std::string rounded(double value);            // the same for a table: "859"
inline constexpr const char* no_value = "–";  // in a table
std::string bytes_text(double bytes);         // "412 MB", "1.3 GB"

// A line that rewrites itself on a terminal; elsewhere a plain line now and then. Always on stderr.
class ProgressLine {
  public:
    explicit ProgressLine(bool quiet);
    ~ProgressLine();
    // Shown at most a few times a second on a terminal, every ten seconds elsewhere, unless `always`.
    void show(const std::string& text, bool always = false);
    // Ends the rewritten line, so that other output starts on a fresh one.
    void finish();

  private:
    bool quiet_, terminal_, open_ = false;
    size_t width_ = 0;
    std::chrono::steady_clock::time_point last_{};
};

// Shows a long operation's fraction, and cancels it when the user asks to stop.
Progress show_progress(ProgressLine& line);

}  // namespace nigiri::app
