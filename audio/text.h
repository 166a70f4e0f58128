// Text for people.
#pragma once

#include <string>

namespace nigiri {

// Valid UTF-8 without control characters: names come from strangers' disks, and a terminal obeys what it is
// sent.
std::string printable(const std::string& text);
// A number with so many decimals.
std::string shown(double x, int decimals);
// "1 h 58 min 3 s", "4.2 s".
std::string duration(double seconds);
// True if a name ends like that of a sound file, whether it can be read here or not.
bool has_sound_ending(const std::string& name);

}  // namespace nigiri
