// The text of a grid file, before anybody asks what its words mean: sections of `key = value` lines, a small part of
// TOML. Values are texts in double quotes, numbers, true and false, or lists of those in brackets on one line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace nigiri::app {

struct GridEntry {
    std::string key;
    std::vector<std::string> values;  // one where it is no list
    bool is_list = false;
    int line = 0;

    // As an option on the command line has it: "4,4" for a list.
    std::string text() const;
};

struct GridSection {
    std::string name;  // "row.mamba-s4"; empty: before the first header
    int line = 0;
    std::vector<GridEntry> entries;
};

// "FILE, line 12: what"; line 0 leaves the line out.
Error grid_error(const std::string& file, int line, const std::string& what, const std::string& hint = "");

// Keys and section names are letters, digits, '-', '_' and '.'. Throws Error with file and line on anything that is
// none of this, on a section or key that comes twice, and on more than a megabyte.
std::vector<GridSection> parse_grid_text(std::string_view text, const std::string& file);

}  // namespace nigiri::app
