#include "audio/midi.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>

#include "kernels/error.h"

namespace nigiri {

namespace {

constexpr int ticks_per_quarter_note = 1000;
constexpr int microseconds_per_quarter = 500'000;
constexpr double ticks_per_second = ticks_per_quarter_note * 1e6 / microseconds_per_quarter;

class Track {
  public:
    void bytes(std::initializer_list<int> values) {
        for (const int v : values) data_.push_back(static_cast<uint8_t>(v));
    }
    // Seven bits a byte, the highest first, all but the last marked by bit 7.
    void variable_length(uint32_t value) {
        for (int shift = 28; shift > 0; shift -= 7)
            if (value >> shift) data_.push_back(static_cast<uint8_t>(0x80 | ((value >> shift) & 0x7f)));
        data_.push_back(static_cast<uint8_t>(value & 0x7f));
    }
    void text(int type, std::string value) {
        if (value.size() > 1000) value.resize(1000);
        bytes({0, 0xff, type});
        variable_length(static_cast<uint32_t>(value.size()));
        data_.insert(data_.end(), value.begin(), value.end());
    }
    const std::vector<uint8_t>& data() const { return data_; }

  private:
    std::vector<uint8_t> data_;
};

struct Event {
    int64_t tick;
    int order;  // at one tick: releases, then the pedal, then strokes
    int status, first, second;
};

void big_endian(std::vector<uint8_t>& out, uint32_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

}  // namespace

std::vector<uint8_t> midi_file(const Performance& performance, const std::string& comment) {
    const auto tick_of = [](double seconds) { return static_cast<int64_t>(std::llround(seconds * ticks_per_second)); };
    std::vector<Event> events;
    for (const PlayedNote& note : performance.notes) {
        const int64_t start = tick_of(note.start), end = std::max(tick_of(note.start + note.duration), start + 1);
        events.push_back({start, 2, 0x90, note.pitch, note.velocity});
        events.push_back({end, 0, 0x80, note.pitch, 64});
    }
    for (const PedalChange& change : performance.pedal)
        events.push_back({tick_of(change.time), 1, 0xb0, 64, change.down ? 127 : 0});
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
        return a.tick != b.tick ? a.tick < b.tick : a.order < b.order;
    });

    Track track;
    if (!performance.title.empty()) track.text(0x03, performance.title);
    if (!comment.empty()) track.text(0x01, comment);
    track.bytes({0, 0xff, 0x51, 3, microseconds_per_quarter >> 16, (microseconds_per_quarter >> 8) & 0xff,
                 microseconds_per_quarter & 0xff});
    track.bytes({0, 0xc0, 0});  // program 1: acoustic grand piano
    int64_t now = 0;
    const auto advance = [&](int64_t to) {
        track.variable_length(static_cast<uint32_t>(std::clamp<int64_t>(to - now, 0, 0x0fffffff)));
        now = std::max(now, to);
    };
    for (const Event& e : events) {
        advance(e.tick);
        track.bytes({e.status, e.first & 0x7f, e.second & 0x7f});
    }
    advance(tick_of(performance.seconds));
    track.bytes({0xff, 0x2f, 0});

    std::vector<uint8_t> out = {'M', 'T', 'h', 'd'};
    big_endian(out, 6, 4);
    big_endian(out, 0, 2);
    big_endian(out, 1, 2);
    big_endian(out, ticks_per_quarter_note, 2);
    out.insert(out.end(), {'M', 'T', 'r', 'k'});
    big_endian(out, static_cast<uint32_t>(track.data().size()), 4);
    out.insert(out.end(), track.data().begin(), track.data().end());
    return out;
}

void write_file_atomically(const std::filesystem::path& path, const std::vector<uint8_t>& bytes) {
    std::filesystem::path temporary = path;
    temporary += ".tmp";
    std::error_code code;
    {
        std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
        out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        out.close();
        if (!out) {
            std::filesystem::remove(temporary, code);
            throw Error("cannot write " + path.string(), "check the folder and the free space");
        }
    }
    std::filesystem::rename(temporary, path, code);
    if (code) throw Error("cannot rename to " + path.string() + ": " + code.message());
}

}  // namespace nigiri
