// Scores, performances, MIDI files and the demo data set. Everything up to the MIDI bytes is exact; what
// FluidSynth makes of them is checked by level, length, pitch and onsets, where it is installed.
#include "audio/score.h"

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
#include "kernels/error.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

const std::string head = "X:1\nT:test\nM:4/4\nL:1/4\nQ:1/4=120\nK:C\n";

Score parse(const std::string& text) {
    return parse_score(text, "t.abc");
}

// start/duration in quarters and pitch, "0+1:60 ..."
std::string notes_of(const Score& score) {
    std::string out;
    for (const ScoreNote& n : score.notes) {
        char text[64];
        std::snprintf(text, sizeof text, "%s%g+%g:%d", out.empty() ? "" : " ",
                      static_cast<double>(n.start) / ticks_per_quarter,
                      static_cast<double>(n.duration) / ticks_per_quarter, n.pitch);
        out += text;
    }
    return out;
}
std::string notes_of(const std::string& music) {
    return notes_of(parse(head + music));
}

std::string message_of(const std::string& text, const ScoreLimits& limits = {}) {
    try {
        parse_score(text, "t.abc", limits);
    } catch (const Error& e) {
        return e.what();
    }
    return "no error";
}

TEST(Score, OctavesAndLengths) {
    EXPECT_EQ(notes_of("C, C c c' |"), "0+1:48 1+1:60 2+1:72 3+1:84");
    EXPECT_EQ(notes_of("C2 D/ E// F/4 G |]"), "0+2:60 2+0.5:62 2.5+0.25:64 2.75+0.25:65 3+1:67");
    EXPECT_EQ(notes_of("C3/2 z/ D2 |"), "0+1.5:60 2+2:62");
    EXPECT_EQ(notes_of("c>d e<f |"), "0+1.5:72 1.5+0.5:74 2+0.5:76 2.5+1.5:77");
    EXPECT_EQ(notes_of("c>>d e2 |"), "0+1.75:72 1.75+0.25:74 2+2:76");
}

TEST(Score, KeySignaturesAndAccidentals) {
    const std::string base = "X:1\nL:1/4\nM:none\nK:";
    const std::map<std::string, std::vector<int>> scales = {
        {"C", {60, 62, 64, 65, 67, 69, 71}},        {"G", {60, 62, 64, 66, 67, 69, 71}},
        {"F", {60, 62, 64, 65, 67, 69, 70}},        {"Am", {60, 62, 64, 65, 67, 69, 71}},
        {"F#m", {61, 62, 64, 66, 68, 69, 71}},      {"Bb", {60, 62, 63, 65, 67, 69, 70}},
        {"D dor", {60, 62, 64, 65, 67, 69, 71}},    {"Amix", {61, 62, 64, 66, 67, 69, 71}},
        {"Eb minor", {59, 61, 63, 65, 66, 68, 70}}, {"C# major", {61, 63, 65, 66, 68, 70, 72}},
        {"none", {60, 62, 64, 65, 67, 69, 71}}};
    for (const auto& [key, pitches] : scales) {
        const Score score = parse(base + key + "\nCDEFGAB|]");
        std::vector<int> got;
        for (const auto& n : score.notes) got.push_back(n.pitch);
        EXPECT_EQ(got, pitches) << key;
    }
    // An accidental holds to the end of its bar in its octave and voice.
    EXPECT_EQ(notes_of("^F F =F _F | F ^^F __F F |"),
              "0+1:66 1+1:66 2+1:65 3+1:64 4+1:65 5+1:67 6+1:63 7+1:63");
    EXPECT_NE(message_of(head + "^F f F F |").find("t.abc:7:4: an accidental in another octave"),
              std::string::npos);
    EXPECT_EQ(notes_of("^F =f F ^f |"), "0+1:66 1+1:77 2+1:66 3+1:78");
}

TEST(Score, ChordsTiesGracesTuplets) {
    EXPECT_EQ(notes_of("[CEG]2 [CE-] E |"), "0+2:60 0+2:64 0+2:67 2+1:60 2+2:64");
    EXPECT_EQ(notes_of("[C2E] z z |"), "0+2:60 0+1:64") << "a chord lasts as long as its first note";
    EXPECT_EQ(notes_of("C4- | C2 D2 |"), "0+6:60 6+2:62");
    EXPECT_EQ(
        notes_of("(3C/D/E/ F (3:2:2C2D |"),
        "0+0.333333:60 0.333333+0.333333:62 0.666667+0.333333:64 1+1:65 2+1.33333:60 3.33333+0.666667:62");
    EXPECT_EQ(notes_of("{GA}c2 z2 |"), "0+0.125:67 0.125+0.125:69 0.25+1.75:72");
    EXPECT_NE(message_of(head + "C4- | D4 |").find("tie leads to no note"), std::string::npos);
    EXPECT_NE(message_of(head + "C2- z2 |").find("tie leads to no note"), std::string::npos);
}

TEST(Score, RepeatsAndEndings) {
    const auto pitches = [](const std::string& music) {
        std::string out;
        for (const auto& n : parse("X:1\nL:1/1\nM:4/4\nK:C\n" + music).notes)
            out += std::string_view("C?D?EF?G?A?B")[static_cast<size_t>(n.pitch % 12)];
        return out;
    };
    EXPECT_EQ(pitches("C | D :| E |"), "CDCDE");
    EXPECT_EQ(pitches("C |: D | E :| F |"), "CDEDEF");
    EXPECT_EQ(pitches("|: C | D :: E | F :| G |]"), "CDCDEFEFG");
    EXPECT_EQ(pitches("|: C |1 D :|2 E | F |]"), "CDCEF");
    EXPECT_EQ(pitches("|: C | [1 D :| [2 E | F :|"),
              "CDCEF"
              "EF")
        << "what follows an ending repeats from there";
    const Score score = parse("X:1\nL:1/4\nM:4/4\nK:C\n|: G | CDEF | GAB :|\n");
    EXPECT_EQ(score.bars.size(), 6u) << "an upbeat and the bar that it completes";
    EXPECT_EQ(score.length, 16 * ticks_per_quarter);
}

TEST(Score, VoicesAndMarks) {
    const Score score = parse(
        head + "V:RH\n!p!C D !<(!E F!<)! | !f!.G !>!A (B c) |\nV:LH\nI:pedal 1/2\nC,4 | [Q:1/4=60] Z |\n");
    EXPECT_EQ(score.voices, 2);
    EXPECT_EQ(score.length, 2 * ticks_per_whole);
    ASSERT_EQ(score.tempi.size(), 2u);
    EXPECT_EQ(score.tempi[1].start, ticks_per_whole);
    EXPECT_DOUBLE_EQ(score.seconds(), 2 + 4);
    ASSERT_EQ(score.dynamics.size(), 3u);
    EXPECT_TRUE(score.dynamics[1].gradual);
    EXPECT_EQ(score.dynamics[1].velocity, velocity_of_dynamic("f"))
        << "a hairpin leads to the mark behind it";
    ASSERT_EQ(score.pedal.size(), 5u) << "two changes a bar and the end";
    EXPECT_EQ(score.pedal[3].start, ticks_per_whole + ticks_per_whole / 2);
    EXPECT_FALSE(score.pedal[4].down);
    const auto at = [&](int pitch) {
        return *std::find_if(score.notes.begin(), score.notes.end(),
                             [&](const auto& n) { return n.pitch == pitch; });
    };
    EXPECT_TRUE(at(67).staccato);
    EXPECT_TRUE(at(69).accent);
    EXPECT_TRUE(at(71).legato);
    EXPECT_FALSE(at(72).legato) << "the last note under a slur";
    EXPECT_EQ(at(48).voice, 1);
}

TEST(Score, RefusesWithPlace) {
    const std::map<std::string, std::string> cases = {
        {"", "t.abc:1:1: no 'K:' field"},
        {"T:x\n", "t.abc:1:3: a score starts with the field 'X:1'"},
        {"X:1\nCDEF\n", "t.abc:2:1: expected a header field"},
        {"X:1\nK:H\n", "t.abc:2:3: unknown key 'H'"},
        {"X:1\nK:Cfoo\n", "t.abc:2:3: unknown mode 'foo' of key 'Cfoo'"},
        {"X:1\nK:G#\n", "t.abc:2:3: key 'G#' has more than seven"},
        {"X:1\nL:1/0\nK:C\n", "t.abc:2:3: '1/0' is not a fraction"},
        {"X:1\nM:5\nQ:1/4=5\nK:C\n", "t.abc:3:3: tempo '1/4=5' is not between"},
        {"X:1\nK:C\n", "the score has no notes"},
        {head + "CDE | CDEF |", "no error"},
        {head + "CDEF | CDE | CDEF |", "t.abc:7:13: this bar has only 3.0"},
        {head + "CDEFG |", "t.abc:7:8: this bar has 5.0"},
        {head + "CD?F |", "t.abc:7:3: unexpected character '?'"},
        {head + "CD\x01"
                "F |",
         "t.abc:7:3: unexpected character code 1"},
        {head + "[CE |", "t.abc:7:5: a chord holds notes"},
        {head + "[]4 |", "t.abc:7:3: an empty chord"},
        {head + "!p CDEF |", "t.abc:7:1: a mark such as !p! does not end"},
        {head + "\"Am CDEF |", "t.abc:7:1: the text in quotes"},
        {head + "C,,,,4 |", "t.abc:7:6: a note beyond the piano's keys"},
        {head + "C,,,,,,,,,4 |", "a note beyond the piano's keys"},
        {head + "C1/3 D |", "no error"},
        {head + "C1/11 D |", "t.abc:7:6: a length that is no multiple"},
        {head + "C0 |", "a length of zero"},
        {head + "C/0 |", "a length divided by zero"},
        {head + "C99999999999999999999 |", "a number above 1024"},
        {head + "C1000 |", "a note longer than 16 whole notes"},
        {head + "(3CD |", "a bar ends within a rhythm"},
        {head + "(3(3CDE |", "a tuplet within a tuplet"},
        {head + "C>| |", "a bar ends within a rhythm"},
        {head + "CDEF) |", "a slur ends that did not start"},
        {head + "(CDEF |", "a slur of voice 1 does not end"},
        {head + "((((((((((CDEF |", "slurs within more than 8"},
        {head + "Z101 |", "a number above 100"},
        {head + "C4 |3 D4 |", "only the endings 1 and 2"},
        {head + "C4 |\n\nD4 |", "t.abc:9:1: one file holds one piece"},
        {head + "C4 |\nX:2\n", "t.abc:8:3: a second 'X:'"},
        {head + "C4 & E4 |", "overlaid voices"},
        {head + "V:1 octave=1\nC4 |", "'octave=1' is not read here"},
        {head + "V:1 clef=treble-8\nC4 |", "transposing clef"},
        {head + "V:1\nC4 | D4 |\nV:2\nC4 |\n", "voices 1 and 2 part at bar 2"},
        {head + "!<)! C4 |", "t.abc:7:1: a hairpin ends"},
        {head + "V:1\nV:2\nV:3\nV:4\nV:5\nV:6\nV:7\nV:8\nV:9\n", "more than 8 voices"},
    };
    for (const auto& [text, message] : cases)
        EXPECT_NE(message_of(text).find(message), std::string::npos)
            << text << "\n said: " << message_of(text);
}

TEST(Score, Limits) {
    std::string many = head;
    for (int i = 0; i < 100; ++i) many += "|: CDEF :|\n";
    EXPECT_EQ(parse(many).notes.size(), 800u);
    EXPECT_NE(message_of(many, {.notes = 500}).find("more than 500 notes with its repeats"),
              std::string::npos);
    EXPECT_NE(message_of(many, {.notes = 300}).find("more than 300 notes"), std::string::npos);
    EXPECT_NE(message_of(many, {.seconds = 60}).find("lasts longer"), std::string::npos);
    EXPECT_NE(message_of(many, {.bytes = 100}).find("larger than a score may be"), std::string::npos);
    EXPECT_THROW(read_score("/nonexistent/x.abc"), Error);
    EXPECT_THROW(read_score("/"), Error);
}

// Whatever is done to a good score's bytes, the parser answers with a score or an Error.
TEST(Score, SurvivesDamage) {
    std::ifstream in(fs::path(NIGIRI_SOURCE_DIR) / "assets/scores/beethoven-fuer-elise.abc");
    const std::string good((std::istreambuf_iterator<char>(in)), {});
    ASSERT_GT(good.size(), 500u);
    Random random(7);
    int accepted = 0;
    for (int round = 0; round < 2000; ++round) {
        std::string text = good;
        for (uint64_t k = 0; k <= random.below(4); ++k) {
            const size_t at = random.below(text.size());
            if (random.below(3) == 0)
                text.erase(at, random.below(20));
            else if (random.below(2) == 0)
                text.insert(at, good.substr(random.below(good.size()), random.below(30)));
            else
                text[at] = static_cast<char>(random.below(256));
        }
        try {
            const Score score = parse(text);
            ++accepted;
            for (const auto& n : score.notes)
                ASSERT_TRUE(n.duration > 0 && n.start >= 0 && n.pitch >= 21 && n.pitch <= 108)
                    << "round " << round;
            midi_file(perform(score));
        } catch (const Error&) {
        }
    }
    EXPECT_GT(accepted, 20) << "some damage is harmless, so the check above was used";
    EXPECT_LT(accepted, 1500) << "most damage is noticed";
}

TEST(Score, ShippedScoresAreWhole) {
    double seconds = 0;
    std::set<std::string> titles;
    for (const auto& entry : fs::directory_iterator(fs::path(NIGIRI_SOURCE_DIR) / "assets/scores")) {
        if (entry.path().extension() != ".abc") continue;
        SCOPED_TRACE(entry.path().filename().string());
        const Score score = read_score(entry.path());
        EXPECT_FALSE(score.title.empty());
        EXPECT_FALSE(score.composer.empty());
        EXPECT_TRUE(titles.insert(score.title).second) << "twice the same piece could stand in two splits";
        EXPECT_GE(score.seconds(), 20);
        EXPECT_GE(score.voices, 2);
        seconds += score.seconds();
    }
    EXPECT_GE(titles.size(), 25u);
    EXPECT_GE(seconds, 600) << "ten minutes of written music";
}

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
    const Performance exact = perform(score, {.timing = 0, .dynamics = 0}),
                      human = perform(score, {.seed = 5});
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
        return uint32_t{bytes[i]} << 24 | uint32_t{bytes[i + 1]} << 16 | uint32_t{bytes[i + 2]} << 8 |
               bytes[i + 3];
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
    const std::vector<MidiEvent> expected = {
        {200, 0xb0, 64, 127},   {500, 0x90, 60, 100},  {1500, 0x80, 60, 64}, {1500, 0x90, 60, 1},
        {2000, 0x90, 108, 127}, {2001, 0x80, 108, 64}, {20000, 0xb0, 64, 0}, {41500, 0x80, 60, 64}};
    EXPECT_EQ(events.size(), expected.size());
    for (size_t i = 0; i < std::min(events.size(), expected.size()); ++i)
        EXPECT_TRUE(events[i] == expected[i]) << i;
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
        const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i - begin) /
                                                   static_cast<double>(count));
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
        const size_t begin = static_cast<size_t>((note.start + 0.05) * rate),
                     count = static_cast<size_t>(0.38 * rate);
        const double frequency = 440 * std::pow(2, (note.pitch - 69) / 12.0),
                     own = power_at(x, begin, count, frequency, rate);
        EXPECT_GT(own, 10 * power_at(x, begin, count, frequency * std::pow(2, 1 / 12.0), rate)) << note.pitch;
        EXPECT_GT(own, 10 * power_at(x, begin, count, frequency * std::pow(2, -1 / 12.0), rate))
            << note.pitch;
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
            << head << (i % 2 ? "C D E F |" : "G A B c |") << std::string(static_cast<size_t>(i), ' ')
            << "c4 |]\n";
    const DemoDataOptions options{.minutes = 0.5, .sample_rate = 22050};
    size_t calls = 0;
    const auto report =
        render_demo_data(scores, output, options, [&](const DemoPiece&, size_t done, size_t total) {
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
