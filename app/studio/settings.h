// What the studio remembers between two starts, in the user's configuration folder.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace nigiri::studio {

// What the sound buffer can be, in milliseconds; the page offers a short, a medium and a long one.
constexpr int least_sound_buffer_ms = 40, most_sound_buffer_ms = 400;
constexpr int short_sound_buffer_ms = 60, medium_sound_buffer_ms = 150, long_sound_buffer_ms = 300;

struct Settings {
    int window_width = 1280, window_height = 800;
    float ui_scale = 1;  // on top of the display's own
    std::string page = "data";
    bool light_theme = false;
    float volume = 1;
    int picture = 0;  // of the player: Picture
    std::string output_device = "auto";
    int sound_buffer_ms = short_sound_buffer_ms;  // Player::set_queue
    std::string compute_device = "auto";
    int threads = 0;
    std::filesystem::path home;         // where runs, clips and results are kept; empty: ~/Nigiri
    std::filesystem::path last_data;    // folder of audio
    std::filesystem::path last_folder;  // of the file chooser
    std::vector<std::filesystem::path> recent_data, recent_models, open_runs;  // latest first

    std::filesystem::path runs_folder() const;
    std::filesystem::path clips_folder() const;
    std::filesystem::path results_folder() const;  // of listening tests
};

// $XDG_CONFIG_HOME/nigiri/studio.json, or ~/.config/nigiri/studio.json.
std::filesystem::path settings_file();

// Never throws: what is missing, damaged or out of range keeps its default, and a damaged file is kept beside as
// NAME.damaged with a sentence in `problem`.
Settings load_settings(const std::filesystem::path& file, std::string& problem);
// Replaces the file atomically. Throws Error.
void save_settings(const Settings& settings, const std::filesystem::path& file);

// Puts `path` first, without duplicates, at most ten.
void remember(std::vector<std::filesystem::path>& list, const std::filesystem::path& path);

}  // namespace nigiri::studio
