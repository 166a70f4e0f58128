// What libsndfile forgives or leaves out and we want to know.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace nigiri {

// True if `fd` (a regular file of `bytes` bytes) is a RIFF, RF64, AIFF, AU or CAF file whose sound data
// should reach beyond its end. False for other formats, and where the size is one of the placeholders that
// programs writing into a pipe leave behind. Does not move the file position.
bool header_promises_more(int fd, uint64_t bytes);

// The text fields of a RIFF file's LIST INFO chunk by their four letters ("ICMT": "..."); empty for other
// formats. libsndfile writes any length but reads less than 2048 bytes of each. Fields beyond a megabyte are
// left out.
std::map<std::string, std::string> riff_info(int fd, uint64_t bytes);

}  // namespace nigiri
