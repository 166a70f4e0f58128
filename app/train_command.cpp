// nigiri train: a folder of audio in, a run folder with a trained model out.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/config_options.h"
#include "app/text.h"
#include "app/training_run.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double default_minutes = 10;

class TrainCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "train", "train a model on a folder of audio; goes on with a run that exists");
        c.add_option("--data", data_, "folder of audio, or one made by nigiri prepare");
        c.add_option("--run", run_, "run folder; default runs/PRESET-LAYER");
        c.add_option("--files", files_, "text file that names the training files to keep");
        c.add_option(
            "--from", from_,
            "model whose weights a new run begins with, e.g. one of assets/models; a quarter of the preset's rates");
        options_.declare(c, /*training=*/true);
    }

    int run() override {
        read_head();
        if (data_.empty()) throw Error("train needs audio", "give --data FOLDER");
        const Config config = make_config();
        ProgressLine line(common.quiet);
        TrainingRun run(
            {.data = data_, .files = files_, .run = run_, .from = from_, .config = config, .threads = common.threads});
        run.load(show_progress(line));
        line.finish();
        describe(run);
        run.open(open_backend());
        const MemoryNeed& memory = run.memory();
        say("memory: about " + bytes_text(memory.needed) + " for training" +
            (memory.available > 0 ? ", " + bytes_text(memory.available) + " available" : ""));
        const Network& network = run.trainer().network();
        say("network: " + layer_name(config.model) + ", " +
            thousands(static_cast<double>(network.parameters().count())) + "parameters, batches of " +
            std::to_string(config.training.batch) + " x " + std::to_string(config.training.length) + " in " +
            name_of(network.activations()));
        if (run.trainer().resumed())
            say("going on with " + run_.string() + " at step " + std::to_string(run.trainer().state().step));

        std::string said;
        const TrainingEnd end = run.run(stop_requested(), [&](const TrainingMetrics& m) {
            if (const std::string& note = run.trainer().note(); note != said) {
                line.finish();
                say("note: " + note);
                said = note;
            }
            show(line, m);
        });
        line.finish();
        report(run.trainer(), end);
        return 0;
    }

  private:
    // What config.toml says besides the configuration: the data. Options on the command line win.
    void read_head() {
        const CLI::Option* config = parser()->get_option("--config");
        if (config->count() == 0) return;
        for (const auto& [key, value] : read_toml(config->as<std::string>())) {
            if (key == "data" && data_.empty()) data_ = value;
            if (key == "files" && files_.empty()) files_ = value;
            if (key == "from" && from_.empty()) from_ = value;
        }
    }

    Config make_config() {
        Config config = options_.make();
        if (run_.empty())
            run_ = fs::path("runs") / (from_.empty()
                                           ? run_name(parser()->get_option("--preset")->as<std::string>(), config.model)
                                           : tuned_name(from_));
        // An existing run keeps its configuration; what is given on top may change its limits, not its model. The model
        // that it began with is not needed any more.
        const auto before = config_of_run(run_);
        if (before && !options_.names_model())
            config = options_.apply(*before);
        else if (!before && !from_.empty())
            config = config_from_model();
        if (parser()->get_option("--seed")->count() > 0) config.training.seed = common.seed;
        if (config.training.steps == 0 && config.training.minutes == 0 &&
            parser()->get_option("--minutes")->count() == 0 && parser()->get_option("--steps")->count() == 0)
            config.training.minutes = default_minutes;
        return config;
    }

    // The network is the model's; how it is trained comes from the preset and the options, as without --from, but for
    // the rates where none are given.
    Config config_from_model() const {
        Config config = tuned_config(options_.make(), from_);
        TrainingConfig& t = config.training;
        if (!options_.gives("training.learning_rate")) t.learning_rate *= tuning_rate;
        if (!options_.gives("training.state_space_rate")) t.state_space_rate *= tuning_rate;
        if (options_.names_model() && !(options_.apply(config).model == config.model))
            throw Error("the network of " + from_.string() + " is not the one of the options given",
                        "leave out the model's options");
        return config;
    }

    void describe(TrainingRun& run) {
        const ScanReport& report = run.data().report();
        for (const FileReport& file : report.files)
            if (!file.used()) say("skipped " + file.name + ": " + file.reason);
        for (const std::string& note : report.notes) say(note);
        say("audio: train " + duration(report.seconds(Split::train)) + ", valid " +
            duration(report.seconds(Split::valid)) + ", test " + duration(report.seconds(Split::test)));
        baseline_ = run.baseline();
        if (!baseline_) return;
        say("for scale, bits per sample on the validation audio: " + fixed(baseline_->order0, 3) +
            " with one distribution for all samples (order 0), " + fixed(baseline_->order1, 3) +
            " given the previous sample (order 1)");
    }

    static void show(ProgressLine& line, const TrainingMetrics& m) {
        std::string text = "step " + std::to_string(m.step) + "  " + fixed(m.train_bits, 3) + " bits";
        if (m.valid_bits >= 0) text += "  valid " + fixed(m.valid_bits, 3);
        text += "  rate " + fixed(m.learning_rate * 1e3, 2) + "e-3  norm " + fixed(m.gradient_norm, 2) + "  " +
                thousands(m.tokens_per_second) + "tokens/s";
        if (m.remaining_seconds >= 0) text += "  " + duration(m.remaining_seconds) + " left";
        line.show(text, m.valid_bits >= 0);
        if (m.valid_bits >= 0) line.finish();
    }

    void report(const Trainer& trainer, TrainingEnd end) {
        const TrainingState& state = trainer.state();
        const double valid = state.valid_bits;
        say(std::string(end == TrainingEnd::finished ? "finished" : "stopped and saved") + " at step " +
            std::to_string(state.step) + " after " + duration(state.seconds) +
            (valid >= 0 ? ", validation " + fixed(valid, 3) + " bits per sample" : ""));
        if (valid >= 0 && baseline_)
            say("beside it: order 0 " + fixed(baseline_->order0, 3) + ", order 1 " + fixed(baseline_->order1, 3));
        say("model: " + trainer.best_checkpoint().string());
        if (end == TrainingEnd::stopped) say("the same command goes on from here");
        json out = {{"steps", state.step},
                    {"tokens", state.tokens},
                    {"seconds", state.seconds},
                    {"tokens_per_second", state.seconds > 0 ? static_cast<double>(state.tokens) / state.seconds : 0.0},
                    {"train_bits_per_sample", state.train_bits},
                    {"valid_bits_per_sample", valid >= 0 ? json(valid) : json(nullptr)},
                    {"checkpoint", trainer.best_checkpoint().string()},
                    {"last_checkpoint", trainer.last_checkpoint().string()},
                    {"finished", end == TrainingEnd::finished}};
        if (valid >= 0 && baseline_)
            out["order0_bits_per_sample"] = baseline_->order0, out["order1_bits_per_sample"] = baseline_->order1;
        print_json(out);
    }

    fs::path data_, run_, files_, from_;
    ConfigOptions options_;
    std::optional<Baseline> baseline_;
};

}  // namespace

std::unique_ptr<Command> make_train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace nigiri::app
