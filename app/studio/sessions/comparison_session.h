// Making a comparison of models beside the window, or reading an earlier one, and what can be listened to in it.
#pragma once

#include <memory>

#include "app/ablate/saved_ablation.h"
#include "app/compare/report_table.h"
#include "app/compare/saved_comparison.h"
#include "app/studio/sessions/refreshed.h"
#include "audio/transport.h"

namespace nigiri::studio {

// A comparison as far as it was made, ready to be listened to and drawn. Never changed once published.
struct Comparison {
    std::filesystem::path folder;
    std::string name;  // of the folder
    app::ComparisonOptions options;
    app::ComparisonResult result;
    app::ReportFiles files;
    app::Table models, similarity;
    size_t missing_clips = 0;  // that were made once and cannot be read now
    // The folder is that of a grid: its report says more than a comparison's and is never replaced here.
    std::optional<app::SavedAblation> grid;

    // Who plays: the models, then real recordings, where there was held-out audio.
    std::vector<std::string> players;
    // A clip of everyone, with gains that make them equally loud; without a sound where a player has no such clip.
    struct Row {
        std::vector<Track> tracks;
        double lufs = 0;  // of all of them; -infinity for silence
    };
    std::vector<Row> rows;

    // Clips that both of these players have, of one length, which would otherwise tell them apart.
    std::vector<int> common_clips(size_t a, size_t b) const;
};

class ComparisonSession {
  public:
    explicit ComparisonSession(Wake wake) : work_(std::move(wake)) {}

    // Makes `parent`/NAME with the clips and the report's numbers, model by model. options.clips_folder is set here.
    // Returns false while something runs.
    bool start(app::ComparisonOptions options, const std::string& device, const std::filesystem::path& parent);
    // An earlier one, also from the command line.
    bool open(const std::filesystem::path& folder);
    // The page, the Markdown and the JSON of what there is; report_written() then says where. Where clips cannot be
    // read now, nothing is written: the record of them would be lost.
    bool write_report();
    // What was made until then is kept.
    void cancel() { work_.stop(); }

    Background::Status status() const { return work_.status(); }
    // Clips or numbers are being made, as opposed to read or reported.
    bool making() const { return making_.load(); }
    // What there is by now; nothing before the first model has clips.
    std::shared_ptr<const Comparison> comparison() const;
    // The last report's page; empty before.
    std::filesystem::path report_written() const;

  private:
    void make(app::ComparisonOptions options, const std::string& device, const std::filesystem::path& parent);
    void publish(Comparison&& comparison);

    std::atomic<bool> making_{false};
    mutable std::mutex mutex_;  // of what follows
    std::shared_ptr<const Comparison> comparison_;
    std::filesystem::path report_;
    Background work_;  // last: it uses the others
};

// Folders of comparisons below `parent`, latest first, at most a hundred.
std::vector<std::filesystem::path> list_comparisons(const std::filesystem::path& parent);

using ComparisonList = Refreshed<std::filesystem::path, std::vector<std::filesystem::path>>;

}  // namespace nigiri::studio
