// nigiri bench train|generate|ops: how fast this machine is, in rows like those of the published code.
#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "app/bench_generate.h"
#include "app/bench_ops.h"
#include "app/command.h"
#include "app/config_options.h"
#include "app/generation_setup.h"
#include "app/text.h"
#include "model/trainer.h"

namespace nigiri::app {

using nlohmann::json;

namespace {

// The published S4D+MLP in PyTorch on two CPU cores, measured once on another machine: for orientation only.
constexpr double published_train_tokens = 460;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Batch random_batch(const Config& config, uint64_t seed) {
    Random random(seed);
    Batch b{config.training.batch, config.training.length, {}, {}};
    for (int64_t i = 0; i < b.batch * b.length; ++i) {
        b.inputs.push_back(static_cast<int32_t>(random.below(256)));
        b.targets.push_back(static_cast<int32_t>(random.below(256)));
    }
    return b;
}

class BenchCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "bench", "measure speed: ops, train or generate");
        c.add_option("what", what_, "ops, train or generate")
            ->required()
            ->check(CLI::IsMember({"ops", "train", "generate"}));
        c.add_option("--bench-layers", layers_, "layers to measure one after the other")->delimiter(',');
        c.add_option("--streams", streams_,
                     "generate: clips at a time, one row each; unless given 1,16, on CUDA 1,132,512,1056,4096")
            ->delimiter(',')
            ->check(CLI::Range(1, 1 << 16));
        c.add_option("--repeat", repeat_, "timed repetitions (train: steps; ops: runs)")->check(CLI::Range(1, 100000));
        c.add_option("--batch", batch_, "train, ops: sequences a step, 0 for the preset's")
            ->check(CLI::Range(0, 65536));
        c.add_option("--length", length_, "train, ops: samples a sequence, 0 for the preset's")
            ->check(CLI::Range(0, 1 << 24));
        c.add_option("--precision", precision_, "train, ops: f32 or bf16; auto is bf16 on CUDA")
            ->check(CLI::IsMember({"auto", "f32", "bf16"}));
        c.add_option("--bench-seconds", seconds_, "generate: time to measure a row for")
            ->check(CLI::Range(0.01, 600.0));
        c.add_flag("--plain", plain_,
                   "generate: the reference, operation by operation, instead of the device's engine");
        add_weights_option(c, weights_);
        c.add_flag("--recompute", recompute_, "train: keep only what enters a layer");
        c.add_flag("--recompute-cheap", recompute_cheap_, "train: do not keep what costs little to compute again");
        c.add_option("--graph", graph_, "train on CUDA: a step is one launch; false: one for every operation");
        options_.declare(c, /*training=*/false);
    }

    int run() override {
        const auto backend = open_backend();
        if (streams_.empty())
            streams_ = backend->name() == "cuda" ? std::vector<int>{1, 132, 512, 1056, 4096} : std::vector<int>{1, 16};
        json rows = json::array();
        if (what_ == "ops")
            rows = ops(backend);
        else
            for (const std::string& layer : layers_) {
                Config config = config_for(layer);
                if (what_ == "train")
                    rows.push_back(train(backend, config));
                else
                    for (const int streams : streams_) {
                        rows.push_back(generate(backend, config, streams));
                        if (stop_requested().load()) break;
                    }
                if (stop_requested().load()) break;
            }
        print_json({{"bench", what_}, {"device", backend->description()}, {"rows", rows}});
        return 0;
    }

  private:
    Config config_for(const std::string& layer) const {
        Config config =
            parser()->get_option("--preset")->count() > 0 ? options_.make() : options_.apply(preset_by_name("base"));
        if (parser()->get_option("--layer")->count() == 0)
            config.model.outer = config.model.centre = layer_by_name(layer);
        if (batch_ > 0) config.training.batch = batch_;
        if (length_ > 0) config.training.length = length_;
        config.training.precision = precision_by_name(precision_);
        config.training.recompute = recompute_;
        config.training.recompute_cheap = recompute_cheap_;
        config.training.graph = graph_;
        validate(config);
        return config;
    }

    json train(const std::shared_ptr<Backend>& backend, const Config& config) {
        backend->reset_peak();
        Network network(backend, config.model, DType::f32, common.seed, config.training.length);
        network.set_activations(activation_type(config.training.precision, *backend));
        network.set_recompute(config.training.recompute);
        network.set_recompute_cheap(config.training.recompute_cheap);
        Optimizer optimizer(network.parameters(), config.training);
        const Batch batch = random_batch(config, common.seed);
        TrainingStep step(network, optimizer, config.training.graph);
        for (int i = 0; i < 4 && !step.settled(); ++i) step.run(batch);  // makes pools, plans and the recording
        const auto start = std::chrono::steady_clock::now();
        int done = 0;
        while (done < repeat_ && !stop_requested().load()) {
            step.run(batch);
            ++done;
        }
        const double seconds = seconds_since(start) / std::max(done, 1);
        if (!step.note().empty()) say(step.note());
        const double tokens = static_cast<double>(batch.batch * batch.length) / seconds;
        say("| " + layer_name(config.model) + ", " + fixed(static_cast<double>(network.parameters().count()) / 1e6, 2) +
            " M | " + std::to_string(batch.batch) + " x " + std::to_string(batch.length) + " | " +
            name_of(network.activations()) + " | " + fixed(1e3 * seconds, 1) + " ms | " + thousands(tokens) +
            "tokens/s | " + bytes_text(static_cast<double>(backend->peak_bytes())) + " | " +
            fixed(tokens / published_train_tokens, 0) + " x PyTorch S4D+MLP on two cores |");
        return {{"layer", layer_name(config.model)},
                {"batch", batch.batch},
                {"length", batch.length},
                {"precision", name_of(network.activations())},
                {"step_ms", 1e3 * seconds},
                {"tokens_per_second", tokens},
                {"peak_bytes", backend->peak_bytes()},
                {"ratio_to_published", tokens / published_train_tokens}};
    }

    json generate(const std::shared_ptr<Backend>& backend, const Config& config, int streams) {
        const EngineChoice choice{
            .weights = weight_format_by_name(weights_), .threads = std::min(common.threads, 64), .plain = plain_};
        const GenerateSpeed speed =
            bench_generate(backend, config, streams, choice, common.seed, seconds_, stop_requested());
        if (const std::string note = slow_note(speed.engine); !note.empty()) say(note);
        const std::string layer = layer_name(config.model), preset = preset_name(config.model);
        const double rate = speed.steps_per_second, realtime = rate / config.signal.sample_rate;
        // Published numbers are those of networks like `base`.
        const PublishedSpeed published = preset == "base" ? published_speed(layer, streams) : PublishedSpeed{};
        json row = {{"layer", layer},
                    {"preset", preset},
                    {"streams", streams},
                    {"engine", speed.engine.engine},
                    {"weights", name_of(speed.engine.weights)},
                    {"weight_bytes", speed.weight_bytes},
                    {"steps_per_second", rate},
                    {"samples_per_second", rate * streams},
                    {"realtime_factor", realtime}};
        std::string ratios;
        const auto ratio = [&](const char* key, const std::string& name, const std::optional<double>& other) {
            row[key] = other ? json(rate / *other) : json(nullptr);
            ratios += " | " + (other ? fixed(rate / *other, 1) + " x " + name : "");
        };
        ratio("ratio_to_published", "as published (" + thousands(published.as_published.value_or(0)) + "steps/s, H100)",
              published.as_published);
        ratio("ratio_to_cuda_graph", "in a CUDA graph (" + thousands(published.cuda_graph.value_or(0)) + ", H100)",
              published.cuda_graph);
        ratio("ratio_to_two_cores", "PyTorch on two cores (" + thousands(published.two_cores.value_or(0)) + ")",
              published.two_cores);
        say("| " + layer + " | " + preset + " | " + std::to_string(streams) + " streams | " + speed.engine.engine +
            " | " + thousands(rate) + "steps/s a stream | " + thousands(rate * streams) + "samples/s | " +
            fixed(realtime, 3) + " x real time" + ratios + " |");
        return row;
    }

    json ops(const std::shared_ptr<Backend>& backend) {
        const Config config = config_for(layers_.front());
        json rows = json::array();
        const auto rate = [](double bytes, double ms) { return ms > 0 ? 1e-6 * bytes / ms : 0.0; };  // GB/s
        double copy = 0;
        for (const OpTime& t : bench_operations(backend, config, repeat_, stop_requested())) {
            const double forward = rate(t.forward_bytes, t.forward_ms),
                         backward = rate(t.backward_bytes, t.backward_ms);
            if (t.name == "copy") {
                copy = forward;
                say("copying moves " + fixed(copy, 0) + " GB/s here, read and written; shares below are of that");
            } else {
                const auto column = [&](const char* way, double ms, double gbs) {
                    return std::string(way) + " " + fixed(ms, 3) + " ms, " + fixed(gbs, 0) + " GB/s, " +
                           fixed(100 * gbs / std::max(copy, 1e-9), 0) + " % | ";
                };
                say("| " + t.name + " | " + t.shape + " | " + column("forward", t.forward_ms, forward) +
                    column("backward", t.backward_ms, backward) + fixed(t.nanoseconds_per_token, 2) + " ns a token |");
            }
            rows.push_back({{"operation", t.name},
                            {"shape", t.shape},
                            {"forward_ms", t.forward_ms},
                            {"backward_ms", t.backward_ms},
                            {"forward_gb_per_second", forward},
                            {"backward_gb_per_second", backward},
                            {"nanoseconds_per_token", t.nanoseconds_per_token}});
        }
        return rows;
    }

    std::string what_;
    std::vector<std::string> layers_ = {"mamba-s4", "mamba-s6", "s4-mlp"};
    std::vector<int> streams_;
    int repeat_ = 3;
    int64_t batch_ = 0, length_ = 0;
    std::string precision_ = "auto";
    bool recompute_ = false, recompute_cheap_ = false, graph_ = true, plain_ = false;
    double seconds_ = 2;
    std::string weights_ = "auto";
    ConfigOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

}  // namespace nigiri::app
