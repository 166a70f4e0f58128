// nigiri generate as a person runs it: played while it is made, endless, guarded, interrupted.
#include <chrono>
#include <csignal>
#include <thread>

#include "audio/file.h"
#include "model/checkpoint.h"
#include "tests/app/cli.h"

namespace nigiri {
namespace {

// One that never ends by itself must not outlive a test that fails.
struct Endless : test::Process {
    using test::Process::Process;
    ~Endless() {
        if (!ended_within(0)) send(SIGKILL);
    }
};

class GenerateCli : public Cli {
  protected:
    // A very small network that has learned nothing: noise of eight bits a sample, said to be one of `bits`.
    std::string model(double bits = -1) {
        Config config = preset_by_name("tiny");
        config.model.width = 8;
        config.model.layers = 1;
        Network network(make_backend("cpu", 1), config.model, DType::f32, 1, 1024);
        TrainingState state;
        state.valid_bits = bits;
        save_checkpoint(at("model.safetensors"), config, network, nullptr, state, {});
        return text("model.safetensors");
    }
    // One thread: two that wait for each other are slow on a machine that has other things to do.
    json make(Arguments arguments) {
        arguments.insert(arguments.begin(), "generate");
        arguments.insert(arguments.end(), {"--threads", "1", "--device", "cpu"});
        return ask(arguments);
    }
    // Waits until the file has some sound in it.
    bool grows(const fs::path& file, test::Process& process) {
        for (int i = 0; i < 600; ++i) {
            std::error_code code;
            if (fs::exists(file, code) && fs::file_size(file, code) > 60000) return true;
            if (process.ended_within(0.05)) return false;
        }
        return false;
    }
};

TEST_F(GenerateCli, PlaysWhileItIsMade) {
    const std::string m = model();
    const json plain = make({"--model", m, "--seconds", "1", "--seed", "3", "-o", text("plain.wav")});
    const json played =
        make({"--model", m, "--seconds", "1", "--seed", "3", "-o", text("played.wav"), "--play", "--play-on", "null"});
    EXPECT_EQ(read_audio(at("plain.wav")).samples, read_audio(at("played.wav")).samples);
    EXPECT_EQ(plain["log2_likelihood_per_sample"], played["log2_likelihood_per_sample"]);
    EXPECT_EQ(played["samples"], 16000);
    EXPECT_NEAR(played["played"]["heard_seconds"], 1, 1e-9);
    EXPECT_EQ(played["played"]["waits"], 0);
    EXPECT_TRUE(played["played"]["began_after"].is_number());
    const json only_heard =
        make({"--model", m, "--seconds", "0.2", "--play", "--play-on", "file:" + text("heard.wav")});
    EXPECT_TRUE(only_heard["files"].empty());
    EXPECT_EQ(read_audio(at("heard.wav")).samples.size(), 3200u);
    const auto said = nigiri({"generate", "--model", m, "--seconds", "2", "--play", "--play-on", "null", "--threads",
                              "1", "--device", "cpu"});
    EXPECT_EQ(said.code, 0) << said.err;
    EXPECT_NE(said.out.find(" x real time: playing begins "), std::string::npos) << said.out;
}

TEST_F(GenerateCli, GoesOnUntilItIsStopped) {
    const std::string m = model();
    Endless process(NIGIRI_BINARY,
                    {"generate", "--model", m, "--endless", "--play", "--play-on", "null", "-o", text("e.wav"),
                     "--json", "--threads", "1", "--device", "cpu"},
                    folder.path());
    ASSERT_TRUE(grows(at("e.wav"), process));
    // Readable while it grows. A copy takes the size first and the header later, which may count more by then; the next
    // one then does not.
    size_t copied = 0;
    for (int i = 0; i < 20 && copied == 0; ++i) {
        fs::copy_file(at("e.wav"), at("cut.wav"), fs::copy_options::overwrite_existing);
        try {
            copied = read_audio(at("cut.wav")).samples.size();
        } catch (const AudioError& e) {
            EXPECT_EQ(e.fault(), AudioFault::truncated) << e.what();
        }
    }
    EXPECT_GT(copied, 10000u);
    process.send(SIGINT);
    ASSERT_TRUE(process.ended_within(10));
    const auto r = process.wait();
    EXPECT_EQ(r.code, 0) << r.err;
    const json out = json::parse(r.out, nullptr, false);
    EXPECT_EQ(static_cast<int64_t>(read_audio(at("e.wav")).samples.size()), out["samples"]);
    const json facts = json::parse(std::ifstream(at("e.wav.json")), nullptr, false);
    EXPECT_EQ(facts["samples"], out["samples"]);
    // With a length it ends by itself, and is what a clip of that seed is.
    make({"--model", m, "--endless", "--seconds", "0.5", "--seed", "4", "-o", text("half.flac")});
    make({"--model", m, "--seconds", "0.5", "--seed", "4", "-o", text("clip.flac")});
    EXPECT_EQ(read_audio(at("half.flac")).samples, read_audio(at("clip.flac")).samples);
}

TEST_F(GenerateCli, AKilledOneLeavesItsSound) {
    const std::string m = model();
    write_audio(at("e.wav"), std::vector<float>(100, 0.5f), 16000);
    test::Process process(
        NIGIRI_BINARY,
        {"generate", "--model", m, "--endless", "-o", text("e.wav"), "--threads", "1", "--device", "cpu"},
        folder.path());
    ASSERT_TRUE(grows(at("e.part.wav"), process));
    process.send(SIGKILL);
    process.wait();
    EXPECT_GT(read_audio(at("e.part.wav")).samples.size(), 10000u);
    EXPECT_EQ(read_audio(at("e.wav")).samples.size(), 100u) << "the file that was there is not touched";
}

TEST_F(GenerateCli, TheGuardSaysWhatItDid) {
    const std::string m = model(/*bits=*/5);
    const json out = make({"--model", m, "--seconds", "2", "--count", "2", "--guard", "-o", text("clips")});
    ASSERT_FALSE(out["guard"].empty()) << "nearly eight bits a sample where five were learned";
    for (const json& e : out["guard"]) {
        EXPECT_EQ(e["trouble"], "noise");
        EXPECT_GT(e["bits"], 6.5);
        EXPECT_GT(e["noticed"], e["began"]);
    }
    for (const json& file : out["files"]) EXPECT_EQ(read_audio(file.get<std::string>()).samples.size(), 32000u);
    EXPECT_FALSE(make({"--model", m, "--seconds", "0.1", "-o", text("x.wav")}).contains("guard"));
}

TEST_F(GenerateCli, SaysWhatCannotBe) {
    expect_error({"generate", "--model", "x"}, 2, "--output");
    expect_error({"generate", "--model", "x", "--endless", "--count", "2", "-o", text("x.wav")}, 2, "--endless");
    expect_error({"generate", "--model", "x", "--endless", "-o", text("folder")}, 2, ".wav");
    expect_error({"generate", "--model", "x", "-o", text("x.wav"), "--weights", "f16"}, 2, "f16");
    expect_error({"generate", "--model", model(), "--play", "--play-on", "no such device"}, 1, "no such device");
}

TEST_F(GenerateCli, BenchPrintsRowsWithRatios) {
    const json out = ask({"bench", "generate", "--preset", "tiny", "--bench-layers", "s4-mlp,mamba-s6", "--streams",
                          "1,2", "--bench-seconds", "0.02", "--device", "cpu", "--threads", "1"});
    ASSERT_EQ(out["rows"].size(), 4u);
    for (const json& row : out["rows"]) {
        EXPECT_EQ(row["preset"], "tiny");
        EXPECT_GT(row["steps_per_second"], 0);
        EXPECT_NEAR(row["samples_per_second"].get<double>(),
                    row["steps_per_second"].get<double>() * row["streams"].get<double>(), 1e-6);
        EXPECT_TRUE(row["ratio_to_published"].is_null()) << "published networks are of other sizes";
    }
    const json base = ask({"bench", "generate", "--bench-layers", "s4-mlp", "--streams", "1", "--bench-seconds", "0.02",
                           "--device", "cpu"})["rows"][0];
    EXPECT_EQ(base["preset"], "base");
    EXPECT_NEAR(base["ratio_to_published"].get<double>() * 162, base["steps_per_second"].get<double>(), 1e-6);
    EXPECT_NEAR(base["ratio_to_cuda_graph"].get<double>() * 2715, base["steps_per_second"].get<double>(), 1e-6);
    EXPECT_NEAR(base["ratio_to_two_cores"].get<double>() * 257, base["steps_per_second"].get<double>(), 1e-6);
}

}  // namespace
}  // namespace nigiri
