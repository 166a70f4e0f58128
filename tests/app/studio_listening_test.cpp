// Blind tests: from the first trial to the result, paused and resumed, and nothing told before the end.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "app/compare/verdict.h"
#include "app/studio/sessions/listening_test.h"
#include "tests/app/studio.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using app::BlindKind;
using nlohmann::json;
using test::read_json;
using test::sound_rate;
using test::wait;

// Three players, four clips of tones; the third player's are shorter.
std::shared_ptr<const Comparison> tones(const fs::path& folder) {
    auto c = std::make_shared<Comparison>();
    c->folder = folder;
    c->name = folder.filename().string();
    c->players = {"one", "two", "three"};
    for (int i = 0; i < 4; ++i) {
        Comparison::Row row;
        for (int p = 0; p < 3; ++p)
            row.tracks.push_back({std::make_shared<const Sound>(
                                      sound_rate, test::sine(200 + 100 * p + 10 * i, p == 2 ? 1 : 2, sound_rate)),
                                  1});
        c->rows.push_back(std::move(row));
    }
    return c;
}

class Listening : public testing::Test {
  protected:
    test::TemporaryFolder folder;
    std::shared_ptr<const Comparison> comparison = tones(folder / "comparison");

    ListeningTest make(BlindKind kind, int trials, const std::string& name = "t.json") {
        return ListeningTest(comparison, {.kind = kind, .trials = trials, .first = 0, .second = 1, .seed = 11},
                             folder / "results" / name);
    }
    static void hear_all(ListeningTest& t) {
        for (size_t i = 0; i < t.labels().size(); ++i) t.hear(i, 1);
    }
    // Somebody who notices which sound X is.
    static int right_answer(const ListeningTest& t) {
        const auto tracks = t.tracks();
        return tracks[2].sound == tracks[0].sound ? 0 : 1;
    }
};

TEST_F(Listening, AbxFromTheFirstTrialToTheResult) {
    ListeningTest t = make(BlindKind::abx, 5);
    EXPECT_EQ(t.labels(), (std::vector<std::string>{"A", "B", "X"}));
    int as_a = 0;
    for (int trial = 0; trial < 5; ++trial) {
        EXPECT_EQ(t.answered(), trial);
        const auto tracks = t.tracks();
        ASSERT_EQ(tracks.size(), 3u);
        EXPECT_NE(tracks[0].sound, tracks[1].sound);
        EXPECT_TRUE(tracks[2].sound == tracks[0].sound || tracks[2].sound == tracks[1].sound);
        as_a += tracks[2].sound == tracks[0].sound;
        bool found = false;
        for (const auto& row : comparison->rows)
            found = found || (row.tracks[0].sound == tracks[0].sound && row.tracks[1].sound == tracks[1].sound);
        EXPECT_TRUE(found) << "A and B are the same clip of the two";
        // Only listening to X opens the answers.
        EXPECT_FALSE(t.can_answer());
        EXPECT_THROW(t.answer(0, 1), Error);
        t.hear(0, 10), t.hear(1, 10);
        EXPECT_FALSE(t.can_answer());
        t.hear(2, 0.3);
        EXPECT_FALSE(t.can_answer());
        t.hear(2, 0.3);
        EXPECT_TRUE(t.can_answer());
        EXPECT_FALSE(t.result());
        EXPECT_THROW(t.verdict(), Error);
        t.answer(right_answer(t), 2.5);
        t.save();
        // What lies on the disk tells nothing either, until the end.
        const json saved = read_json(t.file());
        EXPECT_EQ(saved["finished"], trial == 4);
        EXPECT_EQ(saved.contains("p_value"), trial == 4);
        EXPECT_EQ(saved["answers"][0].contains("correct"), trial == 4);
        EXPECT_EQ(saved["answers"][0].contains("x"), trial == 4);
        EXPECT_EQ(saved.contains("verdict"), trial == 4);
        EXPECT_EQ(fs::exists(t.table()), trial == 4);
    }
    EXPECT_GT(as_a, 0) << "seed 11 has X both ways";
    EXPECT_LT(as_a, 5);
    EXPECT_TRUE(t.finished());
    EXPECT_TRUE(t.tracks().empty());
    EXPECT_FALSE(t.can_answer());
    EXPECT_EQ(t.result()->successes, 5);
    EXPECT_DOUBLE_EQ(t.result()->p_value, 1.0 / 32);
    EXPECT_EQ(t.verdict(),
              "5 of 5 right: someone who only guesses does this well 1 time in 32. You can tell one and two apart.");
    const json saved = read_json(t.file());
    EXPECT_EQ(saved["test"], "abx");
    EXPECT_EQ(saved["models"], (json{"one", "two"}));
    EXPECT_EQ(saved["correct"], 5);
    EXPECT_DOUBLE_EQ(saved["p_value"].get<double>(), 1.0 / 32);
    EXPECT_EQ(saved["comparison"], comparison->folder.string());
    EXPECT_DOUBLE_EQ(saved["answers"][3]["seconds"].get<double>(), 2.5);
    const std::string csv = test::bytes_of(t.table());
    EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 6);
    EXPECT_TRUE(csv.starts_with("test,trial,clip,answer,seconds,x,correct\r\n")) << csv;
}

TEST_F(Listening, PreferenceNeedsBothSounds) {
    ListeningTest t = make(BlindKind::preference, 10);
    int first_is_one = 0;
    for (int trial = 0; trial < 10; ++trial) {
        const auto tracks = t.tracks();
        ASSERT_EQ(tracks.size(), 2u);
        t.hear(0, 1);
        EXPECT_FALSE(t.can_answer());
        t.hear(1, 1);
        EXPECT_TRUE(t.can_answer());
        bool one = false;
        for (const auto& row : comparison->rows) one = one || row.tracks[0].sound == tracks[0].sound;
        first_is_one += one;
        t.answer(one ? 0 : 1, 1);  // always for "one"
    }
    EXPECT_EQ(first_is_one, 5) << "each comes first equally often";
    EXPECT_EQ(t.result()->successes, 10);
    EXPECT_DOUBLE_EQ(t.result()->p_value, 2.0 / 1024);
    EXPECT_EQ(
        t.verdict(),
        "10 of 10 times you preferred one to two: if you liked both equally, a result at least as uneven would come "
        "1 time in 512. You like one better.");
}

TEST_F(Listening, GoesOnWhereItWasPaused) {
    ListeningTest whole = make(BlindKind::abx, 7, "whole.json"), paused = make(BlindKind::abx, 7, "paused.json");
    const auto step = [&](ListeningTest& t, int i) {
        hear_all(t);
        t.answer(i % 3 == 0 ? right_answer(t) : 1 - right_answer(t), i);
    };
    for (int i = 0; i < 7; ++i) step(whole, i);
    for (int i = 0; i < 4; ++i) step(paused, i);
    paused.save();
    ListeningTest resumed(comparison, paused.file());
    EXPECT_EQ(resumed.answered(), 4);
    EXPECT_FALSE(resumed.can_answer()) << "what was heard before does not count";
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(resumed.tracks()[i].sound, paused.tracks()[i].sound);
    for (int i = 4; i < 7; ++i) step(resumed, i);
    whole.save(), resumed.save();
    EXPECT_EQ(read_json(whole.file()), read_json(resumed.file()));
    EXPECT_EQ(resumed.result()->successes, 3);
    EXPECT_DOUBLE_EQ(resumed.result()->p_value, 99.0 / 128) << "P(3 or more of 7)";
}

TEST_F(Listening, RefusesWhatMakesNoSense) {
    const auto with = [&](ListeningTest::Setup setup) { return ListeningTest(comparison, setup, folder / "x.json"); };
    EXPECT_THROW(with({.first = 0, .second = 0}), Error);
    EXPECT_THROW(with({.first = 0, .second = 9}), Error);
    EXPECT_THROW(with({.first = 0, .second = 2}), Error) << "clips of another length would tell them apart";
    EXPECT_THROW(with({.trials = 0, .first = 0, .second = 1}), Error);
    ListeningTest t = make(BlindKind::abx, 3);
    t.save();
    auto other = std::make_shared<Comparison>(*comparison);
    other->players = {"one", "four", "three"};
    EXPECT_THROW(ListeningTest(other, t.file()), Error);
    other = std::make_shared<Comparison>(*comparison);
    other->rows.pop_back();
    EXPECT_THROW(ListeningTest(other, t.file()), Error) << "its clips have changed";
    EXPECT_THROW(ListeningTest(comparison, folder / "none.json"), Error);
    test::write_bytes(folder / "bad.json", "{\"test\": \"abx\"}");
    EXPECT_THROW(ListeningTest(comparison, folder / "bad.json"), Error);
}

TEST_F(Listening, XCanBeAnotherClipOfTheSameModel) {
    const ListeningTest::Setup setup{
        .kind = BlindKind::abx, .trials = 24, .first = 0, .second = 1, .seed = 2, .other_clip = true};
    ListeningTest t(comparison, setup, folder / "results" / "other.json");
    EXPECT_TRUE(t.other_clip());
    std::set<const Sound*> heard;
    for (int trial = 0; trial < 24; ++trial) {
        const auto tracks = t.tracks();
        EXPECT_NE(tracks[2].sound, tracks[0].sound);
        EXPECT_NE(tracks[2].sound, tracks[1].sound);
        int model = -1;
        for (const auto& row : comparison->rows)
            for (int p = 0; p < 2; ++p)
                if (row.tracks[static_cast<size_t>(p)].sound == tracks[2].sound) model = p;
        ASSERT_GE(model, 0);
        heard.insert(tracks[2].sound.get());
        if (trial == 10) {  // paused in between
            t.save();
            EXPECT_EQ(read_json(t.file())["x_clip"], "another");
            t = ListeningTest(comparison, t.file());
            EXPECT_EQ(t.tracks()[2].sound, tracks[2].sound);
        }
        hear_all(t);
        t.answer(model, 1);
    }
    EXPECT_EQ(heard.size(), 8u) << "all clips of both";
    EXPECT_EQ(t.result()->successes, 24) << "who knows the models is right";
    auto one = std::make_shared<Comparison>(*comparison);
    one->rows.resize(1);
    EXPECT_THROW(ListeningTest(one, setup, folder / "x.json"), Error);
}

TEST_F(Listening, ShortSoundsNeedNotBeHeardForLong) {
    auto short_one = std::make_shared<Comparison>(*comparison);
    for (auto& row : short_one->rows)
        for (auto& t : row.tracks)
            t.sound = std::make_shared<const Sound>(sound_rate, test::sine(300, 0.2, sound_rate));
    ListeningTest t(short_one, {.trials = 2, .first = 0, .second = 1}, folder / "s.json");
    t.hear(2, 0.09);
    EXPECT_FALSE(t.can_answer());
    t.hear(2, 0.02);
    EXPECT_TRUE(t.can_answer());
}

TEST_F(Listening, IsSavedAndListedBesideTheWindow) {
    const fs::path results = folder / "results";
    ListeningTest done = make(BlindKind::preference, 1, "2026-01-01 a.json"),
                  open = make(BlindKind::abx, 3, "2026-01-02 b.json");
    hear_all(done);
    done.answer(0, 1);
    {
        ListeningSession session{{}};
        session.save(done);
        hear_all(open);
        open.answer(0, 1);
        session.save(open);
        open.hear(2, 1);
        open.answer(1, 1);
        session.save(open);  // the last one is written even though the window closes now
    }
    EXPECT_EQ(read_json(open.file())["answered"], 2);
    test::write_bytes(results / "other.json", "[]");
    test::write_bytes(results / "2026-01-03.txt", "x");
    ListeningSession session{{}};
    session.list(results);
    wait([&] {
        session.update();
        return !session.listing() && !session.tests().empty();
    });
    ASSERT_EQ(session.tests().size(), 2u);
    EXPECT_EQ(session.tests()[0].file, open.file()) << "latest first";
    EXPECT_EQ(session.tests()[0].answered, 2);
    EXPECT_EQ(session.tests()[0].verdict, "");
    EXPECT_EQ(session.tests()[0].comparison, comparison->folder);
    EXPECT_EQ(session.tests()[1].verdict, done.verdict());
}

TEST_F(Listening, SaysWhenItCannotBeSaved) {
    test::write_bytes(folder / "results", "a file where a folder should be");
    ListeningSession session{{}};
    session.save(make(BlindKind::abx, 3));
    wait([&] { return !session.saving().running; });
    EXPECT_NE(session.saving().error, "");
}

TEST(Verdict, SaysHowOften) {
    EXPECT_EQ(app::how_often(1), "nearly always");
    EXPECT_EQ(app::how_often(0.588), "6 times in 10");
    EXPECT_EQ(app::how_often(0.00128841), "1 time in 776") << "17 or more of 20";
    EXPECT_EQ(app::how_often(0.11), "1 time in 9");
    EXPECT_EQ(app::how_often(std::pow(0.5, 20)), "1 time in 1,048,576");
    EXPECT_EQ(app::how_often(1e-12), "1 time in a billion or more");
}

}  // namespace
}  // namespace nigiri::studio
