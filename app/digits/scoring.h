// Models of spoken digits under the published protocol: clips of one second from nothing, selected by likelihood,
// judged by a digit classifier beside recordings and a trivial model. Draws nothing: the report shows what this gives.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/digits/clip_store.h"
#include "audio/digits.h"
#include "model/classifier_file.h"

namespace nigiri::app {

// The published script tunes its two thresholds for the best inception score, but keeps the last pair it tries whatever
// came before, which is always this one; its readme names the same shares.
inline constexpr double published_lower = 0.40, published_upper = 0.95;

struct DigitScoringOptions {
    std::vector<std::filesystem::path>
        models;                          // checkpoints or run folders; none: recordings and the trivial model only
    std::filesystem::path data;          // spoken digits, as read_digits knows them
    std::filesystem::path classifier;    // a file of nigiri digits train-classifier
    std::filesystem::path clips_folder;  // where generated clips are kept, a folder a model
    DigitClipOptions clips;              // published: 10240, of which half is scored
    double lower = published_lower, upper = published_upper;
    int threads = 0;
};

struct DigitScores {
    double fid = 0, inception = 0, modified_inception = 0, am = 0;
};

// A clip to be heard.
struct DigitExample {
    int64_t clip = 0;  // its number among those made, or among the recordings of its part
    int heard = 0;     // what the classifier takes it for
    double probability = 0;
    double bits_per_sample = 0;  // its own surprise; 0 for recordings
    std::vector<float> samples;
};

enum class DigitRowKind : uint8_t { recordings, trivial, model };

struct DigitRow {
    DigitRowKind kind = DigitRowKind::model;
    std::string name;
    std::string layer;                             // models
    int64_t parameters = 0, step = 0, tokens = 0;  // models
    int64_t made = 0, scored = 0;                  // clips
    DigitScores scores;                            // of the clips scored
    std::optional<DigitScores> unselected;         // of all that were made
    std::optional<double> bits_per_sample;         // of the clips scored, under the model that made them
    std::optional<double> accuracy;                // recordings: share of clips heard as what they are
    double confidence = 0;                         // mean probability of the likeliest digit
    std::array<double, digit_classes> heard{};     // share of clips heard as each digit
    std::vector<DigitExample> clearest, unchosen;  // the surest of each digit; evenly spread over the ranks
    std::string error;                             // why there is no more
};

struct DigitScoring {
    std::string device;
    std::string classifier_name;
    int64_t classifier_parameters = 0, features = 0;
    ModelFacts classifier_facts;
    std::string classifier_id;   // tells classifiers apart: of its file's bytes
    std::vector<DigitRow> rows;  // recordings (train, valid, test), the trivial model, the models
    std::vector<std::string> notes;
    bool complete = false;
};

// Called on the calling thread; returning false stops: what was finished is kept (DigitClipOptions), and the result is
// not complete.
using DigitScoringCallback = std::function<bool(double fraction, const std::string& what)>;

// Throws Error where the classifier, the data or the folder cannot be used at all. A model that fails has its error in
// its row.
DigitScoring score_digits(const DigitScoringOptions& options, const std::shared_ptr<Backend>& backend,
                          const DigitScoringCallback& callback = {});

}  // namespace nigiri::app
