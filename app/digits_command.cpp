// nigiri digits prepare|train-classifier|score: spoken digits as data, who hears them, and how well models say them.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/digits/classifier_training.h"
#include "app/digits/digits_report.h"
#include "app/digits/front_end.h"
#include "app/generation_setup.h"
#include "app/text.h"
#include "model/classifier_file.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string others_left_out(int64_t others) {
    return others > 0 ? "; " + std::to_string(others) + " sound files name no digit and were left out" : std::string();
}

class PrepareDigits final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "prepare", "write spoken digits as clips of exactly one second, to train models on");
        c.add_option("folder", folder_,
                     "spoken digits: train, valid, test with 7_name_0.wav or folders zero to nine in "
                     "them, or Speech Commands with its two lists")
            ->required();
        c.add_option("-o,--output", output_, "folder to make")->required();
    }

    int run() override {
        ProgressLine line(common.quiet);
        const PreparedDigits done = prepare_digits(folder_, output_, common.threads, show_progress(line));
        line.finish();
        for (const std::string& s : done.skipped) say("left out: " + s);
        say(std::to_string(done.written[0]) + " clips to train, " + std::to_string(done.written[1]) + " to validate, " +
            std::to_string(done.written[2]) + " to test" + others_left_out(done.others));
        say("next: nigiri train --data " + output_.string() + " --length " + std::to_string(digit_samples));
        print_json({{"output", output_.string()},
                    {"train", done.written[0]},
                    {"valid", done.written[1]},
                    {"test", done.written[2]},
                    {"skipped", done.skipped},
                    {"others", done.others}});
        return 0;
    }

  private:
    fs::path folder_, output_;
};

class TrainClassifier final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "train-classifier", "train the classifier that judges digits");
        auto& o = options_;
        c.add_option("--data", data_, "spoken digits, as for prepare")->required();
        c.add_option("-o,--output", output_, "the classifier's file, NAME.safetensors")->required();
        c.add_option("--epochs", o.epochs, "how often the training clips are heard")->check(CLI::Range(0.01, 1e4));
        c.add_option("--batch", o.batch, "clips a step")->check(CLI::Range(1, 4096));
        c.add_option("--rate", o.rate, "learning rate at its peak")->check(CLI::Range(1e-7, 1.0));
        c.add_option("--smoothing", o.smoothing,
                     "probability that is taken from the right digit and given to all alike")
            ->check(CLI::Range(0.0, 0.9));
        c.add_option("--layers", o.network.model.layers, "blocks")->check(CLI::Range(1, 64));
        c.add_option("--width", o.network.model.width, "channels of a block")->check(CLI::Range(1, 1024));
        c.add_option("--features", o.network.features, "numbers by which sets of clips are compared")
            ->check(CLI::Range(2, 1024));
        c.add_option("--layer", layer_, "mamba-s4, mamba-s6, s4-mlp, ...; state 16");
        c.add_option("--licence", licence_, "of the recordings: kept in the file");
        c.add_flag("--replace", replace_, "write over an earlier file");
    }

    int run() override {
        std::error_code code;
        if (fs::exists(output_, code) && !replace_)
            throw Error(output_.string() + " exists already", "choose another --output, or add --replace");
        if (output_.has_parent_path() && !fs::is_directory(output_.parent_path(), code))
            throw Error("the folder " + output_.parent_path().string() + " does not exist", "make it first");
        options_.seed = common.seed;
        options_.threads = common.threads;
        options_.network.model.centre = layer_by_name(layer_);
        options_.network.model.centre.ssm.state = 16;
        ProgressLine line(common.quiet);
        const DigitSet data = read_digits(data_, common.threads, show_progress(line));
        const auto backend = open_backend();
        const auto show = [&](const ClassifierTrainingProgress& p) {
            const double share = static_cast<double>(p.step) / static_cast<double>(p.steps);
            line.show("step " + std::to_string(p.step) + " of " + std::to_string(p.steps) + "  loss " +
                      fixed(p.nats, 3) + " nats  " + duration(p.seconds * (1 - share) / share) + " left");
            return !stop_requested().load();
        };
        const ClassifierTrainingResult result = train_digit_classifier(data, backend, options_, show);
        line.finish();
        save_classifier(
            output_, *result.classifier, front_end_name,
            classifier_facts(result, options_, data, fs::weakly_canonical(data_).filename().string(), licence_));
        print(result, data);
        return 0;
    }

  private:
    void print(const ClassifierTrainingResult& result, const DigitSet& data) const {
        const auto right = [](const std::optional<double>& share) {
            return share ? fixed(100 * *share, 2) + " % right" : std::string("no clips");
        };
        for (const std::string& s : data.skipped) say("left out: " + s);
        if (data.others > 0) say(std::to_string(data.others) + " sound files name no digit and were left out");
        if (result.stopped) say("stopped early: what was learned is kept");
        say("validation: " + right(result.valid_accuracy) + "; test: " + right(result.test_accuracy) + "; " +
            std::to_string(result.steps) + " steps in " + duration(result.seconds) + ", loss " +
            fixed(result.train_nats, 3) + " nats on changed training clips, temperature " +
            fixed(result.temperature, 2));
        say("wrote " + output_.string());
        const auto share = [](const std::optional<double>& s) { return s ? json(*s) : json(); };
        print_json({{"classifier", output_.string()},
                    {"parameters", result.classifier->parameters().count()},
                    {"steps", result.steps},
                    {"seconds", result.seconds},
                    {"stopped", result.stopped},
                    {"train_nats", result.train_nats},
                    {"temperature", result.temperature},
                    {"valid_accuracy", share(result.valid_accuracy)},
                    {"test_accuracy", share(result.test_accuracy)}});
    }

    ClassifierTrainingOptions options_;
    fs::path data_, output_;
    std::string layer_ = "mamba-s4", licence_;
    bool replace_ = false;
};

class ScoreDigits final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "score", "score models of spoken digits: FID, IS, mIS, AM beside recordings");
        auto& o = options_;
        c.add_option("models", o.models, "checkpoints or run folders; none: recordings and the trivial model only");
        c.add_option("--data", o.data, "spoken digits, as for prepare")->required();
        c.add_option("--classifier", o.classifier,
                     "a file of train-classifier; its values compare only with each other");
        c.add_option("-o,--output", output_, "folder for the report, or a name ending in .html")->required();
        c.add_option("--count", o.clips.count, "clips a model; published: 10240, half of them scored")
            ->check(CLI::Range(4, 1000000));
        c.add_option("--batch", o.clips.batch, "clips side by side; finished batches are kept and not made again")
            ->check(CLI::Range(1, 65536));
        c.add_option("--temperature", o.clips.sampling.temperature, "published: 1")->check(CLI::Range(0.0, 100.0));
        c.add_option("--top-k", o.clips.sampling.top_k, "keep the k likeliest codes, 0 for all")
            ->check(CLI::Range(0, 256));
        c.add_option("--top-p", o.clips.sampling.top_p, "keep the likeliest codes that make up this probability")
            ->check(CLI::Range(1e-6, 1.0));
        c.add_option("--lower", o.lower, "share of the least likely clips that is left out")
            ->check(CLI::Range(0.0, 1.0));
        c.add_option("--upper", o.upper, "share up to which likely clips are kept")->check(CLI::Range(0.0, 1.0));
        add_weights_option(c, weights_);
        c.add_flag("--replace", replace_, "write over an earlier report");
    }

    int run() override {
        options_.clips.sampling.seed = common.seed;
        options_.clips.engine = {.weights = weight_format_by_name(weights_), .threads = std::min(common.threads, 64)};
        options_.threads = common.threads;
        const ReportFiles files = report_files(output_);
        options_.clips_folder = files.clips;
        check_output(files);
        const auto backend = open_backend();
        ProgressLine line(common.quiet);
        const DigitScoring result = score_digits(options_, backend, [&](double fraction, const std::string& what) {
            line.show(fixed(100 * fraction, 0) + " %  " + what);
            return !stop_requested().load();
        });
        line.finish();
        json object = to_json(options_, result);
        if (result.complete || !stop_requested().load()) {
            write_report(options_, result, files);
            object["files"] = {files.html.string(), files.markdown.string(), files.json.string()};
        }
        print(result, files);
        for (const DigitRow& r : result.rows)
            if (!r.error.empty())
                throw Error(r.name + " failed: " + r.error, "the report has the rest: " + files.html.string());
        print_json(object);
        return 0;
    }

  private:
    // Before the long work: what cannot be written, or would be lost, is said at once.
    void check_output(const ReportFiles& files) const {
        std::error_code code;
        for (const fs::path& file : {files.html, files.markdown, files.json})
            if (fs::exists(file, code) && !replace_)
                throw Error(file.string() + " exists already", "choose another --output, or add --replace");
        fs::create_directories(files.clips, code);
        if (code || !fs::is_directory(files.clips))
            throw Error("cannot make the folder " + files.clips.string(), "choose another --output");
    }

    void print(const DigitScoring& result, const ReportFiles& files) const {
        const DigitTable table = score_table(result);
        for (const DigitTable::Row& row : table.rows) {
            std::string text = row.cells[0] + ":";
            for (size_t i = 1; i < row.cells.size(); ++i)
                text += std::string(i > 1 ? ", " : " ") + table.columns[i] + " " + row.cells[i];
            say(text);
        }
        for (const std::string& note : result.notes) say("note: " + note);
        say(comparability(result));
        std::error_code code;
        if (fs::exists(files.html, code)) say("open " + files.html.string());
    }

    DigitScoringOptions options_{.classifier = fs::path(NIGIRI_ASSETS_DIR) / "classifiers" / "digits.safetensors"};
    fs::path output_;
    std::string weights_ = "f32";
    bool replace_ = false;
};

class DigitsCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& group = add_group(parent, "digits", "spoken digits: prepare data, train a classifier, score models");
        parts_.push_back(std::make_unique<PrepareDigits>());
        parts_.push_back(std::make_unique<TrainClassifier>());
        parts_.push_back(std::make_unique<ScoreDigits>());
        for (const auto& part : parts_) part->declare(group);
    }

    int run() override {
        for (const auto& part : parts_)
            if (part->parser()->parsed()) return part->run();
        return 2;
    }

  private:
    std::vector<std::unique_ptr<Command>> parts_;
};

}  // namespace

std::unique_ptr<Command> make_digits_command() { return std::make_unique<DigitsCommand>(); }

}  // namespace nigiri::app
