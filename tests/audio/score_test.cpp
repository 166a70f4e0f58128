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
#include "tests/audio/score_support.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::head, test::notes_of, test::parse;

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
    EXPECT_EQ(notes_of("^F F =F _F | F ^^F __F F |"), "0+1:66 1+1:66 2+1:65 3+1:64 4+1:65 5+1:67 6+1:63 7+1:63");
    EXPECT_NE(message_of(head + "^F f F F |").find("t.abc:7:4: an accidental in another octave"), std::string::npos);
    EXPECT_EQ(notes_of("^F =f F ^f |"), "0+1:66 1+1:77 2+1:66 3+1:78");
}

TEST(Score, ChordsTiesGracesTuplets) {
    EXPECT_EQ(notes_of("[CEG]2 [CE-] E |"), "0+2:60 0+2:64 0+2:67 2+1:60 2+2:64");
    EXPECT_EQ(notes_of("[C2E] z z |"), "0+2:60 0+1:64") << "a chord lasts as long as its first note";
    EXPECT_EQ(notes_of("C4- | C2 D2 |"), "0+6:60 6+2:62");
    EXPECT_EQ(notes_of("(3C/D/E/ F (3:2:2C2D |"),
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
    const Score score =
        parse(head + "V:RH\n!p!C D !<(!E F!<)! | !f!.G !>!A (B c) |\nV:LH\nI:pedal 1/2\nC,4 | [Q:1/4=60] Z |\n");
    EXPECT_EQ(score.voices, 2);
    EXPECT_EQ(score.length, 2 * ticks_per_whole);
    ASSERT_EQ(score.tempi.size(), 2u);
    EXPECT_EQ(score.tempi[1].start, ticks_per_whole);
    EXPECT_DOUBLE_EQ(score.seconds(), 2 + 4);
    ASSERT_EQ(score.dynamics.size(), 3u);
    EXPECT_TRUE(score.dynamics[1].gradual);
    EXPECT_EQ(score.dynamics[1].velocity, velocity_of_dynamic("f")) << "a hairpin leads to the mark behind it";
    ASSERT_EQ(score.pedal.size(), 5u) << "two changes a bar and the end";
    EXPECT_EQ(score.pedal[3].start, ticks_per_whole + ticks_per_whole / 2);
    EXPECT_FALSE(score.pedal[4].down);
    const auto at = [&](int pitch) {
        return *std::find_if(score.notes.begin(), score.notes.end(), [&](const auto& n) { return n.pitch == pitch; });
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
        EXPECT_NE(message_of(text).find(message), std::string::npos) << text << "\n said: " << message_of(text);
}

TEST(Score, Limits) {
    std::string many = head;
    for (int i = 0; i < 100; ++i) many += "|: CDEF :|\n";
    EXPECT_EQ(parse(many).notes.size(), 800u);
    EXPECT_NE(message_of(many, {.notes = 500}).find("more than 500 notes with its repeats"), std::string::npos);
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
                ASSERT_TRUE(n.duration > 0 && n.start >= 0 && n.pitch >= 21 && n.pitch <= 108) << "round " << round;
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

}  // namespace
}  // namespace nigiri
