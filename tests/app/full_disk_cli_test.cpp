// The command line on a full disk: one clear line, and nothing that was there is lost.
#include <gtest/gtest.h>

#include "audio/file.h"
#include "tests/app/cli.h"
#include "tests/support/full_disk.h"

namespace nigiri {
namespace {

using test::FullDisk;

std::string contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> files_below(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

class CliOnAFullDisk : public Cli {
  protected:
    // What the program says goes to files as well, so that a full disk here still has room for some lines.
    static constexpr rlim_t some_lines = 4096;

    void expect_full(Arguments arguments, const std::string& word, rlim_t bytes) {
        ASSERT_GE(bytes, some_lines);
        arguments.push_back("-q");
        const FullDisk full(bytes);
        expect_error(arguments, 1, word);
    }
};

TEST_F(CliOnAFullDisk, TrainingKeepsItsCheckpointAndGoesOn) {
    make_audio("audio");
    for (const std::string run : {"calm", "run"}) ASSERT_EQ(nigiri(train_arguments(run, 24)).code, 0);
    ASSERT_EQ(nigiri(train_arguments("calm", 40)).code, 0);

    const fs::path last = at("run/checkpoints/last.safetensors");
    const std::string before = contents(last);
    const auto files = files_below(at("run"));
    const rlim_t log_bytes = fs::file_size(at("run/metrics.jsonl"));
    // In the log and in the checkpoint; each again, as a person would who does not believe it.
    for (int k = 0; k < 2; ++k) {
        expect_full(train_arguments("run", 40), "metrics.jsonl", log_bytes + 50);
        EXPECT_EQ(contents(last), before);
        expect_full(train_arguments("run", 40), "safetensors", before.size() - 1000);
        EXPECT_EQ(contents(last), before);
    }
    EXPECT_EQ(files_below(at("run")), files);
    EXPECT_EQ(ask({"info", last.string()})["step"], 24);
    ASSERT_EQ(nigiri(train_arguments("run", 40)).code, 0);
    EXPECT_EQ(losses("run"), losses("calm")) << "as if nothing had been";
}

TEST_F(CliOnAFullDisk, ResultsAreWholeOrAsBefore) {
    make_audio("audio");
    ASSERT_EQ(nigiri(train_arguments("run", 3)).code, 0);
    const auto unchanged = [&](const Arguments& arguments, const std::string& output) {
        ASSERT_EQ(nigiri(arguments).code, 0) << output;
        const std::string before = contents(at(output));
        ASSERT_GT(before.size(), some_lines);
        const auto files = files_below(folder.path()).size();
        expect_full(arguments, output, some_lines);
        EXPECT_EQ(contents(at(output)), before);
        EXPECT_EQ(files_below(folder.path()).size(), files + 2) << "what it said, and nothing else";
        EXPECT_EQ(nigiri(arguments).code, 0);
    };
    for (const std::string clip : {"clip.wav", "clip.flac"})
        unchanged({"generate", "--model", text("run"), "--seconds", "0.5", "-o", text(clip)}, clip);
    unchanged({"export", "--model", text("run"), "-o", text("small.safetensors")}, "small.safetensors");

    expect_full({"prepare", text("audio"), "-o", text("data")}, "data", some_lines);
    EXPECT_EQ(ask({"prepare", text("audio"), "-o", text("data")})["used"], 5);
    EXPECT_EQ(read_audio(at("audio/tone-0.wav")).samples.size(), 16000u) << "recordings are only read";
}

}  // namespace
}  // namespace nigiri
