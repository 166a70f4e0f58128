// The runs of a folder and others that were opened: watched beside the window, whoever trains them.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>

#include "app/studio/sessions/background.h"
#include "app/studio/sessions/run_log.h"

namespace nigiri::studio {

struct RunEntry {
    std::filesystem::path path;
    std::string name;
    std::optional<RunSummary> summary;          // nothing before the first line of the log
    std::filesystem::file_time_type changed{};  // of the log, or of the checkpoint
    bool has_model = false;                     // a checkpoint
    bool opened = false;                        // not in the folder of runs
};

// Of the runs that are looked at.
struct RunDetails {
    RunFacts facts;
    std::vector<Preview> previews;
};

// For the window's thread.
class RunLibrary {
  public:
    explicit RunLibrary(Wake wake) : wake_(wake), work_(std::move(wake)) {}
    ~RunLibrary();

    // Where to look, and which runs' curves, facts and previews to read.
    void set_folders(const std::filesystem::path& runs, const std::vector<std::filesystem::path>& opened);
    void look_at(const std::vector<std::filesystem::path>& runs);
    // Looks once a second while on, and wakes the window only where something changed.
    void watch(bool on);
    // Looks now, if it watches.
    void refresh();
    // Every frame: takes over what was found.
    void update();

    // Latest first.
    const std::vector<RunEntry>& runs() const { return runs_; }
    const RunEntry* find(const std::filesystem::path& run) const;
    // Of a run that is looked at; null before it was read for the first time.
    std::shared_ptr<const RunLog> log(const std::filesystem::path& run) const;
    std::shared_ptr<const RunDetails> details(const std::filesystem::path& run) const;
    // Whether the folders were read at least once since they were set.
    bool ready() const { return ready_; }

  private:
    struct Wanted {
        std::filesystem::path folder;
        std::vector<std::filesystem::path> opened, looked_at;
        bool operator==(const Wanted&) const = default;
    };
    struct Looked {
        std::shared_ptr<RunLog> log;
        std::shared_ptr<const RunDetails> details;
    };
    struct Found {
        Wanted wanted;
        std::vector<RunEntry> runs;
        std::map<std::filesystem::path, Looked> looked;
    };
    // Between two looks: what to compare with. The worker's.
    struct Stamp {
        std::filesystem::file_time_type log{}, checkpoint{}, config{}, previews{};
        uintmax_t log_bytes = 0;
        bool operator==(const Stamp&) const = default;
    };

    void want(const Wanted& wanted);
    void work();
    bool look(const Wanted& wanted);
    bool look_closer(const std::filesystem::path& run);
    static Stamp stamp(const std::filesystem::path& run);

    Wake wake_;
    Wanted asked_;
    std::vector<RunEntry> runs_;
    std::map<std::filesystem::path, Looked> looked_;
    bool ready_ = false;

    Found now_;  // the worker's
    std::map<std::filesystem::path, Stamp> stamps_, details_stamps_;

    mutable std::mutex mutex_;  // of what follows
    std::condition_variable ring_;
    Wanted wanted_;
    bool hurry_ = false;
    std::optional<Found> found_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
