#include <nlohmann/json.hpp>

#include "app/ablate/report.h"
#include "app/compare/report.h"
#include "app/write_file.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

json to_json(const Spread& s) {
    return {{"n", s.n},
            {"mean", s.mean},
            {"deviation", s.deviation ? json(*s.deviation) : json(nullptr)},
            {"least", s.least},
            {"most", s.most}};
}

json to_json(const std::optional<Spread>& s) { return s ? to_json(*s) : json(nullptr); }

json curve(const std::vector<MeanPoint>& points) {
    json out = json::array();
    for (const MeanPoint& p : points) {
        out.push_back(to_json(p.bits));
        out.back()["tokens"] = p.tokens;
    }
    return out;
}

json run_json(const SeedRun& run) {
    json out = {{"seed", run.seed}, {"status", run.status}, {"done", run.done}};
    if (!run.result || !run.result->trained) return out;
    const RunResult& r = *run.result;
    out["steps"] = r.steps;
    out["tokens"] = r.tokens;
    out["train_bits_per_sample"] = r.train_bits;
    out["valid_bits_per_sample"] = r.valid_bits ? json(*r.valid_bits) : json(nullptr);
    out["bits_per_sample"] = r.bits ? json(r.bits->total.bits_per_sample()) : json(nullptr);
    out["samples"] = r.bits ? r.bits->total.samples : 0;
    out["training_seconds"] = r.training_seconds;
    out["tokens_per_second"] = r.tokens_per_second ? json(*r.tokens_per_second) : json(nullptr);
    out["memory_bytes"] = r.memory_bytes;
    out["device"] = r.device;
    out["version"] = r.version;
    out["started"] = r.started;
    out["finished"] = r.finished;
    return out;
}

json row_json(const RowSummary& row) {
    json options = json::object(), runs = json::array(), metrics = json::object();
    for (const GridOption& o : row.own) options[o.key] = o.text;
    for (const SeedRun& run : row.runs) runs.push_back(run_json(run));
    for (size_t i = 0; i < row.metrics.size(); ++i) metrics[similarity_metrics()[i].key] = to_json(row.metrics[i]);
    return {{"name", row.name},
            {"options", options},
            {"config", json::parse(to_json(row.config))},
            {"status", row.status.empty() ? "done" : row.status},
            {"parameters", row.parameters},
            {"tokens", row.tokens},
            {"bits_per_sample", to_json(row.bits)},
            {"difference", to_json(row.difference)},
            {"valid_bits_per_sample", to_json(row.valid_bits)},
            {"tokens_per_second", to_json(row.tokens_per_second)},
            {"training_seconds", to_json(row.training_seconds)},
            {"memory_bytes", to_json(row.memory_bytes)},
            {"metrics", metrics},
            {"train_curve", curve(row.train_curve)},
            {"valid_curve", curve(row.valid_curve)},
            {"runs", runs}};
}

}  // namespace

AblationFiles ablation_files(const fs::path& folder) {
    return {folder / "report.html", folder / "report.md", folder / "report.json"};
}

json to_json(const AblationSummary& s, const ComparisonResult& clips, const fs::path& folder) {
    json out = to_json(comparison_options_of(s, folder), clips, report_files(folder));
    json axes = json::array(), rows = json::array();
    for (const GridAxis& a : s.grid.axes) axes.push_back({{"key", a.key}, {"values", a.values}});
    for (const RowSummary& row : s.rows) rows.push_back(row_json(row));
    out["ablation"] = {{"title", s.grid.title},
                       {"about", s.grid.about},
                       {"grid_file", s.grid.file},
                       {"grid", s.grid.text},
                       {"seeds", s.grid.seeds},
                       {"axes", axes},
                       {"reference", s.grid.rows[s.grid.reference].name},
                       {"runs_done", s.done},
                       {"runs", s.grid.runs()},
                       {"segment", s.grid.evaluation.segment},
                       {"devices", s.devices},
                       {"versions", s.versions},
                       {"commands", s.commands},
                       {"started", s.started},
                       {"finished", s.finished},
                       {"rows", rows}};
    return out;
}

AblationSummary write_ablation_report(const Grid& grid, const fs::path& folder) {
    AblationSummary summary = summarize(grid, folder);
    const ComparisonResult clips = comparison_of(summary, folder);
    const AblationFiles files = ablation_files(folder);
    write_file(files.json, to_json(summary, clips, folder).dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    write_file(folder / "grid.toml", grid.text);
    write_file(files.markdown, to_markdown(summary));
    write_file(files.html, to_html(summary, clips, folder));
    return summary;
}

}  // namespace nigiri::app
