// Run folders as the studio reads them: while they are written, rewritten, damaged, or made up by somebody hostile.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>

#include "app/config_options.h"
#include "app/studio/sessions/run_charts.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/wait.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const std::atomic<bool> never{false};

std::string line(int64_t step, double bits, double valid = -1) {
    TrainingMetrics m;
    m.step = step, m.tokens = step * 100, m.train_bits = bits, m.valid_bits = valid;
    m.learning_rate = 1e-3, m.gradient_norm = 0.5, m.tokens_per_second = 2000,
    m.seconds = 60.0 * static_cast<double>(step);
    return to_json(m) + "\n";
}

class StudioRuns : public testing::Test {
  protected:
    void SetUp() override {
        run = run_path(folder.path() / "runs" / "piano");
        fs::create_directories(run);
    }
    void append(const std::string& text) const { std::ofstream(run / "metrics.jsonl", std::ios::app) << text; }
    void replace(const std::string& text) const {
        std::ofstream(run / "metrics.tmp") << text;
        fs::rename(run / "metrics.tmp", run / "metrics.jsonl");
    }
    static std::vector<double> steps(const RunLog& log) {
        std::vector<double> all;
        for (const MetricPoint& p : log.view().points) all.push_back(p.step);
        return all;
    }
    using Steps = std::vector<double>;

    test::TemporaryFolder folder;
    fs::path run;
};

TEST_F(StudioRuns, ReadsWhatIsAppendedAndNothingTwice) {
    RunLog log(run);
    EXPECT_FALSE(log.poll(never)) << "no log yet";
    append(line(10, 7.5) + line(20, 6.5, 6.25));
    EXPECT_TRUE(log.poll(never));
    EXPECT_FALSE(log.poll(never));
    {
        const RunLog::View view = log.view();
        ASSERT_EQ(view.points.size(), 2u);
        EXPECT_EQ(view.points[0].train_bits, 7.5);
        EXPECT_TRUE(std::isnan(view.points[0].valid_bits));
        EXPECT_EQ(view.points[1].valid_bits, 6.25);
        EXPECT_EQ(view.points[1].tokens, 2000);
        EXPECT_EQ(view.points[1].seconds, 1200);
        EXPECT_EQ(view.points[1].learning_rate, 1e-3);
        EXPECT_EQ(view.points[1].gradient_norm, 0.5);
        EXPECT_EQ(view.points[1].tokens_per_second, 2000);
    }
    const uint64_t epoch = log.view().epoch;
    const std::string next = line(30, 5);
    append(next.substr(0, 17));  // a line under way
    log.poll(never);
    EXPECT_EQ(steps(log), (Steps{10, 20}));
    append(next.substr(17));
    log.poll(never);
    EXPECT_EQ(steps(log), (Steps{10, 20, 30}));
    EXPECT_EQ(log.view().epoch, epoch) << "nothing that was there changed";
    EXPECT_EQ(log.damaged(), 0u);
}

TEST_F(StudioRuns, ARunThatGoesOnDropsWhatItRepeats) {
    append(line(10, 7) + line(20, 6) + line(30, 5));
    RunLog log(run);
    log.poll(never);
    const uint64_t epoch = log.view().epoch;
    replace(line(10, 7) + line(20, 6));  // what the trainer does: another file under the name
    append(line(30, 4) + line(40, 3));   // longer than before when it is looked at again
    EXPECT_TRUE(log.poll(never));
    EXPECT_EQ(steps(log), (Steps{10, 20, 30, 40}));
    EXPECT_EQ(log.view().points[2].train_bits, 4);
    EXPECT_NE(log.view().epoch, epoch);
}

TEST_F(StudioRuns, AFileCutShortOrOverwrittenInPlaceIsReadAnew) {
    append(line(10, 7) + line(20, 6) + line(30, 5));
    RunLog log(run);
    log.poll(never);
    fs::resize_file(run / "metrics.jsonl", line(10, 7).size());
    EXPECT_TRUE(log.poll(never));
    EXPECT_EQ(steps(log), (Steps{10}));
    std::ofstream(run / "metrics.jsonl") << line(11, 1) + line(21, 2) + line(31, 3) + line(41, 4);  // same file, longer
    EXPECT_TRUE(log.poll(never));
    EXPECT_EQ(steps(log), (Steps{11, 21, 31, 41}));
    std::ofstream(run / "metrics.jsonl") << "";
    EXPECT_TRUE(log.poll(never));
    EXPECT_TRUE(steps(log).empty());
    fs::remove(run / "metrics.jsonl");
    EXPECT_FALSE(log.poll(never));
}

TEST_F(StudioRuns, StepsThatComeAgainReplaceTheOldOnes) {
    append(line(10, 7) + line(20, 6) + line(30, 5));
    RunLog log(run);
    log.poll(never);
    const uint64_t epoch = log.view().epoch;
    append(line(20, 1) + line(25, 2));
    log.poll(never);
    EXPECT_EQ(steps(log), (Steps{10, 20, 25}));
    EXPECT_EQ(log.view().points[1].train_bits, 1);
    EXPECT_NE(log.view().epoch, epoch);
}

TEST_F(StudioRuns, DamagedLinesAreSkipped) {
    append("\n" + line(10, 7) + "not json\n{\"step\": \"ten\"}\n[1, 2]\n{\"step\": -5}\n{\"step\": 1e300}\n" +
           std::string("\0\xff\xfe\n", 4) + "{\"step\": 15, \"tok" + line(16, 1) +  // a full disk cut the first off
           "{\"step\": 20, \"train_bits_per_sample\": \"low\"}\n" + line(30, 5));
    RunLog log(run);
    log.poll(never);
    EXPECT_EQ(steps(log), (Steps{10, 20, 30}));
    EXPECT_TRUE(std::isnan(log.view().points[1].train_bits));
    EXPECT_EQ(log.damaged(), 7u);
    append(std::string(60000, '[') + "\n" + line(40, 4));  // deep rather than long
    log.poll(never);
    EXPECT_EQ(steps(log), (Steps{10, 20, 30, 40}));
}

TEST_F(StudioRuns, AHugeLineIsSkippedInConstantMemory) {
    append(line(10, 7));
    {
        std::ofstream out(run / "metrics.jsonl", std::ios::app);
        const std::string piece(1 << 20, ' ');
        out << "{\"step\": 15,";
        for (int i = 0; i < 80; ++i) out << piece;  // more than is read at a time
        out << "\"tokens\": 1}\n" << line(20, 6);   // a good line, were it not so long
    }
    RunLog log(run);
    EXPECT_TRUE(log.poll(never));
    EXPECT_EQ(steps(log), (Steps{10}));
    EXPECT_TRUE(log.poll(never));
    EXPECT_EQ(steps(log), (Steps{10, 20}));
    EXPECT_EQ(log.damaged(), 1u);
    EXPECT_FALSE(log.poll(never));
}

TEST_F(StudioRuns, WhatIsNoFileIsLeftAlone) {
    ASSERT_EQ(::mkfifo((run / "metrics.jsonl").c_str(), 0600), 0);
    RunLog log(run);
    EXPECT_FALSE(log.poll(never)) << "and it does not wait for a writer";
    EXPECT_FALSE(read_summary(run).has_value());
    fs::remove(run / "metrics.jsonl");
    fs::create_directory(run / "metrics.jsonl");
    EXPECT_FALSE(log.poll(never));
    EXPECT_FALSE(is_run(run));
}

TEST_F(StudioRuns, TheSummaryIsOfTheLastLines) {
    EXPECT_FALSE(read_summary(run).has_value());
    append(line(10, 7, 6.5) + line(20, 6, 5.5) + line(30, 5) + "{\"step\": 40");
    auto s = read_summary(run);
    ASSERT_TRUE(s.has_value());
    EXPECT_EQ(s->last.step, 30);
    EXPECT_EQ(s->valid_bits, 5.5);
    std::string many;
    for (int64_t i = 1; i <= 2000; ++i) many += line(10 * i, 3);
    replace(line(1, 7, 6.5) + many);
    s = read_summary(run);
    ASSERT_TRUE(s.has_value());
    EXPECT_EQ(s->last.step, 20000);
    EXPECT_EQ(s->valid_bits, -1) << "too long ago to be read";
    const std::string cut = "{\"step\": 77}\n";  // what the last 64 KiB begin with belongs to a longer line
    replace("x" + cut + std::string(65536 - cut.size(), '\n'));
    EXPECT_FALSE(read_summary(run).has_value());
    replace("\n\n\n");
    EXPECT_FALSE(read_summary(run).has_value());
    replace("no newline");
    EXPECT_FALSE(read_summary(run).has_value());
}

TEST_F(StudioRuns, FactsComeFromTheConfiguration) {
    Config config = preset_by_name("tiny");
    config.model.width = 24;
    std::ofstream(run / "config.toml") << app::to_toml(
        config, {{"data", "/some/piano"}, {"order0_bits_per_sample", "7.25"}, {"order1_bits_per_sample", "4.5"}});
    RunFacts facts = read_facts(run);
    ASSERT_TRUE(facts.config.has_value()) << facts.problem;
    EXPECT_EQ(*facts.config, config);
    EXPECT_EQ(facts.data, "/some/piano");
    ASSERT_TRUE(facts.baseline.has_value());
    EXPECT_EQ(facts.baseline->order0, 7.25);
    EXPECT_EQ(facts.baseline->order1, 4.5);

    std::ofstream(run / "config.toml") << "[model]\nwidth = 1000000000\n";
    facts = read_facts(run);
    EXPECT_FALSE(facts.config.has_value());
    EXPECT_FALSE(facts.problem.empty());
    std::ofstream(run / "config.toml") << std::string(2 << 20, '#');
    EXPECT_FALSE(read_facts(run).config.has_value()) << "too long for a configuration";
    fs::remove(run / "config.toml");
    fs::create_directories(run / "checkpoints");
    std::ofstream(run / "checkpoints" / "last.safetensors") << "damaged";
    EXPECT_FALSE(read_facts(run).problem.empty());
}

TEST_F(StudioRuns, PreviewsAreListedByStep) {
    EXPECT_TRUE(list_previews(run).empty());
    fs::create_directories(run / "previews");
    for (const char* name :
         {"1000.flac", "200.flac", "30.flac", "30.wav", "x.flac", "-5.flac", "7a.flac", "99999999999999999999.flac"})
        std::ofstream(run / "previews" / name) << "";
    EXPECT_EQ(list_previews(run), (std::vector<Preview>{{30, run / "previews" / "30.flac"},
                                                        {200, run / "previews" / "200.flac"},
                                                        {1000, run / "previews" / "1000.flac"}}));
}

template <class Condition>
bool library_comes_to(RunLibrary& library, const Condition& condition) {
    return test::soon([&] {
        library.update();
        return condition();
    });
}

TEST_F(StudioRuns, TheLibraryFollowsRunsThatOthersWrite) {
    append(line(10, 7, 6.5));
    const fs::path elsewhere = run_path(folder.path() / "elsewhere" / "drums");
    fs::create_directories(elsewhere);
    std::ofstream(elsewhere / "metrics.jsonl") << line(5, 3);
    fs::create_directories(folder.path() / "runs" / "empty");

    std::atomic<int> wakes{0};
    RunLibrary library([&] { ++wakes; });
    library.set_folders(folder.path() / "runs", {elsewhere, elsewhere / "", run, folder.path() / "gone"});
    library.look_at({run});
    library.watch(true);
    ASSERT_TRUE(library_comes_to(library, [&] { return library.runs().size() == 2; }));
    EXPECT_TRUE(library.ready());
    const RunEntry* piano = library.find(run);
    ASSERT_NE(piano, nullptr);
    EXPECT_FALSE(piano->opened);
    EXPECT_FALSE(piano->has_model);
    EXPECT_EQ(piano->summary->valid_bits, 6.5);
    ASSERT_NE(library.find(elsewhere), nullptr);
    EXPECT_TRUE(library.find(elsewhere)->opened);
    EXPECT_EQ(library.log(elsewhere), nullptr) << "nobody looks at it";
    ASSERT_NE(library.log(run), nullptr);
    EXPECT_EQ(steps(*library.log(run)), (Steps{10}));
    ASSERT_NE(library.details(run), nullptr);

    append(line(20, 6));
    fs::create_directories(run / "previews");
    std::ofstream(run / "previews" / "20.flac") << "";
    library.refresh();
    EXPECT_TRUE(library_comes_to(library, [&] {
        return library.find(run)->summary->last.step == 20 && library.details(run)->previews.size() == 1;
    }));
    EXPECT_EQ(steps(*library.log(run)), (Steps{10, 20}));

    library.look_at({elsewhere});
    EXPECT_TRUE(
        library_comes_to(library, [&] { return library.log(elsewhere) != nullptr && library.log(run) == nullptr; }));
    fs::remove_all(run);
    library.refresh();
    EXPECT_TRUE(library_comes_to(library, [&] { return library.runs().size() == 1; }));

    // Quiet while nothing changes: two more looks, no wake.
    const int before = wakes.load();
    library.refresh();
    std::this_thread::sleep_for(50ms);
    library.refresh();
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(wakes.load(), before);
}

TEST_F(StudioRuns, ChartsTakeOverWhatIsLogged) {
    append(line(10, 7) + line(20, 6, 5.5));
    RunLibrary library({});
    library.set_folders(folder.path() / "runs", {});
    library.look_at({run});
    library.watch(true);
    RunCharts charts;
    charts.set_runs({{run, 3}});
    const auto size = [&](size_t i) {
        charts.update(library);
        return charts.series()[i].raw().size();
    };
    ASSERT_EQ(charts.series().size(), 2u);
    ASSERT_TRUE(library_comes_to(library, [&] { return size(0) == 2; }));
    EXPECT_EQ(charts.series()[0].name, "piano, training");
    EXPECT_EQ(charts.series()[1].name, "piano, validation");
    EXPECT_EQ(charts.series()[1].colour, 3u);
    EXPECT_EQ(charts.series()[0].raw()[1], (PlotPoint{20, 6}));
    ASSERT_EQ(size(1), 1u) << "only where it was measured";
    EXPECT_EQ(charts.series()[1].raw()[0], (PlotPoint{20, 5.5}));

    append(line(30, 5));
    library.refresh();
    EXPECT_TRUE(library_comes_to(library, [&] { return size(0) == 3; }));
    replace(line(10, 7) + line(15, 2));
    library.refresh();
    EXPECT_TRUE(library_comes_to(library, [&] { return size(0) == 2; }));
    EXPECT_EQ(charts.series()[0].raw()[1], (PlotPoint{15, 2}));

    charts.series()[0].visible = false;
    charts.choose(Measure::speed, Against::minutes);
    ASSERT_EQ(size(0), 2u);
    EXPECT_EQ(charts.series()[0].raw()[1], (PlotPoint{15, 2000}));
    charts.choose(Measure::bits, Against::tokens);
    EXPECT_EQ(size(0), 2u);
    EXPECT_EQ(charts.series()[0].raw()[1], (PlotPoint{1500, 2}));
    EXPECT_FALSE(charts.series()[0].visible) << "what was hidden stays hidden";
}

}  // namespace
}  // namespace nigiri::studio
