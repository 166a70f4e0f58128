// A display of its own, the studio in it, and somebody at its pointer and keys.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/app/process.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::test {

// A virtual display (Xvfb) of 1280 x 800, software drawing. Xvfb chooses a number that is free.
class Desktop {
  public:
    // Why no window can be tested here; empty if it can.
    static std::string missing();

    explicit Desktop(const std::string& folder);
    ~Desktop();

    // The screen as a PNG file.
    void picture(const std::string& path) const;

  private:
    std::string folder_;
    std::unique_ptr<Process> server_;
};

// The studio as its user sees it: everything is found by its mark, pressed by the real pointer, and read off the state
// that the window shows. Waiting ends with a test failure and an exception after `patience` seconds.
class StudioUser {
  public:
    StudioUser(const std::string& folder, std::vector<std::string> arguments);
    ~StudioUser();

    static double patience;  // seconds; a loaded machine needs some

    void press(const std::string& mark);
    void right_of(const std::string& mark, double share, double up = 0.5);  // presses inside of it
    void drag(const std::string& mark, double from, double to);
    void wheel(const std::string& mark, int notches, double share = 0.5);  // positive: towards the screen
    void type(const std::string& text);
    void key(const std::string& name);  // as xdotool names them: "space", "Return", "ctrl+2"
    // Chooses in an open list or combination box.
    void choose(const std::string& box, const std::string& entry);
    // Replaces what stands in a text field.
    void fill(const std::string& mark, const std::string& text);

    bool shows(const std::string& mark) const;
    void wait_for(const std::string& mark) const;
    std::string state(const std::string& name) const;  // empty: not shown
    double number(const std::string& name) const;      // of a state; -1: not shown
    // Until a state has this value, or one near it.
    void wait_state(const std::string& name, const std::string& value) const;
    void wait_number(const std::string& name, double value, double tolerance) const;
    void wait_until(const std::string& what, const std::function<bool()>& holds) const;

    // Closes the window as the window's own button would; the exit code.
    int close();
    bool running();
    int pid() const { return process_->id(); }
    const std::string& marks_file() const { return marks_; }

  private:
    nlohmann::json marks() const;
    std::vector<int> box(const std::string& mark) const;

    std::string folder_, marks_;
    std::unique_ptr<Process> process_;
};

}  // namespace nigiri::test
