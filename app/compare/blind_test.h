// Blind listening tests of two models: ABX (can they be told apart?) and preference (which is liked better?). The logic
// only; whoever uses it plays the sounds and shows the questions.
//
// A test cannot be read before its end: the number of trials is fixed beforehand, and neither the answers' correctness
// nor a running score is shown until the last one. Otherwise a listener might stop at a lucky moment, which would make
// the p-value worthless.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nigiri::app {

enum class BlindKind : uint8_t {
    abx,         // sounds A (model 0), B (model 1) and X, which is one of them: which?
    preference,  // a first and a second sound, one of each model, names hidden: which is better?
};
const char* name_of(BlindKind kind);  // "abx", "preference"

struct BlindTestSetup {
    BlindKind kind = BlindKind::abx;
    int trials = 10;                    // 1 to 1000
    uint64_t seed = 0;                  // of the order
    std::array<std::string, 2> models;  // names
    int clips = 1;                      // clips a model; clip i of both has the same seed and prompt
};

// A question: which sounds to play. To be kept from the listener.
struct BlindTrial {
    int clip = 0;    // of both models
    int x = 0;       // ABX: the model that plays X
    int first = 0;   // preference: the model that plays first
    int second = 1;  // and second
};

struct BlindResult {
    int trials = 0;
    int successes = 0;   // ABX: right answers; preference: answers for model 0
    double p_value = 1;  // ABX: one-sided, of at least so many right by guessing; preference: two-sided
};

class BlindTest {
  public:
    // The order is drawn at once. ABX: every X is a fair coin of its own (a balanced order could be guessed from its
    // beginning, and the right answers would not be binomial). Preference: each model comes first in half of the
    // trials, one more for one of them if the number is odd, in a shuffled order, so that a habit of preferring the
    // first sound favours nobody. In both, every clip is played equally often, plus or minus one. Throws Error where
    // the setup makes no sense.
    explicit BlindTest(const BlindTestSetup& setup);

    const BlindTestSetup& setup() const { return setup_; }
    int answered() const { return static_cast<int>(answers_.size()); }
    bool finished() const { return answered() == setup_.trials; }
    // The question to ask now; throws Error when the test is finished.
    const BlindTrial& current() const;
    // ABX: 0 for "X is A", 1 for "X is B". Preference: 0 for the first, 1 for the second. `seconds`: how long the
    // listener took. Throws Error when the test is finished, or on another choice.
    void answer(int choice, double seconds = 0);

    // None before the end.
    std::optional<BlindResult> result() const;

    // An unfinished test holds what is needed to go on (seed, answers), and "finished": false; only a finished one has
    // the trials' truth and the result. That keeps the truth from who opens the file by chance, and no more: the seed
    // gives the order to who runs this class on it, and a copy that is answered to its end tells it, too. What can go
    // on with a test can do that, however its file is disguised.
    nlohmann::json to_json() const;
    // Throws Error on anything that to_json() did not write.
    static BlindTest from_json(const nlohmann::json& saved);
    // One line a trial, RFC 4180. Columns: trial, clip, answer, seconds; when finished also the models that played.
    std::string to_csv() const;
    // Replace the files atomically.
    void save_json(const std::filesystem::path& path) const;
    void save_csv(const std::filesystem::path& path) const;
    static BlindTest load(const std::filesystem::path& path);

  private:
    struct Answer {
        int choice = 0;
        double seconds = 0;
    };
    bool success(size_t trial) const;

    BlindTestSetup setup_;
    std::vector<BlindTrial> order_;
    std::vector<Answer> answers_;
};

// A field of a CSV file: quoted where it holds a comma, a quote or a line end. A field that a spreadsheet would take
// for a formula (it begins with = + - @) gets an apostrophe in front.
std::string csv_field(const std::string& text);

}  // namespace nigiri::app
