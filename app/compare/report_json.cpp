#include <cmath>
#include <nlohmann/json.hpp>

#include "app/compare/report.h"
#include "app/write_file.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

json number(std::optional<double> x) { return x && std::isfinite(*x) ? json(*x) : json(nullptr); }

json values(const Similarity& s) {
    json out = json::object();
    const auto& metrics = similarity_metrics();
    for (size_t i = 0; i < metrics.size(); ++i) out[metrics[i].key] = number(s.values[i]);
    if (s.transposition) out["transposition"] = *s.transposition;
    return out;
}

json clip_json(const ComparedClip& c, const ReportFiles& files) {
    json out = {{"samples", static_cast<int64_t>(c.samples.size()) - c.prompt},
                {"prompt_samples", c.prompt},
                {"analysis", to_json(c.analysis)},
                {"ran_away", c.ran_away == Runaway::none ? json(nullptr) : json(name_of(c.ran_away))}};
    if (!c.file.empty()) out["file"] = c.file.lexically_relative(files.json.parent_path()).string();
    return out;
}

json model_json(const ComparedModel& m, const ComparisonOptions& options, const ReportFiles& files) {
    json out = {{"name", m.name},
                {"model", m.file.string()},
                {"layer", m.layer},
                {"parameters", m.parameters},
                {"step", m.step},
                {"tokens", m.tokens},
                {"training_seconds", m.training_seconds},
                {"train_tokens_per_second", number(m.train_tokens_per_second)},
                {"complete", m.clips_complete && m.error.empty() && (m.evaluation || !options.evaluate)},
                {"clips", json::array()}};
    for (const ComparedClip& c : m.clips) {
        out["clips"].push_back(clip_json(c, files));
        out["clips"].back()["log2_likelihood_per_sample"] = c.log2_likelihood_per_sample;
    }
    out["clips_complete"] = m.clips_complete;
    if (m.steps_per_second > 0) {
        out["steps_per_second"] = m.steps_per_second;
        out["samples_per_second"] = m.steps_per_second * options.clips;
        if (!m.clips.empty()) out["realtime_factor"] = m.steps_per_second / m.clips[0].rate;
    }
    out["memory_bytes"] = m.memory_bytes;
    if (m.similarity) out["metrics"] = values(*m.similarity);
    if (m.evaluation) {
        out["bits_per_sample"] = m.evaluation->total.bits_per_sample();
        out["samples"] = m.evaluation->total.samples;
        out["recordings"] = json::array();
        for (const RecordingEvaluation& r : m.evaluation->recordings)
            out["recordings"].push_back(
                {{"name", r.name}, {"bits_per_sample", r.bits.bits_per_sample()}, {"samples", r.bits.samples}});
    }
    if (!m.error.empty()) out["error"] = m.error;
    return out;
}

}  // namespace

ReportFiles report_files(const fs::path& output) {
    if (output.extension() == ".html") {
        const auto beside = [&](const std::string& ending) {
            return output.parent_path() / (output.stem().string() + ending);
        };
        return {output, beside(".md"), beside(".json"), beside("-clips")};
    }
    return {output / "report.html", output / "report.md", output / "report.json", output / "clips"};
}

json to_json(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files) {
    json metrics = json::array(), models = json::array();
    for (const MetricInfo& m : similarity_metrics())
        metrics.push_back({{"key", m.key},
                           {"name", m.name},
                           {"unit", m.unit},
                           {"better", m.better == Better::lower ? "lower" : "near"},
                           {"definition", m.definition}});
    for (const ComparedModel& m : result.models) models.push_back(model_json(m, options, files));
    json held_out = {{"seconds", result.held_out_seconds},
                     {"reference_seconds", result.reference_seconds},
                     {"recordings", result.recordings},
                     {"pieces", result.held_out.size()},
                     {"metrics", result.floor ? values(*result.floor) : json(nullptr)},
                     {"clips", json::array()}};
    for (const ComparedClip& c : result.held_out) held_out["clips"].push_back(clip_json(c, files));
    return {{"complete", result.complete},
            {"data", options.data.string()},
            {"split", name_of(options.split)},
            {"device", result.device},
            {"seed", options.sampling.seed},
            {"clips", options.clips},
            {"seconds", options.seconds},
            {"prompt_seconds", options.prompt_seconds},
            {"temperature", options.sampling.temperature},
            {"top_k", options.sampling.top_k},
            {"top_p", options.sampling.top_p},
            {"precision", to_string(options.precision)},
            {"models", models},
            {"held_out", held_out},
            {"metrics", metrics},
            {"notes", result.notes}};
}

void write_report(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files) {
    const json object = to_json(options, result, files);
    write_file(files.json, object.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    write_file(files.markdown, to_markdown(options, result, files));
    write_file(files.html, to_html(options, result, files));
}

}  // namespace nigiri::app
