// What several seeds say together, and the report of a grid, from run folders made by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/ablate/chart.h"
#include "app/ablate/report.h"
#include "app/ablate/table.h"
#include "app/clips.h"
#include "app/compare/saved_comparison.h"
#include "tests/audio/support.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

TEST(Statistics, OfKnownNumbers) {
    EXPECT_FALSE(spread({}));
    const std::vector<double> one = {3.5}, some = {2, 4, 4, 4, 5, 5, 7, 9}, equal(7, 0.1);
    EXPECT_EQ(spread(one)->mean, 3.5);
    EXPECT_FALSE(spread(one)->deviation) << "one value says nothing of a spread";
    // Mean 5, squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32, over 8 - 1.
    EXPECT_DOUBLE_EQ(spread(some)->mean, 5);
    EXPECT_DOUBLE_EQ(*spread(some)->deviation, std::sqrt(32.0 / 7));
    EXPECT_EQ(spread(some)->least, 2);
    EXPECT_EQ(spread(some)->most, 9);
    EXPECT_EQ(spread(some)->n, 8u);
    EXPECT_EQ(*spread(equal)->deviation, 0) << "exactly: seven tenths do not add up to seven times a tenth";
}

TEST(Statistics, CurvesAreMeansWhereAllSeedsAre) {
    const std::vector<std::vector<CurvePoint>> curves = {{{10, 8}, {20, 5}, {30, 4}}, {{10, 6}, {20, 4}}};
    const auto mean = mean_curve(curves);
    ASSERT_EQ(mean.size(), 2u);
    EXPECT_EQ(mean[0].tokens, 10);
    EXPECT_DOUBLE_EQ(mean[0].bits.mean, 7);
    EXPECT_DOUBLE_EQ(*mean[0].bits.deviation, std::sqrt(2.0));
    EXPECT_DOUBLE_EQ(mean[1].bits.mean, 4.5);
    EXPECT_TRUE(mean_curve({}).empty());
}

TEST(Chart, TicksAreRound) {
    const auto texts = [](double low, double high, int wanted) {
        std::string all;
        for (const double v : ticks(low, high, wanted)) all += tick_text(v) + " ";
        return all;
    };
    EXPECT_EQ(texts(0, 1, 5), "0 0.2 0.4 0.6 0.8 1 ");
    EXPECT_EQ(texts(2.61, 2.93, 4), "2.7 2.8 2.9 ");
    EXPECT_EQ(texts(-3, 3, 3), "-2 0 2 ");
    EXPECT_EQ(texts(0, 262e6, 6), "0 50 M 100 M 150 M 200 M 250 M ");
    EXPECT_TRUE(ticks(1, 1, 5).empty());
    EXPECT_EQ(tick_texts({6.9, 7, 7.25}), (std::vector<std::string>{"6.90", "7.00", "7.25"}));
    EXPECT_EQ(tick_texts({0, 5e6}), (std::vector<std::string>{"0", "5 M"}));
    EXPECT_EQ(tick_text(0), "0");
    EXPECT_EQ(tick_text(2.75), "2.75");
    EXPECT_EQ(tick_text(250'000), "250 k");
    EXPECT_EQ(tick_text(958'464), "958.464 k");
    EXPECT_EQ(tick_text(262.144e6), "262.144 M");
}

TEST(Chart, DrawsWhatIsThere) {
    EXPECT_EQ(chart_svg({}), "");
    Chart chart{.title = "a <b>", .x_name = "x", .y_name = "y"};
    chart.series.push_back({"one & two", {{0, 3, 3, 3}, {10, 2, 1.9, 2.1}, {20, 1, 0.9, 1.1}}, 0});
    chart.series.push_back({"none", {}, 1});
    const std::string svg = chart_svg(chart);
    EXPECT_NE(svg.find("a &lt;b&gt;"), std::string::npos);
    EXPECT_NE(svg.find("one &amp; two"), std::string::npos);
    EXPECT_EQ(svg.find(">none<"), std::string::npos);
    EXPECT_NE(svg.find("<polygon class=\"band c0\""), std::string::npos);
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
    const std::string dots = dots_svg("t", "x", {{"row", {2.5, 2.6}, "", 0}, {"other", {}, "not run", 1}});
    EXPECT_NE(dots.find("not run"), std::string::npos);
    EXPECT_NE(dots.find("<circle"), std::string::npos);
    EXPECT_EQ(dots_svg("t", "x", {{"other", {}, "not run", 1}}), "");
}

constexpr const char* grid_text = R"(title = "Two <rows>"
about = "Which?"
reference = "b"
seeds = [0, 1]
[budget]
steps = 4
[base]
preset = "tiny"
width = 8
[evaluate]
segment = 100
clips = 1
clip-seconds = 0.1
[axes]
state = [4, 8]
[row.a]
[row.b]
layer = "s4-mlp"
)";

// Run folders as a training leaves them, with bits chosen here.
class AblationReport : public testing::Test {
  protected:
    const std::string text = [] {
        std::string t = grid_text;
        t.replace(t.find("\"b\""), 3, "\"b-state-4\"");
        return t;
    }();
    const Grid grid = parse_grid(text, "two.toml");

    RunResult result(const GridRow& row, uint64_t seed, double bits) {
        RunResult r;
        r.config = row.config;
        r.config.training.seed = seed;
        r.started = "2026-01-01 00:00:00", r.finished = "2026-01-01 00:10:00";
        r.version = "1.2.3", r.device = "a <device>", r.command = "nigiri ablate --grid two.toml", r.data = "piano";
        r.train_seconds = 100;
        r.trained = true;
        r.parameters = 1234, r.steps = 4, r.tokens = 4 * 2 * 4096, r.training_seconds = 2, r.train_bits = bits - 0.1;
        r.valid_bits = bits + 0.1;
        r.tokens_per_second = 5000;
        r.memory_bytes = 1 << 20;
        r.bits_settings = bits_settings(grid.evaluation);
        r.bits = SplitEvaluation{{bits * 1000, 1000}, {{"x.wav", {bits * 1000, 1000}}}};
        r.clip_settings = clip_settings(grid.evaluation);
        return r;
    }

    // Also its curves and a clip.
    void put(size_t row, uint64_t seed, double bits) {
        const fs::path run = run_folder(folder.path(), grid.rows[row], seed);
        fs::create_directories(run);
        RunResult r = result(grid.rows[row], seed, bits);
        write_clip(run / "clip-1.flac", test::sine(300 + 50.0 * static_cast<double>(row), 0.1, 16000, 0.5), 16000,
                   {{"seed", 0}});
        r.clips.push_back({"clip-1.flac", 0, -2.5, Runaway::noise});
        write_result(run, r);
        std::ofstream log(run / "metrics.jsonl");
        for (int step = 1; step <= 4; ++step)
            log << json{{"step", step},
                        {"tokens", 8192 * step},
                        {"train_bits_per_sample", bits + 4 - step},
                        {"valid_bits_per_sample", bits + 4.1 - step}}
                << "\n";
        log << "{\"step\": 5, \"tok";
    }

    std::string content(const std::string& name) const {
        std::ifstream in(folder / name);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    test::TemporaryFolder folder;
};

TEST_F(AblationReport, ResultsSurviveTheirFile) {
    const RunResult r = result(grid.rows[0], 1, 1.0 / 3);
    write_result(folder.path(), r);
    const RunResult back = *read_result(folder.path());
    EXPECT_EQ(back.config, r.config);
    EXPECT_EQ(back.bits->total.bits, r.bits->total.bits);
    EXPECT_EQ(back.bits->recordings[0].name, "x.wav");
    EXPECT_EQ(back.bits_settings, r.bits_settings);
    EXPECT_TRUE(answers(back, grid.evaluation));
    EXPECT_EQ(back.memory_bytes, r.memory_bytes);
    GridEvaluation other = grid.evaluation;
    other.segment = 0;
    EXPECT_FALSE(answers(back, other));
    other = grid.evaluation;
    other.clips = 2;
    EXPECT_FALSE(answers(back, other));
    EXPECT_FALSE(read_result(folder / "none"));

    // Whatever is in such a file, it is a result or an Error.
    const std::string whole = content("result.json");
    for (const std::string& damaged : {std::string(), std::string("[]"), whole.substr(0, whole.size() / 2),
                                       std::string("{\"trained\": 1}"), std::string("{\"config\": 5}")}) {
        std::ofstream(folder / "result.json") << damaged;
        EXPECT_THROW(read_result(folder.path()), Error) << damaged;
    }
    for (const std::string key : {"config", "bits", "started", "trained", "tokens"}) {
        json broken = json::parse(whole);
        broken[key] = json::array({"x"});
        std::ofstream(folder / "result.json") << broken;
        EXPECT_THROW(read_result(folder.path()), Error) << key;
    }
}

TEST_F(AblationReport, CountsDifferencesSeedBySeed) {
    put(0, 0, 2.50), put(0, 1, 2.70);
    put(1, 0, 2.30);
    put(2, 0, 2.40), put(2, 1, 2.50);
    const AblationSummary s = summarize(grid, folder.path());
    ASSERT_EQ(s.rows.size(), 4u);
    EXPECT_NEAR(s.rows[0].bits->mean, 2.6, 1e-12);
    EXPECT_NEAR(*s.rows[0].bits->deviation, std::sqrt(0.02), 1e-12);
    // Against b-state-4: +0.1 and +0.2.
    EXPECT_NEAR(s.rows[0].difference->mean, 0.15, 1e-12);
    EXPECT_NEAR(*s.rows[0].difference->deviation, std::sqrt(0.005), 1e-12);
    EXPECT_EQ(s.rows[1].difference->n, 1u) << "of the one seed that both have";
    EXPECT_FALSE(s.rows[2].difference) << "the reference itself";
    EXPECT_EQ(s.rows[1].status, "seed 1 not run");
    EXPECT_EQ(s.rows[3].status, "not run");
    EXPECT_TRUE(s.rows[0].status.empty());
    EXPECT_EQ(s.done, 5u);
    EXPECT_FALSE(s.complete());
    ASSERT_EQ(s.rows[0].train_curve.size(), 4u) << "half a line is left out";
    EXPECT_NEAR(s.rows[0].train_curve[3].bits.mean, 2.6, 1e-12);
    EXPECT_EQ(s.devices, std::vector<std::string>{"a <device>"});
}

TEST_F(AblationReport, NamesWhatIsMissingAndWhatDoesNotBelong) {
    put(0, 0, 2.5);
    // Trained, but asked other questions.
    RunResult other = result(grid.rows[1], 0, 2.4);
    other.bits_settings["segment"] = 0;
    fs::create_directories(run_folder(folder.path(), grid.rows[1], 0));
    write_result(run_folder(folder.path(), grid.rows[1], 0), other);
    // Under way.
    RunResult begun = result(grid.rows[2], 0, 2.4);
    begun.trained = false;
    const fs::path way = run_folder(folder.path(), grid.rows[2], 0);
    fs::create_directories(way);
    write_result(way, begun);
    std::ofstream(way / "metrics.jsonl") << R"({"step": 3, "tokens": 24576, "train_bits_per_sample": 5})"
                                         << "\n";
    // Of another grid.
    RunResult foreign = result(grid.rows[3], 0, 2.4);
    foreign.config.training.steps = 5;
    fs::create_directories(run_folder(folder.path(), grid.rows[3], 0));
    write_result(run_folder(folder.path(), grid.rows[3], 0), foreign);
    // It diverged.
    RunResult lost = result(grid.rows[0], 1, 2.4);
    lost.trained = false;
    lost.failed = "the loss is no number";
    fs::create_directories(run_folder(folder.path(), grid.rows[0], 1));
    write_result(run_folder(folder.path(), grid.rows[0], 1), lost);

    const AblationSummary s = summarize(grid, folder.path());
    EXPECT_EQ(s.rows[0].status, "seed 1 failed: the loss is no number");
    EXPECT_NE(s.rows[1].status.find("seed 0 trained, not evaluated"), std::string::npos) << s.rows[1].status;
    EXPECT_FALSE(s.rows[1].bits);
    EXPECT_NE(s.rows[2].status.find("seed 0 step 3 of 4"), std::string::npos) << s.rows[2].status;
    EXPECT_EQ(s.rows[3].status, "not run");
    EXPECT_TRUE(std::any_of(s.notes.begin(), s.notes.end(),
                            [](const std::string& n) { return n.find("another configuration") != std::string::npos; }));
    EXPECT_EQ(s.done, 2u);
}

TEST_F(AblationReport, IsWrittenThreeTimesAndOpenedByCompare) {
    put(0, 0, 2.50), put(0, 1, 2.52);
    put(2, 0, 2.30), put(2, 1, 2.31);
    write_ablation_report(grid, folder.path());
    const std::string page = content("report.html"), markdown = content("report.md");
    for (const std::string& report : {page, markdown}) {
        for (const std::string word :
             {"2.5100 ± 0.0141", "2.3050 ± 0.0071", "+0.2050 ± 0.0071", "a-state-8", "not run", "2026-01-01 00:10:00",
              "1.2.3", "nigiri ablate --grid two.toml", "segment = 100"})
            EXPECT_NE(report.find(word), std::string::npos) << word;
    }
    EXPECT_EQ(page.find("<rows>"), std::string::npos);
    EXPECT_EQ(page.find("<device>"), std::string::npos);
    EXPECT_EQ(page.find("<script"), std::string::npos);
    EXPECT_EQ(page.find("http"), std::string::npos);
    EXPECT_NE(page.find("class=\"best\">2.3050"), std::string::npos);
    const auto count = [&](const std::string& part) {
        size_t n = 0;
        for (size_t at = page.find(part); at != std::string::npos; at = page.find(part, at + 1)) ++n;
        return n;
    };
    EXPECT_EQ(count("<audio "), 2u);
    EXPECT_EQ(count("<svg "), 4u) << "the seeds, the axis, two kinds of curves";

    const json report = json::parse(content("report.json"));
    EXPECT_EQ(report["ablation"]["rows"][0]["bits_per_sample"]["n"], 2);
    EXPECT_DOUBLE_EQ(report["ablation"]["rows"][0]["bits_per_sample"]["mean"], 2.51);
    EXPECT_EQ(report["ablation"]["reference"], "b-state-4");
    EXPECT_EQ(report["ablation"]["grid"], text);
    EXPECT_EQ(report["ablation"]["runs_done"], 4);
    EXPECT_EQ(report["complete"], false);

    const SavedComparison saved = load_comparison(folder.path());
    ASSERT_EQ(saved.result.models.size(), 4u);
    EXPECT_EQ(saved.result.models[0].name, "a-state-4");
    EXPECT_NEAR(saved.result.models[0].evaluation->total.bits_per_sample(), 2.51, 1e-9);
    EXPECT_EQ(saved.missing_clips, 0u);
    ASSERT_EQ(saved.result.models[0].clips.size(), 1u);
    EXPECT_EQ(saved.result.models[0].clips[0].ran_away, Runaway::noise);
    EXPECT_EQ(saved.result.models[0].clips[0].samples.size(), 1600u);
}

TEST_F(AblationReport, OfNothingStandsToo) {
    write_ablation_report(grid, folder.path());
    EXPECT_NE(content("report.md").find("not run"), std::string::npos);
    EXPECT_EQ(content("report.html").find("<svg"), std::string::npos);
    EXPECT_EQ(json::parse(content("report.json"))["ablation"]["runs_done"], 0);
}

}  // namespace
}  // namespace nigiri::app
