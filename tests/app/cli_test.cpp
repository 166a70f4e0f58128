// The program as its users meet it: commands in, files and JSON out, one clear line where something is wrong.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>

#include "audio/file.h"
#include "kernels/random.h"
#include "tests/app/cli.h"

namespace nigiri {
namespace {

TEST_F(Cli, HelpsAndRefusesWrongUse) {
    for (const Arguments& a : std::vector<Arguments>{
             {"--help"}, {"--version"}, {"train", "--help"}, {"generate", "--help"}, {"bench", "--help"}}) {
        const auto r = nigiri(a);
        EXPECT_EQ(r.code, 0);
        EXPECT_FALSE(r.out.empty());
    }
    EXPECT_NE(nigiri({"generate", "--help"}).out.find("]=1"), std::string::npos) << "defaults are shown";
    expect_error({}, 2, "subcommand");
    expect_error({"trian"}, 2, "trian");
    expect_error({"train", "--stepz", "5"}, 2, "--stepz");
    expect_error({"generate", "--model", "x"}, 2, "--output");
    expect_error({"generate", "--model", "x", "-o", "y", "--temperature", "hot"}, 2, "hot");
    expect_error({"eval", "--model", "x", "--data", "y", "--split", "middle"}, 2, "middle");
    expect_error({"train", "--device", "abacus"}, 2, "abacus");
}

TEST_F(Cli, SaysWhatIsMissing) {
    make_audio("audio", 2);
    expect_error({"train"}, 1, "--data");
    expect_error({"train", "--data", text("nothing"), "--run", text("r")}, 1, "nothing");
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--preset", "huge"}, 1, "huge");
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--layer", "s5"}, 1, "s5");
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--set", "model.wings=2"}, 1, "model.wings");
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--pools", "4,x"}, 1, "x");
    expect_error({"train", "--data", text("audio"), "--run", "/proc/run"}, 1, "/proc/run");
    expect_error({"train", "--data", text("audio"), "--config", text("none.toml")}, 1, "none.toml");
    expect_error({"eval", "--model", text("none"), "--data", text("audio")}, 1, "none");
    expect_error({"generate", "--model", text("none"), "-o", text("x.wav")}, 1, "none");
    expect_error({"info", text("none")}, 1, "none");
    expect_error({"play", text("none.wav")}, 1, "none.wav");
    expect_error({"prepare", text("none"), "-o", text("data")}, 1, "none");
    fs::create_directories(at("empty"));
    expect_error({"train", "--data", text("empty"), "--run", text("r")}, 1, "empty");
    expect_error({"info", text("empty")}, 1, "empty");
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--batch", "60000", "--length", "1000000",
                  "--steps", "1"},
                 1, "memory");
#ifndef NIGIRI_CUDA
    expect_error({"train", "--data", text("audio"), "--run", text("r"), "--device", "cuda", "--steps", "1"}, 1, "CUDA");
#endif
}

TEST_F(Cli, GoesFromAFolderToAClip) {
    make_audio("audio");
    std::ofstream(at("audio") / "notes.txt") << "no sound in here";
    const json prepared = ask({"prepare", text("audio"), "-o", text("data")});
    EXPECT_EQ(prepared["used"], 5);
    EXPECT_EQ(prepared["written"], 5);
    EXPECT_EQ(ask({"prepare", text("audio"), "-o", text("data")})["written"], 0);

    Arguments train = train_arguments("run", 500);
    train[2] = text("data");
    train.insert(train.end(), {"--learning-rate", "1e-2"});
    const json trained = ask(train);
    EXPECT_EQ(trained["steps"], 500);
    EXPECT_GT(trained["tokens_per_second"], 0);
    EXPECT_LT(trained["train_bits_per_sample"], 7.0);
    EXPECT_LT(trained["valid_bits_per_sample"], 7.0);
    EXPECT_LT(trained["order1_bits_per_sample"], trained["order0_bits_per_sample"]);
    const std::string model = trained["checkpoint"];
    for (const std::string file :
         {"config.toml", "metrics.jsonl", "checkpoints/last.safetensors", "checkpoints/best.safetensors"})
        EXPECT_TRUE(fs::exists(at("run") / file)) << file;

    const json info = ask({"info", model});
    EXPECT_EQ(info["layer"], "mamba-s4 (modified)");
    EXPECT_EQ(info["sample_rate"], 16000);
    EXPECT_EQ(info["quantization"], "mu-law");
    EXPECT_GT(info["parameters"], 1000);
    EXPECT_LE(info["step"], 500);

    // Whole recordings, the same in segments as long as the recording, and shorter ones.
    const json whole = ask({"eval", "--model", text("run"), "--data", text("data"), "--split", "test"});
    const json once =
        ask({"eval", "--model", text("run"), "--data", text("data"), "--split", "test", "--segment", "16000"});
    const json cut =
        ask({"eval", "--model", text("run"), "--data", text("audio"), "--split", "test", "--segment", "1000"});
    EXPECT_EQ(whole["samples"], 16000);
    EXPECT_EQ(cut["samples"], 16000);
    EXPECT_NEAR(whole["bits_per_sample"], once["bits_per_sample"], 1e-4);
    EXPECT_LT(whole["bits_per_sample"], 7.0);
    // By what generates, sample by sample: the same in float32, nearly the same with rounded weights.
    for (const std::string weights : {"f32", "int8"}) {
        const json stepped = ask({"eval", "--model", text("run"), "--data", text("data"), "--split", "test",
                                  "--segment", "5000", "--seconds", "0.75", "--weights", weights});
        const json parallel = ask({"eval", "--model", text("run"), "--data", text("data"), "--split", "test",
                                   "--segment", "5000", "--seconds", "0.75"});
        EXPECT_EQ(stepped["samples"], 12000);
        EXPECT_TRUE(parallel["engine"].is_null());
        EXPECT_TRUE(stepped["engine"].is_string());
        EXPECT_EQ(stepped["weights"], weights);
        EXPECT_NEAR(stepped["bits_per_sample"], parallel["bits_per_sample"], weights == "f32" ? 1e-4 : 0.05);
    }

    const json generated = ask(
        {"generate", "--model", text("run"), "--seconds", "0.1", "--count", "3", "--seed", "5", "-o", text("clips")});
    ASSERT_EQ(generated["files"].size(), 3u);
    ASSERT_EQ(generated["log2_likelihood_per_sample"].size(), 3u);
    EXPECT_GT(generated["samples_per_second"], 0);
    EXPECT_GT(generated["realtime_factor"], 0);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(read_audio(generated["files"][static_cast<size_t>(i)].get<std::string>()).samples.size(), 1600u);
    }
    for (size_t i = 1; i < 3; ++i) {
        EXPECT_GE(generated["log2_likelihood_per_sample"][i - 1], generated["log2_likelihood_per_sample"][i]);
    }
    // The parameters travel with the clip; the same seed gives the same clip.
    const json tags = json::parse(read_tags(generated["files"][0].get<std::string>()).at("comment"));
    EXPECT_EQ(tags["seed"], 5);
    ask({"generate", "--model", model, "--seconds", "0.1", "--count", "3", "--seed", "5", "-o", text("again.flac")});
    EXPECT_EQ(read_audio(at("again.flac")).samples, read_audio(generated["files"][0].get<std::string>()).samples);
    // A prompt stands at the beginning of the clip.
    ask({"generate", "--model", model, "--seconds", "0.05", "--prompt", text("audio/tone-0.wav"), "--prompt-seconds",
         "0.1", "-o", text("more.wav")});
    const auto prompted = read_audio(at("more.wav")).samples, original = read_audio(at("audio/tone-0.wav")).samples;
    ASSERT_EQ(prompted.size(), 2400u);
    for (size_t i = 0; i < 1600; ++i) EXPECT_NEAR(prompted[i], original[i], 0.03);  // 8-bit mu-law's step at half scale

    const json exported = ask({"export", "--model", model, "-o", text("small.safetensors")});
    EXPECT_LT(exported["bytes"], 0.5 * static_cast<double>(fs::file_size(model)));
    EXPECT_EQ(ask({"eval", "--model", text("small.safetensors"), "--data", text("data")})["bits_per_sample"],
              whole["bits_per_sample"]);
    EXPECT_TRUE(ask({"selfcheck", "--model", model, "--length", "300"})["passed"]);
    EXPECT_EQ(ask({"play", text("more.wav"), "--output", "file:" + text("played.wav")})["samples"], 2400);
    EXPECT_EQ(read_audio(at("played.wav")).samples.size(), 2400u);
}

TEST_F(Cli, ReplaysAConfiguration) {
    make_audio("audio");
    Arguments first = train_arguments("first", 9);
    for (const std::string a :
         {"--layer", "mamba-s6", "--seed", "7", "--selective", "delta,b", "--set", "model.centre.ssm.state=4"})
        first.push_back(a);
    ASSERT_EQ(nigiri(first).code, 0);
    ASSERT_EQ(nigiri({"train", "--config", text("first/config.toml"), "--run", text("second"), "--threads", "1"}).code,
              0);
    EXPECT_EQ(losses("first"), losses("second"));
    EXPECT_EQ(losses("first").size(), 9u);
    // The same command again has nothing left to do, and a larger limit goes on.
    EXPECT_EQ(nigiri(first).code, 0);
    EXPECT_EQ(losses("first").size(), 9u);
    ASSERT_EQ(
        nigiri({"train", "--data", text("audio"), "--run", text("first"), "--steps", "12", "--threads", "1"}).code, 0);
    EXPECT_EQ(losses("first").size(), 12u);
}

TEST_F(Cli, BeginsWithTheWeightsOfAModel) {
    make_audio("audio");
    ASSERT_EQ(nigiri(train_arguments("first", 20)).code, 0);
    const json model = ask({"export", "--model", text("first"), "-o", text("model.safetensors"), "--precision", "f32"});
    const auto bits = [&](const std::string& of) {
        return ask({"eval", "--model", text(of), "--data", text("audio")})["bits_per_sample"].get<double>();
    };
    const auto tune = [&](const std::string& run, int steps, const std::string& rate, const Arguments& more = {}) {
        Arguments a = {"train",
                       "--data",
                       text("audio"),
                       "--run",
                       text(run),
                       "--steps",
                       std::to_string(steps),
                       "--learning-rate",
                       rate,
                       "--ssm-learning-rate",
                       rate,
                       "--batch",
                       "1",
                       "--length",
                       "256",
                       "--log-every",
                       "1",
                       "--validate-every",
                       "0",
                       "--schedule",
                       "constant",
                       "--warmup",
                       "0",
                       "--threads",
                       "1"};
        if (more.empty()) a.insert(a.end(), {"--from", text("model.safetensors")});
        a.insert(a.end(), more.begin(), more.end());
        return a;
    };
    // A step that moves nothing leaves the model as it was; one that does, does not.
    ASSERT_EQ(nigiri(tune("still", 1, "1e-12")).code, 0);
    EXPECT_NEAR(bits("still"), bits("first"), 1e-5);
    ASSERT_EQ(nigiri(tune("moved", 1, "1e-2")).code, 0);
    EXPECT_GT(std::abs(bits("moved") - bits("first")), 1e-3);
    const json info = ask({"info", text("moved")});
    EXPECT_EQ(info["facts"]["from"], "model.safetensors");
    EXPECT_EQ(info["facts"]["from.data"], "audio");

    // The same command goes on with the run, not with the model again; config.toml says the same.
    ASSERT_EQ(nigiri(tune("whole", 3, "1e-2")).code, 0);
    ASSERT_EQ(nigiri(tune("whole", 5, "1e-2")).code, 0);
    EXPECT_EQ(losses("whole").size(), 5u);
    fs::rename(at("model.safetensors"), at("away.safetensors"));
    ASSERT_EQ(nigiri(tune("whole", 6, "1e-2")).code, 0) << "the run needs the model no more";
    EXPECT_EQ(losses("whole").size(), 6u);
    fs::rename(at("away.safetensors"), at("model.safetensors"));
    ASSERT_EQ(nigiri(tune("replayed", 3, "1e-2")).code, 0);
    fs::copy(at("replayed/config.toml"), at("config.toml"));
    ASSERT_EQ(nigiri({"train", "--config", text("config.toml"), "--run", text("again"), "--threads", "1"}).code, 0);
    EXPECT_EQ(losses("again"), losses("replayed"));

    expect_error(tune("other", 1, "1e-2", {"--from", text("model.safetensors"), "--width", "16"}), 1, "network");
    expect_error(tune("other", 1, "1e-2", {"--from", text("nowhere")}), 1, "nowhere");
}

// A signal's handler runs on the stack of the code it interrupts, and oneDNN's generated code has none where its stack
// pointer points. So no handler may be there to run, in any thread, while the signals are taken all the same.
TEST_F(Cli, TakesSignalsWithoutAHandler) {
    make_audio("audio");
    test::Process process(NIGIRI_BINARY, train_arguments("run", 100000), folder.path());
    for (int i = 0; i < 600 && losses("run").size() < 2; ++i) process.ended_within(0.1);
    int threads = 0;
    for (const auto& thread : fs::directory_iterator("/proc/" + std::to_string(process.id()) + "/task")) {
        std::ifstream in(thread.path() / "status");
        ++threads;
        for (std::string line; std::getline(in, line);) {
            if (line.rfind("SigCgt:", 0) != 0) continue;
            const uint64_t caught = std::stoull(line.substr(7), nullptr, 16);
            for (const int signal : {SIGINT, SIGTERM})
                EXPECT_EQ(caught >> (signal - 1) & 1, 0u) << signal << " of " << thread.path();
        }
    }
    EXPECT_GE(threads, 2) << "one of them waits for the signals";
    process.send(SIGTERM);
    ASSERT_TRUE(process.ended_within(20));
    EXPECT_EQ(process.wait().code, 0);
}

TEST_F(Cli, SavesAndEndsWellOnCtrlC) {
    make_audio("audio");
    for (const int signal : {SIGINT, SIGTERM}) {
        const std::string run = "run" + std::to_string(signal);
        test::Process process(NIGIRI_BINARY, train_arguments(run, 100000), folder.path());
        for (int i = 0; i < 600 && losses(run).size() < 4; ++i) process.ended_within(0.1);
        process.send(signal);
        ASSERT_TRUE(process.ended_within(20));
        EXPECT_EQ(process.wait().code, 0);
        const json info = ask({"info", text(run) + "/checkpoints/last.safetensors"});
        EXPECT_GE(info["step"], 4);
        EXPECT_EQ(static_cast<size_t>(info["step"]), losses(run).size());
    }
    // A cancelled generation keeps what was made.
    test::Process process(NIGIRI_BINARY,
                          {"generate", "--model", text("run2"), "--seconds", "3600", "-o", text("long.wav")},
                          folder.path());
    process.ended_within(1.5);
    process.send(SIGINT);
    ASSERT_TRUE(process.ended_within(20));
    EXPECT_EQ(process.wait().code, 0);
    EXPECT_GT(read_audio(at("long.wav")).samples.size(), 100u);
}

// kill -9 at twenty random moments, also while a checkpoint is being written: the run goes on from its last checkpoint
// and ends with the losses of a run that was never interrupted, bit for bit.
TEST_F(Cli, SurvivesTwentyKillsBitForBit) {
    make_audio("audio");
    constexpr int steps = 150;
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(nigiri(train_arguments("whole", steps)).code, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto expected = losses("whole");
    ASSERT_EQ(expected.size(), static_cast<size_t>(steps));
    Random random(test::seed());
    int kills = 0;
    for (int tries = 0; kills < 20 && tries < 200; ++tries) {
        test::Process process(NIGIRI_BINARY, train_arguments("killed", steps), folder.path());
        if (process.ended_within(random.uniform(0, 0.7 * seconds))) {
            // It came to its end before the kill: judged, then begun anew.
            EXPECT_EQ(process.wait().code, 0);
            EXPECT_EQ(losses("killed"), expected) << "seed " << test::seed();
            fs::remove_all(at("killed"));
        } else {
            process.send(SIGKILL);
            process.wait();
            ++kills;
        }
    }
    EXPECT_EQ(kills, 20);
    const auto last = nigiri(train_arguments("killed", steps));
    EXPECT_EQ(last.code, 0) << last.err;
    EXPECT_EQ(losses("killed"), expected) << "seed " << test::seed();
}

TEST_F(Cli, RefusesDamagedModelsEverywhere) {
    make_audio("audio", 4);
    ASSERT_EQ(nigiri(train_arguments("run", 3)).code, 0);
    const fs::path model = at("run/checkpoints/last.safetensors");
    std::ifstream in(model, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const auto write = [&](const fs::path& path, const std::string& content) {
        std::ofstream(path, std::ios::binary) << content;
    };
    write(at("cut.safetensors"), bytes.substr(0, bytes.size() / 2));
    write(at("empty.safetensors"), "");
    write(at("text.safetensors"), "this is not a model\n");
    for (const std::string bad : {"cut.safetensors", "empty.safetensors", "text.safetensors"}) {
        expect_error({"info", text(bad)}, 1, bad);
        expect_error({"generate", "--model", text(bad), "-o", text("x.wav")}, 1, bad);
        expect_error({"eval", "--model", text(bad), "--data", text("audio")}, 1, bad);
        expect_error({"export", "--model", text(bad), "-o", text("y.safetensors")}, 1, bad);
        expect_error({"selfcheck", "--model", text(bad)}, 1, bad);
    }
    EXPECT_FALSE(fs::exists(at("x.wav")));
    // Training does not write over a damaged checkpoint: it may be all the user has.
    write(model, bytes.substr(0, bytes.size() - 10));
    expect_error(train_arguments("run", 6), 1, "last.safetensors");
    EXPECT_EQ(fs::file_size(model), bytes.size() - 10);
    // Another model does not write into this run.
    write(model, bytes);
    Arguments other = train_arguments("run", 6);
    other.push_back("--layer");
    other.push_back("s4-mlp");
    expect_error(other, 1, "another");
}

}  // namespace
}  // namespace nigiri
