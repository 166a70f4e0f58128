// What the tests of the command line share: a folder, runs of the program, a little audio, a very small network.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "audio/write.h"
#include "kernels/random.h"
#include "tests/app/process.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

class Cli : public testing::Test {
  protected:
    test::ProcessResult nigiri(const Arguments& arguments) {
        return test::run(NIGIRI_BINARY, arguments, folder.path());
    }

    // Runs with --json, expects success, and returns the one object on stdout.
    json ask(Arguments arguments) {
        arguments.push_back("--json");
        const auto r = nigiri(arguments);
        EXPECT_EQ(r.code, 0) << arguments[0] << ": " << r.err;
        EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1) << r.out;
        return json::parse(r.out, nullptr, false);
    }

    // Expects failure with the given code and exactly one line that begins with "error: " and contains `word`.
    void expect_error(const Arguments& arguments, int code, const std::string& word) {
        const auto r = nigiri(arguments);
        std::string line;
        for (size_t at = 0, end; at < r.err.size(); at = end + 1) {
            end = std::min(r.err.find('\n', at), r.err.size() - 1);
            const std::string l = r.err.substr(at, end - at);
            if (l.starts_with("error: ")) {
                EXPECT_TRUE(line.empty()) << r.err;
                line = l;
            }
        }
        std::string command;
        for (const auto& a : arguments) command += a + " ";
        EXPECT_EQ(r.code, code) << command << r.err;
        EXPECT_FALSE(line.empty()) << command << r.err;
        EXPECT_NE(line.find(word), std::string::npos) << command << line;
        EXPECT_EQ(r.out.find('{'), std::string::npos) << "no result after an error: " << r.out;
    }

    fs::path at(const std::string& name) const { return folder.path() / name; }
    std::string text(const std::string& name) const { return at(name).string(); }

    // Plucked tones: a few seconds in several files.
    void make_audio(const std::string& name, int files = 5, double seconds = 1.0) {
        fs::create_directories(at(name));
        Random random(test::seed());
        for (int f = 0; f < files; ++f) {
            std::vector<float> samples(static_cast<size_t>(16000 * seconds));
            double phase = 0, level = 0, frequency = 0;
            for (size_t i = 0; i < samples.size(); ++i) {
                if (i % 4000 == 0) level = 0.5, frequency = 200 + 400 * random.uniform();
                phase += 6.283185307179586 * frequency / 16000;
                level *= 0.9995;
                samples[i] = static_cast<float>(level * std::sin(phase) + 0.002 * random.normal());
            }
            write_audio(at(name) / ("tone-" + std::to_string(f) + ".wav"), samples, 16000);
        }
    }

    // A very small network on that audio.
    Arguments train_arguments(const std::string& run, int steps) const {
        return {"train",
                "--data",
                text("audio"),
                "--run",
                text(run),
                "--preset",
                "tiny",
                "--width",
                "8",
                "--layers",
                "1",
                "--state",
                "8",
                "--batch",
                "2",
                "--length",
                "256",
                "--steps",
                std::to_string(steps),
                "--log-every",
                "1",
                "--validate-every",
                "5",
                "--checkpoint-every",
                "3",
                "--validation-segments",
                "2",
                "--threads",
                "1"};
    }

    std::vector<std::string> losses(const std::string& run) const {
        std::ifstream in(at(run) / "metrics.jsonl");
        std::vector<std::string> out;
        for (std::string line; std::getline(in, line);) {
            json j = json::parse(line);
            j.erase("seconds");
            j.erase("tokens_per_second");
            out.push_back(j.dump());
        }
        return out;
    }

    test::TemporaryFolder folder;
};

}  // namespace nigiri
