#include "app/studio/sessions/file_names.h"

#include <array>
#include <ctime>

namespace nigiri::studio {

namespace fs = std::filesystem;

std::string time_stamp() {
    const std::time_t t = std::time(nullptr);
    std::tm local{};
    localtime_r(&t, &local);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H.%M.%S", &local);
    return text.data();
}

fs::path free_name(const fs::path& folder, const std::string& stem, const std::string& ending) {
    for (int i = 1;; ++i) {
        const fs::path path = folder / (stem + (i > 1 ? " (" + std::to_string(i) + ")" : "") + ending);
        if (!fs::exists(path)) return path;
    }
}

}  // namespace nigiri::studio
