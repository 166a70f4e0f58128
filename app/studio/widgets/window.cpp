#include "app/studio/widgets/window.h"

#define GLFW_INCLUDE_NONE
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <GL/gl.h>
#include <GLFW/glfw3.h>
#include <backends/imgui_impl_glfw.h>
#include <backends/imgui_impl_opengl3.h>
#include <imgui.h>
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <atomic>

#include "kernels/error.h"

namespace nigiri::studio {

namespace {

std::atomic<bool> there_is_a_window{false};

std::string last_problem() {
    const char* text = nullptr;
    glfwGetError(&text);
    return text != nullptr ? std::string(": ") + text : std::string();
}

Window& of(GLFWwindow* window) { return *static_cast<Window*>(glfwGetWindowUserPointer(window)); }

// The toolkit has one callback a kind of event; ImGui's is installed afterwards and calls these.
void watch_events(GLFWwindow* w) {
    glfwSetDropCallback(w, [](GLFWwindow* window, int n, const char** paths) { of(window).on_drop(n, paths); });
    glfwSetCursorPosCallback(w, [](GLFWwindow* window, double, double) { of(window).on_event(); });
    glfwSetMouseButtonCallback(w, [](GLFWwindow* window, int, int, int) { of(window).on_event(); });
    glfwSetScrollCallback(w, [](GLFWwindow* window, double, double) { of(window).on_event(); });
    glfwSetCharCallback(w, [](GLFWwindow* window, unsigned) { of(window).on_event(); });
    glfwSetWindowFocusCallback(w, [](GLFWwindow* window, int) { of(window).on_event(); });
    glfwSetWindowRefreshCallback(w, [](GLFWwindow* window) { of(window).on_event(); });
    glfwSetFramebufferSizeCallback(w, [](GLFWwindow* window, int, int) { of(window).on_event(); });
    glfwSetWindowContentScaleCallback(w, [](GLFWwindow* window, float, float) { of(window).on_event(); });
    glfwSetWindowCloseCallback(w, [](GLFWwindow* window) { of(window).on_event(); });
}

std::atomic<bool> woken{false};

}  // namespace

Window::Window(const std::string& title, int width, int height) {
    glfwInitHint(GLFW_JOYSTICK_HAT_BUTTONS, GLFW_FALSE);
    if (!glfwInit())
        throw Error("there is no display to open a window on" + last_problem(),
                    "start it on a desktop; the command line does everything else");
    glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
    glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 2);
    glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
    glfwWindowHint(GLFW_OPENGL_FORWARD_COMPAT, GLFW_TRUE);
    window_ = glfwCreateWindow(width, height, title.c_str(), nullptr, nullptr);
    if (window_ == nullptr) {
        const std::string problem = last_problem();
        glfwTerminate();
        throw Error("cannot open a window with OpenGL 3.2" + problem,
                    "install a graphics driver, or Mesa's software renderer");
    }
    glfwMakeContextCurrent(window_);
    glfwSwapInterval(1);
    glfwSetWindowSizeLimits(window_, 960, 600, GLFW_DONT_CARE, GLFW_DONT_CARE);
    glfwSetWindowUserPointer(window_, this);
    watch_events(window_);

    IMGUI_CHECKVERSION();
    ImGui::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;  // the studio keeps its own settings
    io.LogFilename = nullptr;
    io.ConfigFlags |= ImGuiConfigFlags_NavEnableKeyboard;
    ImGui_ImplGlfw_InitForOpenGL(window_, true);
    // Keys reach ImGui through on_key() alone.
    glfwSetKeyCallback(window_, [](GLFWwindow* window, int key, int scancode, int action, int mods) {
        of(window).on_key(key, scancode, action, mods);
    });
    ImGui_ImplOpenGL3_Init("#version 150");
    // Space belongs to the player; Return presses what has the focus.
    io.KeyMap[ImGuiKey_Space] = GLFW_KEY_ENTER;
    there_is_a_window.store(true);
}

Window::~Window() {
    there_is_a_window.store(false);
    ImGui_ImplOpenGL3_Shutdown();
    ImGui_ImplGlfw_Shutdown();
    ImGui::DestroyContext();
    glfwDestroyWindow(window_);
    glfwTerminate();
}

void Window::wake() {
    if (!there_is_a_window.load()) return;
    woken.store(true);
    glfwPostEmptyEvent();
}

void Window::wait(double seconds) {
    stirred_ = false;
    if (seconds < 0)
        glfwWaitEvents();
    else if (seconds > 0)
        glfwWaitEventsTimeout(seconds);
    else
        glfwPollEvents();
    if (woken.exchange(false)) stirred_ = true;
}

void Window::begin_frame() {
    for (const Release& r : std::exchange(due_releases_, {}))
        ImGui_ImplGlfw_KeyCallback(window_, r.key, r.scancode, GLFW_RELEASE, r.mods);
    ImGui_ImplOpenGL3_NewFrame();
    ImGui_ImplGlfw_NewFrame();
    ImGui::NewFrame();
    fresh_press_ = false;
    due_releases_ = std::exchange(late_releases_, {});
}

void Window::end_frame() {
    ImGui::Render();
    int w = 0, h = 0;
    glfwGetFramebufferSize(window_, &w, &h);
    glViewport(0, 0, w, h);
    const ImVec4 back = ImGui::GetStyleColorVec4(ImGuiCol_WindowBg);
    glClearColor(back.x, back.y, back.z, 1);
    glClear(GL_COLOR_BUFFER_BIT);
    ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
    if (!picture_.empty()) write_picture(w, h);
    glfwSwapBuffers(window_);
}

bool Window::asked_to_close() const { return glfwWindowShouldClose(window_) != 0; }
void Window::keep_open() { glfwSetWindowShouldClose(window_, GLFW_FALSE); }
bool Window::iconified() const { return glfwGetWindowAttrib(window_, GLFW_ICONIFIED) != 0; }

float Window::display_scale() const {
    float x = 1, y = 1;
    glfwGetWindowContentScale(window_, &x, &y);
    return std::clamp(std::max(x, y), 0.5f, 4.0f);
}

int Window::width() const {
    int w = 0, h = 0;
    glfwGetWindowSize(window_, &w, &h);
    return w;
}

int Window::height() const {
    int w = 0, h = 0;
    glfwGetWindowSize(window_, &w, &h);
    return h;
}

std::vector<std::filesystem::path> Window::take_dropped() { return std::exchange(dropped_, {}); }

void Window::on_drop(int count, const char** paths) {
    for (int i = 0; i < count; ++i) dropped_.emplace_back(paths[i]);
    stirred_ = true;
}

void Window::on_key(int key, int scancode, int action, int mods) {
    stirred_ = true;
    if (action == GLFW_PRESS) fresh_press_ = true;
    if (action == GLFW_RELEASE && fresh_press_)
        late_releases_.push_back({key, scancode, mods});
    else
        ImGui_ImplGlfw_KeyCallback(window_, key, scancode, action, mods);
}

void Window::write_picture(int w, int h) {
    const std::filesystem::path path = std::exchange(picture_, {});
    std::vector<unsigned char> pixels(static_cast<size_t>(w) * static_cast<size_t>(h) * 3);
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
    glReadPixels(0, 0, w, h, GL_RGB, GL_UNSIGNED_BYTE, pixels.data());
    stbi_flip_vertically_on_write(1);
    const int written = stbi_write_png(path.c_str(), w, h, 3, pixels.data(), w * 3);
    stbi_flip_vertically_on_write(0);
    if (written == 0) throw Error("cannot write " + path.string(), "check the folder and the free space");
}

}  // namespace nigiri::studio
