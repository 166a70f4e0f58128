#include "app/ablate/summary.h"

#include <algorithm>
#include <functional>
#include <set>

#include "app/text.h"
#include "audio/file.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

std::string plural(size_t n, const std::string& one, const std::string& many) {
    return std::to_string(n) + " " + (n == 1 ? one : many);
}

class Summary {
  public:
    Summary(const Grid& grid, const fs::path& folder) : folder_(folder) { s_.grid = grid; }

    AblationSummary make() {
        for (const GridRow& row : s_.grid.rows) add(row);
        compare_with_reference();
        say_what_differs();
        return std::move(s_);
    }

  private:
    void add(const GridRow& row) {
        RowSummary r;
        r.name = row.name;
        r.family = row.family;
        r.own = row.own;
        r.place = row.place;
        r.config = row.config;
        for (const uint64_t seed : s_.grid.seeds) r.runs.push_back(read(row, seed));
        const auto over_seeds = [&](const std::function<std::optional<double>(const RunResult&)>& value) {
            std::vector<double> values;
            for (const SeedRun& run : r.runs)
                if (run.result)
                    if (const auto x = value(*run.result)) values.push_back(*x);
            return spread(values);
        };
        r.bits = over_seeds(
            [](const RunResult& x) { return x.bits ? std::optional(x.bits->total.bits_per_sample()) : std::nullopt; });
        r.valid_bits = over_seeds([](const RunResult& x) { return x.valid_bits; });
        r.tokens_per_second = over_seeds([](const RunResult& x) { return x.tokens_per_second; });
        r.training_seconds =
            over_seeds([](const RunResult& x) { return x.trained ? std::optional(x.training_seconds) : std::nullopt; });
        r.memory_bytes = over_seeds([](const RunResult& x) {
            return x.memory_bytes > 0 ? std::optional(static_cast<double>(x.memory_bytes)) : std::nullopt;
        });
        const bool measured = std::any_of(r.runs.begin(), r.runs.end(),
                                          [](const SeedRun& run) { return run.result && run.result->similarity; });
        for (size_t m = 0; measured && m < similarity_metrics().size(); ++m)
            r.metrics.push_back(
                over_seeds([&](const RunResult& x) { return x.similarity ? x.similarity->values[m] : std::nullopt; }));
        std::vector<std::vector<CurvePoint>> train, valid;
        size_t done = 0;
        std::string missing;
        for (const SeedRun& run : r.runs) {
            if (!run.curves.train.empty()) train.push_back(run.curves.train);
            if (!run.curves.valid.empty()) valid.push_back(run.curves.valid);
            if (run.result && run.result->trained) {
                r.parameters = run.result->parameters;
                r.tokens = run.result->tokens;
            }
            if (run.done) ++done;
            if (run.status != "done")
                missing += (missing.empty() ? "" : "; ") +
                           (r.runs.size() > 1 ? "seed " + std::to_string(run.seed) + " " : std::string()) + run.status;
        }
        r.train_curve = mean_curve(train);
        r.valid_curve = mean_curve(valid);
        const bool none =
            std::all_of(r.runs.begin(), r.runs.end(), [](const SeedRun& run) { return run.status == "not run"; });
        r.status = none ? "not run" : missing;
        s_.done += done;
        s_.rows.push_back(std::move(r));
    }

    SeedRun read(const GridRow& row, uint64_t seed) {
        SeedRun run;
        run.seed = seed;
        run.status = "not run";
        const fs::path folder = run_folder(folder_, row, seed);
        try {
            run.result = read_result(folder);
        } catch (const Error& e) {
            s_.notes.push_back(e.what());
            return run;
        }
        if (!run.result) return run;
        Config config = row.config;
        config.training.seed = seed;
        if (!same_experiment(run.result->config, config)) {
            s_.notes.push_back(folder.lexically_relative(folder_).string() +
                               " holds a run of another configuration and is left out.");
            run.result.reset();
            return run;
        }
        run.curves = read_curves(folder);
        RunResult& result = *run.result;
        remember(result);
        run.done = answers(result, s_.grid.evaluation);
        if (!result.failed.empty())
            run.status = "failed: " + result.failed;
        else if (run.done)
            run.status = "done";
        else if (!result.error.empty())
            run.status = "failed: " + result.error;
        else if (result.trained)
            run.status = "trained, not evaluated";
        else if (!run.curves.train.empty())
            run.status =
                "step " +
                std::to_string(run.curves.train.back().tokens / (config.training.batch * config.training.length)) +
                " of " + std::to_string(config.training.steps);
        else
            run.status = "begun";
        // Answers to other questions than this grid's stand in no table of it.
        if (result.bits && result.bits_settings != bits_settings(s_.grid.evaluation)) result.bits.reset();
        if (result.clip_settings != clip_settings(s_.grid.evaluation)) {
            result.clips.clear();
            result.similarity.reset();
        }
        if (result.floor && result.similarity && !s_.floor) s_.floor = result.floor;
        return run;
    }

    void remember(const RunResult& r) {
        const auto add = [](std::set<std::string>& to, const std::string& what) {
            if (!what.empty()) to.insert(what);
        };
        add(devices_, r.device);
        add(versions_, r.version);
        add(commands_, r.command);
        add(data_, r.data);
        train_seconds_.insert(r.train_seconds);
        if (r.bits && r.bits_settings == bits_settings(s_.grid.evaluation)) held_out_.insert(r.bits->total.samples);
        if (s_.started.empty() || r.started < s_.started) s_.started = r.started;
        if (r.finished > s_.finished) s_.finished = r.finished;
        rounded_ = rounded_ || r.rounded_weights;
    }

    void compare_with_reference() {
        const RowSummary& reference = s_.rows[s_.grid.reference];
        for (size_t i = 0; i < s_.rows.size(); ++i) {
            if (i == s_.grid.reference) continue;
            std::vector<double> differences;
            for (size_t k = 0; k < reference.runs.size(); ++k) {
                const auto &a = reference.runs[k].result, &b = s_.rows[i].runs[k].result;
                if (a && b && a->bits && b->bits)
                    differences.push_back(b->bits->total.bits_per_sample() - a->bits->total.bits_per_sample());
            }
            s_.rows[i].difference = spread(differences);
        }
    }

    void say_what_differs() {
        const auto list = [](const std::set<std::string>& from) {
            return std::vector<std::string>(from.begin(), from.end());
        };
        s_.devices = list(devices_);
        s_.versions = list(versions_);
        s_.commands = list(commands_);
        if (!data_.empty()) s_.data = *data_.begin();
        if (!train_seconds_.empty()) s_.train_seconds = *train_seconds_.rbegin();
        if (!held_out_.empty()) s_.held_out_samples = *held_out_.rbegin();
        if (data_.size() > 1 || train_seconds_.size() > 1 || held_out_.size() > 1)
            s_.notes.push_back("The runs did not all have the same audio: their bits cannot be compared.");
        if (devices_.size() > 1)
            s_.notes.push_back("The runs were trained on different devices: compare bits, not times.");
        if (versions_.size() > 1) s_.notes.push_back("The runs were trained by different versions of the program.");
        if (rounded_)
            s_.notes.push_back(
                "Some runs were evaluated after their weights had been rounded to sixteen bits, which costs some "
                "thousandths of a bit.");
        if (s_.grid.seeds.size() == 1)
            s_.notes.push_back(
                "One seed a row: nothing is known of how much a number would differ with another. Small differences "
                "mean nothing.");
        if (!s_.complete())
            s_.notes.push_back(std::to_string(s_.done) + " of " +
                               plural(s_.grid.runs(), "run is done", "runs are done") +
                               "; the others are named in the table.");
    }

    fs::path folder_;
    AblationSummary s_;
    std::set<std::string> devices_, versions_, commands_, data_;
    std::set<double> train_seconds_;
    std::set<int64_t> held_out_;
    bool rounded_ = false;
};

// The first seed that has clips, and their sounds as far as they can be read.
void add_clips(const RowSummary& row, const fs::path& folder, uint64_t& seed, ComparedModel& model) {
    for (const SeedRun& run : row.runs) {
        if (!run.result || run.result->clips.empty()) continue;
        seed = run.seed;
        model.similarity = run.result->similarity;
        for (const RunClip& c : run.result->clips) {
            ComparedClip clip;
            clip.file = folder / "runs" / row.name / ("seed-" + std::to_string(run.seed)) / c.file;
            clip.prompt = c.prompt;
            clip.log2_likelihood_per_sample = c.log2_likelihood_per_sample;
            clip.ran_away = c.ran_away;
            try {
                Audio audio = read_audio(clip.file);
                clip.rate = audio.rate;
                clip.samples = std::move(audio.samples);
                clip.analysis = analyse(clip.samples, clip.rate);
            } catch (const Error&) {
                return;  // a clip was lost; clip i of one row belongs to clip i of the others
            }
            model.clips.push_back(std::move(clip));
        }
        model.clips_complete = true;
        return;
    }
}

// The mean over the seeds, recording by recording.
SplitEvaluation mean_evaluation(const RowSummary& row) {
    SplitEvaluation mean;
    double n = 0;
    for (const SeedRun& run : row.runs) {
        if (!run.result || !run.result->bits) continue;
        const SplitEvaluation& one = *run.result->bits;
        if (++n == 1) {
            mean = one;
            continue;
        }
        const auto add = [&](Evaluation& to, const Evaluation& from) { to.bits += (from.bits - to.bits) / n; };
        add(mean.total, one.total);
        for (size_t i = 0; i < std::min(mean.recordings.size(), one.recordings.size()); ++i)
            add(mean.recordings[i].bits, one.recordings[i].bits);
    }
    return mean;
}

}  // namespace

bool AblationSummary::has_metrics() const {
    return std::any_of(rows.begin(), rows.end(), [](const RowSummary& r) { return !r.metrics.empty(); });
}

AblationSummary summarize(const Grid& grid, const fs::path& folder) { return Summary(grid, folder).make(); }

ComparisonOptions comparison_options_of(const AblationSummary& s, const fs::path& folder) {
    ComparisonOptions o;
    o.data = s.data;
    o.split = s.grid.evaluation.split;
    o.clips_folder = folder / "runs";
    o.clips = s.grid.evaluation.clips;
    o.seconds = s.grid.evaluation.clip_seconds;
    o.sampling = s.grid.evaluation.sampling;
    o.precision = s.grid.evaluation.precision;
    o.evaluation_seconds = s.grid.evaluation.seconds;
    return o;
}

ComparisonResult comparison_of(const AblationSummary& s, const fs::path& folder) {
    ComparisonResult c;
    for (const std::string& d : s.devices) c.device += (c.device.empty() ? "" : "; ") + d;
    c.floor = s.floor;
    c.notes = s.notes;
    c.complete = s.complete();
    if (!s.grid.rows.empty())
        c.held_out_seconds = static_cast<double>(s.held_out_samples) / s.grid.rows[0].config.signal.sample_rate;
    for (const RowSummary& row : s.rows) {
        ComparedModel m;
        m.name = row.name;
        m.layer = layer_name(row.config.model);
        m.parameters = row.parameters;
        uint64_t seed = row.runs[0].seed;
        add_clips(row, folder, seed, m);
        m.file = folder / "runs" / row.name / ("seed-" + std::to_string(seed));
        m.tokens = row.tokens;
        m.step = row.tokens > 0 ? row.config.training.steps : 0;
        if (row.training_seconds) m.training_seconds = row.training_seconds->mean;
        if (row.tokens_per_second) m.train_tokens_per_second = row.tokens_per_second->mean;
        if (row.bits) m.evaluation = mean_evaluation(row);
        for (const SeedRun& run : row.runs)
            if (run.result && !run.result->failed.empty()) m.error = run.result->failed;
        c.recordings = m.evaluation ? m.evaluation->recordings.size() : c.recordings;
        c.models.push_back(std::move(m));
    }
    return c;
}

}  // namespace nigiri::app
