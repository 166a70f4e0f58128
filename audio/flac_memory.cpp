#include "audio/flac_memory.h"

#include <sndfile.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "audio/quantize.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

struct MemoryFile {
    std::string bytes;
    sf_count_t at = 0;
};

sf_count_t length(void* user) { return static_cast<sf_count_t>(static_cast<MemoryFile*>(user)->bytes.size()); }

sf_count_t seek(sf_count_t offset, int whence, void* user) {
    auto& file = *static_cast<MemoryFile*>(user);
    const sf_count_t base = whence == SEEK_CUR ? file.at : whence == SEEK_END ? length(user) : 0;
    file.at = std::max<sf_count_t>(0, base + offset);
    return file.at;
}

sf_count_t read(void* to, sf_count_t count, void* user) {
    auto& file = *static_cast<MemoryFile*>(user);
    const sf_count_t n = std::clamp<sf_count_t>(length(user) - file.at, 0, count);
    std::memcpy(to, file.bytes.data() + std::min(file.at, length(user)), static_cast<size_t>(n));
    file.at += n;
    return n;
}

sf_count_t write(const void* from, sf_count_t count, void* user) {
    auto& file = *static_cast<MemoryFile*>(user);
    // Called by C code: nothing may be thrown through it.
    try {
        if (length(user) < file.at + count) file.bytes.resize(static_cast<size_t>(file.at + count));
    } catch (const std::bad_alloc&) {
        return 0;
    }
    std::memcpy(file.bytes.data() + file.at, from, static_cast<size_t>(count));
    file.at += count;
    return count;
}

sf_count_t tell(void* user) { return static_cast<MemoryFile*>(user)->at; }

}  // namespace

std::string flac_bytes(std::span<const float> samples, int rate) {
    MemoryFile memory;
    SF_VIRTUAL_IO access{length, seek, read, write, tell};
    SF_INFO info{};
    info.samplerate = rate;
    info.channels = 1;
    info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
    std::unique_ptr<SNDFILE, int (*)(SNDFILE*)> file(sf_open_virtual(&access, SFM_WRITE, &info, &memory), sf_close);
    if (!file) throw Error("cannot encode sound at " + std::to_string(rate) + " Hz as FLAC");
    std::vector<short> pcm(samples.size());
    std::transform(samples.begin(), samples.end(), pcm.begin(), to_pcm16);
    const auto count = static_cast<sf_count_t>(pcm.size());
    if (sf_write_short(file.get(), pcm.data(), count) != count) throw Error("cannot encode sound as FLAC");
    file.reset();  // the header's length and checksum are written at the end
    return memory.bytes;
}

}  // namespace nigiri
