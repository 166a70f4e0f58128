// nigiri ablate from end to end: a tiny grid, stopped and killed anywhere, gives the table of one that was not.
#include <signal.h>

#include "audio/file.h"
#include "tests/app/cli.h"

namespace nigiri {
namespace {

class Ablate : public Cli {
  protected:
    void SetUp() override {
        make_audio("audio", 8);
        write_grid("grid.toml", 12);
    }

    void write_grid(const std::string& name, int steps) {
        std::ofstream(at(name)) << "title = \"Tiny\"\nseeds = [0, 1]\n[budget]\nsteps = " << steps
                                << "\n[base]\npreset = \"tiny\"\nwidth = 8\nlayers = 1\nstate = 8\nbatch = 2\n"
                                   "length = 256\ncheckpoint-every = 3\nlog-every = 1\nvalidate-every = 4\n"
                                   "validation-segments = 2\n"
                                   "[evaluate]\nsplit = \"valid\"\nclips = 2\nclip-seconds = 0.05\n"
                                   "[row.s4]\nlayer = \"mamba-s4\"\n[row.mlp]\nlayer = \"s4-mlp\"\n";
    }

    Arguments arguments(const std::string& output, const Arguments& more = {}) const {
        Arguments a = {"ablate", "--grid",     text("grid.toml"), "--data", text("audio"),
                       "-o",     text(output), "--threads",       "1"};
        a.insert(a.end(), more.begin(), more.end());
        return a;
    }

    json report(const std::string& output) const {
        std::ifstream in(at(output) / "report.json");
        return json::parse(in, nullptr, false);
    }

    // The table without what a clock says.
    static json table(const json& report) {
        json rows = report["ablation"]["rows"];
        for (json& row : rows) {
            for (const char* key : {"tokens_per_second", "training_seconds", "memory_bytes"}) row.erase(key);
            for (json& run : row["runs"])
                for (const char* key : {"tokens_per_second", "training_seconds", "memory_bytes", "started", "finished"})
                    run.erase(key);
        }
        return rows;
    }

    std::string content(const fs::path& path) const {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

TEST_F(Ablate, MakesATableFromAGrid) {
    const json shown = ask(arguments("out"));
    const json made = report("out");
    EXPECT_EQ(shown["finished"], true);
    EXPECT_EQ(shown["ablation"], made["ablation"]);
    EXPECT_EQ(made["complete"], true);
    ASSERT_EQ(made["ablation"]["rows"].size(), 2u);
    for (const json& row : made["ablation"]["rows"]) {
        EXPECT_EQ(row["status"], "done");
        EXPECT_EQ(row["bits_per_sample"]["n"], 2);
        EXPECT_GT(row["bits_per_sample"]["deviation"], 0);
        EXPECT_EQ(row["tokens"], 12 * 2 * 256);
        EXPECT_EQ(row["train_curve"].size(), 12u);
        EXPECT_EQ(row["valid_curve"].size(), 3u);
        EXPECT_GT(row["memory_bytes"]["most"], 0);
        // The same number as eval's, to the last bit; the parameters are info's.
        for (const json& run : row["runs"]) {
            const std::string place = "out/runs/" + row["name"].get<std::string>() + "/seed-" + run["seed"].dump();
            const std::string model = text(place + "/checkpoints/last.safetensors");
            const json evaluated =
                ask({"eval", "--model", model, "--data", text("audio"), "--split", "valid", "--threads", "1"});
            if (run["seed"] == 0) {  // this folder is divided by seed, and a grid's is divided once
                EXPECT_EQ(run["bits_per_sample"], evaluated["bits_per_sample"]);
            }
            EXPECT_EQ(row["parameters"], ask({"info", model})["parameters"]);
            EXPECT_EQ(read_audio(at(place) / "clip-2.flac").samples.size(), 800u);
            EXPECT_TRUE(fs::exists(at(place) / "config.toml"));
        }
    }
    EXPECT_EQ(content(at("out/grid.toml")), content(at("grid.toml")));

    // Again: nothing is left to do, and nothing changes.
    const auto before = fs::last_write_time(at("out/runs/s4/seed-0/result.json"));
    EXPECT_EQ(ask(arguments("out"))["ablation"], made["ablation"]);
    EXPECT_EQ(fs::last_write_time(at("out/runs/s4/seed-0/result.json")), before);
}

TEST_F(Ablate, RowsOfSeveralMachinesAreCopiedTogether) {
    ask(arguments("whole"));
    json part = ask(arguments("one", {"--rows", "s4", "--keep", "weights"}));
    EXPECT_EQ(part["finished"], true);
    EXPECT_EQ(part["ablation"]["rows"][1]["status"], "not run");
    EXPECT_EQ(part["complete"], false);
    EXPECT_FALSE(fs::exists(at("one/runs/s4/seed-0/checkpoints/best.safetensors")));
    const auto small = fs::file_size(at("one/runs/s4/seed-0/checkpoints/last.safetensors"));
    EXPECT_LT(3 * small, fs::file_size(at("whole/runs/s4/seed-0/checkpoints/last.safetensors")));
    ask({"generate", "--model", text("one/runs/s4/seed-0"), "--seconds", "0.01", "-o", text("clips")});

    ask(arguments("two", {"--rows", "m*", "--keep", "none"}));
    EXPECT_FALSE(fs::exists(at("two/runs/mlp/seed-0/checkpoints")));
    fs::copy(at("two/runs"), at("one/runs"), fs::copy_options::recursive);
    const json merged = ask({"ablate", "--grid", text("grid.toml"), "-o", text("one"), "--report-only"});
    EXPECT_EQ(merged["complete"], true);
    EXPECT_EQ(table(merged), table(report("whole")));
}

TEST_F(Ablate, GoesOnWhereItWasStoppedOrKilled) {
    write_grid("grid.toml", 90);
    ask(arguments("whole"));
    // Killed and stopped in turn at many places, some of them in the middle of a row.
    Random random(test::seed());
    int starts = 0, in_a_run = 0;
    for (bool done = false; !done && starts < 200; ++starts) {
        test::Process process(NIGIRI_BINARY, arguments("pieces", {"--json"}), folder.path());
        // Longer and longer, so that an end is reached on a slow machine as well.
        done = process.ended_within((0.1 + 0.05 * starts) * (0.5 + random.uniform()));
        if (!done) {
            process.send(starts % 2 ? SIGINT : SIGKILL);
            ASSERT_TRUE(process.ended_within(30));
            const int code = process.wait().code;
            if (starts % 2)
                EXPECT_TRUE(code == 0 || code == 128 + SIGINT) << code << ": the latter before it could listen";
            else
                EXPECT_TRUE(code == 128 + SIGKILL || code == 0) << code << ": the latter if it ended just before";
            for (const std::string row : {"s4", "mlp"})
                for (const std::string seed : {"0", "1"}) {
                    const fs::path run = at("pieces/runs") / row / ("seed-" + seed);
                    if (!fs::exists(run / "checkpoints" / "last.safetensors")) continue;
                    const json result = json::parse(content(run / "result.json"), nullptr, false);
                    if (!result.value("trained", true)) ++in_a_run;
                }
            continue;
        }
        EXPECT_EQ(process.wait().code, 0);
        done = report("pieces").value("complete", false);
    }
    EXPECT_GT(in_a_run, 0) << "of " << starts << " starts none was cut off between two steps";
    EXPECT_EQ(table(report("pieces")), table(report("whole")));
    const std::string clip = "runs/mlp/seed-1/clip-1.flac";
    EXPECT_EQ(read_audio(at("pieces") / clip).samples, read_audio(at("whole") / clip).samples);
}

TEST_F(Ablate, StopsAfterItsMinutesAndGoesOn) {
    write_grid("grid.toml", 1'000'000);  // more than a second's
    const json first = ask(arguments("out", {"--rows", "s4", "--minutes", "0.02"}));
    EXPECT_EQ(first["finished"], false);
    const std::string status = first["ablation"]["rows"][0]["status"];
    EXPECT_NE(status.find("seed 0 step "), std::string::npos) << status;
    EXPECT_TRUE(fs::exists(at("out/runs/s4/seed-0/checkpoints/last.safetensors")));
    const auto said = nigiri(arguments("out", {"--rows", "s4", "--minutes", "0.002"}));
    EXPECT_EQ(said.code, 0);
    EXPECT_NE(said.out.find("goes on from here"), std::string::npos);
}

TEST_F(Ablate, GoesOnWithTheOthersWhereARunFails) {
    std::ofstream(at("grid.toml"), std::ios::app)
        << "[row.huge]\nbatch = 65536\nlength = 65536\n"  // sixteen terabytes and more
                                                          // A step multiplies matrices by 1 - 10 x 100: a few of them
                                                          // exceed float32.
           "[row.wild]\nlearning-rate = 10\nweight-decay = 100\nwarmup = 0\n";
    expect_error(arguments("out", {"--rows", "huge,s4"}), 1, "huge, seed 1: training needs about");
    const json made = report("out");
    EXPECT_EQ(made["ablation"]["rows"][0]["status"], "done");
    const std::string status = made["ablation"]["rows"][2]["status"];
    EXPECT_NE(status.find("seed 0 failed: training needs about"), std::string::npos) << status;
    EXPECT_NE(content(at("out/report.md")).find("failed: training needs about"), std::string::npos);

    // What diverges does so again: it is not tried another time, and no failure of the program.
    const json wild = ask(arguments("out", {"--rows", "wild"}));
    const std::string lost = wild["ablation"]["rows"][3]["status"];
    EXPECT_EQ(wild["finished"], true);
    EXPECT_NE(lost.find("failed"), std::string::npos) << lost;
}

TEST_F(Ablate, SaysWhatIsWrong) {
    expect_error({"ablate", "--data", text("audio"), "-o", text("out")}, 2, "--grid");
    expect_error({"ablate", "--grid", text("none.toml"), "--data", text("audio"), "-o", text("out")}, 1, "none.toml");
    expect_error({"ablate", "--grid", text("grid.toml"), "-o", text("out")}, 1, "--data");
    expect_error(arguments("out", {"--rows", "s7"}), 1, "s7");
    expect_error(arguments("out", {"--seed", "7"}), 1, "seeds");
    EXPECT_FALSE(fs::exists(at("out")));
    Arguments nowhere = arguments("out");
    nowhere[4] = text("nowhere");
    expect_error(nowhere, 1, "nowhere");
    std::ofstream(at("broken.toml")) << "[budget]\nsteps = 1\n[row.a]\nlayer = \"s5\"\n";
    Arguments broken = arguments("out");
    broken[2] = text("broken.toml");
    expect_error(broken, 1, "broken.toml, line 4");
    expect_error(arguments("/proc/out"), 1, "/proc");

    // Another budget is another experiment: nothing is mixed, nothing is lost.
    ask(arguments("out", {"--rows", "s4"}));
    const std::string before = content(at("out/runs/s4/seed-0/result.json"));
    write_grid("grid.toml", 13);
    expect_error(arguments("out", {"--rows", "s4"}), 1, "another configuration");
    EXPECT_EQ(content(at("out/runs/s4/seed-0/result.json")), before);
    EXPECT_TRUE(fs::exists(at("out/runs/s4/seed-0/checkpoints/last.safetensors")));
}

}  // namespace
}  // namespace nigiri
