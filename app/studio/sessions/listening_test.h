// A blind listening test under way: what to play, what was heard, when an answer counts. Who plays what stays inside
// until the last answer.
#pragma once

#include "app/compare/blind_test.h"
#include "app/studio/sessions/comparison_session.h"

namespace nigiri::studio {

class ListeningTest {
  public:
    struct Setup {
        app::BlindKind kind = app::BlindKind::abx;
        int trials = 10;
        size_t first = 0, second = 1;  // of Comparison::players
        uint64_t seed = 0;             // of the order
        // ABX: X is not the very clip that A or B is, but another one of the same model: what is asked is whether the
        // models can be told by their sound, not whether two clips are the same.
        bool other_clip = false;
    };
    // Throws Error where the two have no clips in common, or the setup makes no sense.
    ListeningTest(std::shared_ptr<const Comparison> comparison, const Setup& setup, std::filesystem::path file);
    // Goes on with a test that was saved. Throws Error where it is another comparison's, or no test.
    ListeningTest(std::shared_ptr<const Comparison> comparison, const std::filesystem::path& file);

    app::BlindKind kind() const { return test_.setup().kind; }
    int trials() const { return test_.setup().trials; }
    int answered() const { return test_.answered(); }
    bool finished() const { return test_.finished(); }
    bool other_clip() const { return other_clip_; }
    const std::array<std::string, 2>& players() const { return test_.setup().models; }

    // The question now: A, B and X, or the first and the second sound. Empty when finished.
    std::vector<Track> tracks() const;
    std::vector<std::string> labels() const;   // "A", "B", "X", or "First", "Second"
    std::vector<std::string> answers() const;  // "X is A", "X is B", or "The first", "The second"

    // Called while sound plays: `track` was audible for so many seconds more.
    void hear(size_t track, double seconds);
    bool heard(size_t track) const { return heard_[track] >= needed_seconds_; }
    // X, or both sounds, were heard for half a second, or as long as they are.
    bool can_answer() const;
    // `seconds`: how long the listener took. Throws Error where can_answer() is false.
    void answer(int choice, double seconds);

    // None before the last answer.
    std::optional<app::BlindResult> result() const { return test_.result(); }
    std::string verdict() const;

    const std::filesystem::path& file() const { return file_; }  // JSON
    std::filesystem::path table() const;                         // CSV, written when finished
    // Replaces the files. Throws Error.
    void save() const;

  private:
    void begin_trial();
    int clip_of_x() const;

    std::shared_ptr<const Comparison> comparison_;
    app::BlindTest test_;
    std::filesystem::path file_;
    std::array<size_t, 2> player_;
    std::vector<int> clips_;  // of the comparison, those that both have
    bool other_clip_ = false;
    std::array<double, 3> heard_{};
    double needed_seconds_ = 0;
};

// A test as its file tells.
struct SavedTest {
    std::filesystem::path file, comparison;
    app::BlindKind kind = app::BlindKind::abx;
    std::array<std::string, 2> players;
    int trials = 0, answered = 0;
    bool other_clip = false;
    std::string verdict;  // empty while it is not finished
};
// Tests in a folder, latest first, at most five hundred; what is no test is left out.
std::vector<SavedTest> list_tests(const std::filesystem::path& folder, const std::atomic<bool>& stop);

// Saving beside the window, and the list of results.
class ListeningSession {
  public:
    explicit ListeningSession(Wake wake) : saving_(wake), listing_(std::move(wake)) {}
    // Saves what is not saved yet.
    ~ListeningSession();

    // The window's thread, every frame.
    void update();
    // The test's present state is written as soon as the thread is free.
    void save(const ListeningTest& test);
    // Reads the folder again.
    void list(const std::filesystem::path& folder);

    const std::vector<SavedTest>& tests() const { return tests_; }
    bool listing() const { return listing_.running() || !next_.empty(); }
    Background::Status saving() const { return saving_.status(); }

  private:
    std::optional<ListeningTest> unsaved_;
    std::filesystem::path next_, listed_;
    uint64_t seen_ = 0;
    std::vector<SavedTest> tests_;
    std::mutex mutex_;  // of found_
    std::optional<std::vector<SavedTest>> found_;
    Background saving_, listing_;  // last: they use the others
};

}  // namespace nigiri::studio
