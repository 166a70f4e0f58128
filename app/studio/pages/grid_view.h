// The table and the curves of a grid that nigiri ablate made, to be looked at.
#pragma once

#include "app/studio/sessions/comparison_session.h"
#include "app/studio/widgets/plot.h"

namespace nigiri::studio {

class GridView {
  public:
    // `grid` has one; nothing is kept of it but the curves.
    void draw(const std::shared_ptr<const Comparison>& comparison);

  private:
    void draw_table(const app::SavedAblation& grid);
    void draw_curves(const app::SavedAblation& grid);

    std::shared_ptr<const Comparison> shown_;
    bool validation_ = true;
    std::vector<PlotSeries> series_;
    Plot plot_;
};

}  // namespace nigiri::studio
