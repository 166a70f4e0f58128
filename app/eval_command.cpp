// nigiri eval: exact bits per sample of held-out recordings.
#include <cmath>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/data_source.h"
#include "app/evaluate_split.h"
#include "app/generation_setup.h"
#include "app/model_file.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class EvalCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "eval", "exact bits per sample of a model on held-out audio");
        c.add_option("--model", model_, "checkpoint or run folder")->required();
        c.add_option("--data", data_, "folder of audio, raw or prepared")->required();
        c.add_option("--split", split_, "which part of it")->check(CLI::IsMember({"train", "valid", "test"}));
        c.add_option("--segment", segment_,
                     "samples a segment, each from a zero state; 0: every recording as one sequence")
            ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
        c.add_option("--precision", precision_, "f32, or bf16 inside of layers (CUDA)")
            ->check(CLI::IsMember({"auto", "f32", "bf16"}));
        c.add_option("--weights", weights_,
                     "f32, bf16 or int8: sample by sample, by the engine that generates with matrices kept so; unless "
                     "given, by the parallel pass")
            ->check(CLI::IsMember({"f32", "bf16", "int8"}))
            ->excludes("--precision");
        c.add_option("--seconds", seconds_, "of held-out audio, an equal share of each recording's beginning; 0: all")
            ->check(CLI::Range(0.0, 1e9));
    }

    int run() override {
        const fs::path path = model_path(model_);
        const Checkpoint checkpoint = Checkpoint::read(path);
        const Config& config = checkpoint.config();
        const Split split = parse_split(split_);
        ProgressLine line(common.quiet);
        const Dataset data = Dataset::load(data_, data_options(config.signal, config.training.seed, {}, common.threads),
                                           show_progress(line));
        line.finish();
        for (const FileReport& file : data.report().files)
            if (!file.used()) say("skipped " + file.name + ": " + file.reason);
        if (data.samples(split) == 0)
            throw Error(data_.string() + " has no audio in its " + split_ + " part", "choose another --split");
        const auto backend = open_backend();
        const auto network = checkpoint.make_network(backend);
        network->set_activations(activation_type(precision_by_name(precision_), *backend));
        const auto engine = open_engine(*network);
        const SplitEvaluationOptions options{.segment = segment_,
                                             .most_samples = std::llround(seconds_ * config.signal.sample_rate)};
        const Progress progress = [&](double fraction, const std::string&) {
            line.show("evaluating " + fixed(100 * fraction, 0) + " %");
            return !stop_requested().load();
        };
        const auto judge = [&](const std::vector<std::span<const uint8_t>>& segments, const EvaluationProgress& show) {
            return evaluate_segments(*engine, segments, show);
        };

        SplitEvaluation sum;
        try {
            sum = engine ? evaluate_split(judge, data, split, options, progress)
                         : evaluate_split(*network, data, split, options, progress);
        } catch (const Cancelled&) {
            throw Error("stopped before the end", "bits of a part would mislead, so none are given");
        }
        const Evaluation& total = sum.total;
        json recordings = json::array();
        for (const RecordingEvaluation& r : sum.recordings)
            recordings.push_back(
                {{"name", r.name}, {"bits_per_sample", r.bits.bits_per_sample()}, {"samples", r.bits.samples}});
        line.finish();
        say(layer_name(config.model) + " after " + std::to_string(checkpoint.state().step) +
            " steps: " + fixed(total.bits_per_sample(), 4) + " bits per sample over " + std::to_string(total.samples) +
            " samples of " + split_ +
            (segment_ > 0 ? ", in segments of " + std::to_string(segment_) : ", whole recordings"));
        print_json({{"bits_per_sample", total.bits_per_sample()},
                    {"samples", total.samples},
                    {"split", split_},
                    {"segment", segment_},
                    {"engine", engine ? json(engine->description()) : json(nullptr)},
                    {"weights", engine ? json(weights_) : json(nullptr)},
                    {"layer", layer_name(config.model)},
                    {"step", checkpoint.state().step},
                    {"recordings", recordings}});
        return 0;
    }

  private:
    // Null where the parallel pass is asked.
    std::unique_ptr<RecurrentEngine> open_engine(const Network& network) const {
        if (weights_.empty()) return nullptr;
        const EngineChoice choice{.weights = weight_format_by_name(weights_),
                                  .threads = common.threads,
                                  .report = [this](const EngineReport& r) {
                                      say("engine: " + r.engine);
                                      if (const std::string note = slow_note(r); !note.empty()) say(note);
                                  }};
        const bool cuda = network.backend().name() == "cuda";
        // Segments side by side: as many as fill a GPU, or share what is read of the weights; a recording is one
        // sequence.
        const int64_t streams = segment_ == 0 ? 1 : cuda ? 528 : 16;
        return make_engine(network, streams, choice);
    }

    fs::path model_, data_;
    std::string split_ = "test", precision_ = "f32", weights_;
    int64_t segment_ = 0;
    double seconds_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_eval_command() { return std::make_unique<EvalCommand>(); }

}  // namespace nigiri::app
