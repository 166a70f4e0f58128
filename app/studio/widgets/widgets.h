// The studio's own small controls, so that all pages look and behave alike. Each is marked for tests under
// "PAGE/LABEL".
#pragma once

#include <imgui.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nigiri::studio::ui {

inline constexpr double zoom_step = 0.8;  // a notch of the wheel, wherever it zooms

// The name that the following widgets are marked under.
void set_page(const std::string& page);
void mark(const std::string& label);

void title(const char* text);
void heading(const char* text);
void muted(const std::string& text);      // wraps
void paragraph(const std::string& text);  // wraps
void problem(const std::string& text, const std::string& hint = {});
void warning(const std::string& text);
// A sentence shown over the last item while the pointer rests there.
void help(const std::string& text);

// The one thing to press next.
bool primary(const char* label, bool enabled = true);
bool button(const char* label, bool enabled = true);
bool small_button(const char* label, bool enabled = true);
bool checkbox(const char* label, bool& value);
// Returns true when another was chosen. Entries are shown as they are, the chosen one shortened where it has no room.
bool choice(const char* label, std::string& value, const std::vector<std::string>& entries, float width = 0);
bool number(const char* label, int& value, int least, int most, float width = 0);
bool slider(const char* label, double& value, double least, double most, const char* format, float width = 0);
bool text_field(const char* label, std::string& value, float width = 0);

// A label left of the next widget, in a column of this width.
void label(const char* text, float width);
// A line "NAME  VALUE", the name muted.
void fact(const char* name, const std::string& value, float width = 150);

enum class Icon { play, pause, stop, loop, record, to_start, to_end };
// A square button with a drawn sign; `lit` shows a state that is on.
bool icon_button(const char* label, Icon icon, const std::string& help, bool lit = false, bool enabled = true);

void progress(double fraction, const std::string& text);

// A frame around a group of widgets: begin, draw, end.
void begin_card(const char* id, float width = 0, float height = 0);
void end_card();

// Text that fits into `width`, its middle left out where it does not ("/home/.../piano").
std::string shortened(const std::string& text, float width);

}  // namespace nigiri::studio::ui
