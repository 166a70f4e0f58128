// Several models under the same conditions: the same seeds and prompts, the same held-out audio, the same metrics.
// Knows nothing of drawing or of the command line; nigiri compare and the studio show what it gives.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/evaluate_split.h"
#include "audio/analysis.h"
#include "audio/metrics/similarity.h"
#include "model/checkpoint.h"
#include "model/sampler.h"

namespace nigiri::app {

struct ComparisonOptions {
    std::vector<std::filesystem::path> models;  // checkpoints or run folders
    std::filesystem::path data;                 // raw or prepared; empty: clips only, nothing is measured
    Split split = Split::test;                  // the held-out part
    std::filesystem::path clips_folder;         // where the clips go; made if need be
    int clips = 8;                              // a model
    double seconds = 4;                         // generated, a clip
    double prompt_seconds = 0;                  // of held-out audio before it, another piece for every clip; 0: none
    SamplingOptions sampling;
    bool evaluate = true;             // bits per sample
    double evaluation_seconds = 0;    // of held-out audio; 0: all
    double reference_seconds = 1800;  // of held-out audio at most for the other metrics
    Precision precision = Precision::f32;
    int threads = 0;  // for reading files
};

struct ComparedClip {
    std::filesystem::path file;  // FLAC, as generated
    int rate = 0;
    std::vector<float> samples;  // the prompt, then what was generated
    int64_t prompt = 0;          // samples of it
    double log2_likelihood_per_sample = 0;
    Analysis analysis;  // without the prompt, as all that follows
    Runaway ran_away = Runaway::none;
};

struct ComparedModel {
    std::string name;  // of the run folder or the file; unique in a comparison
    std::filesystem::path file;
    std::string layer;
    int64_t parameters = 0, step = 0, tokens = 0;  // tokens seen in training
    double training_seconds = 0;
    std::optional<double> train_tokens_per_second;  // median of the run's metrics.jsonl, where there is one

    std::vector<ComparedClip> clips;  // in the order of the seed's streams
    bool clips_complete = false;  // false: cancelled while they were made; they are shorter then, and have no metrics
    double steps_per_second = 0;  // samples a second and clip, all clips side by side, without the prompt
    size_t memory_bytes = 0;      // the backend's peak while generating: parameters, states, scratch
    std::optional<Similarity> similarity;
    std::optional<SplitEvaluation> evaluation;
    std::string error;  // why there is no more, if something failed
};

struct ComparisonResult {
    std::string device;
    std::vector<ComparedModel> models;
    // Held-out audio: pieces kept apart from the reference, whose beginnings are the prompts, and their own metrics.
    std::vector<ComparedClip> held_out;
    std::optional<Similarity> floor;
    double held_out_seconds = 0;   // of the whole part
    double reference_seconds = 0;  // of it, that clips are compared with
    size_t recordings = 0;
    std::vector<std::string> notes;  // sentences for the reader: what limits the comparison
    bool complete = false;           // everything that was asked for is there
};

struct ComparisonProgress {
    double fraction = 0;  // of everything, roughly: stages count alike
    std::string what;     // "small-mamba-s4: generating, 1.2 of 4.0 s"
};
// Called on the thread that called compare(); returning false cancels. `result` is what there is so far; `model_done`
// says that a model has just got its clips or its bits.
using ComparisonCallback =
    std::function<bool(const ComparisonProgress& progress, const ComparisonResult& result, bool model_done)>;

// Throws Error where the models or the data cannot be compared at all, or the clips cannot be written, and Cancelled
// before there is anything to keep. Cancelled later, or where a single model fails, it returns what was made.
ComparisonResult compare(const ComparisonOptions& options, const std::shared_ptr<Backend>& backend,
                         const ComparisonCallback& callback = {});

// The median of "tokens_per_second" in a run's metrics.jsonl; none where there is no such file or no such line.
std::optional<double> median_tokens_per_second(const std::filesystem::path& metrics);

}  // namespace nigiri::app
