// A sound on the screen: waveform or spectrogram at any zoom, selection, playhead.
#pragma once

#include <imgui.h>

#include <memory>
#include <optional>

#include "app/studio/player/spectrogram_painter.h"
#include "audio/overview.h"
#include "audio/transport.h"

namespace nigiri::studio {

// What part of a sound is shown: samples [begin, end), fractions allowed. Plain state, so that tests need no window.
class ViewRange {
  public:
    // Shows all of a sound of this length, and follows it while it grows and nothing was zoomed.
    void reset(int64_t length);
    void set_length(int64_t length);

    double begin() const { return begin_; }
    double end() const { return end_; }
    double span() const { return end_ - begin_; }
    bool whole() const { return begin_ <= 0 && end_ >= static_cast<double>(length_); }
    // `factor` below 1 shows less; the sample `at` stays where it is. At least 32 samples, at most everything.
    void zoom(double factor, double at);
    void move(double samples);
    void show(double begin, double end);
    // Moves, if it must, so that `at` is in sight.
    void follow(double at);

    double sample_at(float x, float left, float width) const;
    float x_of(double sample, float left, float width) const;

  private:
    void keep_inside();

    int64_t length_ = 0;
    double begin_ = 0, end_ = 1;
    bool grows_ = true;
};

// What the user did in a view during a frame.
struct ViewEvents {
    std::optional<int64_t> seek;
    bool selection_changed = false;
};

enum class Picture : uint8_t { waveform, spectrogram, both };

class SoundView {
  public:
    explicit SoundView(const Wake& wake) : spectrogram_(wake) {}

    void set_sound(std::shared_ptr<const Sound> sound);
    const std::shared_ptr<const Sound>& sound() const { return sound_; }

    ViewRange range;
    std::optional<SoundRange> selection;
    Picture picture = Picture::waveform;

    // Draws into `size` pixels at the cursor. `length`: samples the sound will have.
    ViewEvents draw(const char* id, ImVec2 size, int64_t position, int64_t length, bool follow);

  private:
    void draw_waveform(ImDrawList& draw, ImVec2 at, ImVec2 size);
    void draw_time(ImDrawList& draw, ImVec2 at, ImVec2 size) const;
    void handle(ImVec2 at, ImVec2 size, ViewEvents& events);

    std::shared_ptr<const Sound> sound_;
    std::optional<Overview> overview_;
    SpectrogramPainter spectrogram_;
    std::vector<SampleSummary> columns_;
    std::optional<double> drag_from_;
    bool dragging_ = false;
};

// "1:02.345", with as many digits as `span` seconds on the screen call for.
std::string time_text(double seconds, double span);

}  // namespace nigiri::studio
