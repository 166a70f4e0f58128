#include "audio/scan.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <system_error>

#include "audio/hash.h"
#include "audio/manifest.h"
#include "audio/parallel.h"
#include "audio/quantize.h"
#include "audio/resample.h"
#include "audio/text.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

constexpr int deepest = 64;
constexpr double loudest = 16;  // times full scale; beyond it a float file holds unscaled integers

// What the walk finds.
struct Walk {
    std::vector<FileReport> files;
    std::vector<std::string> notes;
    std::set<std::pair<dev_t, ino_t>> seen;
    int64_t hidden = 0;

    FileReport& add(const fs::path& path, const std::string& name) {
        FileReport report;
        report.path = path;
        report.name = printable(name);
        files.push_back(std::move(report));
        return files.back();
    }

    void refuse(const fs::path& path, const std::string& name, AudioFault fault, const std::string& reason) {
        FileReport& report = add(path, name);
        report.fault = fault;
        report.reason = reason;
    }

    // `name` is the folder's, relative to the root, with a slash at its end; empty for the root. Returns the
    // entries seen.
    size_t folder(const fs::path& path, const std::string& name, int depth) {
        struct stat status {};
        if (::stat(path.c_str(), &status) == 0 && !seen.insert({status.st_dev, status.st_ino}).second) {
            notes.push_back("folder '" + printable(name) + "' was read already under another name (a link)");
            return 1;
        }
        if (depth > deepest) {
            notes.push_back("folder '" + printable(name) + "' lies too deep and was left out");
            return 1;
        }
        std::error_code error;
        std::vector<fs::path> entries;
        for (fs::directory_iterator i(path, error), end; !error && i != end; i.increment(error))
            entries.push_back(i->path());
        if (error) {
            if (depth == 0) throw Error("cannot read folder '" + path.string() + "': " + error.message());
            refuse(path, name, AudioFault::unreadable, "the folder cannot be read: " + error.message());
        }
        std::sort(entries.begin(), entries.end());
        for (const fs::path& entry : entries) {
            const std::string own = entry.filename().string();
            if (own.starts_with(".")) {
                ++hidden;
                continue;
            }
            const fs::file_status kind = fs::status(entry, error);
            if (fs::is_directory(kind)) {
                if (folder(entry, name + own + "/", depth + 1) == 0 && has_sound_ending(own))
                    refuse(entry, name + own, AudioFault::not_regular, "it is an empty folder");
            } else if (fs::is_regular_file(kind)) {
                add(entry, name + own);
            } else if (kind.type() == fs::file_type::not_found) {
                refuse(entry, name + own, AudioFault::unreadable, "the link leads nowhere");
            } else if (kind.type() == fs::file_type::none) {
                refuse(entry, name + own, AudioFault::unreadable, error.message());
            } else {
                refuse(entry, name + own, AudioFault::not_regular, "it is neither a file nor a folder");
            }
        }
        return entries.size();
    }
};

// With a folder train, the folders train, valid and test directly under the root are the split.
void find_split_folders(std::vector<FileReport>& files) {
    const auto top = [](const FileReport& f) {
        const size_t slash = f.name.find('/');
        return slash == std::string::npos ? std::nullopt : split_of_folder(f.name.substr(0, slash));
    };
    if (std::none_of(files.begin(), files.end(), [&](const auto& f) { return top(f) == Split::train; })) return;
    for (FileReport& f : files) f.folder = top(f);
}

void drop_outsiders(std::vector<FileReport>& files) {
    if (std::none_of(files.begin(), files.end(), [](const auto& f) { return f.folder.has_value(); })) return;
    for (FileReport& f : files) {
        if (f.folder || !f.used()) continue;
        f.fault = AudioFault::outside_split;
        f.reason = "it is in none of the folders train, valid and test";
    }
}

struct Found {
    std::vector<FileReport> files;
    std::vector<std::string> notes;
    std::map<size_t, uint64_t> expected;  // of prepared files: the hash their samples must have
};

Found find_prepared(const fs::path& folder, const Manifest& manifest, int sample_rate) {
    if (!manifest.complete)
        throw Error("the preparation of '" + folder.string() + "' was interrupted",
                    "run prepare again with the same folders");
    Found found;
    for (const ManifestEntry& e : manifest.files) {
        FileReport f;
        f.name = e.file;
        f.path = folder / e.file;
        f.source = e.source;
        f.folder = e.split;
        found.files.push_back(std::move(f));
        if (sample_rate == manifest.sample_rate) found.expected[found.files.size() - 1] = e.hash;
    }
    // What somebody put beside the prepared files is not read, but not passed over in silence either.
    std::set<std::string> listed;
    for (const FileReport& f : found.files) listed.insert(f.path.filename().string());
    int64_t strangers = 0;
    for (const Split split : all_splits) {
        std::error_code error;
        for (fs::directory_iterator i(folder / name_of(split), error), end; !error && i != end; i.increment(error))
            if (!listed.count(i->path().filename().string())) ++strangers;
    }
    if (strangers > 0)
        found.notes.push_back(std::to_string(strangers) + " files beside the prepared ones are not in " +
                              manifest_name + " and are not used");
    return found;
}

Found find_files(const fs::path& folder) {
    Walk walk;
    walk.folder(folder, "", 0);
    if (walk.hidden > 0)
        walk.notes.push_back(std::to_string(walk.hidden) + " entries whose names begin with a dot were left out");
    find_split_folders(walk.files);
    return {std::move(walk.files), std::move(walk.notes), {}};
}

void note_change_time(FileReport& f) {
    struct stat status {};
    if (::stat(f.path.c_str(), &status) != 0) return;
    f.info.bytes = static_cast<uint64_t>(status.st_size);
    f.modified = static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

// Reads one file to its end; whatever is wrong with it ends in its report.
void judge(size_t index, FileReport& f, int rate, SampleSink* sink, WorkMonitor& monitor) {
    const uint64_t bytes = f.info.bytes;
    uint64_t told = 0;
    const auto tell = [&](double fraction) {
        const auto now = static_cast<uint64_t>(fraction * static_cast<double>(bytes));
        if (now > told) monitor.add(now - told), told = now;
    };
    if (f.used() && !(sink && sink->known(index, f))) try {
            AudioReader reader(f.path, rate);
            f.info = reader.info();
            f.hash = fnv1a_basis;
            int low = 32767, high = -32768;
            std::vector<float> block(1 << 16);
            std::vector<int16_t> pcm;
            while (const size_t n = reader.read(block)) {
                if (monitor.stopping()) return;
                pcm.resize(n);
                std::transform(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(n), pcm.begin(), to_pcm16);
                const auto [a, b] = std::minmax_element(pcm.begin(), pcm.end());
                low = std::min<int>(low, *a), high = std::max<int>(high, *b);
                f.hash = fnv1a(std::span<const int16_t>(pcm), f.hash);
                f.samples += static_cast<int64_t>(n);
                if (sink) sink->samples(index, pcm);
                tell(reader.fraction());
            }
            f.info.frames = f.info.frames < 0 ? resampled_length(f.samples, rate, f.info.rate) : f.info.frames;
            f.peak = reader.peak();
            f.clipped = reader.clipped();
            if (f.samples < least_samples)
                throw AudioError(AudioFault::too_short,
                                 "only " + std::to_string(f.samples) + " samples at " + std::to_string(rate) + " Hz");
            if (high - low <= 2) throw AudioError(AudioFault::silent, "all its samples are the same");
            if (f.peak > loudest)
                throw AudioError(AudioFault::out_of_range,
                                 "samples reach " + shown(f.peak, 1) + " times full scale: integers stored as floats?");
        } catch (const AudioError& e) {
            f.fault = e.fault();
            f.reason = e.what();
            // The table names the file already.
            if (const std::string name = "'" + f.path.string() + "' "; f.reason.starts_with(name))
                f.reason.erase(0, name.size());
            f.reason = printable(f.reason);
        }
    tell(1);
    if (sink) sink->end(index, f);
}

// The same samples twice would weigh double, or stand in training and test: one copy stays, the test's before
// the validation's before the first one's.
void drop_duplicates(std::vector<FileReport>& files) {
    const auto rank = [](const FileReport& f) { return f.folder ? static_cast<int>(*f.folder) : 0; };
    std::map<std::pair<uint64_t, int64_t>, size_t> first;
    for (size_t i = 0; i < files.size(); ++i) {
        if (!files[i].used()) continue;
        const auto [at, fresh] = first.try_emplace({files[i].hash, files[i].samples}, i);
        if (fresh) continue;
        size_t keep = at->second, drop = i;
        if (rank(files[drop]) > rank(files[keep])) std::swap(keep, drop);
        at->second = keep;
        files[drop].fault = AudioFault::duplicate;
        files[drop].reason = "it holds the same samples as '" + files[keep].name + "'";
    }
}

// Takes from the parts the training files that the list does not name.
void restrict_training(ScanReport& report, const fs::path& list) {
    const std::set<std::string> names = read_file_list(list);
    std::set<std::string> matched;
    const auto listed = [&](const FileReport& f) {
        bool any = false;
        const auto without_folder = [](const std::string& name) {
            return name.substr(std::min(name.size(), name.find('/') + 1));
        };
        for (const std::string& name : {f.name, without_folder(f.name), f.path.filename().string(), f.source,
                                        without_folder(f.source), fs::path(f.source).filename().string()}) {
            if (name.empty() || !names.count(name)) continue;
            matched.insert(name);
            any = true;
        }
        return any;
    };
    std::set<size_t> left_out;
    for (const Part& part : report.parts)
        if (part.split == Split::train && !listed(report.files[part.file])) left_out.insert(part.file);
    std::erase_if(report.parts, [&](const Part& p) { return p.split == Split::train && left_out.count(p.file); });
    for (const size_t i : left_out) {
        // A file of which a piece is held out stays in use.
        if (std::any_of(report.parts.begin(), report.parts.end(), [&](const Part& p) { return p.file == i; })) continue;
        report.files[i].fault = AudioFault::not_listed;
        report.files[i].reason = "the list of files leaves it out";
    }
    if (report.samples(Split::train) == 0)
        throw Error("'" + list.string() + "' names no training file of '" + report.folder.string() + "'",
                    "an entry is a path relative to the folder, or a file's name");
    std::vector<std::string> unknown;
    for (const std::string& name : names)
        if (!matched.count(name)) unknown.push_back(name);
    if (!unknown.empty())
        report.notes.push_back(std::to_string(unknown.size()) + " of the " + std::to_string(names.size()) +
                               " names in the list match no training file, e.g. '" + printable(unknown[0]) + "'");
}

void remark(ScanReport& report) {
    int low_rate = 0, clipped = 0, foreign = 0;
    for (const FileReport& f : report.files) {
        if (f.used() && f.info.rate < report.sample_rate) ++low_rate;
        // Over a hundredth of a second at full scale is heard.
        if (f.used() && static_cast<double>(f.clipped) > 0.01 * f.info.rate * f.info.channels) ++clipped;
        if (f.fault == AudioFault::not_audio && has_sound_ending(f.name)) ++foreign;
    }
    const std::string rate = std::to_string(report.sample_rate);
    if (low_rate > 0)
        report.notes.push_back(std::to_string(low_rate) + " files have less than " + rate +
                               " Hz: nothing above half their own rate is in them");
    if (clipped > 0)
        report.notes.push_back(std::to_string(clipped) +
                               " files are clipped: they stand at full scale for more than 10 ms");
    if (foreign > 0)
        report.notes.push_back(
            std::to_string(foreign) +
            " files are named like sound but cannot be read: convert them, e.g. ffmpeg -i IN.m4a OUT.flac");
}

}  // namespace

size_t ScanReport::used_files() const {
    return static_cast<size_t>(std::count_if(files.begin(), files.end(), [](const auto& f) { return f.used(); }));
}

int64_t ScanReport::samples(Split split) const {
    int64_t sum = 0;
    for (const Part& part : parts)
        if (part.split == split) sum += part.samples();
    return sum;
}

ScanReport scan(const fs::path& folder, const ScanOptions& options, const Progress& progress, SampleSink* sink) {
    std::error_code error;
    if (!fs::is_directory(folder, error))
        throw Error("'" + folder.string() + "' is not a folder", "give the folder that holds the sound files");
    if (options.sample_rate < 1000 || options.sample_rate > 192000)
        throw Error("cannot work at " + std::to_string(options.sample_rate) + " Hz",
                    "choose a rate from 1000 to 192000 Hz");
    ScanReport report;
    report.folder = folder;
    report.sample_rate = options.sample_rate;
    const auto manifest = read_manifest(folder);
    report.prepared = manifest.has_value();
    Found found = manifest ? find_prepared(folder, *manifest, options.sample_rate) : find_files(folder);
    report.files = std::move(found.files);
    report.notes = std::move(found.notes);

    uint64_t bytes = 0;
    for (FileReport& f : report.files) {
        note_change_time(f);
        bytes += f.info.bytes;
    }
    if (sink) sink->begin(report.files);
    parallel_items(
        report.files.size(), options.threads, bytes, progress, [&](size_t i) { return report.files[i].name; },
        [&](size_t i, WorkMonitor& monitor) { judge(i, report.files[i], options.sample_rate, sink, monitor); });
    for (const auto& [i, hash] : found.expected) {
        FileReport& f = report.files[i];
        if (!f.used() || f.hash == hash) continue;
        f.fault = AudioFault::damaged;
        f.reason = "it does not hold the samples that were prepared";
    }
    drop_outsiders(report.files);
    drop_duplicates(report.files);

    std::vector<SplitCandidate> candidates;
    std::vector<size_t> index;
    for (size_t i = 0; i < report.files.size(); ++i) {
        const FileReport& f = report.files[i];
        if (!f.used()) continue;
        candidates.push_back({f.name, f.samples, f.folder});
        index.push_back(i);
    }
    Division division = divide(candidates, options.seed, least_samples);
    for (Part& part : division.parts) part.file = index[part.file];
    report.parts = std::move(division.parts);
    report.notes.insert(report.notes.end(), division.notes.begin(), division.notes.end());
    if (!options.files.empty()) restrict_training(report, options.files);
    remark(report);
    return report;
}

}  // namespace nigiri
