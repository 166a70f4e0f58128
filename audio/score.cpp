#include "audio/score.h"

#include <fstream>

#include "audio/abc_elements.h"
#include "kernels/error.h"

namespace nigiri {

double velocity_of_dynamic(std::string_view name) {
    static constexpr std::string_view names[] = {"ppp", "pp", "p", "mp", "mf", "f", "ff", "fff"};
    static constexpr double velocities[] = {24, 34, 46, 58, 70, 84, 98, 112};
    for (size_t i = 0; i < std::size(names); ++i)
        if (names[i] == name) return velocities[i];
    return 0;
}

Score parse_score(std::string_view text, const std::string& name, const ScoreLimits& limits) {
    if (text.size() > limits.bytes)
        throw Error(name + " is larger than a score may be (" + std::to_string(limits.bytes) + " bytes)");
    return abc::lay_out(abc::parse_tune(text, name, limits), name, limits);
}

Score read_score(const std::filesystem::path& path, const ScoreLimits& limits) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) throw Error(path.string() + " is a folder, not a score");
    std::ifstream in(path, std::ios::binary);
    if (!in) throw Error("cannot read the score " + path.string(), "check the path");
    std::string text(limits.bytes + 1, '\0');  // one more than allowed shows that there is more
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    return parse_score(text, path.string(), limits);
}

}  // namespace nigiri
