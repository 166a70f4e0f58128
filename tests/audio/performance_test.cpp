// Études, performances, MIDI files and the demo data set. Everything up to the MIDI bytes is exact; what
// FluidSynth makes of them is checked by level, length, pitch and onsets, where it is installed.
#include <gtest/gtest.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numbers>
#include <set>

#include "audio/demo_data.h"
#include "audio/etudes.h"
#include "audio/midi.h"
#include "audio/score.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/audio/score_support.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::head, test::notes_of, test::parse;

TEST(Etudes, AreWholeAndVaried) {
    std::set<std::string> titles;
    for (int number = 0; number < 12 * etude_kinds; ++number) {
        const Score score = make_etude(number, 3);
        SCOPED_TRACE(score.title);
        titles.insert(score.title.substr(score.title.find(':')));
        EXPECT_GT(score.seconds(), 15);
        EXPECT_LT(score.seconds(), 75);
        EXPECT_GE(score.voices, 2);
        EXPECT_TRUE(std::is_sorted(score.notes.begin(), score.notes.end(),
                                   [](const auto& a, const auto& b) { return a.start < b.start; }));
        for (const auto& n : score.notes) {
            EXPECT_GT(n.duration, 0);
            EXPECT_LE(n.start + n.duration, score.length);
            EXPECT_GE(n.pitch, lowest_piano_pitch);
            EXPECT_LE(n.pitch, highest_piano_pitch);
        }
    }
    EXPECT_GE(titles.size(), 80u) << "kinds and keys hardly repeat within eight rounds";
    EXPECT_EQ(notes_of(make_etude(5, 9)), notes_of(make_etude(5, 9)));
    EXPECT_NE(notes_of(make_etude(5, 9)), notes_of(make_etude(5, 10)));
}

TEST(Performance, ExactTimesWithoutHumans) {
    const Performance p = perform(parse(head + "C .D E F- | F4 |"), {.timing = 0, .dynamics = 0});
    ASSERT_EQ(p.notes.size(), 4u);
    const double first = p.notes[0].start;
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(p.notes[i].start - first, 0.5 * static_cast<double>(i), 1e-9);
    EXPECT_NEAR(p.notes[1].duration, 0.25, 1e-9) << "staccato is half";
    EXPECT_GT(p.notes[3].duration, 2.4);
    EXPECT_EQ(p.notes[0].velocity, velocity_of_dynamic("mf"));
    EXPECT_NEAR(p.seconds, p.notes[3].start + p.notes[3].duration + 2, 1e-9);
    // A fermata stretches its own beat and nothing before it.
    const Performance held = perform(parse(head + "C !fermata!D E F | F4 |"), {.timing = 0, .dynamics = 0});
    EXPECT_NEAR(held.notes[1].start - held.notes[0].start, 0.5, 1e-9);
    EXPECT_NEAR(held.notes[2].start - held.notes[1].start, 0.85, 1e-9);
    EXPECT_NEAR(held.notes[3].start - held.notes[2].start, 0.5, 1e-9);
}

TEST(Performance, HumanWithinBounds) {
    const Score score = make_etude(6, 1);  // a nocturne: both hands, pedal, hairpins
    const Performance exact = perform(score, {.timing = 0, .dynamics = 0}), human = perform(score, {.seed = 5});
    EXPECT_NEAR(human.seconds, exact.seconds, 0.15 * exact.seconds);
    std::set<int> velocities;
    std::map<int, double> last_end;
    for (const PlayedNote& n : human.notes) {
        EXPECT_GE(n.start, 0);
        EXPECT_GT(n.duration, 0);
        EXPECT_GE(n.velocity, 1);
        EXPECT_LE(n.velocity, 127);
        velocities.insert(n.velocity);
        if (last_end.count(n.pitch)) {
            EXPECT_GT(n.start, last_end[n.pitch]) << "a key is struck while it is down";
        }
        last_end[n.pitch] = n.start + n.duration;
    }
    EXPECT_GE(velocities.size(), 15u);
    ASSERT_FALSE(human.pedal.empty());
    for (size_t i = 0; i < human.pedal.size(); ++i) {
        EXPECT_EQ(human.pedal[i].down, i % 2 == 0);
        if (i > 0) {
            EXPECT_GT(human.pedal[i].time, human.pedal[i - 1].time);
        }
    }
    EXPECT_FALSE(human.pedal.back().down);
    EXPECT_EQ(midi_file(human), midi_file(perform(score, {.seed = 5})));
    EXPECT_NE(midi_file(human), midi_file(perform(score, {.seed = 6})));
}

struct MidiEvent {
    int64_t tick;
    int status, first, second;
    bool operator==(const MidiEvent&) const = default;
};

// An independent reader of the files that midi_file writes. Fails the test on anything unexpected.
std::vector<MidiEvent> read_midi(const std::vector<uint8_t>& bytes, int64_t& end) {
    std::vector<MidiEvent> events;
    size_t at = 22;
    const auto u32 = [&](size_t i) {
        return uint32_t{bytes[i]} << 24 | uint32_t{bytes[i + 1]} << 16 | uint32_t{bytes[i + 2]} << 8 | bytes[i + 3];
    };
    EXPECT_EQ(std::string(bytes.begin(), bytes.begin() + 4), "MThd");
    EXPECT_EQ(u32(4), 6u);
    EXPECT_EQ(std::vector<uint8_t>(bytes.begin() + 8, bytes.begin() + 14),
              (std::vector<uint8_t>{0, 0, 0, 1, 1000 >> 8, 1000 & 255}));
    EXPECT_EQ(std::string(bytes.begin() + 14, bytes.begin() + 18), "MTrk");
    EXPECT_EQ(u32(18), bytes.size() - 22);
    const auto variable = [&] {
        uint32_t value = 0;
        do value = value << 7 | (bytes.at(at) & 0x7f);
        while (bytes.at(at++) & 0x80);
        return value;
    };
    int64_t tick = 0;
    end = -1;
    while (at < bytes.size()) {
        tick += variable();
        const int status = bytes.at(at++);
        if (status == 0xff) {
            const int type = bytes.at(at++);
            const uint32_t length = variable();
            at += length;
            if (type == 0x2f) end = tick;
        } else if (status == 0xc0) {
            EXPECT_EQ(bytes.at(at++), 0) << "a grand piano";
        } else {
            EXPECT_TRUE(status == 0x90 || status == 0x80 || status == 0xb0) << status;
            events.push_back({tick, status, bytes.at(at), bytes.at(at + 1)});
            at += 2;
        }
    }
    EXPECT_EQ(at, bytes.size());
    return events;
}

TEST(Midi, HoldsThePerformance) {
    Performance p;
    p.title = std::string(300, 'x');  // its length takes two bytes
    p.notes = {{0.25, 0.5, 60, 100}, {0.75, 20, 60, 1}, {1, 0.0001, 108, 127}};
    p.pedal = {{0.1, true}, {10, false}};
    p.seconds = 25;
    int64_t end = 0;
    const auto events = read_midi(midi_file(p, "comment"), end);
    const std::vector<MidiEvent> expected = {{200, 0xb0, 64, 127}, {500, 0x90, 60, 100},   {1500, 0x80, 60, 64},
                                             {1500, 0x90, 60, 1},  {2000, 0x90, 108, 127}, {2001, 0x80, 108, 64},
                                             {20000, 0xb0, 64, 0}, {41500, 0x80, 60, 64}};
    EXPECT_EQ(events.size(), expected.size());
    for (size_t i = 0; i < std::min(events.size(), expected.size()); ++i) EXPECT_TRUE(events[i] == expected[i]) << i;
    EXPECT_EQ(end, 50000);
}

class Folder {
  public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "nigiri score test XXXXXX").string();
        path = ::mkdtemp(name.data()) ? name : "";
    }
    ~Folder() { fs::remove_all(path); }
    fs::path path;
};

bool can_render() {
    try {
        find_soundfont();
    } catch (const Error&) {
        return false;
    }
    return std::system("command -v fluidsynth > /dev/null 2>&1") == 0;
}

std::vector<double> read_mono(const fs::path& path, int& rate) {
    SF_INFO info{};
    SNDFILE* in = sf_open(path.c_str(), SFM_READ, &info);
    EXPECT_NE(in, nullptr) << path;
    if (!in) return {};
    EXPECT_EQ(info.channels, 2);
    EXPECT_EQ(info.format & SF_FORMAT_TYPEMASK, SF_FORMAT_FLAC);
    std::vector<double> stereo(static_cast<size_t>(info.frames) * 2), mono(static_cast<size_t>(info.frames));
    EXPECT_EQ(sf_readf_double(in, stereo.data(), info.frames), info.frames);
    sf_close(in);
    for (size_t i = 0; i < mono.size(); ++i) mono[i] = (stereo[2 * i] + stereo[2 * i + 1]) / 2;
    rate = info.samplerate;
    return mono;
}

double power_at(const std::vector<double>& x, size_t begin, size_t count, double frequency, double rate) {
    double re = 0, im = 0;
    for (size_t i = begin; i < begin + count; ++i) {
        const double window =
            0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i - begin) / static_cast<double>(count));
        re += window * x[i] * std::cos(2 * std::numbers::pi * frequency * static_cast<double>(i) / rate);
        im += window * x[i] * std::sin(2 * std::numbers::pi * frequency * static_cast<double>(i) / rate);
    }
    return re * re + im * im;
}

TEST(Rendering, PlaysTheNotesAtTheirTimesAndPitches) {
    if (!can_render()) GTEST_SKIP() << "fluidsynth or its soundfont is not installed";
    const Folder folder;
    const Performance p = perform(parse(head + "A c e A, | E4 |"), {.timing = 0, .dynamics = 0});
    const DemoPiece piece = render_piano(p, folder.path / "a.flac");
    EXPECT_NEAR(piece.rms_level, -23, 0.5);
    EXPECT_LE(piece.peak_level, -0.99);
    int rate = 0;
    const std::vector<double> x = read_mono(folder.path / "a.flac", rate);
    ASSERT_EQ(rate, 44100);
    EXPECT_NEAR(static_cast<double>(x.size()) / rate, p.seconds, 0.01);
    double peak = 0;
    for (const double v : x) peak = std::max(peak, std::abs(v));
    EXPECT_LT(peak, 1);
    EXPECT_GT(peak, 0.05);
    for (const PlayedNote& note : p.notes) {
        // In the middle of each note its own fundamental is far above that of the semitones beside it.
        const size_t begin = static_cast<size_t>((note.start + 0.05) * rate), count = static_cast<size_t>(0.38 * rate);
        const double frequency = 440 * std::pow(2, (note.pitch - 69) / 12.0),
                     own = power_at(x, begin, count, frequency, rate);
        EXPECT_GT(own, 10 * power_at(x, begin, count, frequency * std::pow(2, 1 / 12.0), rate)) << note.pitch;
        EXPECT_GT(own, 10 * power_at(x, begin, count, frequency * std::pow(2, -1 / 12.0), rate)) << note.pitch;
        // The level rises where the note starts: 20 ms after against 20 ms before.
        const auto energy = [&](double time) {
            double sum = 0;
            for (size_t i = 0; i < static_cast<size_t>(rate) / 50; ++i)
                sum += x[static_cast<size_t>(time * rate) + i] * x[static_cast<size_t>(time * rate) + i];
            return sum;
        };
        EXPECT_GT(energy(note.start + 0.01), 1.5 * energy(note.start - 0.025)) << note.start;
    }
}

TEST(Rendering, DemoDataIsCompleteAndReused) {
    if (!can_render()) GTEST_SKIP() << "fluidsynth or its soundfont is not installed";
    const Folder folder;
    const fs::path scores = folder.path / "scores", output = folder.path / "out put";
    fs::create_directory(scores);
    for (int i = 0; i < 10; ++i)
        std::ofstream(scores / ("piece" + std::to_string(i) + ".abc"))
            << head << (i % 2 ? "C D E F |" : "G A B c |") << std::string(static_cast<size_t>(i), ' ') << "c4 |]\n";
    const DemoDataOptions options{.minutes = 0.5, .sample_rate = 22050};
    size_t calls = 0;
    const auto report = render_demo_data(scores, output, options, [&](const DemoPiece&, size_t done, size_t total) {
        EXPECT_EQ(done, ++calls);
        EXPECT_EQ(total, 10u);
    });
    EXPECT_EQ(calls, 10u);
    EXPECT_GE(report.minutes(), 0.5);
    for (const char* split : {"train", "valid", "test"}) EXPECT_GT(report.minutes(split), 0) << split;
    std::map<fs::path, fs::file_time_type> written;
    for (const DemoPiece& p : report.pieces) {
        EXPECT_FALSE(p.reused);
        ASSERT_TRUE(fs::is_regular_file(p.audio)) << p.audio;
        written[p.audio] = fs::last_write_time(p.audio);
    }
    size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(output))
        if (entry.is_regular_file()) ++files;
    EXPECT_EQ(files, 20u) << "a recording and a MIDI file each, and nothing left over";

    fs::remove(report.pieces[2].audio);
    std::ofstream(scores / "piece3.abc") << head << "c B A G | C4 |]\n";
    const auto again = render_demo_data(scores, output, options);
    for (size_t i = 0; i < again.pieces.size(); ++i) {
        const DemoPiece& p = again.pieces[i];
        EXPECT_EQ(p.reused, i != 2 && i != 3) << p.name;
        if (p.reused) {
            EXPECT_EQ(written[p.audio], fs::last_write_time(p.audio));
        }
    }

    fs::remove(scores / "piece0.abc");  // every later piece moves to another place, some to another split
    const auto fewer = render_demo_data(scores, output, {.minutes = 0, .sample_rate = 22050});
    std::set<fs::path> wanted;
    for (const DemoPiece& p : fewer.pieces) wanted.insert(p.audio);
    for (const char* split : {"train", "valid", "test"})
        for (const auto& entry : fs::directory_iterator(output / split))
            EXPECT_EQ(wanted.count(entry.path()), 1u) << "left over: " << entry.path();
}

TEST(Rendering, SaysWhatIsMissing) {
    const Folder folder;
    EXPECT_THROW(render_demo_data(folder.path / "none", folder.path / "out"), Error);
    EXPECT_THROW(render_demo_data(folder.path, folder.path / "out", {.sample_rate = 5}), Error);
    const Performance p = perform(parse(head + "C4 |"));
    try {
        render_piano(p, folder.path / "a.flac", {.soundfont = folder.path / "none.sf2"});
        FAIL() << "a soundfont that is not there";
    } catch (const Error& e) {
        EXPECT_FALSE(e.hint().empty());
    }
    if (!can_render()) GTEST_SKIP() << "fluidsynth or its soundfont is not installed";
    std::ofstream(folder.path / "broken.sf2") << "RIFF, but not really";
    EXPECT_THROW(render_piano(p, folder.path / "a.flac", {.soundfont = folder.path / "broken.sf2"}), Error);
    size_t files = 0;
    for (const auto& entry : fs::directory_iterator(folder.path)) files += entry.path().extension() != ".sf2";
    EXPECT_EQ(files, 0u) << "a failed rendering leaves nothing behind";
}

}  // namespace
}  // namespace nigiri
