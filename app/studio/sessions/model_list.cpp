#include "app/studio/sessions/model_list.h"

#include <algorithm>

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

std::vector<fs::path> entries_of(const fs::path& folder) {
    std::vector<fs::path> entries;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
        entries.push_back(it->path());
    return entries;
}

}  // namespace

ModelPlaces model_places(const Settings& settings) {
    return {.runs = settings.runs_folder(),
            .shipped = fs::path(NIGIRI_ASSETS_DIR) / "models",
            .recent = settings.recent_models};
}

std::vector<ModelEntry> list_models(const ModelPlaces& places) {
    std::vector<ModelEntry> models;
    const auto add = [&](const std::string& label, const fs::path& path) {
        const bool known =
            std::any_of(models.begin(), models.end(), [&](const ModelEntry& m) { return m.path == path; });
        if (known) return;
        const bool taken =
            std::any_of(models.begin(), models.end(), [&](const ModelEntry& m) { return m.label == label; });
        models.push_back({taken ? label + ", in " + path.parent_path().string() : label, path});
    };
    std::error_code code;
    std::vector<std::pair<fs::file_time_type, fs::path>> trained;
    for (const fs::path& run : entries_of(places.runs)) {
        const fs::path last = run / "checkpoints" / "last.safetensors";
        const auto time = fs::last_write_time(last, code);
        if (!code) trained.emplace_back(time, run);
    }
    std::sort(trained.rbegin(), trained.rend());
    for (const auto& [time, run] : trained) add(run.filename().string() + " (trained here)", run);
    for (const fs::path& path : places.recent)
        if (fs::exists(path, code)) add(path.filename().string(), path);
    std::vector<fs::path> own = entries_of(places.shipped);
    std::sort(own.begin(), own.end());
    for (const fs::path& path : own)
        if (path.extension() == ".safetensors") add(path.stem().string() + " (comes with Nigiri)", path);
    return models;
}

}  // namespace nigiri::studio
