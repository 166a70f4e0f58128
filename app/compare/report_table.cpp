#include "app/compare/report_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "app/text.h"

namespace nigiri::app {

namespace {

std::string shown(const MetricInfo& metric, std::optional<double> value) {
    if (!value || !std::isfinite(*value)) return no_value;
    if (metric.unit == "share") return fixed(100 * *value, 0) + " %";
    if (metric.unit == "bits") return fixed(*value, 3);
    return fixed(*value, *value < 100 ? 2 : 0);
}

// The least of the values, if there are two to choose among and it is less than all others by more than `margin`.
int least(const std::vector<std::optional<double>>& values, double margin = 0) {
    int best = -1;
    double first = std::numeric_limits<double>::infinity(), second = first;
    for (size_t i = 0; i < values.size(); ++i) {
        if (!values[i]) continue;
        if (*values[i] < first) {
            second = first;
            first = *values[i];
            best = static_cast<int>(i);
        } else {
            second = std::min(second, *values[i]);
        }
    }
    return std::isfinite(second) && second - first > margin ? best : -1;
}

using Cell = std::function<std::string(const ComparedModel&)>;

TableRow row(const ComparisonResult& result, const std::string& name, const std::string& unit,
             const std::string& definition, const Cell& cell) {
    TableRow r{name, unit, definition, "", {}, -1};
    for (const ComparedModel& m : result.models) r.cells.push_back(cell(m));
    return r;
}

}  // namespace

Table model_table(const ComparisonResult& result) {
    Table table{"The models", {}};
    auto& rows = table.rows;
    std::vector<std::optional<double>> bits;
    for (const ComparedModel& m : result.models)
        bits.push_back(m.evaluation ? std::optional(m.evaluation->total.bits_per_sample()) : std::nullopt);
    rows.push_back(row(result, "Bits per sample", "held-out audio",
                       "Exact: how many bits the model needs on average to say what the next sample of a recording is "
                       "that it never heard. Lower is better.",
                       [](const ComparedModel& m) {
                           return m.evaluation ? fixed(m.evaluation->total.bits_per_sample(), 4) : no_value;
                       }));
    rows.back().best = least(bits);
    rows.push_back(row(result, "Layer", "", "What carries information along the sound.",
                       [](const ComparedModel& m) { return m.layer; }));
    rows.push_back(row(result, "Parameters", "", "Numbers that were learned.",
                       [](const ComparedModel& m) { return rounded(static_cast<double>(m.parameters)); }));
    rows.push_back(row(result, "Trained", "steps", "Times that the parameters were adjusted.",
                       [](const ComparedModel& m) { return std::to_string(m.step); }));
    rows.push_back(row(result, "Samples seen in training", "",
                       "With repetitions; 16000 are a second of sound at 16 kHz.",
                       [](const ComparedModel& m) { return rounded(static_cast<double>(m.tokens)); }));
    rows.push_back(
        row(result, "Training time", "", "Over all sessions, on the machine that trained it.",
            [](const ComparedModel& m) { return m.training_seconds > 0 ? duration(m.training_seconds) : no_value; }));
    rows.push_back(row(result, "Training speed", "samples/s",
                       "Median of the run's log, on the machine that trained it; empty without the run folder.",
                       [](const ComparedModel& m) {
                           return m.train_tokens_per_second ? rounded(*m.train_tokens_per_second) : no_value;
                       }));
    rows.push_back(
        row(result, "Generating", "steps/s", "Here and now, all clips of a model side by side, one sample each a step.",
            [](const ComparedModel& m) { return m.steps_per_second > 0 ? rounded(m.steps_per_second) : no_value; }));
    rows.push_back(row(result, "Real-time factor", "a clip",
                       "Seconds of each clip made in a second. From 1 on it could be played while it is made.",
                       [](const ComparedModel& m) {
                           return m.steps_per_second > 0 && !m.clips.empty()
                                    ? fixed(m.steps_per_second / m.clips[0].rate, 3)
                                    : no_value;
                       }));
    rows.push_back(
        row(result, "Memory while generating", "",
            "Parameters, states and scratch memory at their peak, the prompt included.", [](const ComparedModel& m) {
                return m.memory_bytes ? fixed(static_cast<double>(m.memory_bytes) / 1e6, 1) + " MB" : no_value;
            }));
    rows.push_back(
        row(result, "Likelihood of its own clips", "bits",
            "Mean log2 probability of a generated sample under the model itself. Far above minus its bits per "
            "sample: it repeats what is easy.",
            [](const ComparedModel& m) {
                double sum = 0;
                for (const ComparedClip& c : m.clips) sum += c.log2_likelihood_per_sample;
                return m.clips.empty() ? no_value : fixed(sum / static_cast<double>(m.clips.size()), 3);
            }));
    return table;
}

Table similarity_table(const ComparisonResult& result) {
    Table table{"How like recordings the clips are", {}};
    const bool measured = result.floor || std::any_of(result.models.begin(), result.models.end(),
                                                      [](const ComparedModel& m) { return m.similarity.has_value(); });
    if (!measured) return table;
    const auto& metrics = similarity_metrics();
    for (size_t i = 0; i < metrics.size(); ++i) {
        const MetricInfo& metric = metrics[i];
        const auto floor = result.floor ? result.floor->values[i] : std::nullopt;
        TableRow r{metric.name, metric.unit == "share" ? "" : metric.unit, metric.definition, shown(metric, floor), {},
                   -1};
        std::vector<std::optional<double>> distances;
        for (const ComparedModel& m : result.models) {
            const auto value = m.similarity ? m.similarity->values[i] : std::nullopt;
            r.cells.push_back(shown(metric, value));
            if (metric.better == Better::near)
                distances.push_back(value && floor ? std::optional(std::abs(*value - *floor)) : std::nullopt);
            else
                distances.push_back(value);
        }
        const bool has_floor = metric.better == Better::lower && floor;
        r.best = least(distances, has_floor ? *floor / 2 : 0);
        table.rows.push_back(std::move(r));
    }
    return table;
}

Table recording_table(const ComparisonResult& result) {
    Table table{"Bits per sample, recording by recording", {}};
    const SplitEvaluation* names = nullptr;
    for (const ComparedModel& m : result.models)
        if (m.evaluation && !names) names = &*m.evaluation;
    if (!names) return table;
    for (size_t i = 0; i < names->recordings.size(); ++i) {
        std::vector<std::optional<double>> bits;
        TableRow r{names->recordings[i].name, "", "", "", {}, -1};
        for (const ComparedModel& m : result.models) {
            const bool known = m.evaluation && i < m.evaluation->recordings.size();
            bits.push_back(known ? std::optional(m.evaluation->recordings[i].bits.bits_per_sample()) : std::nullopt);
            r.cells.push_back(known ? fixed(*bits.back(), 3) : no_value);
        }
        r.best = least(bits);
        table.rows.push_back(std::move(r));
    }
    return table;
}

std::vector<std::string> differences(const ComparisonResult& result) {
    std::vector<std::string> sentences;
    if (result.models.empty() || !result.models[0].evaluation) return sentences;
    const ComparedModel& first = result.models[0];
    const auto& base = first.evaluation->recordings;
    for (size_t m = 1; m < result.models.size(); ++m) {
        const ComparedModel& other = result.models[m];
        if (!other.evaluation || other.evaluation->recordings.size() != base.size() || base.size() < 3) continue;
        const auto n = static_cast<double>(base.size());
        std::vector<double> d;
        double mean = 0, square = 0;
        for (size_t i = 0; i < base.size(); ++i) {
            d.push_back(other.evaluation->recordings[i].bits.bits_per_sample() - base[i].bits.bits_per_sample());
            mean += d.back() / n;
        }
        for (const double x : d) square += (x - mean) * (x - mean);
        sentences.push_back(
            other.name + " needs " + fixed(std::abs(mean), 3) + " ± " + fixed(std::sqrt(square / (n - 1) / n), 3) +
            " bits per sample " + (mean < 0 ? "less" : "more") + " than " + first.name + " (mean over " +
            std::to_string(base.size()) + " recordings, which count alike; ± is the standard error of that mean).");
    }
    return sentences;
}

std::string summary(const ComparisonOptions& options, const ComparisonResult& result) {
    std::string text = std::to_string(options.clips) + " clips of " + fixed(options.seconds, 1) + " s a model, seed " +
                       std::to_string(options.sampling.seed) + ", temperature " +
                       fixed(options.sampling.temperature, 2);
    if (options.sampling.top_k > 0) text += ", top-k " + std::to_string(options.sampling.top_k);
    if (options.sampling.top_p < 1) text += ", top-p " + fixed(options.sampling.top_p, 3);
    if (options.prompt_seconds > 0)
        text += ", each after " + fixed(options.prompt_seconds, 1) + " s of held-out audio as a prompt";
    if (options.data.empty()) return text + ". Device: " + result.device + ".";
    text += "; compared with " + duration(result.reference_seconds) + " of " + duration(result.held_out_seconds) +
            " held-out audio (" + name_of(options.split) + ", " + std::to_string(result.recordings) +
            (result.recordings == 1 ? " recording)" : " recordings)") + ". Device: " + result.device + ".";
    return text;
}

}  // namespace nigiri::app
