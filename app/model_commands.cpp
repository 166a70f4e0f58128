// nigiri info, export, selfcheck: looking at models.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/config_options.h"
#include "app/model_file.h"
#include "app/text.h"
#include "audio/analysis.h"
#include "audio/file.h"
#include "model/evaluation.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class InfoCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "info", "what a model or a sound file is");
        c.add_option("file", file_, "checkpoint, run folder or sound file")->required();
    }

    int run() override {
        std::error_code code;
        const bool sound = fs::is_regular_file(file_, code) && file_.extension() != ".safetensors";
        if (sound) return sound_info();
        const fs::path path = model_path(file_);
        const Checkpoint checkpoint = Checkpoint::read(path);
        const Config& config = checkpoint.config();
        json out = {{"layer", layer_name(config.model)},
                    {"parameters", checkpoint.parameters()},
                    {"sample_rate", config.signal.sample_rate},
                    {"quantization", config.signal.quantization},
                    {"scaling", config.signal.scaling},
                    {"step", checkpoint.state().step},
                    {"tokens", checkpoint.state().tokens},
                    {"optimizer", checkpoint.has_optimizer()},
                    {"facts", checkpoint.facts()},
                    {"config", json::parse(to_json(config))}};
        if (checkpoint.state().valid_bits >= 0) out["valid_bits_per_sample"] = checkpoint.state().valid_bits;
        say(path.string());
        say("layer         " + layer_name(config.model));
        say("parameters    " + std::to_string(checkpoint.parameters()));
        std::string pools;
        for (const int64_t p : config.model.pools) pools += (pools.empty() ? "" : ",") + std::to_string(p);
        say("network       width " + std::to_string(config.model.width) + ", " + std::to_string(config.model.layers) +
            " layers a stage, pools " + (pools.empty() ? "none" : pools) + ", form " + to_string(config.model.form));
        say("audio         " + std::to_string(config.signal.sample_rate) + " Hz, 8-bit " + config.signal.quantization +
            ", " + config.signal.scaling);
        say("trained       " + std::to_string(checkpoint.state().step) + " steps, " +
            std::to_string(checkpoint.state().tokens) + " samples" +
            (checkpoint.state().valid_bits >= 0
                 ? ", validation " + fixed(checkpoint.state().valid_bits, 3) + " bits per sample"
                 : ""));
        for (const auto& [key, value] : checkpoint.facts())
            say(key + std::string(key.size() < 14 ? 14 - key.size() : 1, ' ') + value);
        print_json(out);
        return 0;
    }

  private:
    int sound_info() {
        const AudioInfo info = read_audio_info(file_);
        const Audio audio = read_audio(file_);
        const Analysis analysis = analyse(audio.samples, audio.rate);
        json tags = json::object();
        for (const auto& [key, value] : read_tags(file_)) tags[key] = value;
        say(file_.string() + ": " + info.format + ", " + std::to_string(info.rate) + " Hz, " +
            std::to_string(info.channels) + " channels");
        say(to_text(analysis));
        for (const auto& [key, value] : tags.items()) say(key + ": " + value.get<std::string>());
        print_json({{"format", info.format},
                    {"sample_rate", info.rate},
                    {"channels", info.channels},
                    {"seconds", analysis.seconds},
                    {"analysis", to_json(analysis)},
                    {"tags", tags}});
        return 0;
    }

    fs::path file_;
};

class ExportCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "export", "a model without its optimizer, a third of the size");
        c.add_option("--model", model_, "checkpoint or run folder")->required();
        c.add_option("-o,--output", output_, "file to write, .safetensors")->required();
        c.add_option("--precision", precision_,
                     "f32, or bf16: matrices in bfloat16, state-space parameters in half precision")
            ->check(CLI::IsMember({"f32", "bf16"}));
        c.add_option("--fact", facts_, "KEY=TEXT to keep with the model (licence, data, ...); may be repeated")
            ->check([](const std::string& fact) {
                const size_t equals = fact.find('=');
                return std::string(equals == 0 || equals == fact.npos ? "expected KEY=TEXT" : "");
            });
    }

    int run() override {
        const fs::path path = model_path(model_);
        std::error_code code;
        if (fs::equivalent(path, output_, code))
            throw Error("the model would overwrite itself", "choose another --output");
        if (fs::is_directory(output_, code))
            throw Error(output_.string() + " is a folder", "name a file ending in .safetensors");
        const Checkpoint checkpoint = Checkpoint::read(path);
        const auto network = checkpoint.make_network(make_backend("cpu", common.threads));
        ModelFacts facts = checkpoint.facts();
        for (const std::string& fact : facts_) {
            const size_t equals = fact.find('=');
            facts[fact.substr(0, equals)] = fact.substr(equals + 1);
        }
        save_checkpoint(output_, checkpoint.config(), *network, nullptr, checkpoint.state(), facts,
                        precision_ == "bf16" ? StoredAs::half : StoredAs::f32);
        say(output_.string() + ": " + bytes_text(static_cast<double>(fs::file_size(output_))));
        print_json({{"file", output_.string()}, {"bytes", fs::file_size(output_)}});
        return 0;
    }

  private:
    fs::path model_, output_;
    std::string precision_ = "f32";
    std::vector<std::string> facts_;
};

class SelfcheckCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c =
            add(parent, "selfcheck", "does a model generate what it was trained to: step against parallel pass");
        c.add_option("--model", model_, "checkpoint or run folder; without one, a new network of the options below");
        c.add_option("--length", length_, "samples to compare")->check(CLI::Range(1, 1 << 20));
        options_.declare(c, /*training=*/false);
    }

    int run() override {
        const auto backend = open_backend();
        std::unique_ptr<Network> network;
        if (model_.empty()) {
            const Config config = options_.make();
            network = std::make_unique<Network>(backend, config.model, DType::f32, common.seed, config.training.length);
        } else {
            network = Checkpoint::read(model_path(model_)).make_network(backend);
        }
        const int64_t length = std::min(length_, network->longest_forward());
        const SelfCheck check = selfcheck(*network, length, common.seed);
        // Two orders of float32 sums through some twenty layers differ by a few 1e-4 in log-probability; a wrong state
        // by far more.
        constexpr double tolerance = 5e-3;
        const bool good = check.step_difference <= tolerance && check.piece_difference <= tolerance;
        say("largest difference of log-probabilities over " + std::to_string(length) +
            " samples: " + fixed(check.step_difference * 1e6, 1) + "e-6 step by step, " +
            fixed(check.piece_difference * 1e6, 1) + "e-6 in pieces, tolerance " + fixed(tolerance * 1e6, 0) + "e-6");
        print_json({{"passed", good},
                    {"length", length},
                    {"step_difference", check.step_difference},
                    {"piece_difference", check.piece_difference}});
        if (!good)
            throw Error("the recurrent and the parallel form of this model disagree", "do not trust what it generates");
        say("passed");
        return 0;
    }

  private:
    fs::path model_;
    int64_t length_ = 2000;
    ConfigOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_info_command() { return std::make_unique<InfoCommand>(); }
std::unique_ptr<Command> make_export_command() { return std::make_unique<ExportCommand>(); }
std::unique_ptr<Command> make_selfcheck_command() { return std::make_unique<SelfcheckCommand>(); }

}  // namespace nigiri::app
