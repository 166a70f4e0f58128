#include "audio/device.h"

#include <algorithm>
#include <cctype>

#include "kernels/error.h"

namespace nigiri {
namespace {

std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
}

}  // namespace

const SoundDevice& find_device(const std::vector<SoundDevice>& devices, const std::string& what,
                               const std::string& without) {
    const bool number =
        std::all_of(what.begin(), what.end(), [](unsigned char c) { return std::isdigit(c); }) && what.size() < 6;
    for (const SoundDevice& d : devices)
        if (number ? d.index == std::stoi(what) : lower(d.name).find(lower(what)) != std::string::npos) return d;
    std::string hint = devices.empty() ? "there is no sound device; " + without : "there are:";
    for (const SoundDevice& d : devices) {
        if (&d != &devices.front()) hint += ',';
        hint.append(" ").append(std::to_string(d.index)).append(" (").append(d.name).append(")");
    }
    throw Error("there is no sound device '" + what + "'", hint);
}

}  // namespace nigiri
