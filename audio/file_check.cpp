#include "audio/file_check.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace nigiri {
namespace {

// Sizes from here on are what sox, ffmpeg and others write when they cannot come back to fill the real one
// in.
constexpr uint64_t pipe_placeholder = 0x7FFFF000;

struct Reader {
    int fd;
    uint64_t bytes;

    bool get(uint64_t at, uint8_t* out, size_t n) const {
        return at <= bytes && bytes - at >= n && ::pread(fd, out, n, static_cast<off_t>(at)) == static_cast<ssize_t>(n);
    }
};

uint64_t integer(const uint8_t* p, int bytes, bool big) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; ++i) x |= static_cast<uint64_t>(p[big ? bytes - 1 - i : i]) << (8 * i);
    return x;
}

bool is(const uint8_t* p, const char* id) { return std::memcmp(p, id, 4) == 0; }

// RIFF, RIFX, RF64 and FORM: four letters and a 32-bit size, then chunks of the same shape, padded to even
// sizes.
bool iff(const Reader& file, bool big, const char* sound) {
    uint64_t at = 12, wide_size = 0;
    for (int chunk = 0; chunk < 4096; ++chunk) {
        uint8_t head[8 + 16];
        if (!file.get(at, head, 8)) return false;
        uint64_t size = integer(head + 4, 4, big);
        if (is(head, "ds64") && file.get(at, head, 24)) wide_size = integer(head + 16, 8, false);
        if (is(head, sound)) {
            if (size == 0xFFFFFFFF && wide_size)
                size = wide_size;
            else if (size >= pipe_placeholder)
                return false;
            return size > file.bytes - at - 8;
        }
        if (size > file.bytes - at - 8) return false;  // a strange chunk, and no sound found: libsndfile judges
        at += 8 + size + (size & 1);
    }
    return false;
}

bool au(const Reader& file, bool big) {
    uint8_t head[12];
    if (!file.get(0, head, 12)) return false;
    const uint64_t offset = integer(head + 4, 4, big), size = integer(head + 8, 4, big);
    return size < pipe_placeholder && offset <= file.bytes && size > file.bytes - offset;
}

bool caf(const Reader& file) {
    uint64_t at = 8;
    for (int chunk = 0; chunk < 4096; ++chunk) {
        uint8_t head[12];
        if (!file.get(at, head, 12)) return false;
        const uint64_t size = integer(head + 4, 8, true), rest = file.bytes - at - 12;
        if (is(head, "data")) return size != ~0ull && size > rest;
        if (size > rest) return false;
        at += 12 + size;
    }
    return false;
}

// The fields within an INFO chunk whose content is [at, end).
void info_fields(const Reader& file, uint64_t at, uint64_t end, std::map<std::string, std::string>& fields) {
    constexpr uint64_t longest = 1 << 20;
    uint8_t head[8];
    while (at < end && file.get(at, head, 8)) {
        const uint64_t size = integer(head + 4, 4, false);
        at += 8;
        if (at > end || size > end - at) return;
        std::string text(std::min(size, longest), '\0');
        if (size <= longest && file.get(at, reinterpret_cast<uint8_t*>(text.data()), text.size())) {
            text.resize(std::min(text.size(), text.find('\0')));
            fields.emplace(std::string(reinterpret_cast<const char*>(head), 4), std::move(text));
        }
        at += size + (size & 1);
    }
}

}  // namespace

std::map<std::string, std::string> riff_info(int fd, uint64_t bytes) {
    const Reader file{fd, bytes};
    std::map<std::string, std::string> fields;
    uint8_t head[12];
    if (!file.get(0, head, 12) || !is(head, "RIFF") || !is(head + 8, "WAVE")) return fields;
    uint64_t at = 12;
    for (int chunk = 0; chunk < 4096 && file.get(at, head, 12); ++chunk) {
        const uint64_t size = integer(head + 4, 4, false);
        if (is(head, "LIST") && is(head + 8, "INFO") && size >= 4 && size <= bytes - at - 8)
            info_fields(file, at + 12, at + 8 + size, fields);
        at += 8 + size + (size & 1);
    }
    return fields;
}

bool header_promises_more(int fd, uint64_t bytes) {
    const Reader file{fd, bytes};
    uint8_t head[12];
    if (!file.get(0, head, 12)) return false;
    if (is(head, "RIFF") || is(head, "RF64")) return is(head + 8, "WAVE") && iff(file, false, "data");
    if (is(head, "RIFX")) return is(head + 8, "WAVE") && iff(file, true, "data");
    if (is(head, "FORM")) return iff(file, true, "SSND");
    if (is(head, ".snd")) return au(file, true);
    if (is(head, "dns.")) return au(file, false);
    if (is(head, "caff")) return caf(file);
    return false;
}

}  // namespace nigiri
