#include "model/trainer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernels/clock.h"

namespace nigiri {

namespace fs = std::filesystem;
using nlohmann::json;

// Holds the run's folder: two processes writing one run would destroy it. Released by the system when the process ends.
class RunLock {
  public:
    explicit RunLock(const fs::path& run) {
        const fs::path path = run / ".lock";
        file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (file_ < 0)
            throw Error("cannot write in " + run.string() + ": " + std::strerror(errno), "choose another --run");
        if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
            ::close(file_);
            throw Error("another process is training in " + run.string(), "stop it first, or choose another --run");
        }
    }
    ~RunLock() { ::close(file_); }
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

  private:
    int file_;
};

std::string to_json(const TrainingMetrics& m) {
    json out = {{"step", m.step},
                {"tokens", m.tokens},
                {"train_bits_per_sample", m.train_bits},
                {"learning_rate", m.learning_rate},
                {"gradient_norm", m.gradient_norm},
                {"tokens_per_second", m.tokens_per_second},
                {"seconds", m.seconds}};
    if (m.valid_bits >= 0) out["valid_bits_per_sample"] = m.valid_bits;
    return out.dump();
}

Trainer::~Trainer() = default;

Trainer::Trainer(std::shared_ptr<Backend> backend, const Config& config, const fs::path& run, TrainingData& data,
                 ModelFacts facts)
    : backend_(std::move(backend)), config_(config), run_(run), data_(data), facts_(std::move(facts)) {
    nigiri::validate(config_);
    std::error_code code;
    fs::create_directories(run_ / "checkpoints", code);
    if (code)
        throw Error("cannot create " + (run_ / "checkpoints").string() + ": " + code.message(), "choose another --run");
    lock_ = std::make_unique<RunLock>(run_);
    network_ =
        std::make_unique<Network>(backend_, config_.model, DType::f32, config_.training.seed, config_.training.length);
    network_->set_activations(activation_type(config_.training.precision, *backend_));
    network_->set_recompute(config_.training.recompute);
    network_->set_recompute_cheap(config_.training.recompute_cheap);
    optimizer_ = std::make_unique<Optimizer>(network_->parameters(), config_.training);
    step_ = std::make_unique<TrainingStep>(*network_, *optimizer_, config_.training.graph);
    if (fs::exists(last_checkpoint())) {
        const Checkpoint checkpoint = Checkpoint::read(last_checkpoint());
        if (!(checkpoint.config().model == config_.model) || !(checkpoint.config().signal == config_.signal))
            throw Error(run_.string() + " holds a run of another model (" + layer_name(checkpoint.config().model) + ")",
                        "choose another --run, or leave out the model's options to go on with it");
        checkpoint.restore(*network_);
        checkpoint.restore(*optimizer_, network_->parameters());
        state_ = checkpoint.state();
        resumed_ = true;
        saved_step_ = state_.step;
    }
    validation_ = data_.validation();
    open_metrics();
}

void Trainer::begin_with(const Checkpoint& model) {
    if (state_.step > 0) throw Error(run_.string() + " has begun already", "choose another --run");
    if (!(model.config().model == config_.model) || !(model.config().signal == config_.signal))
        throw Error("this run's network is not the one of the model it is to begin with (" +
                        layer_name(model.config().model) + ")",
                    "leave out the model's options");
    model.restore(*network_);
}

// Lines after the last checkpoint were written by a session that was cut off; their steps are about to be repeated.
void Trainer::open_metrics() {
    const fs::path path = run_ / "metrics.jsonl";
    if (!fs::exists(path)) return;
    std::ifstream in(path);
    std::string kept, line;
    bool dropped = false;
    while (std::getline(in, line)) {
        const json j = json::parse(line, nullptr, false);
        const bool keep = j.is_object() && j.contains("step") && j["step"].is_number_integer() &&
                          j["step"].get<int64_t>() <= state_.step;
        if (keep)
            kept += line + "\n";
        else
            dropped = true;
    }
    in.close();
    if (!dropped) return;
    const fs::path temporary = run_ / "metrics.jsonl.tmp";
    {
        std::ofstream out(temporary, std::ios::trunc);
        out << kept;
        if (!out.flush()) {
            std::error_code ignored;
            fs::remove(temporary, ignored);
            throw Error("cannot write " + temporary.string(), "check the free space");
        }
    }
    fs::rename(temporary, path);
}

double Trainer::progress() const {
    const TrainingConfig& t = config_.training;
    double share = 0;
    if (t.steps > 0) share = std::max(share, static_cast<double>(state_.step) / static_cast<double>(t.steps));
    if (t.minutes > 0) share = std::max(share, state_.seconds / (60 * t.minutes));
    return std::min(share, 1.0);
}

bool Trainer::finished() const {
    const TrainingConfig& t = config_.training;
    return (t.steps > 0 && state_.step >= t.steps) || (t.minutes > 0 && state_.seconds >= 60 * t.minutes);
}

double Trainer::schedule_factor() const {
    const TrainingConfig& t = config_.training;
    switch (t.schedule) {
        case Schedule::constant:
            return 1;
        case Schedule::plateau:
            return state_.plateau.factor;
        case Schedule::cosine:
            break;
    }
    // The update under way is number step + 1; by time, the first updates must move too.
    double share = progress();
    if (t.steps > 0) share = std::max(share, static_cast<double>(state_.step + 1) / static_cast<double>(t.steps));
    if (t.steps == 0 && t.minutes == 0)
        return std::min(1.0, static_cast<double>(state_.step + 1) / 100);  // endless: warm up only
    return std::max(cosine_factor(t, share), share < t.warmup ? 1e-3 : 0.0);
}

double Trainer::update(const Batch& batch) {
    const StepResult result = step_->run(batch, schedule_factor());
    gradient_norm_ = result.gradient_norm;
    ++state_.step;
    state_.tokens += batch.batch * batch.length;
    return result.nats / std::numbers::ln2;
}

double Trainer::validate() {
    double bits = 0;
    int64_t samples = 0;
    for (const Batch& batch : validation_) {
        DeviceBatch device(*network_, batch);
        device.upload(batch);
        Tape tape(*backend_, false);
        const Tensor logits = network_->forward(tape, device.tokens).value;
        const Tensor losses = backend_->allocate({logits.rows()}, network_->dtype());
        backend_->cross_entropy({.logits = logits, .targets = device.targets, .losses = losses, .dlogits = {}});
        bits += backend_->sum(losses) / std::numbers::ln2;
        samples += device.counted;
    }
    return samples > 0 ? bits / static_cast<double>(samples) : -1;
}

void Trainer::save(const fs::path& path, const TrainingCallbacks& callbacks, bool best) {
    save_checkpoint(path, config_, *network_, optimizer_.get(), state_, facts_);
    if (best)
        best_unsaved_ = false;
    else
        saved_step_ = state_.step;
    if (callbacks.checkpoint) callbacks.checkpoint(state_.step, path, best);
}

void Trainer::log(const TrainingCallbacks& callbacks, bool validated) {
    TrainingMetrics m;
    m.step = state_.step;
    m.tokens = state_.tokens;
    if (state_.bits_steps > 0) state_.train_bits = state_.bits_sum / static_cast<double>(state_.bits_steps);
    m.train_bits = state_.train_bits;
    if (validated) m.valid_bits = state_.valid_bits;
    m.learning_rate = config_.training.learning_rate * schedule_factor();
    m.gradient_norm = gradient_norm_;
    const double seconds = state_.seconds - state_.log_seconds;
    m.tokens_per_second = seconds > 0 ? static_cast<double>(state_.tokens - state_.log_tokens) / seconds : 0;
    m.seconds = state_.seconds;
    m.progress = progress();
    if (m.progress > 0) m.remaining_seconds = state_.seconds * (1 - m.progress) / m.progress;
    state_.bits_sum = 0;
    state_.bits_steps = 0;
    state_.log_seconds = state_.seconds;
    state_.log_tokens = state_.tokens;
    unlogged_ += to_json(m) + "\n";
    write_log();
    if (callbacks.log) callbacks.log(m);
}

// All of what is due or nothing: half a line would spoil the one that comes after it.
void Trainer::write_log() {
    if (unlogged_.empty()) return;
    const fs::path path = run_ / "metrics.jsonl";
    std::error_code code, ignored;
    const uintmax_t before = fs::exists(path, ignored) ? fs::file_size(path, code) : 0;
    std::ofstream out(path, std::ios::app);
    out << unlogged_;
    if (!out.flush()) {
        out.close();  // which tries again to write what is left
        if (!code) fs::resize_file(path, before, ignored);
        throw Error("cannot write " + path.string(), "check the free space");
    }
    unlogged_.clear();
}

TrainingEnd Trainer::run(const std::atomic<bool>& stop, const TrainingCallbacks& callbacks) {
    const TrainingConfig& t = config_.training;
    const auto due = [&](int64_t every) { return every > 0 && state_.step % every == 0; };
    seconds_before_ = state_.seconds;
    started_ = steady_seconds();
    const auto clock = [&] { state_.seconds = seconds_before_ + steady_seconds() - started_; };
    // The next batch is drawn while this one trains; it depends on its step only.
    const auto draw = [&](int64_t step) {
        return std::async(std::launch::async, [this, &t, step] {
            Batch batch;
            data_.draw(t.seed, step, batch);
            return batch;
        });
    };
    std::future<Batch> next;
    bool ended = finished();
    if (!ended && !stop.load()) {  // what an earlier call could not write; the network is still what it was then
        if (best_unsaved_) save(best_checkpoint(), callbacks, true);
        write_log();
    }
    while (!ended && !stop.load()) {
        if (!next.valid()) next = draw(state_.step);
        const Batch batch = next.get();
        next = draw(state_.step + 1);
        const double bits = update(batch);
        clock();
        if (callbacks.step) callbacks.step(state_);
        ended = finished();
        state_.bits_sum += bits;
        ++state_.bits_steps;
        // The end is validated too, so that the result is known and the best checkpoint exists.
        const bool validated = (due(t.validate_every) || ended) && !validation_.empty();
        if (validated) {
            state_.valid_bits = validate();
            if (due(t.validate_every)) state_.plateau.observe(t, state_.valid_bits);
            if (state_.valid_bits < state_.best_valid_bits) {
                state_.best_valid_bits = state_.valid_bits;
                state_.best_step = state_.step;
                best_unsaved_ = true;
            }
            clock();
        }
        if (due(t.log_every) || validated) log(callbacks, validated);
        if (best_unsaved_) save(best_checkpoint(), callbacks, true);
        if (due(t.checkpoint_every)) save(last_checkpoint(), callbacks, false);
        if (due(t.preview_every) && callbacks.preview) {  // generated as a finished model generates
            const DType activations = network_->activations();
            network_->set_activations(network_->dtype());
            callbacks.preview(state_.step, *network_);
            network_->set_activations(activations);
        }
    }
    if (state_.step != saved_step_ || !fs::exists(last_checkpoint())) save(last_checkpoint(), callbacks, false);
    if (best_unsaved_ || !fs::exists(best_checkpoint())) save(best_checkpoint(), callbacks, true);
    write_log();
    return ended ? TrainingEnd::finished : TrainingEnd::stopped;
}

}  // namespace nigiri
