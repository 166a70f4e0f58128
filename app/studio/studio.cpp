#include "app/studio/studio.h"

#include <imgui.h>

#include <algorithm>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "kernels/clock.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

// On a graphics card a frame costs next to nothing; drawn by the processor, training and generation keep most of it.
constexpr double frame_period = 1 / 60.0, costly_frame_period = 1 / 31.0;
constexpr double costly = 0.008;  // seconds to draw
// How long it sleeps when nothing moves; it wakes at once for input and news.
constexpr double idle = 0.5;
constexpr int frames_to_settle = 3;  // after an event: what hovers, opens and gets its size needs a few

constexpr int64_t frames_to_start = 10;  // fonts and drivers are made ready in the first ones

class Studio {
  public:
    explicit Studio(const StudioOptions& options)
        : options_(options),
          file_(options.settings.empty() ? settings_file() : options.settings),
          first_settings_(load_settings(file_, settings_problem_)),
          window_("Nigiri", first_settings_.window_width, first_settings_.window_height),
          desk_(Window::wake) {
        marks().write_to(options.marks);
        desk_.settings = first_settings_;
        desk_.dialog.folder = desk_.settings.last_folder;
        desk_.page = desk_.settings.page;
        desk_.data = options.data.empty() ? desk_.settings.last_data : options.data;
        std::error_code code;
        if (!desk_.data.empty() && !fs::is_directory(desk_.data, code)) {
            desk_.messages.warn("The folder " + desk_.data.string() + " is no longer there");
            desk_.data.clear();
        }
        if (!settings_problem_.empty()) desk_.messages.warn(settings_problem_);
        desk_.deck.player().set_volume(desk_.settings.volume);
        desk_.deck.set_picture(static_cast<Picture>(desk_.settings.picture));
        desk_.deck.player().set_queue(desk_.settings.sound_buffer_ms / 1000.0);
        if (desk_.settings.output_device != "auto") desk_.deck.player().open_device(desk_.settings.output_device);
        pages_.push_back(make_data_page(Window::wake));
        pages_.push_back(make_train_page(Window::wake));
        pages_.push_back(make_generate_page(Window::wake));
        pages_.push_back(make_compare_page(Window::wake));
        pages_.push_back(make_inspect_page(Window::wake));
        pages_.push_back(make_settings_page());
    }

    void run() {
        int settling = frames_to_settle, frames = 0;
        for (bool open = true; open;) {
            const bool moves = moving();
            const double period = frame_seconds_ > costly ? costly_frame_period : frame_period;
            const double pause = moves ? std::max(period - frame_seconds_, 0.001) : showing() ? idle / 2 : idle;
            window_.wait(settling > 0 || !options_.picture.empty() ? 0.001 : pause);
            if (options_.stop != nullptr && options_.stop->load()) break;
            if (window_.stirred()) settling = frames_to_settle;
            if (!window_.stirred() && !moves && settling == 0 && !showing() && options_.picture.empty()) continue;
            settling = std::max(settling - 1, 0);
            if (window_.iconified()) {
                update();
                continue;
            }
            apply_scale();
            const double began = steady_seconds();
            update();
            if (!options_.picture.empty() && ++frames == options_.picture_frames) {
                window_.save_picture(options_.picture);
                open = false;
            }
            window_.begin_frame();
            draw();
            window_.end_frame();
            marks().end_frame();
            frame_seconds_ = steady_seconds() - began;
            slowest_frame_ = std::max(slowest_frame_, ++frames_ > frames_to_start ? frame_seconds_ : 0.0);
            if (window_.asked_to_close() && !close()) window_.keep_open();
            open = open && !(window_.asked_to_close() || closing_);
        }
        save();
    }

  private:
    // A cursor that blinks, a message that goes.
    bool showing() const { return typing_ || desk_.messages.showing(); }

    bool moving() const {
        return desk_.deck.moving() ||
               std::any_of(pages_.begin(), pages_.end(), [](const auto& p) { return p->moving(); });
    }

    void apply_scale() {
        const float scale = window_.display_scale() * desk_.settings.ui_scale;
        if (scale == theme().scale && themed_ && desk_.settings.light_theme == light_) return;
        light_ = desk_.settings.light_theme;
        themed_ = true;
        apply_theme(light_, scale);
    }

    Page& page() {
        for (const auto& p : pages_)
            if (p->name() == desk_.page) return *p;
        desk_.page = pages_.front()->name();
        return *pages_.front();
    }

    void update() {
        for (const fs::path& path : window_.take_dropped())
            if (!page().dropped(desk_, path)) desk_.deck.open(path);
        for (const auto& p : pages_) p->update(desk_);
        desk_.deck.update(desk_.messages);
    }

    void draw() {
        const ImGuiViewport& view = *ImGui::GetMainViewport();
        ImGui::SetNextWindowPos(view.WorkPos);
        ImGui::SetNextWindowSize(view.WorkSize);
        ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {0, 0});
        ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 0);
        ImGui::Begin("nigiri", nullptr,
                     ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                         ImGuiWindowFlags_NoBackground | ImGuiWindowFlags_NoBringToFrontOnFocus);
        ImGui::PopStyleVar(2);
        const float deck = theme().units(desk_.deck.height()), side = theme().units(150);
        ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0, 0});
        ImGui::BeginGroup();
        draw_sidebar(side, view.WorkSize.y - deck);
        ImGui::SameLine();
        ImGui::BeginChild("page", {0, view.WorkSize.y - deck}, false, ImGuiWindowFlags_AlwaysUseWindowPadding);
        ImGui::PopStyleVar();
        ui::set_page(page().name());
        page().draw(desk_);
        ImGui::EndChild();
        ImGui::EndGroup();
        desk_.deck.draw(0, desk_.settings.volume);
        ImGui::End();
        desk_.dialog.draw();
        draw_question();
        desk_.messages.draw(view.WorkPos.y + view.WorkSize.y - deck);
        typing_ = ImGui::GetIO().WantTextInput;
        if (!typing_ && !desk_.dialog.is_open() && !asking_) keys();
        marks().note("page", desk_.page);
        marks().note("frames", std::to_string(frames_));
        marks().note("slowest_ms", std::to_string(1e3 * slowest_frame_));
    }

    void draw_sidebar(float width, float height) {
        ImGui::PushStyleColor(ImGuiCol_ChildBg, theme().colours.panel);
        ImGui::BeginChild("side", {width, height}, false, ImGuiWindowFlags_AlwaysUseWindowPadding);
        ImGui::PopStyleColor();
        ui::set_page("side");
        ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme().units(8), theme().units(10)});
        ui::title("nigiri");
        ImGui::Dummy({0, theme().units(4)});
        ImGui::PushStyleVar(ImGuiStyleVar_SelectableTextAlign, {0, 0.5f});
        int i = 1;
        for (const auto& p : pages_) {
            const bool shown = desk_.page == p->name();
            ImGui::PushFont(shown ? theme().strong : theme().body);
            if (ImGui::Selectable(p->title(), shown, 0, {0, theme().units(28)})) desk_.page = p->name();
            ImGui::PopFont();
            ui::mark(p->name());
            ui::help("Ctrl+" + std::to_string(i++));
        }
        ImGui::PopStyleVar(2);
        ImGui::EndChild();
    }

    void keys() {
        const ImGuiIO& io = ImGui::GetIO();
        if (io.KeyCtrl)
            for (size_t i = 0; i < pages_.size(); ++i)
                if (ImGui::IsKeyPressed('1' + static_cast<int>(i), false)) desk_.page = pages_[i]->name();
        if (io.KeyCtrl || io.KeyAlt || io.KeySuper) return;
        desk_.deck.handle_keys();
    }

    // Whether the window may close now; asks where something would be cut short.
    bool close() {
        if (closing_) return true;
        unfinished_.clear();
        for (const auto& p : pages_)
            if (const std::string what = p->unfinished(); !what.empty())
                unfinished_ += (unfinished_.empty() ? "" : "; ") + what;
        if (unfinished_.empty()) return true;
        asking_ = true;
        return false;
    }

    void draw_question() {
        if (!asking_) return;
        ImGui::OpenPopup("###close");
        ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Always, {0.5f, 0.5f});
        ImGui::SetNextWindowSize({theme().units(460), 0});
        if (!ImGui::BeginPopupModal("Close Nigiri?###close", nullptr, ImGuiWindowFlags_NoResize)) return;
        ui::set_page("close");
        ui::paragraph("Still at work: " + unfinished_ + ". What is done so far is kept.");
        if (ui::primary("Close now")) closing_ = true, asking_ = false, ImGui::CloseCurrentPopup();
        ImGui::SameLine();
        if (ui::button("Stay")) asking_ = false, ImGui::CloseCurrentPopup();
        ImGui::EndPopup();
    }

    void save() {
        desk_.settings.window_width = window_.width();
        desk_.settings.window_height = window_.height();
        desk_.settings.page = desk_.page;
        desk_.settings.picture = static_cast<int>(desk_.deck.picture());
        desk_.settings.last_folder = desk_.dialog.folder;
        save_settings(desk_.settings, file_);
    }

    StudioOptions options_;
    fs::path file_;
    std::string settings_problem_;
    Settings first_settings_;
    Window window_;
    Desk desk_;
    std::vector<std::unique_ptr<Page>> pages_;
    std::string unfinished_;
    double frame_seconds_ = 0, slowest_frame_ = 0;  // of the last frame, and the longest since the start
    int64_t frames_ = 0;
    bool themed_ = false, light_ = false, typing_ = false, asking_ = false, closing_ = false;
};

}  // namespace

void run_studio(const StudioOptions& options) {
    Studio studio(options);
    studio.run();
}

}  // namespace nigiri::studio
