// What the Compare page stands on: comparisons that are made, kept and opened again.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/ablate/report.h"
#include "app/studio/sessions/comparison_session.h"
#include "audio/analysis.h"
#include "audio/write.h"
#include "kernels/backend.h"
#include "tests/app/studio.h"
#include "tests/support/check.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::read_json;
using test::sound_rate;
using test::wait;
using namespace std::chrono_literals;

class Comparing : public testing::Test {
  protected:
    test::TemporaryFolder folder;
    ComparisonSession session{{}};

    fs::path model(const std::string& name, const std::string& layer) {
        Config c = test::tiny_config();
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
                write_audio(file, test::sine(hertz += 30, 1.5, sound_rate, 0.3), sound_rate);
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
            ASSERT_EQ(t.sound->size(), sound_rate / 2);
            std::vector<float> heard = t.sound->copy();
            for (float& x : heard) x *= t.gain;
            EXPECT_NEAR(integrated_loudness(heard, sound_rate), row.lufs, 0.01);
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
    // The report can be written again, with the recordings in it, and forgets nothing.
    fs::remove(made->files.html);
    json before = read_json(made->files.json);
    ASSERT_TRUE(other.write_report());
    wait([&] { return !other.status().running; });
    const std::string again = test::bytes_of(made->files.html);
    json after = read_json(made->files.json);
    for (json* report : {&before, &after}) {
        // Analysed anew, from 16-bit files, and a quotient multiplied back: nearly the same, as the tables above show.
        for (json& m : (*report)["models"]) {
            for (json& clip : m["clips"]) clip.erase("analysis");
            for (json& r : m["recordings"]) r.erase("bits_per_sample");
            m.erase("bits_per_sample");
        }
        for (json& clip : (*report)["held_out"]["clips"]) clip.erase("analysis");
    }
    EXPECT_EQ(before, after);
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
    ASSERT_TRUE(session.write_report());
    wait([&] { return !session.status().running; });
    EXPECT_NE(session.status().error, "") << "the record of the clip that is away must not be lost";
    EXPECT_EQ(read_json(made->files.json), report);
}

TEST_F(Comparing, OpensGridsAndNeverReplacesTheirReport) {
    const app::Grid grid = app::parse_grid(
        "title = \"T\"\nseeds = [0, 1]\n[budget]\nsteps = 2\n[base]\npreset = \"tiny\"\n[row.a]\n[row.b]\n"
        "layer = \"s4-mlp\"\n[evaluate]\nclips = 0\n",
        "grid.toml");
    for (const uint64_t seed : grid.seeds) {
        app::RunResult r;
        r.config = grid.rows[0].config;
        r.config.training.seed = seed;
        r.trained = true;
        r.parameters = 1500;
        r.bits_settings = app::bits_settings(grid.evaluation);
        r.clip_settings = app::clip_settings(grid.evaluation);
        const double bits = 2.5 + 0.2 * static_cast<double>(seed);
        r.bits = app::SplitEvaluation{{bits * 100, 100}, {{"x", {bits * 100, 100}}}};
        const fs::path run = app::run_folder(folder / "grid", grid.rows[0], seed);
        fs::create_directories(run);
        app::write_result(run, r);
        test::write_bytes(run / "metrics.jsonl", json{{"tokens", 64}, {"valid_bits_per_sample", bits}}.dump() + "\n");
    }
    app::write_ablation_report(grid, folder / "grid");
    const auto open = [&] {
        EXPECT_TRUE(session.open(folder / "grid"));
        wait([&] { return !session.status().running; });
        EXPECT_EQ(session.status().error, "");
    };
    open();
    const auto opened = session.comparison();
    ASSERT_TRUE(opened && opened->grid);
    EXPECT_EQ(opened->grid->title, "T");
    EXPECT_EQ(opened->grid->runs_done, 2);
    EXPECT_EQ(opened->grid->runs, 4);
    ASSERT_EQ(opened->grid->rows.size(), 2u);
    EXPECT_EQ(opened->grid->rows[0].bits, "2.6000 ± 0.1414");
    EXPECT_EQ(opened->grid->rows[0].range, "2.5000 to 2.7000, n = 2");
    ASSERT_EQ(opened->grid->rows[0].valid.size(), 1u);
    EXPECT_EQ(opened->grid->rows[0].valid[0].tokens, 64);
    EXPECT_EQ(opened->grid->rows[1].status, "not run");
    EXPECT_EQ(opened->grid->rows[1].bits, "");
    EXPECT_EQ(opened->players, (std::vector<std::string>{"a", "b"}));

    const json report = read_json(opened->files.json);
    ASSERT_TRUE(session.write_report());
    wait([&] { return !session.status().running; });
    EXPECT_NE(session.status().error.find("grid"), std::string::npos);
    EXPECT_EQ(read_json(opened->files.json), report);

    // Damaged where a grid's report is more than a comparison's.
    json strange = report;
    strange["ablation"]["rows"][0]["bits_per_sample"] = {{"n", -3}, {"mean", "x"}};
    strange["ablation"]["rows"][0]["valid_curve"] = {5, {{"tokens", 1e300}, {"mean", 1}}, json::array()};
    strange["ablation"]["rows"][1] = 7;
    strange["ablation"]["runs"] = 1e300;
    test::write_bytes(opened->files.json, strange.dump());
    open();
    ASSERT_EQ(session.comparison()->grid->rows.size(), 1u);
    EXPECT_EQ(session.comparison()->grid->rows[0].bits, "");
    EXPECT_TRUE(session.comparison()->grid->rows[0].valid.empty());
    strange["ablation"] = 3;
    test::write_bytes(opened->files.json, strange.dump());
    open();
    EXPECT_FALSE(session.comparison()->grid);
}

}  // namespace
}  // namespace nigiri::studio
