#include "app/ablate/saved_ablation.h"

#include <cmath>
#include <fstream>

#include "app/ablate/table.h"
#include "app/json_fields.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr uintmax_t most_ablation_bytes = 64 << 20;
constexpr size_t most_rows_read = 1024, most_points = 1 << 20;

std::optional<Spread> spread_in(const json& from) {
    const auto mean = json_number(from, "mean"), n = json_number(from, "n");
    if (!mean || !n || *n < 1 || *n > 1e6) return std::nullopt;
    Spread s;
    s.n = static_cast<size_t>(*n);
    s.mean = *mean;
    s.deviation = json_number(from, "deviation");
    s.least = json_number(from, "least").value_or(s.mean);
    s.most = json_number(from, "most").value_or(s.mean);
    return s;
}

std::vector<CurvePoint> curve_in(const json& from) {
    std::vector<CurvePoint> curve;
    if (!from.is_array()) return curve;
    for (const json& p : from) {
        const auto tokens = json_number(p, "tokens"), bits = json_number(p, "mean");
        if (!tokens || !bits || *tokens < 0 || *tokens > 9e15 || curve.size() == most_points) continue;
        curve.push_back({std::llround(*tokens), *bits});
    }
    return curve;
}

SavedRow row_in(const json& from) {
    SavedRow row;
    row.name = json_text(from, "name");
    row.status = json_text(from, "status");
    if (const auto bits = spread_in(json_part(from, "bits_per_sample"))) {
        row.bits = mean_text(*bits, 4);
        row.range = range_text(*bits, 4);
    }
    if (const auto d = spread_in(json_part(from, "difference"))) row.difference = difference_text(*d);
    if (const auto p = json_number(from, "parameters"); p && *p > 0) row.parameters = thousands(*p);
    if (const auto t = json_number(from, "tokens"); t && *t > 0) row.tokens = thousands(*t);
    if (const auto s = spread_in(json_part(from, "tokens_per_second"))) row.speed = thousands(s->mean);
    row.train = curve_in(json_part(from, "train_curve"));
    row.valid = curve_in(json_part(from, "valid_curve"));
    return row;
}

}  // namespace

std::optional<SavedAblation> load_ablation(const fs::path& path) {
    std::error_code code;
    const auto size = fs::file_size(path, code);
    if (code || size > most_ablation_bytes) return std::nullopt;
    std::ifstream in(path, std::ios::binary);
    const json report = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
    const json& grid = json_part(report, "ablation");
    if (!grid.is_object() || !json_part(grid, "rows").is_array()) return std::nullopt;
    SavedAblation saved;
    saved.title = json_text(grid, "title");
    saved.about = json_text(grid, "about");
    saved.reference = json_text(grid, "reference");
    saved.runs_done = std::llround(std::min(1e9, std::max(0.0, json_number(grid, "runs_done").value_or(0))));
    saved.runs = std::llround(std::min(1e9, std::max(0.0, json_number(grid, "runs").value_or(0))));
    for (const json& row : json_part(grid, "rows"))
        if (row.is_object() && saved.rows.size() < most_rows_read) saved.rows.push_back(row_in(row));
    return saved;
}

}  // namespace nigiri::app
