#include "app/studio/sessions/comparison_session.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/compare/level_match.h"
#include "app/studio/sessions/file_names.h"
#include "app/write_file.h"
#include "kernels/backend.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t most_comparisons_listed = 100;

Comparison::Row row_of(const std::vector<const app::ComparedClip*>& clips) {
    Comparison::Row row;
    std::vector<std::vector<float>> sounds;
    int rate = 1;
    for (const app::ComparedClip* c : clips)
        if (c != nullptr) sounds.push_back(c->samples), rate = c->rate;
    const app::LevelMatch match = app::match_levels(sounds, rate);
    row.lufs = match.target_lufs;
    size_t next = 0;
    for (const app::ComparedClip* c : clips) {
        Track track;
        if (c != nullptr) {
            track.gain = static_cast<float>(match.gains[next]);
            track.sound = std::make_shared<const Sound>(c->rate, std::move(sounds[next++]));
        }
        row.tracks.push_back(std::move(track));
    }
    return row;
}

// Players, rows and tables of what was made.
Comparison prepared(const app::ComparisonOptions& options, app::ComparisonResult result, const app::ReportFiles& files,
                    const fs::path& folder) {
    Comparison c{.folder = folder,
                 .name = folder.filename().string(),
                 .options = options,
                 .result = std::move(result),
                 .files = files,
                 .models = {},
                 .similarity = {},
                 .missing_clips = 0,
                 .grid = {},
                 .players = {},
                 .rows = {}};
    c.models = app::model_table(c.result);
    c.similarity = app::similarity_table(c.result);
    std::vector<const std::vector<app::ComparedClip>*> all;
    for (const app::ComparedModel& m : c.result.models) {
        c.players.push_back(m.name);
        all.push_back(&m.clips);
    }
    if (!c.result.held_out.empty()) {
        c.players.push_back("real recordings");
        all.push_back(&c.result.held_out);
    }
    size_t rows = 0;
    for (const auto* clips : all) rows = std::max(rows, clips->size());
    for (size_t i = 0; i < rows; ++i) {
        std::vector<const app::ComparedClip*> row;
        for (const auto* clips : all) row.push_back(i < clips->size() ? &(*clips)[i] : nullptr);
        c.rows.push_back(row_of(row));
    }
    return c;
}

}  // namespace

std::vector<int> Comparison::common_clips(size_t a, size_t b) const {
    const auto both = [&](const Row& row) {
        const auto &x = row.tracks[a].sound, &y = row.tracks[b].sound;
        return x && y && x->size() == y->size();
    };
    std::vector<int> clips;
    for (size_t i = 0; i < rows.size(); ++i)
        if (both(rows[i])) clips.push_back(static_cast<int>(i));
    return clips;
}

void ComparisonSession::publish(Comparison&& comparison) {
    auto fresh = std::make_shared<const Comparison>(std::move(comparison));
    const std::lock_guard lock(mutex_);
    comparison_ = std::move(fresh);
}

std::shared_ptr<const Comparison> ComparisonSession::comparison() const {
    const std::lock_guard lock(mutex_);
    return comparison_;
}

fs::path ComparisonSession::report_written() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

bool ComparisonSession::start(app::ComparisonOptions options, const std::string& device, const fs::path& parent) {
    return work_.start([this, options = std::move(options), device, parent] {
        making_ = true;
        try {
            make(options, device, parent);
        } catch (...) {
            making_ = false;
            throw;
        }
        making_ = false;
    });
}

void ComparisonSession::make(app::ComparisonOptions options, const std::string& device, const fs::path& parent) {
    work_.report(0, "loading the models");
    const fs::path folder = free_name(parent, time_stamp(), "");
    const app::ReportFiles files = app::report_files(folder);
    std::error_code code;
    fs::create_directories(parent, code);
    if (code)
        throw Error("cannot make the folder '" + parent.string() + "': " + code.message(),
                    "choose another folder in the settings");
    options.clips_folder = files.clips;
    const auto save = [&](const app::ComparisonResult& result) {
        const nlohmann::json report = app::to_json(options, result, files);
        app::write_file(files.json, report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
        publish(prepared(options, result, files, folder));
    };
    const auto backend = make_backend(device, options.threads);
    const auto tell = [&](const app::ComparisonProgress& p, const app::ComparisonResult& so_far, bool model_done) {
        work_.report(p.fraction, p.what);
        if (model_done) save(so_far);
        return !work_.stopping().load();
    };
    save(app::compare(options, backend, tell));
}

bool ComparisonSession::open(const fs::path& folder) {
    return work_.start([this, folder] {
        app::SavedComparison saved = app::load_comparison(folder, work_.progress());
        Comparison c = prepared(saved.options, std::move(saved.result), saved.files, folder);
        c.missing_clips = saved.missing_clips;
        c.grid = app::load_ablation(c.files.json);
        publish(std::move(c));
    });
}

bool ComparisonSession::write_report() {
    const auto c = comparison();
    if (!c) return false;
    return work_.start([this, c] {
        work_.report(0, "writing the report");
        if (c->grid)
            throw Error("this folder is a grid's, and its own report says more",
                        "nigiri ablate --report-only writes that anew");
        if (c->missing_clips > 0)
            throw Error("some clips of this comparison cannot be read, and a new report would forget them",
                        "put them back into " + c->files.clips.string());
        app::write_report(c->options, c->result, c->files);
        const std::lock_guard lock(mutex_);
        report_ = c->files.html;
    });
}

std::vector<fs::path> list_comparisons(const fs::path& parent) {
    std::vector<fs::path> folders;
    std::error_code code;
    for (fs::directory_iterator it(parent, code), end; !code && it != end; it.increment(code))
        if (std::error_code none; fs::exists(app::report_files(it->path()).json, none)) folders.push_back(it->path());
    std::sort(folders.rbegin(), folders.rend());
    if (folders.size() > most_comparisons_listed) folders.resize(most_comparisons_listed);
    return folders;
}

}  // namespace nigiri::studio
