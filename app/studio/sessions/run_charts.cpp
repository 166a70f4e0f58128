#include "app/studio/sessions/run_charts.h"

namespace nigiri::studio {

namespace {

double x_of(const MetricPoint& p, Against against) {
    switch (against) {
        case Against::steps:
            return p.step;
        case Against::tokens:
            return p.tokens;
        case Against::minutes:
            return p.seconds / 60;
    }
    return p.step;
}

}  // namespace

const char* name_of(Measure measure) {
    switch (measure) {
        case Measure::bits:
            return "Bits per sample";
        case Measure::learning_rate:
            return "Learning rate";
        case Measure::gradient_norm:
            return "Gradient norm";
        case Measure::speed:
            return "Samples a second";
    }
    return "";
}

const char* name_of(Against against) {
    switch (against) {
        case Against::steps:
            return "steps";
        case Against::tokens:
            return "samples seen";
        case Against::minutes:
            return "minutes";
    }
    return "";
}

void RunCharts::choose(Measure measure, Against against) {
    if (measure == measure_ && against == against_) return;
    measure_ = measure;
    against_ = against;
    rebuild();
}

void RunCharts::set_runs(const std::vector<ShownRun>& runs) {
    if (runs == runs_) return;
    runs_ = runs;
    rebuild();
}

void RunCharts::set_smoothing(double weight) {
    smoothing_ = weight;
    for (PlotSeries& s : series_) s.set_smoothing(weight);
}

void RunCharts::rebuild() {
    for (const PlotSeries& s : series_) hidden_[s.name] = !s.visible;
    series_.clear();
    feeds_.assign(runs_.size(), {});
    for (const ShownRun& run : runs_)
        for (size_t k = 0; k < curves_a_run(); ++k) {
            PlotSeries s;
            s.name = run.run.filename().string();
            if (measure_ == Measure::bits) s.name += k == 0 ? ", training" : ", validation";
            s.colour = run.colour;
            s.dots = k == 1;
            s.set_smoothing(smoothing_);
            const auto hidden = hidden_.find(s.name);
            s.visible = hidden == hidden_.end() || !hidden->second;
            series_.push_back(std::move(s));
        }
}

void RunCharts::update(const RunLibrary& library) {
    for (size_t r = 0; r < runs_.size(); ++r) {
        Feed& feed = feeds_[r];
        const size_t first = r * curves_a_run();
        const auto log = library.log(runs_[r].run);
        if (!log) continue;
        const RunLog::View view = log->view();
        if (log != feed.log || view.epoch != feed.epoch) {
            for (size_t k = 0; k < curves_a_run(); ++k) series_[first + k].clear();
            feed = {log, view.epoch, 0};
        }
        for (; feed.taken < view.points.size(); ++feed.taken) {
            const MetricPoint& p = view.points[feed.taken];
            const double x = x_of(p, against_);
            switch (measure_) {
                case Measure::bits:
                    series_[first].append(x, p.train_bits);
                    series_[first + 1].append(x, p.valid_bits);
                    break;
                case Measure::learning_rate:
                    series_[first].append(x, p.learning_rate);
                    break;
                case Measure::gradient_norm:
                    series_[first].append(x, p.gradient_norm);
                    break;
                case Measure::speed:
                    series_[first].append(x, p.tokens_per_second);
                    break;
            }
        }
    }
}

}  // namespace nigiri::studio
