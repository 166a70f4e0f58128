// nigiri train: a folder of audio in, a run folder with a trained model out.
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/config_options.h"
#include "app/data_source.h"
#include "app/model_file.h"
#include "app/text.h"
#include "audio/baseline.h"

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
        options_.declare(c, /*training=*/true);
    }

    int run() override {
        read_head();
        if (data_.empty()) throw Error("train needs audio", "give --data FOLDER");
        const Config config = make_config();
        ProgressLine line(common.quiet);

        const Dataset data = Dataset::load(
            data_, data_options(config.signal, config.training.seed, files_, common.threads), show_progress(line));
        line.finish();
        describe(data);
        const auto backend = open_backend();
        check_memory(backend, config);

        DatasetSource source(data, config.training);
        Trainer trainer(backend, config, run_, source, facts(data));
        if (!fs::exists(run_ / "config.toml") || !trainer.resumed()) write_config(config);
        say("network: " + layer_name(config.model) + ", " +
            thousands(static_cast<double>(trainer.network().parameters().count())) + "parameters, batches of " +
            std::to_string(config.training.batch) + " x " + std::to_string(config.training.length) + " in " +
            name_of(trainer.network().activations()));
        if (trainer.resumed())
            say("going on with " + run_.string() + " at step " + std::to_string(trainer.state().step));

        const TrainingEnd end = trainer.run(stop_requested(), callbacks(line, config));
        line.finish();
        report(trainer, end);
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
        }
    }

    Config make_config() {
        Config config = options_.make();
        if (run_.empty()) {
            std::string name = parser()->get_option("--preset")->as<std::string>() + "-" + layer_name(config.model);
            for (char& c : name)
                if (c == '/' || c == ' ') c = '-';
            run_ = fs::path("runs") / name;
        }
        // An existing run keeps its configuration; what is given on top may change its limits, not its model.
        const fs::path last = run_ / "checkpoints" / "last.safetensors";
        if (fs::exists(last)) {
            const Config before = Checkpoint::read(last).config();
            if (!options_.names_model()) config = options_.apply(before);
        }
        if (parser()->get_option("--seed")->count() > 0) config.training.seed = common.seed;
        if (config.training.steps == 0 && config.training.minutes == 0 &&
            parser()->get_option("--minutes")->count() == 0 && parser()->get_option("--steps")->count() == 0)
            config.training.minutes = default_minutes;
        validate(config);
        return config;
    }

    void describe(const Dataset& data) {
        const ScanReport& report = data.report();
        for (const FileReport& file : report.files)
            if (!file.used()) say("skipped " + file.name + ": " + file.reason);
        for (const std::string& note : report.notes) say(note);
        say("audio: train " + duration(data.seconds(Split::train)) + ", valid " + duration(data.seconds(Split::valid)) +
            ", test " + duration(data.seconds(Split::test)));
        if (data.samples(Split::valid) == 0) return;
        for (int order = 0; order < 2; ++order)
            baseline_[order] = ContextModel::fit(data, Split::train, order).bits_per_sample(data, Split::valid);
        say("for scale, bits per sample on the validation audio: " + fixed(baseline_[0], 3) +
            " with one distribution for all samples (order 0), " + fixed(baseline_[1], 3) +
            " given the previous sample (order 1)");
    }

    void check_memory(const std::shared_ptr<Backend>& backend, const Config& config) {
        const auto needed = static_cast<double>(estimate_training_bytes(backend, config));
        const auto available = static_cast<double>(backend->available_bytes());
        say("memory: about " + bytes_text(needed) + " for training" +
            (available > 0 ? ", " + bytes_text(available) + " available" : ""));
        if (available > 0 && needed > available)
            throw Error("training needs about " + bytes_text(needed) + " of memory, " + bytes_text(available) +
                            " are available",
                        "use a smaller --batch or --length, or a smaller --preset");
    }

    ModelFacts facts(const Dataset& data) const {
        return {{"data", fs::weakly_canonical(data_).filename().string()},
                {"train_seconds", fixed(data.seconds(Split::train), 1)},
                {"train_files", std::to_string(data.recordings(Split::train).size())}};
    }

    void write_config(const Config& config) const {
        std::vector<Assignment> head = {{"data", fs::absolute(data_).string()}};
        if (!files_.empty()) head.emplace_back("files", fs::absolute(files_).string());
        const fs::path path = run_ / "config.toml", temporary = run_ / "config.toml.tmp";
        {
            std::ofstream out(temporary, std::ios::trunc);
            out << to_toml(config, head);
            if (!out.flush()) throw Error("cannot write " + path.string(), "check the free space");
        }
        fs::rename(temporary, path);
    }

    TrainingCallbacks callbacks(ProgressLine& line, const Config& config) {
        TrainingCallbacks c;
        c.log = [&line](const TrainingMetrics& m) {
            std::string text = "step " + std::to_string(m.step) + "  " + fixed(m.train_bits, 3) + " bits";
            if (m.valid_bits >= 0) text += "  valid " + fixed(m.valid_bits, 3);
            text += "  rate " + fixed(m.learning_rate * 1e3, 2) + "e-3  norm " + fixed(m.gradient_norm, 2) + "  " +
                    thousands(m.tokens_per_second) + "tokens/s";
            if (m.remaining_seconds >= 0) text += "  " + duration(m.remaining_seconds) + " left";
            line.show(text, m.valid_bits >= 0);
            if (m.valid_bits >= 0) line.finish();
        };
        c.preview = [this, config](int64_t step, const Network& network) {
            write_preview(network, config, run_ / "previews" / (std::to_string(step) + ".flac"), stop_requested());
        };
        return c;
    }

    void report(const Trainer& trainer, TrainingEnd end) {
        const TrainingState& state = trainer.state();
        const double valid = state.valid_bits;
        say(std::string(end == TrainingEnd::finished ? "finished" : "stopped and saved") + " at step " +
            std::to_string(state.step) + " after " + duration(state.seconds) +
            (valid >= 0 ? ", validation " + fixed(valid, 3) + " bits per sample" : ""));
        if (valid >= 0 && baseline_[0] > 0)
            say("beside it: order 0 " + fixed(baseline_[0], 3) + ", order 1 " + fixed(baseline_[1], 3));
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
        if (valid >= 0) out["order0_bits_per_sample"] = baseline_[0], out["order1_bits_per_sample"] = baseline_[1];
        print_json(out);
    }

    fs::path data_, run_, files_;
    ConfigOptions options_;
    double baseline_[2] = {0, 0};
};

}  // namespace

std::unique_ptr<Command> make_train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace nigiri::app
