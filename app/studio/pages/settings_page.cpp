// Settings: how it looks, what computes, where sound goes, where things are kept; and what was said so far.
#include <imgui.h>

#include <array>
#include <thread>

#include "app/studio/studio.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "audio/output.h"

namespace nigiri::studio {

namespace {

constexpr std::array offered_buffers = {short_sound_buffer_ms, medium_sound_buffer_ms, long_sound_buffer_ms};

class SettingsPage final : public Page {
  public:
    const char* name() const override { return "settings"; }
    const char* title() const override { return "Settings"; }

    void draw(Desk& desk) override {
        Settings& s = desk.settings;
        ui::title("Settings");
        ui::heading("Appearance");
        ui::label("Size", 170);
        std::string size = std::to_string(static_cast<int>(s.ui_scale * 100 + 0.5f)) + " %";
        if (ui::choice("##size", size, {"75 %", "100 %", "125 %", "150 %", "200 %"}, 160))
            s.ui_scale = static_cast<float>(std::stoi(size)) / 100;
        ui::label("Colours", 170);
        std::string colours = s.light_theme ? "Light" : "Dark";
        if (ui::choice("##colours", colours, {"Dark", "Light"}, 160)) s.light_theme = colours == "Light";

        ImGui::Dummy({0, theme().units(8)});
        ui::heading("Sound");
        ui::label("Output", 170);
        if (ImGui::IsWindowAppearing() || devices_.empty()) list_devices();
        if (ui::choice("##output", s.output_device, devices_, 420)) desk.deck.player().open_device(s.output_device);
        ImGui::SameLine();
        if (ui::button("Look again")) {
            list_devices();
            desk.deck.player().open_device(s.output_device);
        }
        const PlayerStatus player = desk.deck.player().status();
        ui::muted(player.device.empty() ? "Opened when something is played." : player.device);
        if (!player.problem.empty()) ui::warning(player.problem);
        draw_buffer(desk);

        ImGui::Dummy({0, theme().units(8)});
        ui::heading("Computing");
        ui::label("Device", 170);
        ui::choice("##device", s.compute_device, {"auto", "cpu", "cuda"}, 160);
        ui::help("auto takes the graphics card where there is one that Nigiri can use, else the processor.");
        ui::label("Processor threads", 170);
        ui::number("##threads", s.threads, 0, 1024, 160);
        ui::help("0: all of them (" + std::to_string(std::thread::hardware_concurrency()) + " here)");

        ImGui::Dummy({0, theme().units(8)});
        ui::heading("Folders");
        ui::fact("Runs", s.runs_folder().string(), 170);
        ui::fact("Clips", s.clips_folder().string(), 170);
        ui::fact("Listening tests", s.results_folder().string(), 170);
        if (ui::button("Keep them elsewhere"))
            desk.dialog.open({.wanted = FileDialog::Wanted::folder,
                              .title = "Choose a folder for runs, clips and results",
                              .start = s.runs_folder().parent_path()},
                             [&s](const std::filesystem::path& folder) { s.home = folder; });

        ImGui::Dummy({0, theme().units(8)});
        ui::heading("Messages");
        desk.messages.draw_log();
    }

  private:
    static std::string buffer_name(int ms) {
        const char* length = ms == short_sound_buffer_ms  ? "Short, "
                           : ms == medium_sound_buffer_ms ? "Medium, "
                           : ms == long_sound_buffer_ms   ? "Long, "
                                                          : "";
        return length + std::to_string(ms) + " ms";
    }

    static void draw_buffer(Desk& desk) {
        int& ms = desk.settings.sound_buffer_ms;
        ui::label("Sound buffer", 170);
        std::string chosen = buffer_name(ms);
        std::vector<std::string> names;
        for (const int each : offered_buffers) names.push_back(buffer_name(each));
        if (ui::choice("##buffer", chosen, names, 160)) {
            for (const int each : offered_buffers)
                if (buffer_name(each) == chosen) ms = each;
            desk.deck.player().set_queue(ms / 1000.0);
        }
        ui::help(
            "How much sound is made ahead, here and in the device. Longer, if the sound has gaps while the computer "
            "is busy; shorter, to hear sooner what you press.");
    }

    void list_devices() {
        devices_ = {"auto", "null"};
        for (const SoundDevice& d : output_devices()) devices_.push_back(d.name);
    }

    std::vector<std::string> devices_;
};

}  // namespace

std::unique_ptr<Page> make_settings_page() { return std::make_unique<SettingsPage>(); }

}  // namespace nigiri::studio
