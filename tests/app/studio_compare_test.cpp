// What the Compare page stands on: comparisons that are made, kept and opened again, and blind tests that tell nothing
// before their end.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/compare/verdict.h"
#include "app/studio/listening_test.h"
#include "audio/analysis.h"
#include "audio/write.h"
#include "kernels/backend.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using app::BlindKind;
using nlohmann::json;
using namespace std::chrono_literals;

constexpr int rate = 16000;
constexpr auto patience = 120s;  // far above what a sanitizer's build needs; only a hang reaches it

template <class Until>
void wait(Until&& until) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!until()) {
        ASSERT_LT(std::chrono::steady_clock::now(), end);
        std::this_thread::sleep_for(1ms);
    }
}

json read_json(const fs::path& file) { return json::parse(test::bytes_of(file)); }

class Comparing : public testing::Test {
  protected:
    test::TemporaryFolder folder;
    ComparisonSession session{{}};

    fs::path model(const std::string& name, const std::string& layer) {
        Config c = preset_by_name("tiny");
        c.model.width = 8;
        c.model.layers = 1;
        c.model.pools = {4};
        c.model.outer = c.model.centre = layer_by_name(layer);
        const Network network(make_backend("cpu", 1), c.model, DType::f32, 3, 256);
        const fs::path path = folder / (name + ".safetensors");
        save_checkpoint(path, c, network, nullptr, {}, {});
        return path;
    }

    app::ComparisonOptions options() {
        app::ComparisonOptions o;
        o.models = {model("one", "mamba-s4"), model("two", "s4-mlp")};
        o.clips = 2;
        o.seconds = 0.5;
        o.sampling.seed = 4;
        o.threads = 1;
        return o;
    }

    // A second of a tone for each part.
    fs::path recordings() {
        double hertz = 200;
        for (const std::string part : {"train", "valid", "test"})
            for (int i = 0; i < 3; ++i) {
                const fs::path file = folder / "audio" / part / ("tone" + std::to_string(i) + ".wav");
                fs::create_directories(file.parent_path());
                write_audio(file, test::sine(hertz += 30, 1.5, rate, 0.3), rate);
            }
        return folder / "audio";
    }

    std::shared_ptr<const Comparison> finish() {
        wait([&] { return !session.status().running; });
        EXPECT_EQ(session.status().error, "");
        return session.comparison();
    }
};

TEST_F(Comparing, MakesClipsThatAreEquallyLoud) {
    ASSERT_TRUE(session.start(options(), "cpu", folder / "comparisons"));
    EXPECT_FALSE(session.start(options(), "cpu", folder / "comparisons")) << "one at a time";
    const auto c = finish();
    ASSERT_TRUE(c);
    EXPECT_TRUE(c->result.complete);
    EXPECT_EQ(c->players, (std::vector<std::string>{"one", "two"}));
    ASSERT_EQ(c->rows.size(), 2u);
    for (const Comparison::Row& row : c->rows) {
        ASSERT_EQ(row.tracks.size(), 2u);
        ASSERT_TRUE(std::isfinite(row.lufs));
        for (const Track& t : row.tracks) {
            ASSERT_EQ(t.sound->size(), rate / 2);
            std::vector<float> heard = t.sound->copy();
            for (float& x : heard) x *= t.gain;
            EXPECT_NEAR(integrated_loudness(heard, rate), row.lufs, 0.01);
        }
    }
    EXPECT_EQ(c->common_clips(0, 1), (std::vector<int>{0, 1}));
    EXPECT_TRUE(c->similarity.rows.empty()) << "nothing to compare with";
    EXPECT_EQ(list_comparisons(folder / "comparisons"), std::vector<fs::path>{c->folder});
    EXPECT_TRUE(list_comparisons(folder / "none").empty());
}

TEST_F(Comparing, OpensWhatWasMade) {
    app::ComparisonOptions o = options();
    o.data = recordings();
    o.prompt_seconds = 0.1;
    ASSERT_TRUE(session.start(o, "cpu", folder / "comparisons"));
    const auto made = finish();
    ASSERT_TRUE(made);
    EXPECT_EQ(made->players, (std::vector<std::string>{"one", "two", "real recordings"}));
    ASSERT_TRUE(session.write_report());
    wait([&] { return !session.status().running; });
    EXPECT_EQ(session.report_written(), made->files.html);
    const std::string page = test::bytes_of(made->files.html);

    ComparisonSession other{{}};
    EXPECT_FALSE(other.write_report()) << "there is nothing to report";
    ASSERT_TRUE(other.open(made->folder));
    wait([&] { return !other.status().running; });
    ASSERT_EQ(other.status().error, "");
    const auto opened = other.comparison();
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->players, made->players);
    ASSERT_EQ(opened->rows.size(), made->rows.size());
    for (size_t r = 0; r < made->rows.size(); ++r)
        for (size_t p = 0; p < made->players.size(); ++p) {
            ASSERT_EQ(!opened->rows[r].tracks[p].sound, !made->rows[r].tracks[p].sound);
            if (!made->rows[r].tracks[p].sound) continue;
            const auto a = made->rows[r].tracks[p].sound->copy(), b = opened->rows[r].tracks[p].sound->copy();
            ASSERT_EQ(a.size(), b.size());
            for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 0.5001 / 32768) << "16-bit files";
            EXPECT_NEAR(opened->rows[r].lufs, made->rows[r].lufs, 0.01);
        }
    for (const auto& [a, b] :
         {std::pair(&made->models, &opened->models), std::pair(&made->similarity, &opened->similarity)}) {
        ASSERT_EQ(a->rows.size(), b->rows.size());
        EXPECT_FALSE(a->rows.empty());
        for (size_t i = 0; i < a->rows.size(); ++i) {
            EXPECT_EQ(a->rows[i].cells, b->rows[i].cells) << a->rows[i].name;
            EXPECT_EQ(a->rows[i].held_out, b->rows[i].held_out) << a->rows[i].name;
            EXPECT_NE(a->rows[i].definition, "") << a->rows[i].name << " has nothing to show where the pointer rests";
        }
    }
    EXPECT_EQ(app::summary(opened->options, opened->result), app::summary(made->options, made->result));
    // The report can be written again, with the recordings in it.
    fs::remove(made->files.html);
    ASSERT_TRUE(other.write_report());
    wait([&] { return !other.status().running; });
    const std::string again = test::bytes_of(made->files.html);
    const auto players = [](const std::string& html) {
        size_t n = 0;
        for (size_t at = html.find("<audio"); at != std::string::npos; at = html.find("<audio", at + 1)) ++n;
        return n;
    };
    EXPECT_GE(players(page), 5u);
    EXPECT_EQ(players(again), players(page));
}

TEST_F(Comparing, KeepsWhatWasMadeWhenStopped) {
    app::ComparisonOptions o = options();
    o.seconds = 300;  // longer than anyone waits
    ASSERT_TRUE(session.start(o, "cpu", folder / "comparisons"));
    wait([&] { return session.status().what.find("generating") != std::string::npos; });
    std::this_thread::sleep_for(20ms);
    session.cancel();
    const auto c = finish();
    ASSERT_TRUE(c);
    EXPECT_FALSE(c->result.complete);
    ASSERT_EQ(c->result.models.size(), 2u);
    ASSERT_EQ(c->result.models[0].clips.size(), 2u);
    EXPECT_GT(c->result.models[0].clips[0].samples.size(), 0u);
    EXPECT_TRUE(fs::exists(c->result.models[0].clips[0].file));
    EXPECT_TRUE(c->common_clips(0, 1).empty()) << "the second has none";
    EXPECT_EQ(read_json(c->files.json)["complete"], false);
    ASSERT_TRUE(session.open(c->folder));
    EXPECT_EQ(finish()->result.models[0].clips.size(), 2u);
}

TEST_F(Comparing, SaysWhatIsWrong) {
    app::ComparisonOptions o = options();
    test::write_bytes(o.models[1], "nonsense");
    ASSERT_TRUE(session.start(o, "cpu", folder / "comparisons"));
    wait([&] { return !session.status().running; });
    EXPECT_NE(session.status().error, "");
    EXPECT_FALSE(session.comparison());
    ASSERT_TRUE(session.open(folder / "nothing here"));
    wait([&] { return !session.status().running; });
    EXPECT_NE(session.status().error.find("nothing here"), std::string::npos) << session.status().error;
    o = options();
    o.prompt_seconds = 1;
    ASSERT_TRUE(session.start(o, "cpu", folder / "comparisons"));
    wait([&] { return !session.status().running; });
    EXPECT_NE(session.status().error.find("prompt"), std::string::npos) << "there are no recordings to begin with";
}

TEST_F(Comparing, OpensDamagedReportsAsFarAsTheyGo) {
    ASSERT_TRUE(session.start(options(), "cpu", folder / "comparisons"));
    const auto made = finish();
    json report = read_json(made->files.json);
    const auto open = [&](const json& changed) {
        test::write_bytes(made->files.json, changed.dump());
        EXPECT_TRUE(session.open(made->folder));
        wait([&] { return !session.status().running; });
        return session.status().error;
    };
    json outside = report;
    outside["models"][0]["clips"][0]["file"] = "../../../one.safetensors";
    EXPECT_EQ(open(outside), "");
    EXPECT_TRUE(session.comparison()->result.models[0].clips.empty()) << "only names within the folder count";
    EXPECT_EQ(session.comparison()->result.models[1].clips.size(), 2u);
    json strange = report;
    strange["models"][0]["parameters"] = "many", strange["models"][0]["steps_per_second"] = -1e300;
    strange["clips"] = -5, strange["seconds"] = json::array(), strange["notes"] = 7, strange["held_out"] = 3;
    strange["models"].push_back(5);
    EXPECT_EQ(open(strange), "");
    EXPECT_EQ(session.comparison()->result.models.size(), 2u);
    EXPECT_NE(open(json::array()), "");
    EXPECT_NE(open({{"models", json::array()}}), "");
    fs::remove(made->result.models[0].clips[1].file);
    EXPECT_EQ(open(report), "");
    EXPECT_EQ(session.comparison()->result.models[0].clips.size(), 1u);
    EXPECT_EQ(session.comparison()->common_clips(0, 1), std::vector<int>{0});
}

// Three players, four clips of tones; the third player's are shorter.
std::shared_ptr<const Comparison> tones(const fs::path& folder) {
    auto c = std::make_shared<Comparison>();
    c->folder = folder;
    c->name = folder.filename().string();
    c->players = {"one", "two", "three"};
    for (int i = 0; i < 4; ++i) {
        Comparison::Row row;
        for (int p = 0; p < 3; ++p)
            row.tracks.push_back(
                {std::make_shared<const Sound>(rate, test::sine(200 + 100 * p + 10 * i, p == 2 ? 1 : 2, rate)), 1});
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

TEST_F(Listening, ShortSoundsNeedNotBeHeardForLong) {
    auto short_one = std::make_shared<Comparison>(*comparison);
    for (auto& row : short_one->rows)
        for (auto& t : row.tracks) t.sound = std::make_shared<const Sound>(rate, test::sine(300, 0.2, rate));
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
