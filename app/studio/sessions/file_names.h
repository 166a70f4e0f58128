// Names for files that the studio makes.
#pragma once

#include <filesystem>
#include <string>

namespace nigiri::studio {

// Now, as "2026-11-23 09.15.02": sorts by time, and no system forbids it in a file's name.
std::string time_stamp();

// FOLDER/STEM and ENDING, with a number between them if there is such a file already.
std::filesystem::path free_name(const std::filesystem::path& folder, const std::string& stem,
                                const std::string& ending);

}  // namespace nigiri::studio
