// The Inspect page's views of single layers: kernels of time-invariant ones, delta of selective ones.
#pragma once

#include "app/studio/sessions/inspect_session.h"
#include "app/studio/widgets/plot.h"
#include "app/studio/pages/sound_plot.h"
#include "app/studio/player/spectrogram_painter.h"
#include "app/studio/studio.h"

namespace nigiri::studio {

// Which layer of a kind is chosen, and a channel of it.
class LayerChoice {
  public:
    explicit LayerChoice(bool time_invariant) : time_invariant_(time_invariant) {}

    // Draws the choice; nothing where the model has no such layer.
    std::optional<size_t> draw(const InspectedModel& model);
    int channel = 0;
    int channels() const { return channels_; }

  private:
    bool time_invariant_;
    size_t chosen_ = 0;
    int channels_ = 1;
};

class KernelView {
  public:
    void draw(InspectSession& session);

  private:
    void take(const InspectedKernels& found, int first, int count);

    struct Asked {
        std::shared_ptr<const InspectedModel> model;
        size_t layer = 0;
        int length = 0;
        bool operator==(const Asked&) const = default;
    };
    Asked asked_;
    LayerChoice layer_{true};
    int more_ = 3, length_ = 1024;
    bool log_time_ = false;
    std::shared_ptr<const InspectedKernels> shown_;
    int first_ = -1, count_ = 0;
    std::vector<PlotSeries> in_time_, in_frequency_;
    Plot time_, frequency_;
};

class DeltaView {
  public:
    explicit DeltaView(const Wake& wake) : spectrogram_(wake) {}
    void draw(Desk& desk, InspectSession& session);

  private:
    LayerChoice layer_{false};
    std::shared_ptr<const InspectedSteps> shown_;
    SoundCurve mean_, channel_;
    SpectrogramPainter spectrogram_;
    std::shared_ptr<const Sound> painted_;
};

}  // namespace nigiri::studio
