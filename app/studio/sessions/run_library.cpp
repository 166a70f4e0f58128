#include "app/studio/sessions/run_library.h"

#include <algorithm>

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr auto interval = std::chrono::seconds(1);
constexpr auto lately = std::chrono::seconds(20);
constexpr size_t most_runs = 2000;

}  // namespace

RunLibrary::~RunLibrary() { watch(false); }

void RunLibrary::set_folders(const fs::path& runs, const std::vector<fs::path>& opened) {
    Wanted wanted = asked_;
    wanted.folder = runs;
    wanted.opened = opened;
    want(wanted);
}

void RunLibrary::look_at(const std::vector<fs::path>& runs) {
    Wanted wanted = asked_;
    wanted.looked_at = runs;
    want(wanted);
}

void RunLibrary::want(const Wanted& wanted) {
    if (wanted == asked_) return;
    if (wanted.folder != asked_.folder) ready_ = false;
    asked_ = wanted;
    {
        const std::lock_guard lock(mutex_);
        wanted_ = wanted;
        hurry_ = true;
    }
    ring_.notify_all();
}

void RunLibrary::watch(bool on) {
    if (on) {
        if (!work_.running()) work_.start([this] { work(); });
        return;
    }
    work_.stop();
    {
        const std::lock_guard lock(mutex_);  // a worker between its look at the flag and its wait would sleep on
    }
    ring_.notify_all();
}

void RunLibrary::refresh() {
    {
        const std::lock_guard lock(mutex_);
        hurry_ = true;
    }
    ring_.notify_all();
}

void RunLibrary::update() {
    std::optional<Found> found;
    {
        const std::lock_guard lock(mutex_);
        found = std::exchange(found_, std::nullopt);
    }
    if (!found) return;
    runs_ = std::move(found->runs);
    looked_ = std::move(found->looked);
    ready_ = ready_ || found->wanted.folder == asked_.folder;
}

const RunEntry* RunLibrary::find(const fs::path& run) const {
    const auto it = std::find_if(runs_.begin(), runs_.end(), [&](const RunEntry& r) { return r.path == run; });
    return it != runs_.end() ? &*it : nullptr;
}

std::shared_ptr<const RunLog> RunLibrary::log(const fs::path& run) const {
    const auto it = looked_.find(run);
    return it != looked_.end() ? it->second.log : nullptr;
}

std::shared_ptr<const RunDetails> RunLibrary::details(const fs::path& run) const {
    const auto it = looked_.find(run);
    return it != looked_.end() ? it->second.details : nullptr;
}

void RunLibrary::work() {
    bool first = true;
    while (!work_.stopping().load()) {
        Wanted wanted;
        {
            const std::lock_guard lock(mutex_);
            wanted = wanted_;
            hurry_ = false;
        }
        if (look(wanted) || first) {
            {
                const std::lock_guard lock(mutex_);
                found_ = now_;
            }
            if (wake_) wake_();
        }
        first = false;
        std::unique_lock lock(mutex_);
        ring_.wait_for(lock, interval, [&] { return hurry_ || work_.stopping().load(); });
    }
}

RunLibrary::Stamp RunLibrary::stamp(const fs::path& run) {
    Stamp s;
    std::error_code code;  // what is not there keeps the time 0
    const auto time = [&](const fs::path& path) {
        const auto t = fs::last_write_time(path, code);
        return code ? fs::file_time_type{} : t;
    };
    s.log = time(run / "metrics.jsonl");
    s.log_bytes = fs::file_size(run / "metrics.jsonl", code);
    if (code) s.log_bytes = 0;
    s.checkpoint = time(run / "checkpoints" / "last.safetensors");
    s.config = time(run / "config.toml");
    s.previews = time(run / "previews");
    return s;
}

bool RunLibrary::look(const Wanted& wanted) {
    std::vector<std::pair<fs::path, bool>> folders;
    std::error_code code;
    const fs::path base = run_path(wanted.folder);
    for (fs::directory_iterator it(base, code), end; !code && it != end && folders.size() < most_runs;
         it.increment(code))
        if (is_run(it->path())) folders.emplace_back(base / it->path().filename(), false);
    for (const fs::path& path : wanted.opened) {
        const fs::path p = run_path(path);
        if (is_run(p) && std::none_of(folders.begin(), folders.end(), [&](const auto& f) { return f.first == p; }))
            folders.emplace_back(p, true);
    }

    bool changed = !(wanted == now_.wanted) || folders.size() != now_.runs.size();
    std::vector<RunEntry> runs;
    std::map<fs::path, Stamp> stamps;
    for (const auto& folder : folders) {
        const fs::path& path = folder.first;
        if (work_.stopping().load()) return false;
        const Stamp s = stamp(path);
        stamps[path] = s;
        const auto before =
            std::find_if(now_.runs.begin(), now_.runs.end(), [&](const RunEntry& r) { return r.path == path; });
        if (before != now_.runs.end() && stamps_[path] == s) {
            runs.push_back(*before);
            continue;
        }
        changed = true;
        runs.push_back({.path = path,
                        .name = path.filename().string(),
                        .summary = read_summary(path),
                        .changed = std::max(s.log, s.checkpoint),
                        .has_model = s.checkpoint != fs::file_time_type{},
                        .opened = folder.second});
    }
    // Runs that are written now are equals: they would change places with every line.
    const auto now = fs::file_time_type::clock::now() - lately;
    const auto rank = [&](const RunEntry& r) {
        return std::pair(-std::min(r.changed, now).time_since_epoch(), r.path);
    };
    std::sort(runs.begin(), runs.end(), [&](const RunEntry& a, const RunEntry& b) { return rank(a) < rank(b); });
    now_.wanted = wanted;
    now_.runs = std::move(runs);
    stamps_ = std::move(stamps);

    std::erase_if(now_.looked, [&](const auto& entry) {
        return std::find(wanted.looked_at.begin(), wanted.looked_at.end(), entry.first) == wanted.looked_at.end();
    });
    for (const fs::path& run : wanted.looked_at) changed = look_closer(run) || changed;
    return changed;
}

bool RunLibrary::look_closer(const fs::path& run) {
    Looked& looked = now_.looked[run];
    bool changed = false;
    if (!looked.log) {
        looked.log = std::make_shared<RunLog>(run);
        details_stamps_.erase(run);
        changed = true;
    }
    changed = looked.log->poll(work_.stopping()) || changed;
    const Stamp s = stamp(run);
    const auto before = details_stamps_.find(run);
    const bool known = before != details_stamps_.end() && looked.details;
    const bool has_config = known && looked.details->facts.config.has_value();
    const bool same_config =
        known && before->second.config == s.config && (has_config || before->second.checkpoint == s.checkpoint);
    if (same_config && before->second.previews == s.previews) return changed;
    auto details = std::make_shared<RunDetails>();
    details->facts = same_config ? looked.details->facts : read_facts(run);
    details->previews = list_previews(run);
    looked.details = std::move(details);
    details_stamps_[run] = s;
    return true;
}

}  // namespace nigiri::studio
