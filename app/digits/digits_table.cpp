// What the page and the Markdown file of scored digits share, and the JSON.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "app/digits/digits_report.h"
#include "app/text.h"
#include "app/write_file.h"

namespace nigiri::app {

using nlohmann::json;

namespace {

std::string score(double value) { return fixed(value, std::abs(value) < 100 ? 2 : 1); }
std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::vector<std::string> cells_of(const DigitScores& s) {
    return {score(s.fid), score(s.inception), score(s.modified_inception), score(s.am)};
}

// Marks each score's best model, where there are two to choose among.
template <class Scores>
void mark_best(const DigitScoring& result, DigitTable& table, const Scores& scores_of_row) {
    const auto better = [](size_t metric, const DigitScores& a, const DigitScores& b) {
        switch (metric) {
            case 0:
                return a.fid < b.fid;
            case 1:
                return a.inception > b.inception;
            case 2:
                return a.modified_inception > b.modified_inception;
            default:
                return a.am < b.am;
        }
    };
    std::vector<const DigitRow*> models;
    for (const DigitRow& r : result.rows)
        if (r.kind == DigitRowKind::model && r.error.empty() && scores_of_row(r)) models.push_back(&r);
    if (models.size() < 2) return;
    for (size_t metric = 0; metric < 4; ++metric) {
        const DigitRow* best = models[0];
        for (const DigitRow* r : models)
            if (better(metric, *scores_of_row(*r), *scores_of_row(*best))) best = r;
        for (DigitTable::Row& row : table.rows)
            if (row.cells[0] == best->name) row.best.push_back(static_cast<int>(metric) + 1);
    }
}

json scores_json(const DigitScores& s) {
    return {{"fid", s.fid}, {"is", s.inception}, {"mis", s.modified_inception}, {"am", s.am}};
}

const char* kind_name(DigitRowKind kind) {
    switch (kind) {
        case DigitRowKind::recordings:
            return "recordings";
        case DigitRowKind::trivial:
            return "trivial";
        case DigitRowKind::model:
            break;
    }
    return "model";
}

}  // namespace

DigitTable score_table(const DigitScoring& result) {
    DigitTable table{"Scores", {"", "FID", "IS", "mIS", "AM", "bits/sample", "right", "surety", "clips"}, {}};
    for (const DigitRow& r : result.rows) {
        DigitTable::Row row;
        row.floor = r.kind == DigitRowKind::recordings;
        row.cells = {r.name};
        if (!r.error.empty()) {
            row.cells.resize(table.columns.size(), no_value);
        } else {
            for (std::string& cell : cells_of(r.scores)) row.cells.push_back(std::move(cell));
            row.cells.push_back(r.bits_per_sample ? fixed(*r.bits_per_sample, 3) : no_value);
            row.cells.push_back(r.accuracy ? percent(*r.accuracy) : no_value);
            row.cells.push_back(fixed(r.confidence, 3));
            row.cells.push_back(r.scored == r.made ? std::to_string(r.scored)
                                                   : std::to_string(r.scored) + " of " + std::to_string(r.made));
        }
        table.rows.push_back(std::move(row));
    }
    mark_best(result, table, [](const DigitRow& r) { return std::optional(r.scores); });
    return table;
}

DigitTable unselected_table(const DigitScoring& result) {
    DigitTable table{"Without the selection by likelihood", {"", "FID", "IS", "mIS", "AM", "clips"}, {}};
    for (const DigitRow& r : result.rows) {
        if (r.kind != DigitRowKind::model || !r.unselected || !r.error.empty()) continue;
        DigitTable::Row row;
        row.cells = {r.name};
        for (std::string& cell : cells_of(*r.unselected)) row.cells.push_back(std::move(cell));
        row.cells.push_back(std::to_string(r.made));
        table.rows.push_back(std::move(row));
    }
    mark_best(result, table, [](const DigitRow& r) { return r.unselected; });
    return table;
}

DigitTable heard_table(const DigitScoring& result) {
    DigitTable table{"Which digits are heard", {""}, {}};
    for (int d = 0; d < digit_classes; ++d) table.columns.push_back(std::to_string(d));
    for (const DigitRow& r : result.rows) {
        if (!r.error.empty()) continue;
        DigitTable::Row row;
        row.floor = r.kind == DigitRowKind::recordings;
        row.cells = {r.name};
        for (const double share : r.heard) row.cells.push_back(fixed(100 * share, 0) + " %");
        table.rows.push_back(std::move(row));
    }
    return table;
}

std::string digit_summary(const DigitScoringOptions& options, const DigitScoring& result) {
    const auto& sampling = options.clips.sampling;
    std::string text = "Models of spoken digits: " + std::to_string(options.clips.count) +
                       " clips of one second each from nothing, at temperature " + fixed(sampling.temperature, 2);
    if (sampling.top_k > 0) text += ", the " + std::to_string(sampling.top_k) + " likeliest codes only";
    if (sampling.top_p < 1) text += ", the likeliest codes that make up " + fixed(sampling.top_p, 3);
    text += "; of these, by their exact likelihood, the lowest " + fixed(100 * options.lower, 0) +
            " % and the highest " + fixed(100 * (1 - options.upper), 0) + " % are left out (thresholds " +
            fixed(options.lower, 2) + " and " + fixed(options.upper, 2);
    if (options.lower == published_lower && options.upper == published_upper)
        text += ", what the published evaluation comes to";
    text += "). Seed " + std::to_string(sampling.seed) + ", " + result.device + ".";
    return text;
}

std::string comparability(const DigitScoring& result) {
    std::string text =
        "All values come from a classifier of this project's own. They compare only with values of the same classifier "
        "file on the same recordings, never with published ones, whose formulas they share.";
    text += " Classifier " + result.classifier_name + " (" + result.classifier_id +
            "): " + std::to_string(result.classifier_parameters) + " parameters, " + std::to_string(result.features) +
            " features";
    return text + ".";
}

const std::vector<DigitDefinition>& digit_definitions() {
    static const std::vector<DigitDefinition> all = {
        {"FID",
         "Fréchet distance between the classifier's features of these clips and of the training recordings. Lower "
         "is better; few clips make it larger."},
        {"IS",
         "Inception score: how surely each clip is one digit, while all digits occur. From 1 to about 10, higher is "
         "better."},
        {"mIS",
         "Modified inception score: how differently pairs of clips are heard. Higher is better, without a limit; it "
         "grows with the classifier's surety."},
        {"AM",
         "How differently from the recordings the digits are spread, plus how unsure the classifier is, in nats. "
         "Lower is better."},
        {"bits/sample", "The scored clips' own surprise under the model that made them, not bits of recordings."},
        {"right", "Recordings that are heard as the digit they are."},
        {"surety", "Mean probability of the digit that is heard."},
        {"recordings",
         "What recordings themselves score: train against itself, and the held-out parts, which are the "
         "floor for a model. They are fewer, which raises their FID and moves their IS."},
        {"previous sample",
         "A trivial model: every sample drawn as it follows the one before it in the training "
         "recordings, with the same selection."}};
    return all;
}

json to_json(const DigitScoringOptions& options, const DigitScoring& result) {
    const auto& sampling = options.clips.sampling;
    json rows = json::array();
    for (const DigitRow& r : result.rows) {
        json row = {{"name", r.name}, {"kind", kind_name(r.kind)}, {"made", r.made}, {"scored", r.scored}};
        if (r.kind == DigitRowKind::model) {
            row["layer"] = r.layer;
            row["parameters"] = r.parameters;
            row["step"] = r.step;
            row["tokens"] = r.tokens;
        }
        if (!r.error.empty()) {
            row["error"] = r.error;
        } else {
            row.update(scores_json(r.scores));
            if (r.unselected) row["unselected"] = scores_json(*r.unselected);
            row["bits_per_sample"] = r.bits_per_sample ? json(*r.bits_per_sample) : json();
            row["accuracy"] = r.accuracy ? json(*r.accuracy) : json();
            row["confidence"] = r.confidence;
            row["heard"] = r.heard;
        }
        rows.push_back(std::move(row));
    }
    return {{"complete", result.complete},
            {"data", options.data.filename().string()},
            {"device", result.device},
            {"classifier",
             {{"file", result.classifier_name},
              {"id", result.classifier_id},
              {"parameters", result.classifier_parameters},
              {"features", result.features},
              {"facts", result.classifier_facts}}},
            {"protocol",
             {{"clips", options.clips.count},
              {"samples", digit_samples},
              {"batch", options.clips.batch},
              {"seed", sampling.seed},
              {"temperature", sampling.temperature},
              {"top_k", sampling.top_k},
              {"top_p", sampling.top_p},
              {"lower", options.lower},
              {"upper", options.upper}}},
            {"comparable_with", "the same classifier file and recordings only"},
            {"rows", rows},
            {"notes", result.notes}};
}

void write_report(const DigitScoringOptions& options, const DigitScoring& result, const ReportFiles& files) {
    write_file(files.html, to_html(options, result));
    write_file(files.markdown, to_markdown(options, result));
    write_file(files.json, to_json(options, result).dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace nigiri::app
