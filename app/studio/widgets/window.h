// The desktop window: GLFW, OpenGL 3 and Dear ImGui, made and ended together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

struct GLFWwindow;

namespace nigiri::studio {

class Window {
  public:
    // Throws Error where there is no display or no OpenGL 3.
    Window(const std::string& title, int width, int height);
    ~Window();
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;

    // Asks the loop to look again, from any thread and as often as one likes. Nothing happens without a window.
    static void wake();

    // Waits for an event, a wake or `seconds` (0: only looks; negative: for ever).
    void wait(double seconds);
    // Whether the last wait() brought input or a wake rather than the end of its time.
    bool stirred() const { return stirred_; }
    void begin_frame();
    void end_frame();  // draws and shows

    bool asked_to_close() const;
    void keep_open();  // takes a request to close back
    bool iconified() const;
    // Pixels for one unit of a design at 96 dpi, as the display says.
    float display_scale() const;
    int width() const;
    int height() const;
    // Files and folders dropped since the last call.
    std::vector<std::filesystem::path> take_dropped();

    // The frame that ends next is written as a PNG file; end_frame() throws Error where that fails.
    void save_picture(std::filesystem::path path) { picture_ = std::move(path); }

    // For callbacks of the toolkit.
    void on_drop(int count, const char** paths);
    void on_event() { stirred_ = true; }
    void on_key(int key, int scancode, int action, int mods);

  private:
    void write_picture(int width, int height);

    GLFWwindow* window_ = nullptr;
    bool stirred_ = false;
    std::filesystem::path picture_;
    // ImGui sees the keys that are down when a frame begins. One that was pressed and let go in between would be lost
    // where frames are long, so releases that follow a press wait for the frame after (all of them: Ctrl must not go
    // before its A).
    struct Release {
        int key, scancode, mods;
    };
    bool fresh_press_ = false;
    std::vector<Release> late_releases_, due_releases_;  // of keys that the next frame sees, and that the last has seen
    std::vector<std::filesystem::path> dropped_;
};

}  // namespace nigiri::studio
