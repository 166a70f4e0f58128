#include "audio/prepare.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "audio/hash.h"
#include "audio/manifest.h"
#include "audio/quantize.h"
#include "audio/text.h"
#include "audio/write.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

constexpr const char* incoming_name = ".nigiri-incoming";
constexpr size_t longest_name = 200;  // bytes, leaving room for an ending within the usual 255

bool lies_in(const fs::path& inner, const fs::path& outer) {
    const auto [rest, unused] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
    return rest == outer.end();
}

// One preparation of a folder at a time.
class FolderLock {
  public:
    explicit FolderLock(const fs::path& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            ::close(fd_);
            throw Error("'" + folder.string() + "' is being prepared by another process", "wait for it");
        }
    }
    ~FolderLock() {
        if (fd_ >= 0) ::close(fd_);
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

  private:
    int fd_;
};

// The folder new files are collected in, and what else has to be undone if it comes to nothing.
class Incoming {
  public:
    explicit Incoming(const fs::path& data) : data_(data), folder_(data / incoming_name) {
        fs::remove_all(folder_);  // of a call that was killed
        fs::create_directory(folder_);
    }
    ~Incoming() {
        std::error_code error;
        fs::remove_all(folder_, error);
    }
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;

    fs::path file(size_t index) const { return folder_ / (std::to_string(index) + ".flac"); }
    fs::path piece(size_t index, Split split) const {
        return folder_ / (std::to_string(index) + "-" + name_of(split) + ".flac");
    }

  private:
    fs::path data_, folder_;
};

// Removes a folder that this call made, unless it came to be used.
struct NewFolder {
    fs::path path;
    bool keep = true;
    ~NewFolder() {
        std::error_code error;
        if (!keep) fs::remove(path, error);  // only if empty
    }
};

// Writes every file's samples as they are read, and recognises the sources that are prepared already.
class Converter : public SampleSink {
  public:
    Converter(const fs::path& data, const Incoming& incoming, const std::optional<Manifest>& old, int sample_rate)
        : data_(data), incoming_(incoming), rate_(sample_rate) {
        if (!old || !old->complete || old->sample_rate != sample_rate) return;
        std::set<std::string> twice;
        for (const ManifestEntry& e : old->files)
            if (!by_source_.try_emplace(e.source, &e).second) twice.insert(e.source);
        for (const std::string& source : twice) by_source_.erase(source);  // cut into pieces: made anew
    }

    void begin(const std::vector<FileReport>& files) override {
        writers_.resize(files.size());
        existing_.resize(files.size());
    }

    bool known(size_t file, FileReport& report) override {
        const auto it = by_source_.find(report.name);
        if (it == by_source_.end()) return false;
        const ManifestEntry& e = *it->second;
        std::error_code error;
        if (e.begin != 0 || e.source_bytes != report.info.bytes || e.source_modified != report.modified ||
            !fs::is_regular_file(data_ / e.file, error))
            return false;
        report.samples = e.end;
        report.hash = e.source_hash;
        report.info.rate = e.source_rate;
        report.info.channels = e.source_channels;
        report.info.format = e.source_format;
        report.info.frames = resampled_frames(e);
        report.peak = e.source_peak;
        report.clipped = e.source_clipped;
        existing_[file] = &e;
        return true;
    }

    void samples(size_t file, std::span<const int16_t> block) override {
        if (!writers_[file]) writers_[file] = std::make_unique<AudioWriter>(incoming_.file(file), rate_);
        writers_[file]->write(block);
    }

    void end(size_t file, const FileReport& report) override {
        if (writers_[file] && report.used()) writers_[file]->close();
        writers_[file].reset();
    }

    // The prepared file that holds the whole source already, if it does.
    const ManifestEntry* existing(size_t file) const { return existing_[file]; }
    // Where the whole source's samples are now.
    fs::path whole(size_t file) const { return existing_[file] ? data_ / existing_[file]->file : incoming_.file(file); }

  private:
    int64_t resampled_frames(const ManifestEntry& e) const {
        return static_cast<int64_t>(static_cast<double>(e.end) / rate_ * e.source_rate + 0.5);
    }

    fs::path data_;
    const Incoming& incoming_;
    int rate_;
    std::map<std::string, const ManifestEntry*> by_source_;
    std::vector<std::unique_ptr<AudioWriter>> writers_;
    std::vector<const ManifestEntry*> existing_;
};

// Copies samples [begin, end) into a file of their own; returns their hash.
uint64_t cut(const fs::path& from, const Part& part, int rate, const fs::path& to) {
    AudioReader reader(from);
    AudioWriter writer(to, rate);
    uint64_t hash = fnv1a_basis;
    std::vector<float> block(1 << 16);
    std::vector<int16_t> pcm;
    int64_t at = 0;
    while (const size_t n = reader.read(block)) {
        const int64_t first = std::clamp<int64_t>(part.begin - at, 0, static_cast<int64_t>(n));
        const int64_t last = std::clamp<int64_t>(part.end - at, 0, static_cast<int64_t>(n));
        pcm.resize(static_cast<size_t>(last - first));
        std::transform(block.begin() + first, block.begin() + last, pcm.begin(), to_pcm16);
        hash = fnv1a(std::span<const int16_t>(pcm), hash);
        writer.write(std::span<const int16_t>(pcm));
        at += static_cast<int64_t>(n);
    }
    writer.close();
    return hash;
}

std::string folded(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
}

// Gives every source a name of its own in the data folder: that of the last time, or its path with the
// separators made harmless.
class Names {
  public:
    Names(const fs::path& data, const std::optional<Manifest>& old) : data_(data) {
        if (!old) return;
        for (const ManifestEntry& e : old->files) {
            owned_.insert(e.file);
            const std::string stem = fs::path(e.file).stem().string();
            if (old_.try_emplace(e.source, stem).second) taken_.insert(folded(stem));
        }
    }

    // True for a file that prepare() itself wrote.
    bool owned(const std::string& file) const { return owned_.count(file) != 0; }

    std::string of(const FileReport& source) {
        if (const auto it = old_.find(source.name); it != old_.end() && !foreign(it->second)) return it->second;
        std::string stem = source.name;
        if (source.folder) stem.erase(0, stem.find('/') + 1);
        const size_t dot = stem.rfind('.');
        if (dot != std::string::npos && dot > 0 && stem.find('/', dot) == std::string::npos) stem.erase(dot);
        for (char& c : stem)
            if (c == '/' || c == '\\' || c == ':' || c == '?' || c == '*' || c == '"' || c == '<' || c == '>' ||
                c == '|')
                c = '_';
        if (stem.empty() || stem[0] == '.') stem = std::string("_").append(stem);
        if (stem.size() > longest_name) {
            size_t end = longest_name;
            while (end > 0 && (stem[end] & 0xC0) == 0x80) --end;
            stem.resize(end);
        }
        std::string name = stem;
        for (int n = 2; taken_.count(folded(name)) || foreign(name); ++n) name = stem + "-" + std::to_string(n);
        taken_.insert(folded(name));
        old_[source.name] = name;
        return name;
    }

  private:
    // True if a file of this name is there and is not ours.
    bool foreign(const std::string& stem) const {
        std::error_code error;
        for (const Split split : all_splits) {
            const std::string file = std::string(name_of(split)) + "/" + stem + ".flac";
            if (!owned(file) && fs::exists(fs::symlink_status(data_ / file, error))) return true;
        }
        return false;
    }

    fs::path data_;
    std::set<std::string> owned_, taken_;
    std::map<std::string, std::string> old_;
};

// Refuses what is neither new, empty, nor ours and of the same source.
std::optional<Manifest> check_target(const fs::path& source, const fs::path& data) {
    if (lies_in(data, source))
        throw Error("'" + data.string() + "' lies in the source folder",
                    "choose a folder outside '" + source.string() + "'");
    if (lies_in(source, data)) throw Error("'" + data.string() + "' holds the source folder", "choose another folder");
    std::error_code error;
    const fs::file_status kind = fs::status(data, error);
    if (kind.type() == fs::file_type::not_found) return std::nullopt;
    if (!fs::is_directory(kind)) throw Error("'" + data.string() + "' is no folder", "choose another name");
    auto manifest = read_manifest(data);
    if (manifest) {
        if (manifest->source != printable(source.string()))
            throw Error("'" + data.string() + "' was prepared from '" + manifest->source + "'",
                        "choose another folder, or remove it first");
        return manifest;
    }
    for (fs::directory_iterator i(data, error), end; !error && i != end; i.increment(error))
        if (i->path().filename() != incoming_name)
            throw Error("'" + data.string() + "' is not empty and was not written by prepare",
                        "choose a new or empty folder");
    if (error) throw Error("cannot read '" + data.string() + "': " + error.message());
    return std::nullopt;
}

struct Move {
    fs::path from, to;
};

}  // namespace

PrepareReport prepare(const fs::path& source_folder, const fs::path& data_folder, const ScanOptions& options,
                      const Progress& progress) {
    std::error_code error;
    if (!fs::is_directory(source_folder, error))
        throw Error("'" + source_folder.string() + "' is not a folder", "give the folder that holds the sound files");
    const fs::path source = fs::canonical(source_folder);
    const fs::path data = fs::weakly_canonical(fs::absolute(data_folder));
    const auto old = check_target(source, data);
    try {
        NewFolder made{data, !fs::create_directories(data)};
        const FolderLock lock(data);
        const Incoming incoming(data);
        Converter converter(data, incoming, old, options.sample_rate);
        PrepareReport result;
        result.folder = data_folder;
        result.scan = scan(
            source_folder, options,
            [&](double f, const std::string& what) { return !progress || progress(0.98 * f, what); }, &converter);
        const ScanReport& report = result.scan;
        if (report.prepared)
            throw Error("'" + source.string() + "' is prepared already", "give it to train and eval as it is");
        if (report.samples(Split::train) == 0)
            throw Error("no usable audio in '" + source_folder.string() + "' (" + std::to_string(report.files.size()) +
                        " files looked at)");

        Manifest manifest{false, printable(source.string()), options.sample_rate, options.seed, {}};
        std::vector<Move> moves;
        Names names(data, old);
        for (const Part& part : report.parts) {
            nigiri::report(progress, 0.98, report.files[part.file].name);
            const FileReport& f = report.files[part.file];
            ManifestEntry e;
            e.file = std::string(name_of(part.split)) + "/" + names.of(f) + ".flac";
            e.source = f.name;
            e.split = part.split;
            e.begin = part.begin;
            e.end = part.end;
            e.hash = e.source_hash = f.hash;
            e.source_bytes = f.info.bytes;
            e.source_modified = f.modified;
            e.source_rate = f.info.rate;
            e.source_channels = f.info.channels;
            e.source_format = printable(f.info.format);
            e.source_peak = f.peak;
            e.source_clipped = f.clipped;
            const ManifestEntry* existing = converter.existing(part.file);
            fs::path from = converter.whole(part.file);
            if (part.samples() != f.samples) {
                from = incoming.piece(part.file, part.split);
                e.hash = cut(converter.whole(part.file), part, options.sample_rate, from);
                existing = nullptr;
            }
            (existing ? result.kept : result.written) += 1;
            if (from != data / e.file) moves.push_back({from, data / e.file});
            manifest.files.push_back(std::move(e));
        }

        // From here on the folder changes. The manifest says so first, and names old and new files alike, so
        // that whatever happens the next call knows which of them are its own.
        std::set<std::string> wanted, sources;
        for (const ManifestEntry& e : manifest.files) wanted.insert(e.file);
        for (const FileReport& f : report.files) sources.insert(f.name);
        std::vector<ManifestEntry> superseded;
        int64_t orphans = 0;
        if (old)
            for (const ManifestEntry& e : old->files)
                if (!wanted.count(e.file)) {
                    if (sources.count(e.source))
                        superseded.push_back(e);
                    else
                        ++orphans;
                }
        made.keep = true;
        if (!moves.empty() || !superseded.empty()) {
            Manifest planned = manifest;
            if (old) planned.files.insert(planned.files.end(), old->files.begin(), old->files.end());
            write_manifest(data, planned);
            for (const Split split : all_splits) fs::create_directory(data / name_of(split), error);
            for (const Move& move : moves) fs::rename(move.from, move.to);
            for (const ManifestEntry& e : superseded) fs::remove(data / e.file, error);
        }
        manifest.complete = true;
        write_manifest(data, manifest);
        if (orphans > 0)
            result.scan.notes.push_back(std::to_string(orphans) + " prepared files whose source is gone stay in '" +
                                        data_folder.string() + "' but are no longer used");
        if (progress) progress(1, "done");  // too late to cancel
        return result;
    } catch (const fs::filesystem_error& e) {
        throw Error(std::string("cannot prepare '") + data_folder.string() + "': " + e.what(),
                    "check the folder, its permissions and the free space");
    }
}

}  // namespace nigiri
