// Runs as curves: one measure of several runs over one another.
#pragma once

#include <map>

#include "app/studio/widgets/plot_curve.h"
#include "app/studio/sessions/run_library.h"

namespace nigiri::studio {

enum class Measure : uint8_t { bits, learning_rate, gradient_norm, speed };
enum class Against : uint8_t { steps, tokens, minutes };

struct ShownRun {
    std::filesystem::path run;
    size_t colour = 0;
    bool operator==(const ShownRun&) const = default;
};

class RunCharts {
  public:
    // What to show. Bits are two curves a run: training, and validation as dots.
    void choose(Measure measure, Against against);
    void set_runs(const std::vector<ShownRun>& runs);
    void set_smoothing(double weight);
    // Every frame: takes over what was logged since.
    void update(const RunLibrary& library);

    std::vector<PlotSeries>& series() { return series_; }
    Measure measure() const { return measure_; }
    Against against() const { return against_; }

  private:
    struct Feed {
        std::shared_ptr<const RunLog> log;
        uint64_t epoch = 0;
        size_t taken = 0;
    };
    void rebuild();
    size_t curves_a_run() const { return measure_ == Measure::bits ? 2 : 1; }

    Measure measure_ = Measure::bits;
    Against against_ = Against::steps;
    double smoothing_ = 0;
    std::vector<ShownRun> runs_;
    std::vector<Feed> feeds_;             // one a run
    std::vector<PlotSeries> series_;      // curves_a_run() a run
    std::map<std::string, bool> hidden_;  // by name: what was hidden in the legend stays so
};

const char* name_of(Measure measure);
const char* name_of(Against against);

}  // namespace nigiri::studio
