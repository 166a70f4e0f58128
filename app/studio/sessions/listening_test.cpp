#include "app/studio/sessions/listening_test.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/compare/verdict.h"
#include "app/write_file.h"
#include "kernels/error.h"

namespace nigiri::studio {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double least_seconds = 0.5;
constexpr size_t most_tests_listed = 500;

app::BlindTest made(const Comparison& comparison, const ListeningTest::Setup& setup) {
    const size_t n = comparison.players.size();
    if (setup.first >= n || setup.second >= n || setup.first == setup.second)
        throw Error("a listening test needs two different models");
    const auto clips = comparison.common_clips(setup.first, setup.second);
    if (clips.empty())
        throw Error(
            comparison.players[setup.first] + " and " + comparison.players[setup.second] + " have no clips to compare",
            "make clips of both first");
    if (setup.other_clip && (setup.kind != app::BlindKind::abx || clips.size() < 2))
        throw Error("another clip as X needs an ABX test and at least two clips of both", "make more clips");
    return app::BlindTest({.kind = setup.kind,
                           .trials = setup.trials,
                           .seed = setup.seed,
                           .models = {comparison.players[setup.first], comparison.players[setup.second]},
                           .clips = static_cast<int>(clips.size())});
}

size_t player_named(const Comparison& comparison, const std::string& name) {
    const auto it = std::find(comparison.players.begin(), comparison.players.end(), name);
    if (it == comparison.players.end())
        throw Error("the comparison '" + comparison.name + "' has no clips of " + name,
                    "open the comparison that the test was begun with");
    return static_cast<size_t>(it - comparison.players.begin());
}

// What this file adds to a blind test's own: the comparison it belongs to, and which clip X is.
struct Context {
    fs::path comparison;
    bool other_clip = false;
};
Context context_of(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    const json saved = json::parse(in, nullptr, false);
    if (!saved.is_object()) return {};
    const auto text = [&](const char* key) {
        const auto it = saved.find(key);
        return it != saved.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    return {text("comparison"), text("x_clip") == "another"};
}

}  // namespace

ListeningTest::ListeningTest(std::shared_ptr<const Comparison> comparison, const Setup& setup, fs::path file)
    : comparison_(std::move(comparison)),
      test_(made(*comparison_, setup)),
      file_(std::move(file)),
      player_{setup.first, setup.second},
      clips_(comparison_->common_clips(setup.first, setup.second)),
      other_clip_(setup.other_clip) {
    begin_trial();
}

ListeningTest::ListeningTest(std::shared_ptr<const Comparison> comparison, const fs::path& file)
    : comparison_(std::move(comparison)),
      test_(app::BlindTest::load(file)),
      file_(file),
      player_{player_named(*comparison_, players()[0]), player_named(*comparison_, players()[1])},
      clips_(comparison_->common_clips(player_[0], player_[1])) {
    if (static_cast<int>(clips_.size()) != test_.setup().clips)
        throw Error("the comparison '" + comparison_->name + "' no longer has the clips that the test was begun with",
                    "begin a new test");
    other_clip_ = context_of(file).other_clip && kind() == app::BlindKind::abx && clips_.size() > 1;
    begin_trial();
}

// Every other clip comes equally often, whoever plays it: it depends on the number of the trial alone.
int ListeningTest::clip_of_x() const {
    const int clip = test_.current().clip, n = static_cast<int>(clips_.size());
    return other_clip_ ? (clip + 1 + answered() % (n - 1)) % n : clip;
}

std::vector<Track> ListeningTest::tracks() const {
    if (finished()) return {};
    const app::BlindTrial& trial = test_.current();
    const auto track = [&](int side, int clip) {
        const auto row = static_cast<size_t>(clips_[static_cast<size_t>(clip)]);
        return comparison_->rows[row].tracks[player_[static_cast<size_t>(side)]];
    };
    if (kind() == app::BlindKind::abx) return {track(0, trial.clip), track(1, trial.clip), track(trial.x, clip_of_x())};
    return {track(trial.first, trial.clip), track(trial.second, trial.clip)};
}

std::vector<std::string> ListeningTest::labels() const {
    if (kind() == app::BlindKind::abx) return {"A", "B", "X"};
    return {"First", "Second"};
}

std::vector<std::string> ListeningTest::answers() const {
    if (kind() == app::BlindKind::abx) return {"X is A", "X is B"};
    return {"The first", "The second"};
}

void ListeningTest::begin_trial() {
    heard_ = {};
    needed_seconds_ = least_seconds;
    for (const Track& t : tracks())
        needed_seconds_ = std::min(needed_seconds_, 0.5 * static_cast<double>(t.sound->size()) / t.sound->rate());
}

void ListeningTest::hear(size_t track, double seconds) {
    if (track < heard_.size() && seconds > 0) heard_[track] += seconds;
}

bool ListeningTest::can_answer() const {
    if (finished()) return false;
    return kind() == app::BlindKind::abx ? heard(2) : heard(0) && heard(1);
}

void ListeningTest::answer(int choice, double seconds) {
    if (!can_answer()) throw Error("an answer counts only after listening");
    test_.answer(choice, seconds);
    begin_trial();
}

std::string ListeningTest::verdict() const { return app::verdict(test_); }

fs::path ListeningTest::table() const { return fs::path(file_).replace_extension(".csv"); }

void ListeningTest::save() const {
    json saved = test_.to_json();
    saved["comparison"] = comparison_->folder.string();
    if (kind() == app::BlindKind::abx) saved["x_clip"] = other_clip_ ? "another" : "same";
    if (finished()) saved["verdict"] = verdict();
    std::error_code code;
    fs::create_directories(file_.parent_path(), code);  // where that failed, the file says so
    app::write_file(file_, saved.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    if (finished()) test_.save_csv(table());
}

std::vector<SavedTest> list_tests(const fs::path& folder, const std::atomic<bool>& stop) {
    std::vector<fs::path> files;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
        if (it->path().extension() == ".json") files.push_back(it->path());
    std::sort(files.rbegin(), files.rend());  // names begin with the time
    std::vector<SavedTest> tests;
    for (const fs::path& file : files) {
        if (stop.load() || tests.size() >= most_tests_listed) break;
        try {
            const app::BlindTest test = app::BlindTest::load(file);
            Context context = context_of(file);
            tests.push_back({.file = file,
                             .comparison = std::move(context.comparison),
                             .kind = test.setup().kind,
                             .players = test.setup().models,
                             .trials = test.setup().trials,
                             .answered = test.answered(),
                             .other_clip = context.other_clip,
                             .verdict = test.finished() ? app::verdict(test) : ""});
        } catch (const Error&) {
            // Another program's file stays where it is.
        }
    }
    return tests;
}

ListeningSession::~ListeningSession() {
    if (!unsaved_) return;
    while (saving_.running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    try {
        unsaved_->save();
    } catch (const std::exception&) {
        // There is no window left to say it in; the answers before this one are on the disk.
    }
}

void ListeningSession::save(const ListeningTest& test) {
    unsaved_ = test;
    update();
}

void ListeningSession::list(const fs::path& folder) {
    next_ = folder;
    listing_.stop();
    update();
}

void ListeningSession::update() {
    if (unsaved_ && !saving_.running()) saving_.start([test = *std::exchange(unsaved_, std::nullopt)] { test.save(); });
    if (const uint64_t ended = saving_.status().ended; ended != seen_) {
        seen_ = ended;
        if (!listed_.empty()) next_ = listed_;  // there may be one more
    }
    if (!next_.empty() && !listing_.running()) {
        listed_ = std::exchange(next_, {});
        listing_.start([this, folder = listed_] {
            auto tests = list_tests(folder, listing_.stopping());
            const std::lock_guard lock(mutex_);
            found_ = std::move(tests);
        });
    }
    const std::lock_guard lock(mutex_);
    if (found_) tests_ = std::move(*found_), found_.reset();
}

}  // namespace nigiri::studio
