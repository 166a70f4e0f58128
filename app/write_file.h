// Small files, replaced as a whole.
#pragma once

#include <filesystem>
#include <string_view>

namespace nigiri::app {

// Writes under a temporary name beside `path`, flushes to the disk and renames: `path` is at every moment what it was
// before or the whole new file. Throws Error where that fails; nothing is left behind then.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace nigiri::app
