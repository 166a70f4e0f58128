#include "app/ablate/ablation.h"

#include <algorithm>
#include <set>

#include "app/ablate/evaluate_run.h"
#include "app/compare/compared_files.h"
#include "app/compare/comparison.h"
#include "app/text.h"
#include "kernels/clock.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

// How long the rest will take, from how long the runs of this session took: a run like one that is known takes as long,
// another as long as the known ones on average.
class Forecast {
  public:
    void add(const std::string& row, double seconds) {
        sum_ += seconds;
        ++count_;
        known_[row] = seconds;
    }
    double of(const std::string& row) const {
        const auto it = known_.find(row);
        if (it != known_.end()) return it->second;
        return count_ > 0 ? sum_ / count_ : -1;
    }

  private:
    std::map<std::string, double> known_;
    double sum_ = 0;
    int count_ = 0;
};

class Ablation {
  public:
    Ablation(const AblationOptions& options, const std::shared_ptr<Backend>& backend, const std::atomic<bool>& stop,
             const AblationCallback& callback)
        : options_(options), backend_(backend), stop_(stop), callback_(callback), started_(steady_seconds()) {}

    AblationEnd run() {
        choose();
        const auto first = std::find_if(due_.begin(), due_.end(), [](const Due& d) { return !d.done; });
        try {
            if (first != due_.end()) {  // the audio, before any run: without it all would fail
                at_ = static_cast<size_t>(first - due_.begin());
                begin(*first);
                data_for(first->row->config.signal);
            }
            for (at_ = 0; at_ < due_.size(); ++at_) {
                if (due_[at_].done) continue;
                begin(due_[at_]);
                attempt(due_[at_]);
            }
            end_.finished = end_.failures.empty();
        } catch (const Cancelled&) {
        }
        return std::move(end_);
    }

  private:
    struct Due {
        const GridRow* row = nullptr;
        uint64_t seed = 0;
        bool done = false;
    };

    // Before the long work: what there is already, and whether it is of this grid.
    void choose() {
        const Grid& grid = options_.grid;
        const std::vector<bool> chosen = chosen_rows(grid, options_.rows);
        for (const uint64_t seed : grid.seeds)
            for (size_t i = 0; i < grid.rows.size(); ++i) {
                if (!chosen[i]) continue;
                const fs::path folder = run_folder(options_.folder, grid.rows[i], seed);
                const auto result = read_result(folder);
                if (result) check_belongs(*result, grid.rows[i], seed, folder);
                due_.push_back({&grid.rows[i], seed, result && answers(*result, grid.evaluation)});
            }
    }

    static Config config_of(const Due& due) {
        Config config = due.row->config;
        config.training.seed = due.seed;
        return config;
    }

    static void check_belongs(const RunResult& result, const GridRow& row, uint64_t seed, const fs::path& folder) {
        if (!same_experiment(result.config, config_of({&row, seed})))
            throw Error(folder.string() + " holds a run of another configuration than the grid's row " + row.name,
                        "choose another --output, or remove that folder");
    }

    bool interrupted() const {
        return stop_.load() || (options_.minutes > 0 && steady_seconds() - started_ >= 60 * options_.minutes);
    }

    void say(AblationEvent event, const std::string& what, double remaining_of_run = -1) {
        progress_.what = what;
        progress_.remaining_seconds = remaining(remaining_of_run);
        callback_(event, progress_);
    }

    double remaining(double of_this_run) const {
        if (of_this_run < 0) of_this_run = forecast_.of(due_[at_].row->name);
        double sum = of_this_run;
        for (size_t i = at_ + 1; i < due_.size(); ++i) {
            if (due_[i].done) continue;
            // Without a run to learn from, the others take as long as this one will have taken.
            const double known = forecast_.of(due_[i].row->name);
            sum += known >= 0 ? known : of_this_run + steady_seconds() - run_started_;
        }
        return of_this_run < 0 ? -1 : sum;
    }

    void begin(const Due& due) {
        progress_ = {.run = at_ + 1, .runs = due_.size(), .row = due.row->name, .seed = due.seed};
        run_started_ = steady_seconds();
    }

    // A run that fails must not cost the others.
    void attempt(const Due& due) {
        if (interrupted()) throw Cancelled();
        const auto fail = [&](const std::string& why) {
            end_.failures.push_back(due.row->name + ", seed " + std::to_string(due.seed) + ": " + why);
            note_failure(run_folder(options_.folder, *due.row, due.seed), why);
            say(AblationEvent::failed, why);
        };
        try {
            carry_out(due);
        } catch (const Cancelled&) {
            throw;
        } catch (const std::bad_alloc&) {
            fail("out of memory");
        } catch (const Error& e) {
            fail(e.what());
        }
    }

    // So that a report says it, too. Where even that cannot be written, the session's own message remains.
    static void note_failure(const fs::path& folder, const std::string& why) {
        try {
            auto result = read_result(folder);
            if (!result) return;
            result->error = why;
            write_result(folder, *result);
        } catch (const Error&) {
        }
    }

    void carry_out(const Due& due) {
        const fs::path folder = run_folder(options_.folder, *due.row, due.seed);
        const GridEvaluation& asked = options_.grid.evaluation;
        const Config config = config_of(due);
        RunResult result;
        if (auto earlier = read_result(folder)) result = std::move(*earlier);
        result.error.clear();
        if (!result.trained) {
            if (!train(config, folder, result)) return;
        }
        const Checkpoint checkpoint = Checkpoint::read(folder / "checkpoints" / "last.safetensors");
        if (checkpoint.state().step != config.training.steps)
            throw Error("its last checkpoint is of step " + std::to_string(checkpoint.state().step),
                        "remove " + folder.string());
        const auto show = [&](double fraction, const std::string& what) {
            say(AblationEvent::moved, what + ", " + fixed(100 * fraction, 0) + " %");
            return !interrupted();
        };
        const Dataset& data = *data_for(config.signal);
        result.rounded_weights = result.rounded_weights || !checkpoint.has_optimizer();
        if (!result.bits || result.bits_settings != bits_settings(asked)) {
            measure_bits(checkpoint, data, asked, backend_, result, show);
            write_result(folder, result);
        }
        if (result.clip_settings != clip_settings(asked)) {
            if (asked.metrics && asked.clips > 0 && !held_out_) held_out_ = held_out_for(data, asked, show);
            if (!processor_) processor_ = backend_->name() == "cpu" ? backend_ : make_backend("cpu", options_.threads);
            make_clips(checkpoint, folder, asked, held_out_.get(), processor_, result, show);
        }
        result.finished = utc_now();
        shrink(checkpoint, folder);
        write_result(folder, result);
        forecast_.add(due.row->name, steady_seconds() - run_started_);
        say(AblationEvent::finished, fixed(result.bits->total.bits_per_sample(), 4) + " bits", 0);
    }

    // Returns false where the run diverged, which it would do again.
    bool train(const Config& config, const fs::path& folder, RunResult& result) {
        TrainingRun run({.data = options_.data,
                         .files = options_.files,
                         .run = folder,
                         .config = config,
                         .threads = options_.threads});
        run.use(data_for(config.signal));
        if (const auto before = config_of_run(folder); before && !same_experiment(*before, config))
            throw Error(folder.string() + " holds a run of another configuration", "choose another --output");
        fs::create_directories(folder);
        if (result.started.empty()) {
            result.config = config;
            result.started = utc_now();
            result.version = options_.version;
            result.device = backend_->description();
            result.data = fs::weakly_canonical(options_.data).filename().string();
            result.train_seconds = run.data().seconds(Split::train);
            write_result(folder, result);
        }
        backend_->reset_peak();
        run.open(backend_);
        const int64_t begun_at = run.trainer().state().step;
        std::atomic<bool> stop{interrupted()};
        TrainingEnd end = TrainingEnd::stopped;
        std::string noted;
        try {
            end = run.run(
                stop,
                [&](const TrainingMetrics& m) {
                    if (const std::string& note = run.trainer().note(); note != noted)
                        say(AblationEvent::note, noted = note);
                    say(AblationEvent::moved,
                        "step " + std::to_string(m.step) + " of " + std::to_string(config.training.steps) + ", " +
                            fixed(m.train_bits, 3) + " bits, " + thousands(m.tokens_per_second) + "tokens/s",
                        m.remaining_seconds);
                },
                [&](const TrainingState&) {
                    if (interrupted()) stop.store(true);
                });
        } catch (const Diverged& e) {
            result.failed = e.what();
            result.finished = utc_now();
            write_result(folder, result);
            say(AblationEvent::note, result.failed);
            return false;
        }
        if (end == TrainingEnd::stopped) throw Cancelled();
        const TrainingState& state = run.trainer().state();
        result.trained = true;
        result.parameters = run.trainer().network().parameters().count();
        result.steps = state.step;
        result.tokens = state.tokens;
        result.training_seconds = state.seconds;
        result.train_bits = state.train_bits;
        if (state.valid_bits >= 0) result.valid_bits = state.valid_bits;
        result.tokens_per_second = median_tokens_per_second(folder / "metrics.jsonl");
        if (state.step > begun_at) result.memory_bytes = backend_->peak_bytes();
        result.device = backend_->description();
        result.version = options_.version;
        result.command = options_.command;
        write_result(folder, result);
        return true;
    }

    void shrink(const Checkpoint& checkpoint, const fs::path& folder) const {
        if (options_.keep == Keep::all) return;
        const fs::path checkpoints = folder / "checkpoints";
        if (options_.keep == Keep::none) {
            fs::remove_all(checkpoints);
            return;
        }
        if (checkpoint.has_optimizer()) {
            const auto network = checkpoint.make_network(backend_);
            save_checkpoint(checkpoints / "last.safetensors", checkpoint.config(), *network, nullptr,
                            checkpoint.state(), checkpoint.facts(), StoredAs::half);
        }
        fs::remove(checkpoints / "best.safetensors");
    }

    // Read once, and again only where rows code the audio differently.
    std::shared_ptr<const Dataset> data_for(const SignalConfig& signal) {
        if (data_ && signal_ == signal) return data_;
        data_.reset();  // before the next takes its memory
        held_out_.reset();
        signal_ = signal;
        const uint64_t seed = options_.grid.seeds[0];
        data_ = std::make_shared<Dataset>(
            Dataset::load(options_.data, data_options(signal, seed, options_.files, options_.threads),
                          [&](double fraction, const std::string& what) {
                              say(AblationEvent::moved, "reading " + what + " " + fixed(100 * fraction, 0) + " %");
                              return !interrupted();
                          }));
        if (data_->samples(options_.grid.evaluation.split) == 0)
            throw Error(
                options_.data.string() + " has no audio in its " + name_of(options_.grid.evaluation.split) + " part",
                "choose another split in [evaluate]");
        return data_;
    }

    const AblationOptions& options_;
    std::shared_ptr<Backend> backend_, processor_;
    const std::atomic<bool>& stop_;
    const AblationCallback& callback_;
    double started_, run_started_ = 0;
    std::vector<Due> due_;
    size_t at_ = 0;
    AblationProgress progress_;
    Forecast forecast_;
    AblationEnd end_;
    std::shared_ptr<const Dataset> data_;
    SignalConfig signal_;
    std::unique_ptr<HeldOut> held_out_;
};

}  // namespace

Keep keep_by_name(const std::string& name) {
    if (name == "all") return Keep::all;
    if (name == "weights") return Keep::weights;
    if (name == "none") return Keep::none;
    throw Error("there is no --keep " + name, "choose all, weights or none");
}

AblationEnd run_ablation(const AblationOptions& options, const std::shared_ptr<Backend>& backend,
                         const std::atomic<bool>& stop, const AblationCallback& callback) {
    return Ablation(options, backend, stop, callback).run();
}

}  // namespace nigiri::app
