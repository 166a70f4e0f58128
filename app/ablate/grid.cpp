#include "app/ablate/grid.h"

#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>

#include "app/ablate/grid_text.h"
#include "app/config_options.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

constexpr size_t most_rows = 1024, most_seeds = 256, most_options = 128, longest_name = 80;
// Where neither the grid nor the base says how often: enough points for a curve, few enough not to cost time.
constexpr int64_t points_of_a_curve = 50, validations = 10;

// Decided by the budget and the seeds, or read from elsewhere.
const std::vector<std::string> not_options = {"steps", "minutes", "config", "set", "help"};

template <class T>
std::optional<T> number_in(const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

struct Budget {
    int64_t tokens = 0, steps = 0;  // one of them
    int64_t tokens_per_batch = 0;   // 0: the batch is an option like others
    int line = 0;
};

// The same options as on the command line, from texts.
class OptionReader {
  public:
    OptionReader() {
        app_.set_help_flag();
        options_.declare(app_, /*training=*/true);
    }

    bool knows(const std::string& key) const {
        return key.find('.') != std::string::npos || app_.get_option_no_throw("--" + key) != nullptr;
    }

    Config read(const std::vector<GridOption>& given) {
        std::vector<std::string> arguments;
        for (const GridOption& o : given)
            arguments.push_back(o.key.find('.') != std::string::npos ? "--set=" + o.key + "=" + o.text
                                                                     : "--" + o.key + "=" + o.text);
        std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
        try {
            app_.parse(std::move(arguments));
        } catch (const CLI::ParseError& e) {
            throw Error(e.what());
        }
        return options_.make();
    }

  private:
    CLI::App app_;
    ConfigOptions options_;
};

class GridReader {
  public:
    GridReader(const std::string& text, const std::string& file) {
        grid_.file = file;
        grid_.text = text;
        for (const GridSection& s : parse_grid_text(text, file)) read(s);
    }

    Grid finish() {
        if (budget_.tokens == 0 && budget_.steps == 0)
            wrong(budget_.line, "the grid has no budget", "write tokens = N or steps = N below [budget]");
        if (grid_.seeds.empty()) grid_.seeds = {0};
        if (families_.empty() && grid_.axes.empty())
            wrong(0, "the grid has no rows", "write sections [row.NAME], or an axis below [axes]");
        if (families_.empty()) families_.emplace_back();
        for (const Family& family : families_) add_rows(family);
        if (!reference_.text.empty()) {
            const auto named = [&](const GridRow& r) { return r.name == reference_.text; };
            const auto it = std::find_if(grid_.rows.begin(), grid_.rows.end(), named);
            if (it == grid_.rows.end()) wrong(reference_.line, "there is no row '" + reference_.text + "'");
            grid_.reference = static_cast<size_t>(it - grid_.rows.begin());
        }
        return std::move(grid_);
    }

  private:
    struct Family {
        std::string name;
        int line = 0;
        std::vector<GridOption> options;
    };

    [[noreturn]] void wrong(int line, const std::string& what, const std::string& hint = "") const {
        throw grid_error(grid_.file, line, what, hint);
    }

    void read(const GridSection& s) {
        if (s.name.starts_with("row.")) {
            const std::string name = s.name.substr(4);
            if (name.empty() || name[0] == '.' || name.size() > longest_name)
                wrong(s.line, "'" + name + "' is no name for a row", "it is also a folder's name");
            families_.push_back({name, s.line, options(s)});
        } else if (s.name == "base") {
            base_ = options(s);
        } else if (s.name == "axes") {
            for (const GridEntry& e : s.entries) add_axis(e);
        } else if (s.name == "budget" || s.name == "evaluate" || s.name.empty()) {
            if (s.name == "budget") budget_.line = s.line;
            for (const GridEntry& e : s.entries)
                if (!(s.name == "budget" ? read_budget(e) : s.name == "evaluate" ? read_evaluation(e) : read_head(e)))
                    wrong(e.line, "'" + e.key + "' is unknown " + (s.name.empty() ? "here" : "in [" + s.name + "]"),
                          "see docs/ablations.md");
        } else {
            wrong(s.line, "there is no section [" + s.name + "]",
                  "sections are base, budget, evaluate, axes and row.NAME");
        }
    }

    void check_key(const GridEntry& e) const {
        if (std::find(not_options.begin(), not_options.end(), e.key) != not_options.end())
            wrong(e.line, "'" + e.key + "' cannot be set in a row", "the budget is one for all: see [budget]");
        if (!known_.knows(e.key))
            wrong(e.line, "there is no option '" + e.key + "'", "see nigiri train --help, without the dashes");
    }

    std::vector<GridOption> options(const GridSection& s) const {
        std::vector<GridOption> all;
        if (s.entries.size() > most_options) wrong(s.line, "there are too many options below [" + s.name + "]");
        for (const GridEntry& e : s.entries) {
            check_key(e);
            all.push_back({e.key, e.text(), e.line});
        }
        return all;
    }

    void add_axis(const GridEntry& e) {
        check_key(e);
        if (!e.is_list || e.values.empty()) wrong(e.line, "an axis is a list of values");
        grid_.axes.push_back({e.key, e.values});
        axis_lines_.push_back(e.line);
    }

    bool read_head(const GridEntry& e) {
        if (e.key == "title") return grid_.title = e.text(), true;
        if (e.key == "about") return grid_.about = e.text(), true;
        if (e.key == "reference") return reference_ = {e.key, e.text(), e.line}, true;
        if (e.key != "seeds") return false;
        if (e.values.empty() || e.values.size() > most_seeds) wrong(e.line, "seeds is a list of numbers");
        for (const std::string& v : e.values) {
            const auto seed = number_in<uint64_t>(v);
            if (!seed || std::find(grid_.seeds.begin(), grid_.seeds.end(), *seed) != grid_.seeds.end())
                wrong(e.line, "'" + v + "' is no new seed", "seeds are whole numbers from 0, each once");
            grid_.seeds.push_back(*seed);
        }
        return true;
    }

    double number(const GridEntry& e, double least, double most) const {
        const auto value = number_in<double>(e.text());
        if (!value || !(*value >= least && *value <= most)) wrong(e.line, "'" + e.text() + "' is no value of " + e.key);
        return *value;
    }

    int64_t whole(const GridEntry& e, double least, double most) const {
        const double value = number(e, least, most);
        if (value != std::floor(value)) wrong(e.line, e.key + " is a whole number");
        return static_cast<int64_t>(value);
    }

    bool read_budget(const GridEntry& e) {
        if (e.key == "tokens")
            budget_.tokens = whole(e, 1, 1e15);
        else if (e.key == "steps")
            budget_.steps = whole(e, 1, 1e9);
        else if (e.key == "tokens-per-batch")
            budget_.tokens_per_batch = whole(e, 1, 1e10);
        else
            return false;
        if (budget_.tokens > 0 && budget_.steps > 0) wrong(e.line, "the budget is tokens or steps, not both");
        return true;
    }

    bool read_evaluation(const GridEntry& e) {
        GridEvaluation& v = grid_.evaluation;
        try {
            if (e.key == "split")
                v.split = parse_split(e.text());
            else if (e.key == "precision")
                v.precision = precision_by_name(e.text());
            else if (e.key == "segment")
                v.segment = whole(e, 0, 1 << 24);
            else if (e.key == "seconds")
                v.seconds = number(e, 0, 1e7);
            else if (e.key == "clips")
                v.clips = static_cast<int>(whole(e, 0, 64));
            else if (e.key == "clip-seconds")
                v.clip_seconds = number(e, 0.01, 600);
            else if (e.key == "temperature")
                v.sampling.temperature = number(e, 0, 100);
            else if (e.key == "top-k")
                v.sampling.top_k = whole(e, 0, 256);
            else if (e.key == "top-p")
                v.sampling.top_p = number(e, 1e-6, 1);
            else if (e.key == "clip-seed")
                v.sampling.seed = static_cast<uint64_t>(whole(e, 0, 9e15));
            else if (e.key == "metrics")
                v.metrics = flag(e);
            else
                return false;
        } catch (const Error& error) {
            const std::string what = error.what();
            if (what.starts_with(grid_.file)) throw;
            wrong(e.line, what, error.hint());
        }
        return true;
    }

    bool flag(const GridEntry& e) const {
        if (e.text() != "true" && e.text() != "false") wrong(e.line, e.key + " is true or false");
        return e.text() == "true";
    }

    // The family at every point of the axes, the last axis fastest. A row that sets an axis's option itself stands
    // outside of that axis.
    void add_rows(const Family& family) {
        std::vector<size_t> axes;
        size_t points = 1;
        for (size_t a = 0; a < grid_.axes.size(); ++a) {
            const std::string& key = grid_.axes[a].key;
            const auto sets_it = [&](const GridOption& o) { return o.key == key; };
            if (std::any_of(family.options.begin(), family.options.end(), sets_it)) continue;
            axes.push_back(a);
            points *= grid_.axes[a].values.size();
            if (points > most_rows) wrong(axis_lines_[a], "the grid has too many rows");
        }
        for (size_t p = 0; p < points; ++p) {
            GridRow row;
            row.family = row.name = family.name;
            row.own = family.options;
            row.place.resize(grid_.axes.size());
            size_t rest = p;
            for (size_t i = axes.size(); i-- > 0; rest /= grid_.axes[axes[i]].values.size())
                row.place[axes[i]] = grid_.axes[axes[i]].values[rest % grid_.axes[axes[i]].values.size()];
            for (const size_t a : axes) {
                row.own.push_back({grid_.axes[a].key, row.place[a], axis_lines_[a]});
                row.name += (row.name.empty() ? "" : "-") + place_name(grid_.axes[a].key, row.place[a]);
            }
            const int line = family.line > 0 ? family.line : axis_lines_[0];
            if (row.name.size() > longest_name) wrong(line, "the row's name is too long: " + row.name);
            for (const GridRow& other : grid_.rows)
                if (other.name == row.name) wrong(line, "two rows have the name " + row.name);
            if (grid_.rows.size() == most_rows) wrong(line, "the grid has too many rows");
            row.config = configure(row, line);
            grid_.rows.push_back(std::move(row));
        }
    }

    // "state-16"; a text says enough without its key.
    static std::string place_name(const std::string& key, const std::string& value) {
        const bool says_enough = !value.empty() && value.find_first_not_of("-+.0123456789,e") != std::string::npos &&
                                 value != "true" && value != "false";
        std::string name = says_enough ? value : key.substr(key.rfind('.') + 1) + "-" + value;
        for (char& c : name)
            if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '-';
        return name;
    }

    Config configure(const GridRow& row, int line) const {
        // A row's options replace the base's of the same name.
        std::vector<GridOption> all;
        for (const GridOption& b : base_)
            if (std::none_of(row.own.begin(), row.own.end(), [&](const GridOption& o) { return o.key == b.key; }))
                all.push_back(b);
        all.insert(all.end(), row.own.begin(), row.own.end());
        const auto given = [&](const char* key) {
            const std::string path = std::string("training.") + key;
            std::string option = key;
            std::replace(option.begin(), option.end(), '_', '-');
            return std::any_of(all.begin(), all.end(),
                               [&](const GridOption& o) { return o.key == option || o.key == path; });
        };
        Config config = read_options(all, row.name, line);
        TrainingConfig& t = config.training;
        if (budget_.tokens_per_batch > 0) {
            if (given("batch")) wrong(line, "batch follows from tokens-per-batch", "leave one of them out");
            t.batch = std::clamp<int64_t>(budget_.tokens_per_batch / t.length, 1, 65536);
        }
        const int64_t unit = config.model.pool_product();
        if (t.length % unit != 0)
            wrong(line, row.name + ": length " + std::to_string(t.length) + " does not suit the pools",
                  "choose a multiple of " + std::to_string(unit));
        const int64_t batch = t.batch * t.length;
        t.steps = budget_.steps > 0 ? budget_.steps : (budget_.tokens + batch - 1) / batch;
        t.minutes = 0;
        t.seed = 0;
        if (!given("log_every")) t.log_every = std::max<int64_t>(1, t.steps / points_of_a_curve);
        if (!given("validate_every")) t.validate_every = std::max<int64_t>(1, t.steps / validations);
        // Rows of different lengths are validated on equally much audio: that of one batch.
        if (budget_.tokens_per_batch > 0 && !given("validation_segments")) t.validation_segments = t.batch;
        if (!given("preview_every")) t.preview_every = 0;
        try {
            validate(config);
        } catch (const Error& e) {
            wrong(line, row.name + ": " + e.what(), e.hint());
        }
        return config;
    }

    Config read_options(const std::vector<GridOption>& all, const std::string& name, int line) const {
        try {
            return OptionReader().read(all);
        } catch (const Error& e) {
            // The line to blame is the one without which the rest would do.
            for (size_t i = all.size(); i-- > 0;) {
                std::vector<GridOption> others = all;
                others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
                try {
                    OptionReader().read(others);
                    line = all[i].line;
                    break;
                } catch (const Error&) {
                }
            }
            wrong(line, (name.empty() ? "" : name + ": ") + e.what(), e.hint());
        }
    }

    const OptionReader known_;
    Grid grid_;
    Budget budget_;
    std::vector<GridOption> base_;
    std::vector<Family> families_;
    std::vector<int> axis_lines_;
    GridOption reference_;
};

}  // namespace

Grid parse_grid(const std::string& text, const std::string& file) { return GridReader(text, file).finish(); }

Grid read_grid(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::error_code code;
    if (!in || fs::is_directory(path, code)) throw Error("cannot read " + path.string(), "check the path of --grid");
    std::string text(std::size_t{1} << 21, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    return parse_grid(text, path.string());
}

std::vector<bool> chosen_rows(const Grid& grid, const std::vector<std::string>& patterns) {
    std::vector<bool> chosen(grid.rows.size(), patterns.empty());
    for (const std::string& pattern : patterns) {
        bool any = false;
        for (size_t i = 0; i < grid.rows.size(); ++i)
            for (const std::string& name : {grid.rows[i].name, grid.rows[i].family})
                if (!name.empty() && ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0) chosen[i] = any = true;
        if (!any) {
            std::string names;
            for (const GridRow& r : grid.rows) names += (names.empty() ? "" : ", ") + r.name;
            throw Error(grid.file + " has no row '" + pattern + "'", "its rows are " + names);
        }
    }
    return chosen;
}

bool same_experiment(const Config& a, const Config& b) {
    const auto plain = [](Config c) {
        const TrainingConfig defaults;
        TrainingConfig& t = c.training;
        t.log_every = defaults.log_every;
        if (t.schedule != Schedule::plateau) {  // which follows the validations
            t.validate_every = defaults.validate_every;
            t.validation_segments = defaults.validation_segments;
        }
        t.checkpoint_every = defaults.checkpoint_every;
        t.preview_every = defaults.preview_every;
        t.preview_seconds = defaults.preview_seconds;
        t.recompute = defaults.recompute;
        t.recompute_cheap = defaults.recompute_cheap;
        t.graph = defaults.graph;
        return c;
    };
    return plain(a) == plain(b);
}

}  // namespace nigiri::app
