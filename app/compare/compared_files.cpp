#include "app/compare/compared_files.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "audio/metrics/distribution.h"
#include "audio/split.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

std::string unique_name(const fs::path& given, const std::vector<ComparedModel>& earlier) {
    std::vector<std::string> names;
    for (const ComparedModel& m : earlier) names.push_back(m.name);
    return unique_name(given, names);
}

std::string unique_name(const fs::path& given, const std::vector<std::string>& earlier) {
    std::error_code code;
    fs::path path = fs::absolute(given, code).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();  // a folder given with a slash behind it
    std::string name = path.stem().string();
    if (fs::is_directory(path, code)) name = path.filename().string();
    // RUN/checkpoints/best.safetensors: the run is what tells it from others.
    else if (path.parent_path().filename() == "checkpoints")
        name = path.parent_path().parent_path().filename().string() + " (" + name + ")";
    if (name.empty()) name = "model";
    const auto taken = [&](const std::string& n) {
        return std::find(earlier.begin(), earlier.end(), n) != earlier.end();
    };
    std::string unique = name;
    for (int i = 2; taken(unique); ++i) unique = name + " #" + std::to_string(i);
    return unique;
}

std::string file_name(const std::string& name) {
    std::string safe;
    for (const char c : name) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '_' || c == '.';
        if (plain)
            safe += c;
        else if (!safe.empty() && safe.back() != '-')
            safe += '-';
    }
    if (safe.size() > 60) safe.resize(60);
    while (!safe.empty() && safe.back() == '-') safe.pop_back();
    return safe.empty() ? "model" : safe;
}

bool same_division(const ScanReport& report, Split split, uint64_t seed) {
    std::vector<SplitCandidate> candidates;
    std::vector<size_t> index;
    for (size_t i = 0; i < report.files.size(); ++i) {
        const FileReport& f = report.files[i];
        if (!f.used()) continue;
        candidates.push_back({f.name, f.samples, f.folder});
        index.push_back(i);
    }
    using Place = std::tuple<size_t, int64_t, int64_t>;
    std::vector<Place> here, there;
    for (const Part& p : report.parts)
        if (p.split == split) here.emplace_back(p.file, p.begin, p.end);
    for (const Part& p : divide(candidates, seed, least_samples).parts)
        if (p.split == split) there.emplace_back(index[p.file], p.begin, p.end);
    std::sort(here.begin(), here.end());
    std::sort(there.begin(), there.end());
    return here == there;
}

std::optional<double> median_tokens_per_second(const fs::path& metrics) {
    std::ifstream in(metrics);
    std::vector<double> rates;
    // Lines that are no such JSON are left out: the file may have been cut off anywhere.
    for (std::string line; std::getline(in, line);) {
        const json entry = json::parse(line, nullptr, false);
        if (!entry.is_object()) continue;
        const auto it = entry.find("tokens_per_second");
        if (it == entry.end() || !it->is_number()) continue;
        if (const double rate = it->get<double>(); std::isfinite(rate) && rate > 0) rates.push_back(rate);
    }
    if (rates.empty()) return {};
    return quantile(rates, 0.5);
}

}  // namespace nigiri::app
