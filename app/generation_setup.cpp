#include "app/generation_setup.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "audio/analysis.h"
#include "audio/quantize.h"

namespace nigiri::app {

using nlohmann::json;

std::optional<WeightFormat> weight_format_by_name(const std::string& name) {
    if (name == "auto") return std::nullopt;
    for (const WeightFormat f : {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8})
        if (name == name_of(f)) return f;
    throw Error("there are no weights '" + name + "'", "choose auto, f32, bf16 or int8");
}

const char* name_of(WeightFormat format) {
    switch (format) {
        case WeightFormat::f32:
            return "f32";
        case WeightFormat::bf16:
            return "bf16";
        case WeightFormat::int8:
            return "int8";
    }
    return "f32";
}

std::string slow_note(const EngineReport& report) {
    if (report.plain_because.empty()) return {};
    return "slow, operation by operation: " + report.plain_because;
}

void add_weights_option(CLI::App& command, std::string& weights) {
    command
        .add_option("--weights", weights,
                    "what matrices are kept in: f32 is exact, bf16 and (on the processor) int8 are faster; auto is "
                    "bf16 on CUDA, else f32")
        ->check(CLI::IsMember({"auto", "f32", "bf16", "int8"}));
}

GuardOptions guard_options(const Config& config, const TrainingState& state) {
    GuardOptions guard;
    guard.sample_rate = config.signal.sample_rate;
    guard.value = decode_table(parse_quantization(config.signal.quantization));
    guard.flatness = [rate = config.signal.sample_rate](std::span<const float> samples) {
        return spectral_flatness(samples, rate);
    };
    guard.expected_bits = std::max({state.valid_bits, state.train_bits, 0.0});
    return guard;
}

json to_json(const GuardEvent& e, int rate) {
    const auto seconds = [&](int64_t samples) { return static_cast<double>(samples) / rate; };
    return {{"trouble", name_of(e.trouble)},
            {"clip", e.stream},
            {"began", seconds(e.began)},
            {"noticed", seconds(e.noticed)},
            {"resumed", e.resumed < 0 ? json(nullptr) : json(seconds(e.resumed))},
            {"attempt", e.attempt},
            {"temperature_factor", e.warmth},
            {"bits", e.window.bits},
            {"level_dbfs", std::isfinite(e.window.level_dbfs) ? json(e.window.level_dbfs) : json(nullptr)},
            {"flatness", e.window.flatness}};
}

}  // namespace nigiri::app
