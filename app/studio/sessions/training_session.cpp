#include "app/studio/sessions/training_session.h"

#include <algorithm>

#include "kernels/clock.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr double steps_shown_per_second = 4;

bool ended(TrainingStage stage) {
    return stage == TrainingStage::idle || stage == TrainingStage::paused || stage == TrainingStage::stopped ||
           stage == TrainingStage::finished || stage == TrainingStage::failed;
}

// What is trained: the plan's configuration, where it begins with a model for that network; or the existing run's with
// the plan's limits.
Config config_for(const TrainingPlan& plan) {
    const auto before = app::config_of_run(plan.run);
    if (!before) return plan.from.empty() ? plan.config : app::tuned_config(plan.config, plan.from);
    Config config = *before;
    if (plan.config.training.steps > 0 || plan.config.training.minutes > 0) {
        config.training.steps = plan.config.training.steps;
        config.training.minutes = plan.config.training.minutes;
    }
    return config;
}

}  // namespace

TrainingSession::~TrainingSession() {
    work_.finish();
    if (!run_ || !unsaved_) return;
    try {  // a last try where saving had failed
        const std::atomic<bool> at_once{true};
        run_->run(at_once, {});
    } catch (const std::exception&) {
        // The failure was shown when it first happened; the checkpoint before it is whole.
    }
}

bool TrainingSession::start(TrainingPlan plan) {
    if (work_.running() || run_) return false;
    {
        const std::lock_guard lock(mutex_);
        now_ = {};
        now_.stage = TrainingStage::reading;
        now_.run = plan.run;
        now_.data = plan.data;
        keep_ = unsaved_ = false;
    }
    return work_.start([this, plan = std::move(plan)] {
        guarded([&] {
            begin(plan);
            train();
        });
    });
}

void TrainingSession::pause() {
    const std::lock_guard lock(mutex_);
    if (now_.stage != TrainingStage::preparing && now_.stage != TrainingStage::training) return;
    keep_ = true;
    now_.stage = TrainingStage::pausing;
    work_.stop();
}

void TrainingSession::resume() {
    if (work_.running() || !run_) return;
    enter(TrainingStage::training);
    work_.start([this] {
        guarded([&] {
            // A folder that was removed in the meantime is made again: the network in memory is all that is left.
            std::error_code code;
            fs::create_directories(run_->request().run / "checkpoints", code);
            train();
        });
    });
}

void TrainingSession::stop() {
    {
        const std::lock_guard lock(mutex_);
        if (!ended(now_.stage)) {
            keep_ = false;
            now_.stage = TrainingStage::stopping;
            work_.stop();
            return;
        }
    }
    work_.finish();  // the worker is past its last decision; this takes no time
    if (!run_) return;
    enter(TrainingStage::stopping);
    work_.start([this] {
        guarded([&] {
            bool save = false;
            {
                const std::lock_guard lock(mutex_);
                save = unsaved_;
            }
            const std::atomic<bool> at_once{true};
            if (save) run_->run(at_once, {});
            settle(TrainingStage::stopped);
        });
    });
}

void TrainingSession::discard() {
    if (work_.running() || !run_) return;
    enter(TrainingStage::stopping);
    work_.start([this] { guarded([&] { settle(TrainingStage::stopped); }); });
}

TrainingSnapshot TrainingSession::snapshot() const {
    const Background::Status status = work_.status();
    const std::lock_guard lock(mutex_);
    TrainingSnapshot s = now_;
    if (status.running) {
        // Decided, but the worker has not quite ended: what is pressed now would be refused.
        if (s.stage == TrainingStage::paused) s.stage = TrainingStage::pausing;
        if (ended(s.stage)) s.stage = TrainingStage::stopping;
        s.resumable = false;
        if (s.stage == TrainingStage::reading) s.fraction = status.fraction, s.what = status.what;
    } else if (s.stage == TrainingStage::failed) {
        s.error = status.error, s.hint = status.hint;
    }
    return s;
}

void TrainingSession::enter(TrainingStage stage) {
    const std::lock_guard lock(mutex_);
    // What the user asked for meanwhile is shown until the worker gets there.
    if (now_.stage == TrainingStage::pausing || now_.stage == TrainingStage::stopping) return;
    now_.stage = stage;
    now_.resumable = false;
}

// The end of a piece of work; the network goes, unless it is paused.
void TrainingSession::settle(TrainingStage stage) {
    if (stage != TrainingStage::paused) run_.reset();
    const std::lock_guard lock(mutex_);
    now_.stage = stage;
    now_.resumable = run_ != nullptr;
    unsaved_ = false;
}

template <class Part>
void TrainingSession::guarded(const Part& part) {
    const auto fail = [this](bool keep) {
        if (!keep) run_.reset();
        const std::lock_guard lock(mutex_);
        now_.stage = TrainingStage::failed;
        now_.resumable = run_ != nullptr;
    };
    try {
        part();
    } catch (const Cancelled&) {
        settle(TrainingStage::stopped);
    } catch (const Diverged&) {
        fail(false);
        throw;  // Background keeps the words
    } catch (...) {
        fail(true);
        throw;
    }
}

void TrainingSession::begin(const TrainingPlan& plan) {
    auto run = std::make_unique<app::TrainingRun>(app::TrainingRequest{.data = plan.data,
                                                                       .files = plan.files,
                                                                       .run = plan.run,
                                                                       .from = plan.from,
                                                                       .config = config_for(plan),
                                                                       .threads = plan.threads});
    {
        const std::lock_guard lock(mutex_);
        now_.config = run->config();
    }
    run->load(work_.progress());
    enter(TrainingStage::preparing);
    work_.report(1, "");
    const auto baseline = run->baseline();
    {
        const std::lock_guard lock(mutex_);
        now_.baseline = baseline;
        now_.fraction = 0;
        now_.train_seconds = run->data().seconds(Split::train);
        now_.valid_seconds = run->data().seconds(Split::valid);
        const ScanReport& report = run->data().report();
        now_.skipped_files = report.files.size() - report.used_files();
    }
    const auto backend = make_backend(plan.device, plan.threads);
    {
        const std::lock_guard lock(mutex_);
        now_.device = backend->description();
        if (work_.stopping().load() && !keep_) throw Cancelled();
    }
    run->open(backend);
    const TrainingState& state = run->trainer().state();
    {
        const std::lock_guard lock(mutex_);
        now_.from = run->request().from;
        now_.memory = run->memory();
        now_.parameters = run->trainer().network().parameters().count();
        now_.first_step = now_.step = state.step;
        now_.tokens = state.tokens;
        now_.seconds = state.seconds;
        now_.fraction = run->trainer().progress();
        now_.valid_bits = state.valid_bits;
        if (state.best_valid_bits < 1e299) now_.best_valid_bits = state.best_valid_bits;
        if (work_.stopping().load() && !keep_) throw Cancelled();
    }
    run_ = std::move(run);
}

void TrainingSession::train() {
    enter(TrainingStage::training);
    {
        const std::lock_guard lock(mutex_);
        unsaved_ = true;
    }
    const TrainingEnd end = run_->run(
        work_.stopping(), [this](const TrainingMetrics& m) { note(m); }, [this](const TrainingState& s) { note(s); });
    TrainingStage stage = TrainingStage::finished;
    if (end == TrainingEnd::stopped) {
        const std::lock_guard lock(mutex_);
        stage = keep_ ? TrainingStage::paused : TrainingStage::stopped;
        now_.stage = stage;  // from here on stop() starts anew
        keep_ = false;
    }
    settle(stage);
}

void TrainingSession::note(const TrainingMetrics& m) {
    {
        const std::lock_guard lock(mutex_);
        now_.last = m;
        if (m.valid_bits >= 0) {
            now_.valid_bits = m.valid_bits;
            if (now_.best_valid_bits < 0 || m.valid_bits < now_.best_valid_bits) now_.best_valid_bits = m.valid_bits;
        }
    }
    work_.report(m.progress, "");
}

void TrainingSession::note(const TrainingState& state) {
    const double fraction = run_->trainer().progress();
    {
        const std::lock_guard lock(mutex_);
        now_.step = state.step;
        now_.tokens = state.tokens;
        now_.seconds = state.seconds;
        now_.fraction = fraction;
        now_.seconds_left = fraction > 0 ? state.seconds * (1 - fraction) / fraction : -1;
    }
    // A small network takes many steps a second; nobody reads them all.
    const double time = steady_seconds();
    if (time - last_wake_ < 1 / steps_shown_per_second) return;
    last_wake_ = time;
    work_.report(fraction, "");
}

}  // namespace nigiri::studio
