// Devices that play or hear, as the user knows them.
#pragma once

#include <string>
#include <vector>

namespace nigiri {

struct SoundDevice {
    int index = 0;     // for open_device_output, open_device_input
    std::string name;  // "ALSA: HDA Intel PCH"
    int channels = 0;
    int default_rate = 0;
    bool is_default = false;
};

// The device of this number, or the first whose name contains `what` (any case). Error with those that there are where
// none does, because a device that was asked for is not to be replaced in silence; `without` says what to do where
// there is none at all.
const SoundDevice& find_device(const std::vector<SoundDevice>& devices, const std::string& what,
                               const std::string& without);

}  // namespace nigiri
