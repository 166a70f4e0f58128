#include "app/bench_generate.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace nigiri::app {

std::string preset_name(const ModelConfig& model) {
    for (const std::string& name : preset_names()) {
        ModelConfig preset = preset_by_name(name).model;
        preset.outer = model.outer, preset.centre = model.centre;
        if (preset == model) return name;
    }
    return "own sizes";
}

PublishedSpeed published_speed(const std::string& layer, int64_t streams) {
    struct Row {
        const char* layer;
        int64_t streams;
        PublishedSpeed speed;
    };
    static const std::array<Row, 7> rows = {{
        {"s4-mlp", 1, {162, 2715, 257}},
        {"s4-mlp", 16, {{}, {}, 1100.0 / 16}},
        {"s4-mlp", 512, {131, 1171, {}}},
        {"s4-mlp", 4096, {{}, 268, {}}},
        {"mamba-s6", 1, {{}, 3244, {}}},
        {"mamba-s6", 512, {{}, 1453, {}}},
        {"mamba-s6", 4096, {{}, 557, {}}},
    }};
    for (const Row& r : rows)
        if (r.layer == layer && r.streams == streams) return r.speed;
    return {};
}

GenerateSpeed bench_generate(const std::shared_ptr<Backend>& backend, const Config& config, int64_t streams,
                             const EngineChoice& engine, uint64_t seed, double seconds, const std::atomic<bool>& stop) {
    using Clock = std::chrono::steady_clock;
    const Network network(backend, config.model, DType::f32, seed, config.training.length);
    GenerateSpeed speed;
    EngineChoice choice = engine;
    choice.report = [&](const EngineReport& report) { speed.engine = report; };
    const auto stream =
        open_stream(network, std::vector<std::vector<uint8_t>>(static_cast<size_t>(streams)),
                    std::make_shared<SamplingControls>(SamplingOptions{.seed = seed}), {.engine = choice, .guard = {}});
    speed.weight_bytes = stream->engine().weight_bytes();
    // Whole periods at least: the samples between two coarse steps do not cost the same.
    const int64_t period = std::max<int64_t>(1, config.model.pool_product());
    const auto run = [&](double least) {
        const auto started = Clock::now();
        int64_t steps = 0;
        double elapsed = 0;
        do {
            steps += stream->next(INT64_MAX).block.samples;
            elapsed = std::chrono::duration<double>(Clock::now() - started).count();
        } while ((elapsed < least || steps < 2 * period) && !stop);
        speed.steps = steps;
        speed.steps_per_second = static_cast<double>(steps) / elapsed;
    };
    run(0.1 * seconds);  // warms caches up
    if (!stop) run(seconds);
    return speed;
}

}  // namespace nigiri::app
