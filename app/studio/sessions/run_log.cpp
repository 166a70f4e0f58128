#include "app/studio/sessions/run_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "app/config_options.h"

namespace nigiri::studio {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr size_t chunk = 1 << 20;
constexpr int64_t most_bytes_a_poll = 64 << 20;  // so that other runs are looked at in between
constexpr int64_t most_log_bytes = int64_t{2} << 30;
constexpr size_t tail_bytes = 64;
constexpr int64_t summary_bytes = 65536;
constexpr uintmax_t longest_config = 1 << 20;
constexpr size_t most_previews = 10000;

// A regular file, opened without ever waiting for it (a pipe of that name would wait for ever).
class File {
  public:
    explicit File(const fs::path& path) : file_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
        if (file_ >= 0 && (::fstat(file_, &status_) != 0 || !S_ISREG(status_.st_mode))) {
            ::close(file_);
            file_ = -1;
        }
    }
    ~File() {
        if (file_ >= 0) ::close(file_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    explicit operator bool() const { return file_ >= 0; }
    int number() const { return file_; }
    const struct stat& status() const { return status_; }

  private:
    int file_;
    struct stat status_ {};
};

std::string read_at(int file, int64_t offset, size_t bytes) {
    std::string text(bytes, '\0');
    const ssize_t got = ::pread(file, text.data(), bytes, offset);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
}

std::optional<app::Baseline> baseline_of(const std::vector<app::Assignment>& fields) {
    double orders[2] = {-1, -1};
    for (const auto& [key, value] : fields)
        for (const int order : {0, 1})
            if (key == "order" + std::to_string(order) + "_bits_per_sample")
                std::from_chars(value.data(), value.data() + value.size(), orders[order]);
    if (!(orders[0] > 0 && orders[1] > 0 && orders[0] < 64 && orders[1] < 64)) return std::nullopt;
    return app::Baseline{orders[0], orders[1]};
}

}  // namespace

std::optional<MetricPoint> parse_metrics(std::string_view line) {
    const json j = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!j.is_object()) return std::nullopt;
    const auto number = [&](const char* key) {
        const auto it = j.find(key);
        return it != j.end() && it->is_number() ? it->get<double>() : missing;
    };
    MetricPoint p;
    p.step = number("step");
    if (!(p.step >= 0 && p.step <= 9007199254740992.0)) return std::nullopt;
    p.tokens = number("tokens");
    p.seconds = number("seconds");
    p.train_bits = number("train_bits_per_sample");
    p.valid_bits = number("valid_bits_per_sample");
    p.learning_rate = number("learning_rate");
    p.gradient_norm = number("gradient_norm");
    p.tokens_per_second = number("tokens_per_second");
    return p;
}

// Whether other bytes stand before the place where reading ended.
bool RunLog::begins_anew(int file) const {
    return read_at(file, offset_ - static_cast<int64_t>(tail_.size()), tail_.size()) != tail_;
}

bool RunLog::poll(const std::atomic<bool>& stop) {
    const File file(run_ / "metrics.jsonl");
    if (!file) return false;  // gone or not there yet: what was read stays
    const struct stat& s = file.status();
    const bool same = s.st_dev == device_ && s.st_ino == inode_;
    if (same && s.st_size == offset_ && !begins_anew(file.number())) return false;
    bool anew = !same || s.st_size < offset_ || begins_anew(file.number());
    if (anew) {
        device_ = s.st_dev, inode_ = s.st_ino;
        offset_ = 0, bad_ = 0;
        tail_.clear(), carry_.clear();
        skipping_ = false;
    }
    size_t known = 0;
    if (!anew) known = view().points.size();
    bool changed = anew;
    const int64_t until = std::min(offset_ + most_bytes_a_poll, most_log_bytes);
    while (!stop.load() && known < most_points && offset_ < until) {
        const std::string bytes = read_at(file.number(), offset_, chunk);
        if (bytes.empty()) break;
        offset_ += static_cast<int64_t>(bytes.size());
        tail_ = (tail_ + bytes).substr(tail_.size() + bytes.size() - std::min(tail_.size() + bytes.size(), tail_bytes));
        take(bytes);
        changed = true;
        known += fresh_.size();
        publish(anew);
        anew = false;
    }
    if (anew) publish(true);
    return changed;
}

void RunLog::take(std::string_view bytes) {
    while (!bytes.empty()) {
        const size_t end = bytes.find('\n');
        const std::string_view part = bytes.substr(0, end);
        if (!skipping_ && carry_.size() + part.size() > longest_line) {
            skipping_ = true;
            carry_.clear();
            ++bad_;
        }
        if (!skipping_) carry_ += part;
        if (end == std::string_view::npos) return;
        bytes.remove_prefix(end + 1);
        if (!skipping_ && !carry_.empty()) {
            if (const auto point = parse_metrics(carry_))
                fresh_.push_back(*point);
            else
                ++bad_;
        }
        skipping_ = false;
        carry_.clear();
    }
}

void RunLog::publish(bool anew) {
    const std::lock_guard lock(mutex_);
    if (anew) {
        if (!points_.empty()) ++epoch_;
        points_.clear();
    }
    const size_t before = points_.size();
    size_t kept = before;
    for (const MetricPoint& p : fresh_) {
        while (!points_.empty() && points_.back().step >= p.step) points_.pop_back();
        kept = std::min(kept, points_.size());
        if (points_.size() < most_points) points_.push_back(p);
    }
    if (kept < before) ++epoch_;
    fresh_.clear();
    damaged_ = bad_;
}

size_t RunLog::damaged() const {
    const std::lock_guard lock(mutex_);
    return damaged_;
}

std::optional<RunSummary> read_summary(const fs::path& run) {
    const File file(run / "metrics.jsonl");
    if (!file) return std::nullopt;
    const int64_t size = file.status().st_size, begin = std::max<int64_t>(size - summary_bytes, 0);
    std::string text = read_at(file.number(), begin, static_cast<size_t>(size - begin));
    text.resize(text.rfind('\n') + 1);  // a line under way does not count; npos + 1 is 0
    std::optional<RunSummary> summary;
    for (size_t end = text.size(); end > 0;) {
        const size_t newline = end >= 2 ? text.rfind('\n', end - 2) : std::string::npos;
        const size_t from = newline == std::string::npos ? 0 : newline + 1;
        if (from == 0 && begin > 0) break;  // cut off in front
        if (const auto point = parse_metrics(std::string_view(text).substr(from, end - 1 - from))) {
            if (!summary) summary = RunSummary{*point, -1};
            if (point->valid_bits >= 0) {
                summary->valid_bits = point->valid_bits;
                break;
            }
        }
        end = from;
    }
    return summary;
}

RunFacts read_facts(const fs::path& run) {
    RunFacts facts;
    std::error_code code;
    const fs::path toml = run / "config.toml";
    if (fs::is_regular_file(toml, code) && fs::file_size(toml, code) <= longest_config && !code) try {
            std::vector<app::Assignment> fields;
            const auto all = app::read_toml(toml);
            for (const app::Assignment& a : all) {
                if (a.first == "data") facts.data = a.second;
                if (a.first == "files") facts.files = a.second;
                if (a.first == "from") facts.from = a.second;
                if (a.first.find('.') != std::string::npos) fields.push_back(a);
            }
            facts.baseline = baseline_of(all);
            facts.config = app::assigned({}, fields);
            return facts;
        } catch (const std::exception& e) {
            facts.problem = e.what();
        }
    for (const char* name : {"last.safetensors", "best.safetensors"}) {
        const fs::path path = run / "checkpoints" / name;
        if (!fs::is_regular_file(path, code)) continue;
        try {
            facts.config = Checkpoint::read(path).config();
            facts.problem.clear();
            return facts;
        } catch (const std::exception& e) {
            facts.problem = e.what();
        }
    }
    if (facts.problem.empty()) facts.problem = run.string() + " holds no configuration";
    return facts;
}

std::vector<Preview> list_previews(const fs::path& run) {
    std::vector<Preview> all;
    std::error_code code;
    for (fs::directory_iterator it(run / "previews", code), end; !code && it != end; it.increment(code)) {
        if (it->path().extension() != ".flac" || all.size() >= most_previews) continue;
        const std::string stem = it->path().stem().string();
        int64_t step = 0;
        const auto [rest, error] = std::from_chars(stem.data(), stem.data() + stem.size(), step);
        if (error == std::errc() && rest == stem.data() + stem.size() && step >= 0) all.push_back({step, it->path()});
    }
    std::sort(all.begin(), all.end(), [](const Preview& a, const Preview& b) { return a.step < b.step; });
    return all;
}

fs::path run_path(const fs::path& folder) {
    std::error_code code;
    fs::path path = fs::weakly_canonical(folder, code);
    if (code) path = folder;
    return path.has_filename() ? path : path.parent_path();
}

bool is_run(const fs::path& folder) {
    std::error_code code;
    return fs::is_regular_file(folder / "metrics.jsonl", code) ||
           fs::is_regular_file(folder / "checkpoints" / "last.safetensors", code);
}

}  // namespace nigiri::studio
