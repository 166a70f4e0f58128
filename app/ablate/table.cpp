#include "app/ablate/table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "app/text.h"

namespace nigiri::app {

namespace {

std::string signed_text(double value, int digits) { return (value >= 0 ? "+" : "−") + fixed(std::abs(value), digits); }

std::string options_text(const RowSummary& row) {
    std::string text;
    for (const GridOption& o : row.own) text += (text.empty() ? "" : ", ") + o.key + " " + o.text;
    return text;
}

using Show = std::function<std::string(const RowSummary&)>;

template <class T>
std::string shown(const std::optional<T>& value, const std::function<std::string(const T&)>& text) {
    return value ? text(*value) : no_value;
}

// The row whose bits are the least by more than either's deviation; with one seed nobody knows who leads.
int leader(const AblationSummary& s) {
    std::vector<size_t> order;
    for (size_t i = 0; i < s.rows.size(); ++i)
        if (s.rows[i].bits) order.push_back(i);
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return s.rows[a].bits->mean < s.rows[b].bits->mean; });
    if (order.size() < 2) return -1;
    const Spread &first = *s.rows[order[0]].bits, &second = *s.rows[order[1]].bits;
    if (!first.deviation || !second.deviation) return -1;
    return second.mean - first.mean > std::max(*first.deviation, *second.deviation) ? static_cast<int>(order[0]) : -1;
}

}  // namespace

std::string mean_text(const Spread& s, int digits) {
    return fixed(s.mean, digits) + (s.deviation ? " ± " + fixed(*s.deviation, digits) : "");
}

std::string range_text(const Spread& s, int digits) {
    return (s.n > 1 ? fixed(s.least, digits) + " to " + fixed(s.most, digits) + ", " : std::string()) +
           "n = " + std::to_string(s.n);
}

std::string difference_text(const Spread& s) {
    return signed_text(s.mean, 4) + (s.deviation ? " ± " + fixed(*s.deviation, 4) : "");
}

GridTable result_table(const AblationSummary& s) {
    GridTable table;
    table.title = "Results";
    std::vector<Show> cells;
    const auto column = [&](const std::string& name, const std::string& unit, const std::string& definition,
                            Show show) {
        table.columns.push_back({name, unit, definition});
        cells.push_back(std::move(show));
    };
    const std::string part = name_of(s.grid.evaluation.split);
    column("Bits per sample", part,
           "Exact: what the model needs on average to say the next sample of a recording it never heard. Mean over the "
           "seeds ± their sample standard deviation; below it the best seed, the worst one, and how many there are. "
           "Lower is better; marked where a row leads by more than the deviations.",
           [](const RowSummary& r) {
               return shown<Spread>(r.bits, [](const Spread& b) { return mean_text(b, 4) + "\n" + range_text(b, 4); });
           });
    if (s.rows.size() > 1)
        column("Against " + s.rows[s.grid.reference].name, "bits",
               "Difference of the bits, seed by seed: both began with the same random numbers and saw the same data in "
               "the same order where their batches are equal. Mean ± sample standard deviation.",
               [](const RowSummary& r) { return shown<Spread>(r.difference, difference_text); });
    column("Parameters", "", "Numbers that were learned.", [](const RowSummary& r) {
        return r.parameters > 0 ? rounded(static_cast<double>(r.parameters)) : no_value;
    });
    column("Tokens", "seen", "Samples of training audio, with repetitions.",
           [](const RowSummary& r) { return r.tokens > 0 ? rounded(static_cast<double>(r.tokens)) : no_value; });
    column("Speed", "tokens/s", "Training, median of the run's log, mean over the seeds.", [](const RowSummary& r) {
        return shown<Spread>(r.tokens_per_second, [](const Spread& t) { return rounded(t.mean); });
    });
    column("Time", "training", "By the run's own clock: validation and checkpoints included.", [](const RowSummary& r) {
        return shown<Spread>(r.training_seconds, [](const Spread& t) { return duration(t.mean); });
    });
    column("Memory", "training", "Peak of all tensors.", [](const RowSummary& r) {
        return shown<Spread>(r.memory_bytes, [](const Spread& b) { return bytes_text(b.most); });
    });
    const int best = leader(s);
    for (size_t i = 0; i < s.rows.size(); ++i) {
        GridLine line{s.rows[i].name, options_text(s.rows[i]), {}, s.rows[i].status, -1};
        for (const Show& show : cells) line.cells.push_back(show(s.rows[i]));
        if (static_cast<int>(i) == best) line.best = 0;
        table.lines.push_back(std::move(line));
    }
    return table;
}

GridTable metrics_table(const AblationSummary& s) {
    GridTable table;
    if (!s.has_metrics()) return table;
    table.title = "How like recordings the clips are";
    const auto& metrics = similarity_metrics();
    const auto text = [](const MetricInfo& m, const Spread& v) {
        if (m.unit == "share")
            return fixed(100 * v.mean, 0) + (v.deviation ? " ± " + fixed(100 * *v.deviation, 0) : "") + " %";
        return mean_text(v, std::abs(v.mean) < 100 ? 2 : 0);
    };
    for (const MetricInfo& m : metrics)
        table.columns.push_back({m.name, m.unit == "share" ? "" : m.unit, m.definition});
    for (const RowSummary& row : s.rows) {
        GridLine line{row.name, "", {}, "", -1};
        for (size_t i = 0; i < metrics.size(); ++i)
            line.cells.push_back(i < row.metrics.size() && row.metrics[i] ? text(metrics[i], *row.metrics[i])
                                                                          : no_value);
        table.lines.push_back(std::move(line));
    }
    GridLine floor{"held-out audio itself", "the floor", {}, "", -1};
    for (size_t i = 0; i < metrics.size(); ++i) {
        const auto value = s.floor ? s.floor->values[i] : std::nullopt;
        floor.cells.push_back(value ? text(metrics[i], {.n = 1, .mean = *value, .least = *value, .most = *value})
                                    : no_value);
    }
    table.lines.push_back(std::move(floor));
    return table;
}

GridTable run_table(const AblationSummary& s) {
    GridTable table;
    table.title = "Run by run";
    table.columns = {{"Bits per sample", name_of(s.grid.evaluation.split), ""},
                     {"Training", "bits, at the end", ""},
                     {"Validation", "bits, at the end", ""},
                     {"Speed", "tokens/s", ""},
                     {"Time", "training", ""},
                     {"Finished", "UTC", ""}};
    for (const RowSummary& row : s.rows)
        for (const SeedRun& run : row.runs) {
            GridLine line{row.name + ", seed " + std::to_string(run.seed), "", {}, run.done ? "" : run.status, -1};
            if (run.result && !run.result->failed.empty()) line.status = run.status;
            const RunResult* r = run.result ? &*run.result : nullptr;
            const bool trained = r && r->trained;
            line.cells = {r && r->bits ? fixed(r->bits->total.bits_per_sample(), 4) : no_value,
                          trained ? fixed(r->train_bits, 3) : no_value,
                          trained && r->valid_bits ? fixed(*r->valid_bits, 3) : no_value,
                          trained && r->tokens_per_second ? rounded(*r->tokens_per_second) : no_value,
                          trained ? duration(r->training_seconds) : no_value,
                          r && !r->finished.empty() ? r->finished : no_value};
            table.lines.push_back(std::move(line));
        }
    return table;
}

std::string conditions(const AblationSummary& s) {
    const GridEvaluation& e = s.grid.evaluation;
    std::vector<double> tokens;
    for (const GridRow& r : s.grid.rows)
        tokens.push_back(
            static_cast<double>(r.config.training.steps * r.config.training.batch * r.config.training.length));
    const auto budget = spread(tokens);
    std::string seeds;
    for (const uint64_t seed : s.grid.seeds) seeds += (seeds.empty() ? "" : ", ") + std::to_string(seed);
    std::string text = std::to_string(s.rows.size()) + (s.rows.size() == 1 ? " row" : " rows") + ", seed" +
                       (s.grid.seeds.size() == 1 ? " " : "s ") + seeds + "; each run sees " + rounded(budget->least) +
                       (budget->most > budget->least ? " to " + rounded(budget->most) : "") + " tokens of audio";
    if (s.train_seconds > 0) text += " from " + duration(s.train_seconds) + " of recordings";
    if (!s.data.empty()) text += " (" + s.data + ")";
    text += ". Bits are exact, of the " + std::string(name_of(e.split)) + " part";
    if (s.held_out_samples > 0) text += " (" + rounded(static_cast<double>(s.held_out_samples)) + " samples)";
    text += e.segment > 0 ? ", in segments of " + std::to_string(e.segment) + " samples from a zero state"
                          : ", every recording as one sequence";
    text += ", in " + to_string(e.precision) + ". The model is the last step's, whichever step was best.";
    if (e.clips > 0)
        text += " Clips: " + std::to_string(e.clips) + " of " + fixed(e.clip_seconds, 1) + " s a run, seed " +
                std::to_string(e.sampling.seed) + ", temperature " + fixed(e.sampling.temperature, 2) + ".";
    return text;
}

}  // namespace nigiri::app
