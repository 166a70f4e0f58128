// Where things are on the screen, by name: what a test needs to move a real pointer to them from outside.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace nigiri::studio {

// Off unless a file is set; marking then costs a comparison.
class Marks {
  public:
    // JSON, replaced whenever a frame's marks differ from the last: {"NAME": [left, top, right, bottom], ...} in pixels
    // of the window, with {"state": {...}} as noted below.
    void write_to(std::filesystem::path file) { file_ = std::move(file); }
    bool on() const { return !file_.empty(); }

    // The last item drawn, under this name.
    void item(const std::string& name);
    void rectangle(const std::string& name, float left, float top, float right, float bottom);
    // A fact of the frame, e.g. ("page", "train") or ("training.step", "40").
    void note(const std::string& name, const std::string& value);

    void end_frame();

  private:
    std::filesystem::path file_;
    std::map<std::string, std::string> frame_, notes_, written_frame_, written_notes_;
};

// The one that widgets mark in.
Marks& marks();

}  // namespace nigiri::studio
