#include "app/ablate/saved_ablation.h"

#include <cmath>
#include <fstream>

#include "app/ablate/table.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr uintmax_t most_ablation_bytes = 64 << 20;
constexpr size_t most_rows = 1024, most_points = 1 << 20;

const json& part(const json& from, const char* key) {
    static const json nothing;
    const auto it = from.is_object() ? from.find(key) : from.end();
    return from.is_object() && it != from.end() ? *it : nothing;
}
std::string text(const json& from, const char* key) {
    const json& value = part(from, key);
    return value.is_string() ? value.get<std::string>() : std::string();
}
std::optional<double> number(const json& from, const char* key) {
    const json& value = part(from, key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) return std::nullopt;
    return value.get<double>();
}

std::optional<Spread> spread_in(const json& from) {
    const auto mean = number(from, "mean"), n = number(from, "n");
    if (!mean || !n || *n < 1 || *n > 1e6) return std::nullopt;
    Spread s;
    s.n = static_cast<size_t>(*n);
    s.mean = *mean;
    s.deviation = number(from, "deviation");
    s.least = number(from, "least").value_or(s.mean);
    s.most = number(from, "most").value_or(s.mean);
    return s;
}

std::vector<CurvePoint> curve_in(const json& from) {
    std::vector<CurvePoint> curve;
    if (!from.is_array()) return curve;
    for (const json& p : from) {
        const auto tokens = number(p, "tokens"), bits = number(p, "mean");
        if (!tokens || !bits || *tokens < 0 || *tokens > 9e15 || curve.size() == most_points) continue;
        curve.push_back({std::llround(*tokens), *bits});
    }
    return curve;
}

SavedRow row_in(const json& from) {
    SavedRow row;
    row.name = text(from, "name");
    row.status = text(from, "status");
    if (const auto bits = spread_in(part(from, "bits_per_sample"))) {
        row.bits = mean_text(*bits, 4);
        row.range = range_text(*bits, 4);
    }
    if (const auto d = spread_in(part(from, "difference"))) row.difference = difference_text(*d);
    if (const auto p = number(from, "parameters"); p && *p > 0) row.parameters = thousands(*p);
    if (const auto t = number(from, "tokens"); t && *t > 0) row.tokens = thousands(*t);
    if (const auto s = spread_in(part(from, "tokens_per_second"))) row.speed = thousands(s->mean);
    row.train = curve_in(part(from, "train_curve"));
    row.valid = curve_in(part(from, "valid_curve"));
    return row;
}

}  // namespace

std::optional<SavedAblation> load_ablation(const fs::path& path) {
    std::error_code code;
    const auto size = fs::file_size(path, code);
    if (code || size > most_ablation_bytes) return std::nullopt;
    std::ifstream in(path, std::ios::binary);
    const json report = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
    const json& grid = part(report, "ablation");
    if (!grid.is_object() || !part(grid, "rows").is_array()) return std::nullopt;
    SavedAblation saved;
    saved.title = text(grid, "title");
    saved.about = text(grid, "about");
    saved.reference = text(grid, "reference");
    saved.runs_done = std::llround(std::min(1e9, std::max(0.0, number(grid, "runs_done").value_or(0))));
    saved.runs = std::llround(std::min(1e9, std::max(0.0, number(grid, "runs").value_or(0))));
    for (const json& row : part(grid, "rows"))
        if (row.is_object() && saved.rows.size() < most_rows) saved.rows.push_back(row_in(row));
    return saved;
}

}  // namespace nigiri::app
