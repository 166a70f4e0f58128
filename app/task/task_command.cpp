// nigiri task: the synthetic tasks of the Mamba paper, trained and measured at every length.
#include <chrono>
#include <nlohmann/json.hpp>
#include <numbers>

#include "app/command.h"
#include "app/task/accuracy.h"
#include "app/task/task_run.h"
#include "app/text.h"
#include "app/write_file.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

class TaskCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "task",
                          "train on a synthetic task and measure it at every length; goes on with a run that exists");
        c.add_option("task", name_, "selective-copying or induction-heads")
            ->required()
            ->check(CLI::IsMember({"selective-copying", "induction-heads"}));
        c.add_option("--block", block_, "plain (no gate), h3 or mamba")->check(CLI::IsMember({"plain", "h3", "mamba"}));
        c.add_option("--layer", layer_, "sequence layer in it: s4, s6, hyena or attention")
            ->check(CLI::IsMember({"s4", "s6", "hyena", "attention"}));
        c.add_option("--run", run_, "run folder; default runs/TASK-BLOCK-LAYER");
        c.add_option("--minutes", minutes_, "minutes of training in this call, 0 for no limit; a later call goes on")
            ->check(CLI::Range(0.0, 1e6));
        c.add_option("--test-lengths", lengths_,
                     "lengths to measure, with commas; default: powers of two to 2^20 (induction heads)")
            ->delimiter(',');
        c.add_option("--test-sequences", sequences_, "sequences a length, 0 for 8 to 256")
            ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
        c.add_option("--measure", measured_,
                     "the network after the last step, or the one with the lowest held-out loss")
            ->check(CLI::IsMember({"last", "best"}));
        const auto own = [&](const std::string& flag, auto& value, const std::string& help) {
            c.add_option(flag, value, help)->default_str("the published one")->group("Setting");
        };
        own("--length", length_, "tokens a sequence; selective copying: before the markers");
        own("--vocabulary", vocabulary_, "tokens there are, noise and markers included");
        own("--data-tokens", data_tokens_, "selective copying: tokens to be copied");
        own("--width", width_, "width of the network");
        own("--layers", layer_count_, "its layers");
        own("--state", state_, "state size N of S4 and S6");
        own("--steps", steps_, "steps to train, over all calls");
        own("--batch", batch_, "sequences a step");
        own("--learning-rate", rate_, "the learning rate, or with --schedule cosine the highest one");
        c.add_option("--schedule", schedule_, "constant (the published one), or cosine: falls until the last step")
            ->check(CLI::IsMember({"constant", "cosine"}))
            ->group("Setting");
        own("--precision", precision_, "f32, or bf16 inside of layers (CUDA)");
        own("--validate-every", validate_every_, "steps between measurements while it trains");
    }

    int run() override {
        prepare();
        say(name_ + ", " + (published() ? "published setting" : "own setting") + ": " + recipe(setting_, config_));
        const Config c = task_config(published_setting(setting_.kind), config_.model.centre);
        if (!published() || c.training.steps != config_.training.steps)
            say("the published one: " + recipe(published_setting(setting_.kind), c));
        const auto backend = open_backend();
        device_ = backend->description();
        TaskData data(setting_, config_.training);
        const std::vector<Batch> validation = data.validation();
        Trainer trainer(backend, config_, run_, data, task_facts(setting_));
        say("network: " + layer_name(config_.model) + ", " + std::to_string(trainer.network().parameters().count()) +
            " parameters; guessing is right " + percent(setting_.chance()) + " of the time");
        if (trainer.resumed())
            say("going on with " + run_.string() + " at step " + std::to_string(trainer.state().step));
        const TrainingEnd end = train(trainer, validation);
        if (stop_requested()) return report(trainer, end, {});
        const auto network = Checkpoint::read(checkpoint(trainer)).make_network(backend);
        network->set_activations(activation_type(config_.training.precision, *backend));
        return report(trainer, end, measure(*network));
    }

  private:
    // A run that exists keeps its configuration; what is given on top may change its limits, not its model.
    void prepare() {
        const TaskKind kind = task_by_name(name_);
        const std::string layer = task_layer(block_, layer_);
        if (run_.empty()) run_ = fs::path("runs") / (name_ + "-" + block_ + "-" + layer_);
        const auto before = task_of_run(run_);
        if (before && before->setting.kind != kind)
            throw Error(run_.string() + " holds a run of " + to_string(before->setting.kind), "choose another --run");
        setting_ = before ? before->setting : published_setting(kind);
        setting_.length = length_.value_or(setting_.length);
        setting_.vocabulary = vocabulary_.value_or(setting_.vocabulary);
        setting_.data_tokens = data_tokens_.value_or(setting_.data_tokens);
        validate(setting_);
        if (before && setting_ != before->setting)
            throw Error(run_.string() + " holds a run with " + describe(before->setting),
                        "choose another --run, or leave out the options of the setting");
        config_ = before ? before->config : task_config(setting_, layer_by_name(layer));
        if (before && (parser()->get_option("--block")->count() > 0 || parser()->get_option("--layer")->count() > 0))
            config_.model.outer = config_.model.centre = layer_by_name(layer);
        config_.model.width = width_.value_or(config_.model.width);
        config_.model.layers = layer_count_.value_or(config_.model.layers);
        if (state_) config_.model.outer.ssm.state = config_.model.centre.ssm.state = *state_;
        TrainingConfig& t = config_.training;
        t.steps = steps_.value_or(t.steps);
        t.batch = batch_.value_or(t.batch);
        t.learning_rate = t.state_space_rate = rate_.value_or(t.learning_rate);
        if (!schedule_.empty()) t.schedule = schedule_ == "cosine" ? Schedule::cosine : Schedule::constant;
        t.validate_every = validate_every_.value_or(t.validate_every);
        if (precision_) t.precision = precision_by_name(*precision_);
        if (!before || parser()->get_option("--seed")->count() > 0) t.seed = common.seed;
        nigiri::validate(config_);
        for (const int64_t length : lengths_) validate(setting_.with_length(length));
    }

    // The task, the network's size and the recipe; more or fewer steps are said beside the result.
    bool published() const {
        Config c = task_config(published_setting(setting_.kind), config_.model.centre);
        c.training.steps = config_.training.steps, c.training.seed = config_.training.seed;
        c.training.validate_every = config_.training.validate_every;
        const std::vector<std::string>& names = layer_names();
        return setting_ == published_setting(setting_.kind) && c == config_ &&
               std::find(names.begin(), names.end(), layer_name(config_.model)) != names.end();
    }

    TrainingEnd train(Trainer& trainer, const std::vector<Batch>& validation) {
        ProgressLine line(common.quiet);
        std::atomic<bool> stop{false};
        const auto started = std::chrono::steady_clock::now();
        TrainingCallbacks callbacks;
        callbacks.step = [&](const TrainingState&) {
            const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
            if (stop_requested() || (minutes_ > 0 && spent.count() >= 60 * minutes_)) stop.store(true);
        };
        callbacks.log = [&](const TrainingMetrics& m) {
            if (m.valid_bits >= 0) {
                trained_ = TaskResult{};
                for (const Batch& batch : validation) count_answers(trainer.network(), batch, trained_);
            }
            std::string text = "step " + std::to_string(m.step) + " of " + std::to_string(config_.training.steps) +
                               "  loss " + fixed(m.train_bits * std::numbers::ln2, 4);
            if (trained_.answers > 0) text += "  right " + percent(trained_.accuracy());
            text += "  " + thousands(m.tokens_per_second) + "tokens/s";
            if (m.remaining_seconds >= 0) text += "  " + duration(m.remaining_seconds) + " left";
            line.show(text, m.valid_bits >= 0);
            if (m.valid_bits >= 0) line.finish();
        };
        if (stop_requested()) stop.store(true);
        const TrainingEnd end = trainer.run(stop, callbacks);
        line.finish();
        if (!trainer.note().empty()) say("note: " + trainer.note());
        return end;
    }

    std::vector<TaskResult> measure(const Network& network) {
        ProgressLine line(common.quiet);
        std::vector<TaskResult> results;
        const auto lengths = lengths_.empty() ? test_lengths(setting_, config_.model.centre) : lengths_;
        if (lengths_.empty() && lengths.size() > 1 && remembers_all(config_.model.centre.ssm.kind))
            say("no lengths beyond " + std::to_string(lengths.back()) +
                ": the layer remembers every token; --test-lengths measures them");
        for (const int64_t length : lengths) {
            const TaskSetting setting = setting_.with_length(length);
            const auto total =
                static_cast<double>(test_sequence_count(config_.model, setting, sequences_) * setting.sequence());
            const auto result = measure_task(network, setting, sequences_, config_.training.seed, [&](int64_t tokens) {
                line.show("length " + std::to_string(length) + ": " +
                          fixed(100 * static_cast<double>(tokens) / total, 0) + " %");
                return !stop_requested().load();
            });
            if (!result) break;
            results.push_back(*result);
        }
        line.finish();
        return results;
    }

    int report(const Trainer& trainer, TrainingEnd end, const std::vector<TaskResult>& results) {
        const TrainingState& state = trainer.state();
        const bool finished = end == TrainingEnd::finished;
        say(std::string(finished ? "finished" : "stopped and saved") + " at step " + std::to_string(state.step) +
            " of " + std::to_string(config_.training.steps) + " after " + duration(state.seconds));
        json table = json::array();
        if (!results.empty()) say("  length  sequences   right");
        for (const TaskResult& r : results) {
            const auto column = [](const std::string& text, size_t width) {
                return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
            };
            say(column(std::to_string(r.length), 8) + column(std::to_string(r.sequences), 11) +
                column(percent(r.accuracy()), 10));
            table.push_back({{"length", r.length},
                             {"sequences", r.sequences},
                             {"answers", r.answers},
                             {"right", r.right},
                             {"accuracy", r.accuracy()}});
        }
        say("model: " + checkpoint(trainer).string());
        if (!finished) say("the same command goes on from here");
        const json out = {{"task", name_},
                          {"published_setting", published()},
                          {"vocabulary", setting_.vocabulary},
                          {"length", setting_.length},
                          {"data_tokens", setting_.answers()},
                          {"layer", layer_name(config_.model)},
                          {"width", config_.model.width},
                          {"layers", config_.model.layers},
                          {"parameters", trainer.network().parameters().count()},
                          {"batch", config_.training.batch},
                          {"learning_rate", config_.training.learning_rate},
                          {"schedule", to_string(config_.training.schedule)},
                          {"seed", config_.training.seed},
                          {"steps", state.step},
                          {"planned_steps", config_.training.steps},
                          {"measured", measured_},
                          {"best_step", state.best_step},
                          {"tokens", state.tokens},
                          {"seconds", state.seconds},
                          {"device", device_},
                          {"finished", finished},
                          {"chance", setting_.chance()},
                          {"loss", state.train_bits * std::numbers::ln2},
                          {"accuracy", table},
                          {"checkpoint", checkpoint(trainer).string()}};
        write_file(run_ / "task.json", out.dump(2) + "\n");
        print_json(out);
        return 0;
    }

    fs::path checkpoint(const Trainer& trainer) const {
        return measured_ == "best" ? trainer.best_checkpoint() : trainer.last_checkpoint();
    }

    static std::string recipe(const TaskSetting& setting, const Config& c) {
        char rate[32];
        std::snprintf(rate, sizeof rate, "%g", c.training.learning_rate);
        return describe(setting) + "; width " + std::to_string(c.model.width) + ", " + std::to_string(c.model.layers) +
               " layers, batch " + std::to_string(c.training.batch) + ", rate " + rate +
               (c.training.schedule == Schedule::constant ? "" : ", " + to_string(c.training.schedule)) + ", " +
               std::to_string(c.training.steps) + " steps";
    }

    std::string name_, block_ = "mamba", layer_ = "s6", measured_ = "last", schedule_, device_;
    fs::path run_;
    double minutes_ = 0;
    int64_t sequences_ = 0;
    std::vector<int64_t> lengths_;
    std::optional<int64_t> length_, vocabulary_, data_tokens_, width_, layer_count_, state_, steps_, batch_,
        validate_every_;
    std::optional<double> rate_;
    std::optional<std::string> precision_;
    TaskSetting setting_;
    Config config_;
    TaskResult trained_;  // on the validation sequences
};

}  // namespace

std::unique_ptr<Command> make_task_command() { return std::make_unique<TaskCommand>(); }

}  // namespace nigiri::app
