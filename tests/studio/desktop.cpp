#include "tests/studio/desktop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace nigiri::test {

namespace fs = std::filesystem;

namespace {

bool on_path(const std::string& program) {
    std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "";
    for (size_t begin = 0; begin <= path.size();) {
        const size_t end = std::min(path.find(':', begin), path.size());
        if (::access((path.substr(begin, end - begin) + "/" + program).c_str(), X_OK) == 0) return true;
        begin = end + 1;
    }
    return false;
}

std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

void shell(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

void pause(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// Between two things a person does: a frame must have been drawn to be pressed in.
constexpr double moment = 0.12;

}  // namespace

std::string Desktop::missing() {
    for (const char* program : {"Xvfb", "xdotool", "xwd", "convert"})
        if (!on_path(program)) return std::string("there is no ") + program;
    return {};
}

Desktop::Desktop(const std::string& folder) : folder_(folder) {
    const std::string number = folder + "/display";
    server_ = std::make_unique<Process>(
        "/bin/sh",
        std::vector<std::string>{"-c",
                                 "exec Xvfb -displayfd 3 -screen 0 1280x800x24 +extension GLX 3> " + quoted(number)},
        folder);
    std::string display;
    for (int i = 0; i < 300 && display.empty(); ++i) {
        pause(0.1);
        std::ifstream in(number);
        std::string line;
        if (std::getline(in, line) && in.good()) display = line;
    }
    if (display.empty()) throw std::runtime_error("Xvfb did not start");
    ::setenv("DISPLAY", (":" + display).c_str(), 1);
    ::setenv("LIBGL_ALWAYS_SOFTWARE", "1", 1);
}

Desktop::~Desktop() {
    server_->send(SIGTERM);
    server_->wait();
}

void Desktop::picture(const std::string& path) const { shell("xwd -root -silent | convert xwd:- " + quoted(path)); }

double StudioUser::patience = 60;

StudioUser::StudioUser(const std::string& folder, std::vector<std::string> arguments)
    : folder_(folder), marks_(folder + "/marks.json") {
    ::setenv("HOME", folder.c_str(), 1);
    ::setenv("XDG_CONFIG_HOME", (folder + "/config").c_str(), 1);
    fs::remove(marks_);
    // Silence in real time, whatever this machine has: RealSound is the test of devices.
    const fs::path settings = folder + "/config/nigiri/studio.json";
    if (!fs::exists(settings)) {
        fs::create_directories(settings.parent_path());
        std::ofstream(settings) << R"({"output_device": "null"})";
    }
    arguments.insert(arguments.begin(), "studio");
    arguments.insert(arguments.end(), {"--marks", marks_});
    process_ = std::make_unique<Process>(NIGIRI_BINARY, arguments, folder);
    wait_for("side/data");
}

StudioUser::~StudioUser() {
    if (!process_->ended_within(0)) process_->send(SIGKILL);
    process_->wait();
}

nlohmann::json StudioUser::marks() const {
    std::ifstream in(marks_);
    if (!in) return nlohmann::json::object();
    nlohmann::json all = nlohmann::json::parse(in, nullptr, false);
    return all.is_object() ? all : nlohmann::json::object();
}

bool StudioUser::shows(const std::string& mark) const { return marks().contains(mark); }

void StudioUser::wait_until(const std::string& what, const std::function<bool()>& holds) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
    while (!holds()) {
        if (process_->ended_within(0))
            throw std::runtime_error("the studio ended while waiting for " + what + ": " + process_->wait().err);
        if (std::chrono::steady_clock::now() > end)
            throw std::runtime_error("waited in vain for " + what + "; state: " + marks()["state"].dump() +
                                     "; shown: " + marks().dump().substr(0, 6000));
        pause(0.03);
    }
}

void StudioUser::wait_state(const std::string& name, const std::string& value) const {
    wait_until(name + " = " + value, [&] { return state(name) == value; });
}

void StudioUser::wait_number(const std::string& name, double value, double tolerance) const {
    wait_until(name + " = " + std::to_string(value) + " +- " + std::to_string(tolerance),
               [&] { return !state(name).empty() && std::abs(number(name) - value) <= tolerance; });
}

void StudioUser::wait_for(const std::string& mark) const {
    wait_until(mark, [&] { return shows(mark); });
}

std::vector<int> StudioUser::box(const std::string& mark) const {
    wait_for(mark);
    return marks().at(mark).get<std::vector<int>>();
}

std::string StudioUser::state(const std::string& name) const {
    const nlohmann::json all = marks();
    const auto state = all.find("state");
    if (state == all.end() || !state->contains(name)) return {};
    return state->at(name).get<std::string>();
}

double StudioUser::number(const std::string& name) const {
    const std::string text = state(name);
    return text.empty() ? -1 : std::strtod(text.c_str(), nullptr);
}

void StudioUser::right_of(const std::string& mark, double share, double up) {
    const std::vector<int> b = box(mark);
    const auto x = static_cast<int>(std::lround(b[0] + share * (b[2] - b[0]))),
               y = static_cast<int>(std::lround(b[1] + up * (b[3] - b[1])));
    shell("xdotool mousemove " + std::to_string(x) + " " + std::to_string(y));
    pause(moment);
    shell("xdotool click 1");
    pause(moment);
}

void StudioUser::press(const std::string& mark) { right_of(mark, 0.5); }

void StudioUser::drag(const std::string& mark, double from, double to) {
    const std::vector<int> b = box(mark);
    const int y = (b[1] + b[3]) / 2;
    const auto x = [&](double share) { return std::to_string(std::lround(b[0] + share * (b[2] - b[0]))); };
    shell("xdotool mousemove " + x(from) + " " + std::to_string(y));
    pause(moment);
    shell("xdotool mousedown 1");
    for (const double share : {0.25, 0.5, 0.75, 1.0}) {
        pause(moment);
        shell("xdotool mousemove " + x(from + share * (to - from)) + " " + std::to_string(y));
    }
    pause(moment);
    shell("xdotool mouseup 1");
    pause(moment);
}

void StudioUser::wheel(const std::string& mark, int notches, double share) {
    const std::vector<int> b = box(mark);
    shell("xdotool mousemove " + std::to_string(std::lround(b[0] + share * (b[2] - b[0]))) + " " +
          std::to_string((b[1] + b[3]) / 2));
    for (int i = 0; i < std::abs(notches); ++i) {
        pause(moment / 2);
        shell(std::string("xdotool click ") + (notches > 0 ? "4" : "5"));
    }
    pause(moment);
}

void StudioUser::type(const std::string& text) {
    shell("xdotool type --delay 12 -- " + quoted(text));
    pause(moment);
}

void StudioUser::key(const std::string& name) {
    shell("xdotool key " + quoted(name));
    pause(moment);
}

void StudioUser::choose(const std::string& box_name, const std::string& entry) {
    press(box_name);
    press(box_name + "/" + entry);
}

void StudioUser::fill(const std::string& mark, const std::string& text) {
    press(mark);
    key("ctrl+a");
    type(text);
    key("Return");
}

bool StudioUser::running() { return !process_->ended_within(0); }

int StudioUser::close() {
    process_->send(SIGTERM);
    if (!process_->ended_within(patience)) throw std::runtime_error("the studio did not close");
    return process_->wait().code;
}

}  // namespace nigiri::test
