// Numbers along a sound, over the same stretch of it as the player shows.
#pragma once

#include <optional>

#include "app/studio/player/deck.h"
#include "app/studio/widgets/plot_axis.h"

namespace nigiri::studio {

// A curve of as many values as one likes, drawn at any zoom.
class SoundCurve {
  public:
    // Null: none.
    void set(std::shared_ptr<const Sound> values);
    // Columns of values from `begin` to `end`, fractions allowed.
    const std::vector<SampleSummary>& columns(double begin, double end, size_t count);

  private:
    std::optional<Overview> overview_;
    std::vector<SampleSummary> columns_;
};

struct SoundPlotLine {
    SoundCurve* curve = nullptr;
    double values_per_sample = 1;  // of the deck's sound
    ImU32 colour = 0;
};

// Fills `size` pixels at the cursor: grid, lines, the player's position. The wheel zooms the player's view at the
// pointer, pressing seeks there. `unit`: of the vertical axis.
void draw_sound_plot(Deck& deck, const char* id, ImVec2 size, const Axis& vertical, const std::string& unit,
                     const std::vector<SoundPlotLine>& lines);

}  // namespace nigiri::studio
