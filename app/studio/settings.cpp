#include "app/studio/settings.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/write_file.h"

namespace nigiri::studio {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t longest_list = 10;

fs::path folder_from(const char* variable, const char* below_home) {
    if (const char* given = std::getenv(variable); given != nullptr && *given == '/') return given;
    const char* home = std::getenv("HOME");
    return fs::path(home != nullptr ? home : ".") / below_home;
}

fs::path default_home() {
    const char* home = std::getenv("HOME");
    return fs::path(home != nullptr ? home : ".") / "Nigiri";
}

// One list of fields for reading and writing.
template <class S, class V>
void visit(S& s, V&& v) {
    v("window_width", s.window_width), v("window_height", s.window_height), v("ui_scale", s.ui_scale);
    v("page", s.page), v("light_theme", s.light_theme), v("volume", s.volume), v("picture", s.picture);
    v("output_device", s.output_device), v("sound_buffer_ms", s.sound_buffer_ms);
    v("compute_device", s.compute_device), v("threads", s.threads);
    v("home", s.home), v("last_data", s.last_data), v("last_folder", s.last_folder);
    v("recent_data", s.recent_data), v("recent_models", s.recent_models), v("open_runs", s.open_runs);
}

void read(const json& from, fs::path& to) { to = from.get<std::string>(); }
void read(const json& from, std::vector<fs::path>& to) {
    to.clear();
    for (const json& path : from)
        if (to.size() < longest_list) to.emplace_back(path.get<std::string>());
}
// Any number may stand there: one that no int holds becomes the nearest that does, as near as matters.
void read(const json& from, int& to) { to = static_cast<int>(std::clamp(from.get<double>(), -1e9, 1e9)); }
template <class T>
void read(const json& from, T& to) {
    to = from.get<T>();
}

json written(const fs::path& path) { return path.string(); }
json written(const std::vector<fs::path>& list) {
    json out = json::array();
    for (const fs::path& path : list) out.push_back(path.string());
    return out;
}
template <class T>
json written(const T& value) {
    return value;
}

void keep_in_range(Settings& s) {
    s.window_width = std::clamp(s.window_width, 960, 16384);
    s.window_height = std::clamp(s.window_height, 600, 16384);
    if (!(s.ui_scale >= 0.5f && s.ui_scale <= 3)) s.ui_scale = 1;
    if (!(s.volume >= 0 && s.volume <= 1)) s.volume = 1;
    s.picture = std::clamp(s.picture, 0, 2);
    s.sound_buffer_ms = std::clamp(s.sound_buffer_ms, least_sound_buffer_ms, most_sound_buffer_ms);
    s.threads = std::clamp(s.threads, 0, 1024);
}

}  // namespace

fs::path Settings::runs_folder() const { return (home.empty() ? default_home() : home) / "runs"; }
fs::path Settings::clips_folder() const { return (home.empty() ? default_home() : home) / "clips"; }
fs::path Settings::results_folder() const { return (home.empty() ? default_home() : home) / "listening"; }

fs::path settings_file() { return folder_from("XDG_CONFIG_HOME", ".config") / "nigiri" / "studio.json"; }

Settings load_settings(const fs::path& file, std::string& problem) {
    Settings settings;
    std::error_code code;
    if (!fs::exists(file, code)) return settings;
    std::ifstream in(file);
    const json all = json::parse(in, nullptr, /*allow_exceptions=*/false);
    if (!all.is_object()) {
        fs::path aside = file;
        aside += ".damaged";
        fs::rename(file, aside, code);
        problem = "The settings could not be read and start afresh; the old file is " + aside.string();
        return settings;
    }
    visit(settings, [&](const char* name, auto& field) {
        const auto value = all.find(name);
        if (value == all.end()) return;
        const auto before = field;
        try {
            read(*value, field);
        } catch (const json::exception&) {
            field = before;
        }
    });
    keep_in_range(settings);
    return settings;
}

void save_settings(const Settings& settings, const fs::path& file) {
    json all = json::object();
    visit(settings, [&](const char* name, const auto& field) { all[name] = written(field); });
    std::error_code code;
    fs::create_directories(file.parent_path(), code);
    app::write_file(file, all.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

void remember(std::vector<fs::path>& list, const fs::path& path) {
    list.erase(std::remove(list.begin(), list.end(), path), list.end());
    list.insert(list.begin(), path);
    if (list.size() > longest_list) list.resize(longest_list);
}

}  // namespace nigiri::studio
