// What a run folder says about its run, read while somebody may be writing it. All of it is untrusted.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/training_run.h"

namespace nigiri::studio {

// One line of metrics.jsonl; what it does not say is NaN.
struct MetricPoint {
    double step = 0;
    double tokens, seconds, train_bits, valid_bits, learning_rate, gradient_norm, tokens_per_second;
};

// Nothing where the line is no JSON object with a step from 0 to 2^53.
std::optional<MetricPoint> parse_metrics(std::string_view line);

// metrics.jsonl as it grows. Read by one thread, looked at by others.
class RunLog {
  public:
    explicit RunLog(std::filesystem::path run) : run_(std::move(run)) {}

    const std::filesystem::path& run() const { return run_; }

    // Takes over what is new; returns whether there was anything. A file that was replaced or cut short (a run that
    // went on after a crash drops what it is about to repeat) is read anew. Lines that are damaged or longer than 64
    // KiB are skipped; the last one counts once it is ended. A step that comes again replaces what was there from it
    // on. Reads no more than `most_points` points or 2 GiB, and 64 MiB at a time.
    bool poll(const std::atomic<bool>& stop);

    struct View {
        std::unique_lock<std::mutex> lock;  // while it is held, poll() waits with what it has read
        const std::vector<MetricPoint>& points;
        uint64_t epoch;  // differs from an earlier one's if points that were there went or changed since
    };
    View view() const { return {std::unique_lock(mutex_), points_, epoch_}; }
    // Lines that were skipped.
    size_t damaged() const;

    static constexpr size_t most_points = 4'000'000;
    static constexpr size_t longest_line = 65536;

  private:
    bool begins_anew(int file) const;
    void take(std::string_view bytes);
    void publish(bool anew);

    std::filesystem::path run_;
    // The reader's.
    uint64_t device_ = 0, inode_ = 0;
    int64_t offset_ = 0;
    std::string tail_;   // the last bytes before offset_
    std::string carry_;  // of a line that has not ended
    bool skipping_ = false;
    size_t bad_ = 0;
    std::vector<MetricPoint> fresh_;

    mutable std::mutex mutex_;  // of what follows
    std::vector<MetricPoint> points_;
    uint64_t epoch_ = 0;
    size_t damaged_ = 0;
};

// From the end of metrics.jsonl.
struct RunSummary {
    MetricPoint last;
    double valid_bits = -1;  // of the last validation among the last lines; negative: none there
};
std::optional<RunSummary> read_summary(const std::filesystem::path& run);

// From config.toml, or from the checkpoint where that cannot be read.
struct RunFacts {
    std::optional<Config> config;
    std::filesystem::path data;             // the folder it was trained on; empty: not said
    std::filesystem::path files;            // the list of training files that were kept; empty: all
    std::filesystem::path from;             // the model whose weights it began with; empty: none
    std::optional<app::Baseline> baseline;  // of its validation audio, where the run kept it
    std::string problem;                    // why there is no configuration
};
RunFacts read_facts(const std::filesystem::path& run);

struct Preview {
    int64_t step = 0;
    std::filesystem::path file;
    bool operator==(const Preview&) const = default;
};
// previews/STEP.flac, by step.
std::vector<Preview> list_previews(const std::filesystem::path& run);

// A folder's path written in one way, so that a run reached by two ways is one.
std::filesystem::path run_path(const std::filesystem::path& folder);

// Whether the folder looks like a run's: a log or a checkpoint.
bool is_run(const std::filesystem::path& folder);

}  // namespace nigiri::studio
