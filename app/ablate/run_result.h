// One run of a grid, that is a row with a seed: its folder, and what is known of it in the folder's result.json. All
// that a report needs lies in run folders, so folders of several machines can be copied together.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/ablate/grid.h"
#include "app/evaluate_split.h"
#include "audio/metrics/similarity.h"

namespace nigiri::app {

struct RunClip {
    std::string file;  // beside result.json
    int64_t prompt = 0;
    double log2_likelihood_per_sample = 0;
    Runaway ran_away = Runaway::none;
};

struct RunResult {
    Config config;
    std::string started, finished;  // UTC, "2026-01-31 12:00:00"; finished: the last part of what was asked
    std::string version, device;    // that trained it
    std::string command;            // that trained it to the end
    std::string data;               // name of the folder
    double train_seconds = 0;       // of audio there was to train on

    bool trained = false;
    std::string failed;  // why it will never be trained: the loss stopped being a number
    std::string error;   // why it was not finished the last time; it is tried again
    int64_t parameters = 0, steps = 0, tokens = 0;
    double training_seconds = 0;
    double train_bits = 0;             // mean of the last log interval
    std::optional<double> valid_bits;  // at the end
    std::optional<double> tokens_per_second;
    size_t memory_bytes = 0;  // peak of a training session; 0: unknown

    bool rounded_weights = false;  // something below was asked of weights that had been rounded (Keep::weights)

    nlohmann::json bits_settings;  // what the bits were measured with
    std::optional<SplitEvaluation> bits;
    nlohmann::json clip_settings;
    std::vector<RunClip> clips;
    std::optional<Similarity> similarity, floor;
};

std::filesystem::path run_folder(const std::filesystem::path& ablation, const GridRow& row, uint64_t seed);

// What a result's settings must be equal to, to answer what a grid asks.
nlohmann::json bits_settings(const GridEvaluation& evaluation);
nlohmann::json clip_settings(const GridEvaluation& evaluation);
// Whether everything that the grid asks is there, or will never be.
bool answers(const RunResult& result, const GridEvaluation& evaluation);

// Nothing where there is no result.json. Throws Error where it cannot be understood.
std::optional<RunResult> read_result(const std::filesystem::path& run);
void write_result(const std::filesystem::path& run, const RunResult& result);

struct CurvePoint {
    int64_t tokens = 0;
    double bits = 0;
};

// Bits per sample against tokens from a run's metrics.jsonl; empty where there is none. Lines that are damaged are left
// out.
struct RunCurves {
    std::vector<CurvePoint> train, valid;
};
RunCurves read_curves(const std::filesystem::path& run);

std::string utc_now();

}  // namespace nigiri::app
